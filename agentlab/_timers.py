"""Timers in the kernel: set with a commit, rung by the loop, durable where the store is a file."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from agentlab._books import Entry
from agentlab._clock import Timer
from agentlab._desk import Desk
from agentlab._pool import Node

FARTHEST = 3600.0
"""Seconds after which the clock is looked at again, whatever is due: the wall clock may be set meanwhile."""


class Timers:
    """Messages of agents to themselves, later.

    Attributes:
        deliver: Sends a message whose time has come; the mail sets it.
        held: No timer fires: a stored lab comes back, and not everybody is there yet.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._alarm: asyncio.TimerHandle | None = None
        self.held = False
        self.deliver: Callable[..., object]

    def on_timer(  # noqa: PLR0917  # a frame, in the order of its parts
        self, node: Node, place: int, seconds: float, again: bool, method: str, payload: bytes
    ) -> None:
        """A timer of ``on_start``, which no message commits."""
        entry = self._desk.placed.get(place)
        if entry is not None:
            self.set(entry, seconds, again, method, payload)

    def set(self, entry: Entry, seconds: float, again: bool, method: str, payload: bytes) -> int:
        """A message to the agent itself, later; an ``every`` that is set already, as on every start, is kept.

        Returns:
            The new timer's number; 0 if there is none.
        """
        due_at = time.time_ns() + int(seconds * 1e9)
        timer = Timer(next(self._desk.numbers), entry.path, method, payload, due_at, seconds if again else None)
        if again and self._desk.clock.same(timer) is not None:
            return 0
        self._desk.clock.add(timer)
        self._desk.ledger.timer(timer)
        self.look()
        return timer.number

    def drop(self, numbers: list[int]) -> None:
        """Forget timers whose commit failed."""
        for number in numbers:
            self._desk.clock.cancel(number)

    def hold(self, on: bool) -> None:
        """Let no timer fire, or let those fire again that are due."""
        self.held = on
        self.look()

    def look(self) -> None:
        """Have the clock looked at when its next timer is due."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        due_at = self._desk.clock.next_due
        if due_at is not None and not self.held:
            wait = max(0.0, (due_at - time.time_ns()) / 1e9)
            self._alarm = self._desk.loop.call_later(min(wait, FARTHEST), self._ring)

    def _ring(self) -> None:
        self._alarm = None
        for timer in self._desk.clock.due(time.time_ns()):
            self.deliver(timer.path, timer.method, timer.payload, sender=timer.path)
            if timer.every is None:
                self._desk.ledger.timer_gone(timer.number)
            else:
                self._desk.ledger.timer(timer)
        self.look()
        self._desk.due()
