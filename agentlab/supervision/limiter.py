"""How many calls may be under way at once: found by trying, and by what the provider says is left.

Additive increase, multiplicative decrease, as TCP has it (Jacobson, "Congestion avoidance and control", 1988):
each answer lets one more call through until there was trouble before at this many, from there on one more a round; an
overload halves them, once for all the calls that were under way together. What a provider says in its headers
(remaining, limit, reset) holds calls back before it has to refuse them. Pure: the time is an argument.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

FIRST = 64.0
"""Calls at once before anything is known: who has fewer agents than that is never held back."""

LEAST_KNEE = 4.0


class Room(NamedTuple):
    """What a provider says is left of something.

    Attributes:
        what: ``requests``, ``tokens``, ``input-tokens`` or ``output-tokens``.
        remaining: So much is left.
        limit: So much there is after the reset; 0 if it did not say.
        reset: In how many seconds.
    """

    what: str
    remaining: float
    limit: float
    reset: float


@dataclass(slots=True)
class _Left:
    calls: float
    after_reset: float
    until: float
    period: float


class Limiter:
    """Says how many calls may begin.

    Attributes:
        most: Calls that may be under way at once; grows by parts of one.
        knee: Above this many it grows slowly.
    """

    __slots__ = ("_cost", "_cut_at", "_left", "knee", "most")

    def __init__(self) -> None:
        self.most = FIRST
        self.knee = math.inf
        self._cut_at = -math.inf
        self._cost = 0.0  # tokens of a call, as they were lately
        self._left: dict[str, _Left] = {}

    def room(self, under_way: int, now: float) -> int:
        """How many calls may begin now."""
        free = max(0, int(self.most) - under_way)
        for left in self._left.values():
            if now >= left.until:  # no newer word of it: it is taken for full, so often
                left.calls, left.until = left.after_reset, now + left.period
            free = max(0, int(min(left.calls, free)))
        return free

    def due(self) -> float:
        """When what the provider holds back is there again; infinite if it holds nothing back."""
        return min((left.until for left in self._left.values() if left.calls < 1), default=math.inf)

    def begun(self) -> None:
        """A call has begun: it will be counted by the provider."""
        for left in self._left.values():
            left.calls -= 1

    def succeeded(self, under_way: int) -> None:
        """A call was answered; ``under_way``: how many there were, itself included."""
        if under_way * 2 >= self.most:  # who does not need more learns nothing of it
            self.most += 1.0 if self.most < self.knee else 1.0 / self.most

    def overloaded(self, under_way: int, began: float, now: float) -> None:
        """A call was refused for too much at once: half as many, once for all that began before this was known."""
        if began <= self._cut_at:
            return
        self._cut_at = now
        self.most = max(1.0, min(self.most, float(under_way)) / 2)
        self.knee = max(LEAST_KNEE, self.most)

    def start_over(self, under_way: int) -> None:
        """The provider was down and answers again: begin with few."""
        self.knee = max(LEAST_KNEE, min(self.most, self.knee) / 2)
        self.most = float(under_way + 1)
        self._left.clear()

    def hear(self, rooms: Iterable[Room], tokens: float, under_way: int, now: float) -> None:
        """Take what an answer's headers said; ``tokens``: what the call used, 0 if it is not known."""
        if tokens > 0:
            self._cost = tokens if not self._cost else 0.8 * self._cost + 0.2 * tokens
        for what, remaining, limit, reset in rooms:
            cost = 1.0 if what == "requests" else self._cost
            if cost <= 0 or not reset > 0:
                continue
            # Calls under way may have been counted already, or not: they are taken for not counted.
            after = limit / cost if limit > 0 else math.inf
            self._left[what] = _Left(remaining / cost - under_way, max(1.0, after), now + reset, reset)
