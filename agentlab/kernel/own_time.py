"""A lab's own time, and what is due in it: timers as the books and the store have them.

Waiting is measured by a clock that nobody can set, and that runs on while the machine sleeps. A lab's *own time* is the
time of day at which it began, counted on by that clock. The store has times of day, for the next kernel: when
somebody has set the wall clock they are written anew, so that what was to happen in a minute still is.
"""

from __future__ import annotations

import time

from agentlab.books.clock import Clock, Timer
from agentlab.kernel.desk import Desk

SET = 1_000_000_000
"""Nanoseconds by which the wall clock has to be off to count as set."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class OwnTime:
    """The time, and the timers that wait for theirs; ``Timers`` rings."""

    def __init__(self, desk: Desk) -> None:
        self.clock = Clock()
        self._desk = desk
        self._began = time.time_ns() - time.clock_gettime_ns(_CLOCK)
        self._ahead = 0  # of the lab's own time, when the wall clock was last looked at

    def now(self) -> int:
        """The lab's own time (nanoseconds)."""
        return self._began + time.clock_gettime_ns(_CLOCK)

    def set_timer(self, path: str, seconds: float, again: bool, method: str, payload: bytes) -> int:
        """A message of an agent to itself, later; an ``every`` that is set already, as on every start, is kept.

        Returns:
            The new timer's number; 0 if there is none.
        """
        self.look_at_the_wall()
        due_at = self.now() + int(seconds * 1e9)
        timer = Timer(next(self._desk.numbers), path, method, payload, due_at, seconds if again else None)
        if again and self.clock.same(timer) is not None:
            return 0
        self.clock.add(timer)
        self._desk.ledger.messages.keep_timer(timer, self._ahead)
        return timer.number

    def look_at_the_wall(self) -> None:
        """If somebody has set the clock there, what the store has of all timers is moved with it."""
        ahead = time.time_ns() - self.now()
        if abs(ahead - self._ahead) >= SET:
            self._ahead = ahead
            for timer in self.clock:
                self._desk.ledger.messages.keep_timer(timer, ahead)
            self._desk.due()

    def take_due(self) -> list[Timer]:
        """The timers whose time has come; those that come again wait for their next beat."""
        return self.clock.due(self.now())

    def has_rung(self, timer: Timer) -> None:
        """Write down that a timer has rung."""
        if timer.every is None:
            self._desk.ledger.messages.drop_timer(timer.number)
        else:
            self._desk.ledger.messages.keep_timer(timer, self._ahead)

    def take_back(self, numbers: list[int]) -> None:
        """Forget timers whose commit failed."""
        for number in numbers:
            self.clock.cancel(number)

    def forget(self, path: str) -> None:
        """An agent is gone for good; where the lab closes, its timers ring when that is opened again."""
        for number in self.clock.drop(path):
            if not self._desk.ledger.closing:
                self._desk.ledger.messages.drop_timer(number)
