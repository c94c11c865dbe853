"""The numbers of one lab: messages, placements, timers, tickets. One series, so that no two of them are alike."""

from __future__ import annotations

import itertools


class Numbers:
    """Numbers from 1 upwards, each given once: ``next(numbers)``."""

    def __init__(self) -> None:
        self._count = itertools.count(1)

    def __next__(self) -> int:
        return next(self._count)

    def take(self, many: int) -> int:
        """Give so many numbers running to a node that numbers messages itself; the first of them."""
        first = next(self._count)
        self._count = itertools.count(first + many)
        return first

    def go_past(self, highest: int) -> None:
        """Give none from here on that an earlier kernel may have given."""
        self._count = itertools.count(max(next(self._count), highest + 1))
