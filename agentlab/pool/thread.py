"""A thread of the kernel's process that stands in for a node: ``isolation="kernel"``, for debugging.

What it gives up: whatever its agents do, they do to the kernel. Their code is not sliced, since signals reach the
main thread only; a loop without an await can be neither interrupted nor killed, and goes on as long as the kernel;
a crash of the interpreter takes the kernel along; what they print goes where the kernel's own prints go.
"""

from __future__ import annotations

import concurrent.futures
import math
import socket
import threading
from typing import Any

from agentlab.node.host import Host
from agentlab.node.loose import serve
from agentlab.wire.word import Word


class NodeThread:
    """A thread that stands in for a node's process, and looks like one to the pool."""

    pid = None
    ready_seconds = math.inf

    def __init__(self, line: socket.socket, word: Word, about: dict[str, Any]) -> None:
        self._line = line
        self.born: concurrent.futures.Future[int] = concurrent.futures.Future()
        self.born.set_result(0)
        self._thread = threading.Thread(target=self._live, args=(word, about), name="agentlab-node", daemon=True)
        self._thread.start()

    def _live(self, word: Word, about: dict[str, Any]) -> None:
        serve(Host(self._line, word, about))

    def kill(self) -> None:
        """Nothing: it ends with its line, unless an agent holds it."""

    def wait(self) -> int | None:
        """Wait a moment for the end; how it ended is not known."""
        self._thread.join(0.05)
        return None

    def over(self) -> concurrent.futures.Future[int | None]:
        """The same, for who cannot wait: the moment is over already."""
        future: concurrent.futures.Future[int | None] = concurrent.futures.Future()
        future.set_result(self.wait())
        return future
