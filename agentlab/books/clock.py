"""Timers: messages of agents to themselves, later. Pure books; the runtime rings.

They outlive incarnations and, with a file, the kernel. An overdue ``after`` fires once when the lab is
opened again; an ``every`` fires once and keeps its rhythm.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(slots=True)
class Timer:
    """One timer; ``due_at`` is nanoseconds since 1970 of the lab's own time, ``every`` seconds or None for once."""

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
    """All timers of a lab, the next one first.

    Attributes:
        heap: When each is due, and its number; also of some that were cancelled.
    """

    def __init__(self) -> None:
        self._timers: dict[int, Timer] = {}
        self._of: dict[str, dict[int, Timer]] = {}  # by path
        self.heap: list[tuple[int, int]] = []

    def __iter__(self) -> Iterator[Timer]:
        """All timers, in no order."""
        return iter(list(self._timers.values()))

    def add(self, timer: Timer) -> None:
        """Keep a timer."""
        self._timers[timer.number] = timer
        self._of.setdefault(timer.path, {})[timer.number] = timer
        heapq.heappush(self.heap, (timer.due_at, timer.number))

    def same(self, timer: Timer) -> Timer | None:
        """A timer that would say the same at the same rhythm."""
        said = (timer.method, timer.payload, timer.every)
        alike = self._of.get(timer.path, {}).values()
        return next((t for t in alike if (t.method, t.payload, t.every) == said), None)

    def drop(self, path: str) -> list[int]:
        """Forget an agent's timers; their numbers."""
        gone = list(self._of.pop(path, ()))
        for number in gone:
            del self._timers[number]
        return gone

    def cancel(self, number: int) -> None:
        """Forget one timer."""
        timer = self._timers.get(number)
        if timer is not None:
            self._remove(timer)

    def _remove(self, timer: Timer) -> None:
        del self._timers[timer.number]
        own = self._of[timer.path]
        del own[timer.number]
        if not own:
            del self._of[timer.path]

    def due(self, now: int) -> list[Timer]:
        """Timers whose time has come; an ``every`` is kept for its next beat, an ``after`` is not."""
        found: list[Timer] = []
        while self.heap and self.heap[0][0] <= now:
            due_at, number = heapq.heappop(self.heap)
            timer = self._timers.get(number)
            if timer is None or timer.due_at != due_at:
                continue
            found.append(timer)
            if timer.every is None:
                self._remove(timer)
            else:
                timer.due_at = timer.next(now)
                heapq.heappush(self.heap, (timer.due_at, number))
        return found

    @property
    def next_due(self) -> int | None:
        """When the next one is due, in nanoseconds of the lab's own time."""
        while self.heap:
            due_at, number = self.heap[0]
            timer = self._timers.get(number)
            if timer is not None and timer.due_at == due_at:
                return due_at
            heapq.heappop(self.heap)
        return None
