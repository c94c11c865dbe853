"""Supervisors that run, by life.

A path is no life: when an outer supervisor is killed, the inner one is started again while the one before may
still stop its children, and its end is not the end of the one that runs.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Supervisors:
    """Which life of a supervisor is the present one at a path, and the incarnation that each life is."""

    def __init__(self) -> None:
        self._coming: list[str] = []  # paths of those that are stopped to be started again; one for each that asked
        self._present: dict[str, int] = {}
        self._ends: dict[int, str] = {}  # paths, by life, of those that do not run and still end
        self._numbers: dict[int, int] = {}  # incarnations, by life, until it ends
        self._counts: dict[str, int] = {}  # how often each path has come up
        self._gone: dict[str, int] = {}  # how many of those were of one that was deleted since
        self._since: dict[str, int] = {}  # when the present life began, Unix time in nanoseconds

    def began(self, path: str, life: int, *, before: int = 0) -> None:
        """A supervisor came up; refs to the path mean this life from here on.

        Args:
            path: Where.
            life: Its life.
            before: How often it has come up in an earlier kernel.
        """
        old = self._present.get(path)
        if old is not None:
            self._ends[old] = path
        self._present[path] = life
        self._since[path] = time.time_ns()
        self._numbers[life] = self._counts[path] = max(before, self._counts.get(path, 0)) + 1

    def ended(self, path: str, life: int) -> None:
        """A life is over; its successor, if it has one already, goes on."""
        self._numbers.pop(life, None)
        self._ends.pop(life, None)
        if self._present.get(path) == life:
            del self._present[path]

    @contextlib.contextmanager
    def coming_back(self, path: str) -> Iterator[None]:
        """While it is stopped for a restart: what is below it is not gone, and its messages wait."""
        self._coming.append(path)
        try:
            yield
        finally:
            self._coming.remove(path)

    def comes_back(self, path: str) -> bool:
        """Whether it is being stopped to be started again."""
        return path in self._coming

    def life(self, path: str) -> int:
        """The present life at a path; 0 if there is none. Any thread may ask."""
        return self._present.get(path, 0)

    def lives(self, path: str) -> set[int]:
        """The lives at a path that still end, beside the present one."""
        return {life for life, place in self._ends.items() if place == path}

    def number(self, life: int | None) -> int | None:
        """Which incarnation of its supervisor a life is; None once it has ended."""
        return self._numbers.get(life or 0)

    def knows(self, path: str) -> bool:
        """Whether a supervisor has ever come up there."""
        return path in self._counts

    def restarts(self, path: str) -> int:
        """How often one at a path came up after its first time, whoever started it again."""
        return max(0, self._counts.get(path, 1) - 1 - self._gone.get(path, 0))

    def forget(self, path: str) -> None:
        """Nothing is kept at the path any more: a later one there has not been restarted."""
        if path in self._counts:
            self._gone[path] = self._counts[path]

    def since(self, path: str) -> int | None:
        """When the newest life at a path began; None if none has."""
        return self._since.get(path)

    def count(self, path: str) -> int:
        """The newest incarnation at a path; 1 for one that has not come up yet."""
        return self._counts.get(path, 1)
