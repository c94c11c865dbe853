"""Start a node: ``python -m agentlab.node FD NUMBER LAB``, with FD one end of a socketpair that the kernel holds.

A node ignores the terminal's signals and lives exactly as long as the kernel: it ends at the socket's end
of file, and on Linux also by the parent-death signal, which reaches it inside C code too.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import socket
import sys


def main() -> None:
    """Read the arguments, cut the ties to the terminal, run the host until the kernel is gone."""
    fd, number, lab_id, kernel_path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent()
    sys.path[:] = kernel_path
    from agentlab.node.host import Host

    asyncio.run(Host(socket.socket(fileno=fd), number, lab_id).run())
    os._exit(0)


def die_with_parent() -> None:
    """Ask Linux to kill this process when the thread that started it is gone."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it died in between
            os._exit(0)


main()
