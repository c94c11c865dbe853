"""Waits that nobody can hurry: while an agent is in one, whoever waits for its answer is not late.

A step that waits for its next attempt, or for its provider, pauses its message. What pauses a message pauses the one
whose call it answers, up the chain to the cell that asked first.
"""

from __future__ import annotations

from agentlab.books.messages import Message, Pause
from agentlab.kernel.desk import Desk
from agentlab.wire.frames import Asker


class Pauses:
    """Begins and ends pauses, of a message and of those who wait for it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def begin(self, message: Message, why: int | Asker) -> None:
        """A message waits.

        Args:
            message: It.
            why: The number of its step that waits, or the key and the step by which it asked another that does.
        """
        if message.pause is None:
            message.pause = Pause()
        began = not message.pause.reasons
        message.pause.add(why, self._now())
        above = self._above(message) if began else None
        if above is not None and message.origin is not None:
            self.begin(above, message.origin)

    def end(self, message: Message, why: int | Asker) -> None:
        """It waits for that no more."""
        pause = message.pause
        if pause is None or why not in pause.reasons:
            return
        pause.discard(why, self._now())
        above = self._above(message) if not pause.reasons else None
        if above is not None and message.origin is not None:
            self.end(above, message.origin)

    def end_own(self, message: Message) -> None:
        """Its life is over, and with it what its steps waited for; what it has asked others outlasts that."""
        for why in [] if message.pause is None else [why for why in message.pause.reasons if isinstance(why, int)]:
            self.end(message, why)

    def end_all(self, message: Message) -> None:
        """It is decided."""
        for why in [] if message.pause is None else list(message.pause.reasons):
            self.end(message, why)

    def _above(self, message: Message) -> Message | None:
        """The message, in its agent's hand, whose step asks this one."""
        entry = self._desk.entries.peek(message.sender) if message.origin is not None else None
        head = entry.pending[0] if entry is not None and entry.pending else None
        return head if head is not None and message.origin is not None and head.key == message.origin[0] else None

    def _now(self) -> float:
        return self._desk.loop.time()
