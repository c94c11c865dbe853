"""Timers in the kernel: set with a commit, rung by the loop, durable where the store is a file (see ``own_time``)."""

from __future__ import annotations

import asyncio

from agentlab.kernel.desk import Desk
from agentlab.kernel.mail import Mail
from agentlab.kernel.own_time import OwnTime
from agentlab.pool.pool import Node

FARTHEST = 10.0
"""Seconds after which the clocks are looked at again, whatever is due: one was set, or the machine slept."""


class Timers:
    """Sends the messages whose time has come.

    Attributes:
        held: How many hold the timers, so that none fires: a stored lab comes back, and not everybody is there yet.
    """

    def __init__(self, desk: Desk, own_time: OwnTime, mail: Mail) -> None:
        self._desk = desk
        self._time = own_time
        self._mail = mail
        self._alarm: asyncio.TimerHandle | None = None
        self._due_at: int | None = None  # what the alarm is for
        self.held = 0

    def on_timer(
        self, node: Node, *, placement: int, seconds: float, again: bool, method: str, payload: bytes
    ) -> None:  # fmt: skip
        """A timer of ``on_start``, which no message commits."""
        entry = self._desk.placed.get(placement)
        if entry is not None:
            self._time.set_timer(entry.path, seconds, again, method, payload)

    def hold(self, on: bool) -> None:
        """Let no timer fire, or have those fire that are due by now: who looks next sees what they sent."""
        self.held += 1 if on else -1
        if self.held:
            self._arm(None)
        else:
            self._ring()

    def look(self) -> None:
        """At the end of a turn, which may have set timers: have the clock looked at when the next is due."""
        if self._time.clock.heap or self._due_at is not None:
            due_at = self._time.clock.next_due
            if due_at != self._due_at:
                self._arm(due_at)

    def _arm(self, due_at: int | None) -> None:
        self._due_at = due_at
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if due_at is not None and not self.held:
            self._time.look_at_the_wall()
            wait = max(0.0, (due_at - self._time.now()) / 1e9)
            self._alarm = self._desk.loop.call_later(min(wait, FARTHEST), self._ring)

    def _ring(self) -> None:
        for timer in self._time.take_due():
            self._mail.send(timer.path, timer.method, timer.payload, sender=timer.path)
            self._time.has_rung(timer)
        self._arm(self._time.clock.next_due)
        self._desk.due()
