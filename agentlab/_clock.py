"""Timers: messages of agents to themselves, later. Pure books; the runtime rings.

They outlive incarnations and, with a file, the kernel. An overdue ``after`` fires once when the lab is
opened again; an ``every`` fires once and keeps its rhythm.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass


@dataclass(slots=True)
class Timer:
    """One timer; ``due_at`` is nanoseconds since 1970, ``every`` seconds or None for once."""

    number: int
    path: str
    method: str
    payload: bytes
    due_at: int
    every: float | None

    def next(self, now: int) -> int:
        """When an ``every`` is due after ``now``: at the next beat of its rhythm."""
        period = max(1, int((self.every or 0) * 1e9))
        missed = max(0, (now - self.due_at) // period)
        return self.due_at + (missed + 1) * period


class Clock:
    """All timers of a lab, the next one first."""

    def __init__(self) -> None:
        self.timers: dict[int, Timer] = {}
        self._heap: list[tuple[int, int]] = []

    def add(self, timer: Timer) -> None:
        """Keep a timer."""
        self.timers[timer.number] = timer
        heapq.heappush(self._heap, (timer.due_at, timer.number))

    def same(self, timer: Timer) -> Timer | None:
        """A timer that would say the same at the same rhythm."""
        alike = (t for t in self.timers.values() if t.path == timer.path)
        return next(
            (t for t in alike if (t.method, t.payload, t.every) == (timer.method, timer.payload, timer.every)), None
        )

    def drop(self, path: str) -> list[int]:
        """Forget an agent's timers; their numbers."""
        gone = [number for number, timer in self.timers.items() if timer.path == path]
        for number in gone:
            del self.timers[number]
        return gone

    def due(self, now: int) -> list[Timer]:
        """Timers whose time has come; an ``every`` is kept for its next beat, an ``after`` is not."""
        found: list[Timer] = []
        while self._heap and self._heap[0][0] <= now:
            due_at, number = heapq.heappop(self._heap)
            timer = self.timers.get(number)
            if timer is None or timer.due_at != due_at:
                continue
            found.append(timer)
            if timer.every is None:
                del self.timers[number]
            else:
                timer.due_at = timer.next(now)
                heapq.heappush(self._heap, (timer.due_at, number))
        return found

    @property
    def next_due(self) -> int | None:
        """When the next one is due, nanoseconds since 1970."""
        while self._heap:
            due_at, number = self._heap[0]
            timer = self.timers.get(number)
            if timer is not None and timer.due_at == due_at:
                return due_at
            heapq.heappop(self._heap)
        return None
