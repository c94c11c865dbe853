"""What is written down of many agents at once: the same rows as for each alone, made when somebody reads them.

A store in memory keeps such rows unmade: names and what they share, no row per agent. One with a file writes
them with the turn, as it does all others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from agentlab.agent.snapshot import Image
from agentlab.books.dormant import Dormant
from agentlab.books.specs import dump
from agentlab.events import Event, EventKind
from agentlab.store.batch import Batch, Rows, row_of
from agentlab.store.rows import CheckpointRow, ChildRow, FieldRow, ItemRow
from agentlab.supervision.records import Keeper, Record

child_row = row_of(ChildRow)
checkpoint_row = row_of(CheckpointRow)
field_row = row_of(FieldRow)
item_row = row_of(ItemRow)


class Paths(Sequence[str]):
    """The paths of siblings, of which only the ids are kept."""

    def __init__(self, above: str, ids: list[str]) -> None:
        self._before = above.rstrip("/") + "/"
        self._ids = ids

    def __getitem__(self, place: int) -> str:  # type: ignore[override]  # nobody slices it
        return self._before + self._ids[place]

    def __iter__(self) -> Iterator[str]:
        before = self._before
        for id in self._ids:
            yield before + id

    def __len__(self) -> int:
        return len(self._ids)


class Facts:
    """Events of one kind, one per path, numbered from ``first`` on."""

    __slots__ = ("at", "first", "incarnation", "kind", "paths", "reason")

    def __init__(  # noqa: PLR0917 - an event, in the order of its parts
        self, first: int, at: int, kind: EventKind, paths: Paths, incarnation: int | None, reason: str | None
    ) -> None:
        self.first = first
        self.at = at
        self.kind = kind
        self.paths = paths
        self.incarnation = incarnation
        self.reason = reason

    def __iter__(self) -> Iterator[Event]:
        for seq, path in enumerate(self.paths, self.first):
            yield Event(seq, self.at, self.kind, path, self.incarnation, None, self.reason)


class Alike:
    """Facts about siblings in a row that differ in nothing but the agent, before they have numbers."""

    __slots__ = ("ids", "incarnation", "kind", "parent", "reason")

    def __init__(self, kind: EventKind, parent: Keeper | None, incarnation: int | None, reason: Any) -> None:
        self.kind = kind
        self.parent = parent
        self.incarnation = incarnation
        self.reason = reason
        self.ids: list[str] = []


class First:
    """The first checkpoints of agents that were started together."""

    def __init__(self, records: list[Record], paths: Paths, note: Dormant) -> None:
        self._paths = paths
        self._note = note
        own = any(record.fields for record in records)
        self._images = [note.image_of(record) for record in records] if own else None

    def add_to(self, batch: Batch) -> None:
        """Add the rows."""
        size = len(self._paths)
        images = self._images or [self._note.image]
        if any(isinstance(saved, str) for image in images for saved in image.values()):
            batch.add_many("field", Rows(self._fields, size))
        if any(isinstance(saved, list) for image in images for saved in image.values()):
            batch.add_many("item", Rows(self._items, size))
        batch.add_many("checkpoint", Rows(self._checkpoints, size))

    def _each(self) -> Iterator[tuple[str, Image]]:
        if self._images is not None:
            yield from zip(self._paths, self._images, strict=True)
        else:
            image = self._note.image
            for path in self._paths:
                yield path, image

    def _fields(self) -> Iterator[tuple[Any, ...]]:
        for path, image in self._each():
            for name, saved in image.items():
                if isinstance(saved, str):
                    yield field_row(path=path, name=name, seq=0, value=saved)

    def _items(self) -> Iterator[tuple[Any, ...]]:
        for path, image in self._each():
            for name, saved in image.items():
                if isinstance(saved, list):
                    for place, item in enumerate(saved):
                        yield item_row(path=path, name=name, seq=0, place=place, value=item)

    def _checkpoints(self) -> Iterator[tuple[Any, ...]]:
        at, cls = self._note.at, self._note.kind.name
        for path, image in self._each():
            yield checkpoint_row(path=path, seq=0, at=at, incarnation=1, bytes=size_of(image), cls=cls)


def size_of(image: Image) -> int:
    """The characters of a state's JSON texts."""
    return sum(len(saved) if isinstance(saved, str) else sum(map(len, saved)) for saved in image.values())


def child_rows(records: list[Record], paths: Paths, above: str) -> Iterator[tuple[Any, ...]]:
    """The rows of the table ``child`` of agents that were started together, as ``books/specs.child_row`` makes them."""
    model = records[0]
    text = dump(Record(None, model.id, model.spec, None))
    head, tail = text.split(f'"id": {json.dumps(model.id)}', 1)
    for record, path in zip(records, paths, strict=True):
        spec = dump(record) if record.fields else f'{head}"id": {json.dumps(record.id)}{tail}'
        yield child_row(
            path=path, parent=above, spec=spec, dynamic=1, status="running", incarnation=1, restarts=0, seq=0
        )
