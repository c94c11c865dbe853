"""How many samples are under way at once: a number, or what the provider bears (``concurrency="auto"``).

Additive increase, multiplicative decrease, as TCP finds the width of a line: until the first refusal each sample that
ends lets one more begin; then a whole round of them does; a refusal halves it.

Source: V. Jacobson, "Congestion Avoidance and Control", SIGCOMM 1988.
"""

from __future__ import annotations

from typing import Literal

from agentlab.evals.ledger import run_path
from agentlab.store.database import Store

Concurrency = int | Literal["auto"]

FIRST = 8
"""Samples with which ``"auto"`` begins."""

MOST = 512
"""Samples that ``"auto"`` never passes."""

PATIENCE = 2.0
"""Seconds in which refusals count once: those were asked before anybody heard of the first."""

REFUSALS = ("rate_limit", "overloaded", "unavailable")
"""Kinds of faults by which a provider says that it is asked too much."""


class Pace:
    """How many samples may be under way; pure.

    Args:
        concurrency: A number that stays, or ``"auto"``.
    """

    def __init__(self, concurrency: Concurrency) -> None:
        self.adapts = concurrency == "auto"
        self._room = float(FIRST if concurrency == "auto" else concurrency)
        self._found = False
        self._quiet_until = 0.0

    @property
    def limit(self) -> int:
        """Samples that may be under way."""
        return int(self._room)

    def ended(self) -> None:
        """A sample has ended."""
        if self.adapts:
            self._room = min(MOST, self._room + (1.0 / self._room if self._found else 1.0))

    def refused(self, now: float) -> None:
        """The provider has refused calls.

        Args:
            now: The time, in seconds.
        """
        if self.adapts and now >= self._quiet_until:
            self._room = max(1.0, self._room / 2)
            self._found = True
            self._quiet_until = now + PATIENCE


class Meter:
    """What a run's steps have come to, read a little at a time: each look reads only what is new.

    Attributes:
        cost_usd: What model calls have cost; None where nobody knows a price.
        refusals: Calls that the provider refused since the meter began.
    """

    def __init__(self, name: str) -> None:
        self.cost_usd: float | None = None
        self.refusals = 0
        self._below = f"{run_path(name)}/%"
        self._last: int | None = None

    def look(self, store: Store) -> int:
        """Read on; how many refusals are new. Those from before the first look are none."""
        marks = ", ".join("?" * len(REFUSALS))
        sql = (
            f"SELECT max(id), sum(cost_usd), sum(outcome = 'failed' AND fault IN ({marks})) FROM step"  # noqa: S608  # marks are ?s
            " WHERE id > ? AND path LIKE ?"
        )
        ((last, cost, refused),) = store.select(sql, (*REFUSALS, self._last or 0, self._below))
        first, self._last = self._last is None, last or self._last or 0
        if cost is not None:
            self.cost_usd = (self.cost_usd or 0.0) + cost
        new = 0 if first else int(refused or 0)
        self.refusals += new
        return new
