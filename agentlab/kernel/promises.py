"""Answers that are committed with what they tell of: of an act, one commit holds the effect and its answer.

An agent's act is told how it went after what it did is in the books. A kernel that dies in between has done it, and the
message that asked for it is delivered again. So the answer is promised before the act begins, and written down in the
row, the turn and the commit in which the act shows; the next kernel finds it there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from agentlab.supervision.records import Record
from agentlab.wire.frames import Asker

Place = str | int
"""Where an act shows: at a path; or, of a child that its supervisor will number, at the fields that it starts with."""


class Promise(NamedTuple):
    """What will be answered, to whom, and what is true of the child then."""

    asker: Asker
    answer: Callable[[Record], bytes]
    when: Collection[str]


class Promises:
    """The acts under way whose answers must not be lost."""

    def __init__(self) -> None:
        self._made: dict[Place, list[Promise]] = {}

    def make(self, place: Place, promise: Promise) -> None:
        """An act begins."""
        self._made.setdefault(place, []).append(promise)

    def fulfil(self, record: Record, status: str) -> Promise | None:
        """A child's row is written: the promise that this keeps; of several acts at one place, that of the first."""
        if not self._made:
            return None
        for place in (record.path, place_of(record.fields)):
            for promise in self._made.get(place, ()):
                if status in promise.when:
                    self.drop(place, promise.asker)
                    return promise
        return None

    def drop(self, place: Place, asker: Asker) -> None:
        """The act is over; nothing happens if its promise was kept."""
        left = [promise for promise in self._made.pop(place, ()) if promise.asker != asker]
        if left:
            self._made[place] = left


def place_of(fields: Mapping[str, object] | None) -> Place:
    """Where the start of a child shows that has no id yet: its record has these very fields."""
    return id(fields)
