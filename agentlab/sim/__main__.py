"""``python -m agentlab.sim --port 0``: serve the Messages API on this machine, for any client.

It prints its address, and the variables that tell a client of it and of its token: ``AGENTLAB_SIM_TOKEN`` if that is
set, else one of its own. Ctrl-C ends it.

With ``--fd N`` it is owned by who started it: it writes one JSON line, ``{"base_url": ..., "api_key": ...}`` (the key
only if it is its own), to file descriptor N when it is ready, and ends when its standard input does.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import os
import resource
import signal
import sys
import threading

from agentlab.sim.server import Simulator

TOKEN = "AGENTLAB_SIM_TOKEN"  # noqa: S105  # the name of the variable that holds it

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until interrupted, or until who owns it lets go."""
    parser = argparse.ArgumentParser(prog="python -m agentlab.sim", description="Serve the Messages API simulator.")
    parser.add_argument("--port", type=int, default=0, help="where to listen on 127.0.0.1; 0, the default: a free port")
    parser.add_argument("--seed", type=int, default=0, help="which of the possible worlds this is")
    parser.add_argument("--notes", help="a file to remember log, profile and scripts in")
    parser.add_argument("--fd", type=int, help="be owned: write the address there, end when standard input does")
    options = parser.parse_args()
    _raise_file_limit()
    simulator = Simulator(
        seed=options.seed, port=options.port, api_key=os.environ.get(TOKEN), notes=options.notes
    )  # fmt: skip
    if options.fd is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the notebook, not for its helpers
        _die_with_parent()
    try:
        asyncio.run(_serve(simulator, options.fd))
    except KeyboardInterrupt:
        pass
    except OSError as error:
        sys.exit(f"python -m agentlab.sim: {error}")


async def _serve(simulator: Simulator, fd: int | None) -> None:
    own = TOKEN not in os.environ
    async with simulator:
        ended = asyncio.Event()
        if fd is None:
            print(simulator.base_url)  # noqa: T201  # what the command is asked for
            print(f"ANTHROPIC_BASE_URL={simulator.base_url} ANTHROPIC_API_KEY={simulator.api_key}", flush=True)  # noqa: T201
        else:
            said = {"base_url": simulator.base_url} | ({"api_key": simulator.api_key} if own else {})
            with os.fdopen(fd, "w") as ready:
                ready.write(json.dumps(said) + "\n")
            threading.Thread(target=_watch_stdin, args=(asyncio.get_running_loop(), ended), daemon=True).start()
        await ended.wait()


def _watch_stdin(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    # A thread: unlike the loop's pipe readers it takes whatever standard input is, /dev/null and files too.
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass
    loop.call_soon_threadsafe(ended.set)


def _die_with_parent() -> None:
    """Beside the end of the pipe: a parent that was killed takes us along even while we are busy."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _raise_file_limit() -> None:
    """Raise the limit of open files: the usual soft one of 1,024 connections is too few for thousands of agents."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    main()
