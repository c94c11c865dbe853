"""Frames between the kernel and a node: a length and a marshalled list of plain tuples.

Numbers, text and bytes cannot run code when they are read. What people pass travels inside as ``packing`` makes it,
exceptions as ``exceptions`` takes them apart.
"""

from __future__ import annotations

import marshal
import struct
from typing import Any

Frame = tuple[Any, ...]
"""One thing that is said: its name, a word of ``frames``, then its parts."""

_LENGTH = struct.Struct("!Q")


def frame(messages: list[Frame]) -> bytes:
    """Messages as one frame."""
    body = marshal.dumps(messages)
    return _LENGTH.pack(len(body)) + body


class Reader:
    """Cuts a stream of bytes back into the messages of its frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Messages of the frames that ``data`` completes."""
        buffer = self._buffer
        if not buffer and len(data) >= 8 and _LENGTH.unpack_from(data)[0] == len(data) - 8:  # nearly always
            whole: list[Frame] = marshal.loads(memoryview(data)[8:])  # noqa: S302  # as below
            return whole
        buffer += data
        messages: list[Frame] = []
        at = 0
        while len(buffer) - at >= 8:
            (size,) = _LENGTH.unpack_from(buffer, at)
            if len(buffer) - at - 8 < size:
                break
            messages += marshal.loads(memoryview(buffer)[at + 8 : at + 8 + size])  # noqa: S302  # plain data, own socket
            at += 8 + size
        if at:
            del buffer[:at]
        return messages
