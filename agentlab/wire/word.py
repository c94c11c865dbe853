"""Three numbers that a node shares with the kernel: whose code runs, how many slices have begun, and for which message.

They lie in shared memory, so that the kernel can read them from a node that answers nothing any more, or that
is dead: the node notes a life, by its placement, before it lets that run.
"""

from __future__ import annotations

import mmap
import os
import tempfile

SIZE = 24


class Word:
    """One node's three numbers, 64 bits each: written by the node, read by the kernel.

    Args:
        fd: A file of 24 bytes, shared by handing its descriptor over; None makes a new one without a name.
    """

    def __init__(self, fd: int | None = None) -> None:
        self.fd = _new() if fd is None else fd
        try:
            self._map = mmap.mmap(self.fd, SIZE)
        except OSError:  # it takes another descriptor
            os.close(self.fd)
            raise
        self.cells = memoryview(self._map).cast("Q")

    def read(self) -> tuple[int, int]:
        """The placement whose code runs (0: none) and the count of slices so far, both of the same moment."""
        while True:
            count = self.cells[1]
            placement = self.cells[0]
            if self.cells[1] == count:
                return placement, count

    def key_of(self, placement: int) -> int:
        """The message that this placement's code handles now; 0 if it handles none, or another's code runs."""
        while True:
            count = self.cells[1]
            key = self.cells[2] if self.cells[0] == placement else 0
            if self.cells[1] == count:
                return key

    def close(self) -> None:
        """Let go of the memory and the descriptor; the other side keeps its own."""
        self.cells.release()
        self._map.close()
        os.close(self.fd)


def _new() -> int:
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("agentlab")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, SIZE)
    return fd
