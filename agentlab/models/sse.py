"""Server-sent events: from the bytes of a stream to the name and the data of each event. Pure.

Source: "Server-sent events" of the HTML standard, its section on interpreting an event stream.
"""

from __future__ import annotations

from collections.abc import Iterator


class Decoder:
    """Feed it bytes as they come; an event is there once the empty line behind it is. Events without data are not."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []  # of a line that has not ended
        self._name: str | None = None
        self._data: list[str] = []

    def feed(self, piece: bytes) -> Iterator[tuple[str | None, str]]:
        """The events that a piece completes: name, if any, and data. Raises ``UnicodeDecodeError``."""
        if b"\n" not in piece and b"\r" not in piece:
            self._rest.append(piece)
            return
        lines = b"".join((*self._rest, piece)).splitlines(keepends=True)
        # A carriage return at the very end may be the first half of a line's end.
        self._rest = [] if lines[-1].endswith(b"\n") else [lines.pop()]
        for line in lines:
            yield from self._take(line.rstrip(b"\r\n").decode())

    def finish(self) -> Iterator[tuple[str | None, str]]:
        """The event that the stream's end completes; one that its empty line does not follow is none."""
        rest, self._rest = b"".join(self._rest), []
        if rest.endswith(b"\r"):
            yield from self._take(rest[:-1].decode())

    def _take(self, line: str) -> Iterator[tuple[str | None, str]]:
        field, _, value = line.partition(":")
        if not line:
            if self._data:
                yield self._name, "\n".join(self._data)
            self._name, self._data = None, []
        elif field == "data":
            self._data.append(value.removeprefix(" "))
        elif field == "event":
            self._name = value.removeprefix(" ")
