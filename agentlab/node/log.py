"""What an agent prints, line by line to the event log."""

from __future__ import annotations

import asyncio
import io
import threading

from agentlab.ground.redaction import redact
from agentlab.node.resident import current
from agentlab.wire.frames import ToKernel


class AgentLog(io.TextIOBase):
    """``sys.stdout`` of a node: what an agent prints goes to that agent's log, line by line.

    Agents may print from threads of their own; what the host itself prints goes to the node's log.
    """

    LONGEST = 100_000  # characters of a line; a longer one leaves in pieces

    def __init__(self, say: ToKernel) -> None:
        self._say = say
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._open: dict[int, str] = {}

    def write(self, text: str) -> int:
        """Take text; whole lines leave."""
        resident = current.get()
        key = resident.life if resident else 0
        if threading.get_ident() == self._thread:
            self._take(key, text)
        else:
            self._loop.call_soon_threadsafe(self._take, key, text)
        return len(text)

    def _take(self, key: int, text: str) -> None:
        *lines, rest = (self._open.pop(key, "") + text).split("\n")
        while len(rest) > self.LONGEST:
            lines.append(rest[: self.LONGEST])
            rest = rest[self.LONGEST :]
        for line in lines:
            self._say.log(placement=key, line=redact(line))
        if rest:
            self._open[key] = rest

    def finish(self, life: int) -> None:
        """A life is over: its last line leaves, whole or not."""
        if life in self._open:
            self._take(life, "\n")

    def writable(self) -> bool:
        """Text may be written, and no more: there is no file below and no terminal."""
        return True
