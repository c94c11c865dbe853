"""Runs a llama.cpp server in a process of its own, for ``local``'s ``LocalServer``; imports nothing of the package.

It writes its address to a file descriptor when it is ready, takes its token from ``AGENTLAB_LOCAL_TOKEN``, and ends
when its standard input does.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys

import xllamacpp

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", help="the weights")
    for name in ("port", "fd", "slots", "context", "threads", "seed"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the notebook, not for its helpers
    if sys.platform == "linux":  # beside the end of the pipe, which nobody looks at while the weights are loaded
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    server = xllamacpp.Server(parameters(options))
    with os.fdopen(options.fd, "w") as ready:
        ready.write(f"{server.listening_address}\n")
    while os.read(0, 4096):
        pass
    os._exit(0)  # its threads are C code, which waits for nobody


def parameters(options: argparse.Namespace) -> xllamacpp.CommonParams:
    """What llama.cpp is told."""
    params = xllamacpp.CommonParams()
    params.model.path, params.model_alias = options.file, {"local"}
    params.hostnames, params.port = ["127.0.0.1"], options.port
    params.api_keys = [os.environ.pop("AGENTLAB_LOCAL_TOKEN")]
    params.n_parallel, params.n_ctx = options.slots, options.slots * options.context
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.threads
    params.n_threads_http = 4 * options.slots + 60  # a request that waits for a slot holds one of them
    params.cache_ram_mib = 256
    params.ui = params.warmup = params.endpoint_slots = False
    params.offline = True
    if options.seed:
        params.sampling.seed = options.seed
    params.verbosity = 1
    return params


if __name__ == "__main__":
    main()
