"""``python -m agentlab.sim --fd N``: serve in a process of one's own.

Writes one JSON line, ``{"base_url": ..., "api_key": ...}``, to file descriptor N when it is ready, and ends when its
standard input does: the process that holds the other end of that pipe owns it.
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

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m agentlab.sim", description="Serve the Messages API simulator.")
    parser.add_argument("--fd", type=int, required=True, help="where to write the address and the token")
    parser.add_argument("--seed", type=int, default=0, help="which of the possible worlds this is")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the notebook, not for its helpers
    _die_with_parent()
    _raise_file_limit()
    asyncio.run(_serve(options.fd, options.seed))


async def _serve(fd: int, seed: int) -> None:
    async with Simulator(seed=seed) as simulator:
        with os.fdopen(fd, "w") as ready:
            ready.write(json.dumps({"base_url": simulator.base_url, "api_key": simulator.api_key}) + "\n")
        ended = asyncio.Event()
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
