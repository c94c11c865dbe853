"""Timers in the kernel: set with a commit, rung by the loop, durable where the store is a file.

Waiting is measured by a clock that nobody can set, and that runs on while the machine sleeps. A lab's *own time* is the
time of day at which it began, counted on by that clock. The store has times of day, for the next kernel: when
somebody has set the wall clock they are written anew, so that what was to happen in a minute still is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from agentlab.books.agents import Entry
from agentlab.books.clock import Timer
from agentlab.kernel.desk import Desk
from agentlab.pool.pool import Node

FARTHEST = 10.0
"""Seconds after which the clocks are looked at again, whatever is due: one was set, or the machine slept."""

SET = 1_000_000_000
"""Nanoseconds by which the wall clock has to be off to count as set."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Timers:
    """Messages of agents to themselves, later.

    Attributes:
        deliver: Sends a message whose time has come; the mail sets it.
        held: How many hold the timers, so that none fires: a stored lab comes back, and not everybody is there yet.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._alarm: asyncio.TimerHandle | None = None
        self._began = time.time_ns() - time.clock_gettime_ns(_CLOCK)
        self._ahead = 0  # of the lab's own time, when the wall clock was last looked at
        self.held = 0
        self.deliver: Callable[..., object]

    def on_timer(
        self, node: Node, *, placement: int, seconds: float, again: bool, method: str, payload: bytes
    ) -> None:  # fmt: skip
        """A timer of ``on_start``, which no message commits."""
        entry = self._desk.placed.get(placement)
        if entry is not None:
            self.set(entry, seconds, again, method, payload)

    def set(self, entry: Entry, seconds: float, again: bool, method: str, payload: bytes) -> int:
        """A message to the agent itself, later; an ``every`` that is set already, as on every start, is kept.

        Returns:
            The new timer's number; 0 if there is none.
        """
        self._look_at_the_wall()
        due_at = self._now() + int(seconds * 1e9)
        timer = Timer(next(self._desk.numbers), entry.path, method, payload, due_at, seconds if again else None)
        if again and self._desk.clock.same(timer) is not None:
            return 0
        self._desk.clock.add(timer)
        self._desk.ledger.timer(timer, self._ahead)
        self.look()
        return timer.number

    def _now(self) -> int:
        """The lab's own time (nanoseconds)."""
        return self._began + time.clock_gettime_ns(_CLOCK)

    def _look_at_the_wall(self) -> None:
        """If somebody has set the clock there, what the store has of all timers is moved with it."""
        ahead = time.time_ns() - self._now()
        if abs(ahead - self._ahead) >= SET:
            self._ahead = ahead
            for timer in self._desk.clock:
                self._desk.ledger.timer(timer, ahead)
            self._desk.due()

    def drop(self, numbers: list[int]) -> None:
        """Forget timers whose commit failed."""
        for number in numbers:
            self._desk.clock.cancel(number)

    def hold(self, on: bool) -> None:
        """Let no timer fire, or let those fire again that are due."""
        self.held += 1 if on else -1
        self.look()

    def look(self) -> None:
        """Have the clock looked at when its next timer is due."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        due_at = self._desk.clock.next_due
        if due_at is not None and not self.held:
            self._look_at_the_wall()
            wait = max(0.0, (due_at - self._now()) / 1e9)
            self._alarm = self._desk.loop.call_later(min(wait, FARTHEST), self._ring)

    def _ring(self) -> None:
        self._alarm = None
        for timer in self._desk.clock.due(self._now()):
            self.deliver(timer.path, timer.method, timer.payload, sender=timer.path)
            if timer.every is None:
                self._desk.ledger.timer_gone(timer.number)
            else:
                self._desk.ledger.timer(timer, self._ahead)
        self.look()
        self._desk.due()
