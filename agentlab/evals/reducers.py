"""Reducers: the epochs of one sample become one value."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

from agentlab.errors import InvalidSpec
from agentlab.ground.given import shown

Reducer = Callable[[Sequence[float]], float]


def pass_at(k: int) -> Reducer:
    """How likely at least one of ``k`` epochs passes, without bias (Chen et al. 2021); an epoch passes at 1.0."""

    def reduce(values: Sequence[float]) -> float:
        n, passed = len(values), sum(value >= 1.0 for value in values)
        if n < k:
            return math.nan
        return 1.0 - math.comb(n - passed, k) / math.comb(n, k)

    reduce.__name__ = f"pass_at_{_count(k, 'pass_at')}"
    return reduce


def at_least(k: int, value: float = 1.0) -> Reducer:
    """1.0 if at least ``k`` epochs have ``value`` or more, else 0.0."""

    def reduce(values: Sequence[float]) -> float:
        return float(sum(each >= value for each in values) >= k)

    reduce.__name__ = f"at_least_{_count(k, 'at_least')}"
    return reduce


def _count(k: int, who: str) -> int:
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise InvalidSpec(f"{who}: k must be a number of epochs >= 1; got {shown(k)}", kind="invalid_reducer", value=k)
    return k


REDUCERS: dict[str, Reducer] = {
    "mean": statistics.fmean,
    "median": statistics.median,
    "mode": statistics.mode,
    "max": max,
}
"""By name."""


def reducer_of(given: str | Reducer) -> Reducer:
    """A reducer, or the one of that name.

    Raises:
        InvalidSpec: There is none of that name.
    """
    if callable(given):
        return given
    if not isinstance(given, str) or given not in REDUCERS:
        raise InvalidSpec(
            f"evaluate: reducer must be one of {', '.join(REDUCERS)}, pass_at(k), at_least(k); got {shown(given)}",
            kind="invalid_reducer", value=given,
        )  # fmt: skip
    return REDUCERS[given]
