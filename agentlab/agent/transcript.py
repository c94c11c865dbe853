"""Transcript: the field type for a growing conversation, and the attribute behind such a field."""

from __future__ import annotations

import copy
import enum
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self, overload

from pydantic_core import core_schema

from agentlab.errors import InvalidState
from agentlab.ground.redaction import redact
from agentlab.ground.words import counted


class Transcript(Sequence[Any]):
    """A growing conversation: items are added at the end and never changed.

    Items are JSON values (dicts, mostly). A checkpoint holds what was added since the last one, so a
    conversation of n items costs O(n) bytes in all.
    """

    __slots__ = ("_items",)

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self._items: list[Any] = []
        self.extend(items)

    def append(self, item: Any) -> None:
        """Add one item; it is copied, so later changes to the caller's object do not show."""
        try:
            copied = json.loads(redact(json.dumps(item)))
            _refuse(item)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidState(f"transcript item {len(self._items)}: {error}; items are JSON values.") from None
        self._items.append(copied)

    def extend(self, items: Iterable[Any]) -> None:
        """Add several items at the end, each copied."""
        if isinstance(items, (str, bytes, Mapping)):
            raise InvalidState(f"a transcript takes a list of items; got one {type(items).__name__}. Use append().")
        for item in items:
            self.append(item)

    def __iadd__(self, items: Iterable[Any]) -> Self:
        self.extend(items)
        return self

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return copy.deepcopy(self._items[index])

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        return iter(copy.deepcopy(self._items))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Transcript) and other._items == self._items

    __hash__ = None  # type: ignore[assignment]  # mutable, as a list is

    def __repr__(self) -> str:
        return f"Transcript({counted(len(self._items), 'item', sep='')})"

    def view(self) -> Sequence[Any]:
        """The items themselves, for those who only read them: a copy takes as long as all that is said in them."""
        return self._items

    def dump(self, start: int = 0) -> list[str]:
        """The items from ``start`` on, each as JSON text."""
        return [json.dumps(item) for item in self._items[start:]]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        def read(value: Any) -> Transcript:
            if not isinstance(value, Transcript) and not isinstance(value, Iterable):
                raise ValueError("Input should be a Transcript or a list of items")  # noqa: TRY004  # pydantic's rule
            return value if isinstance(value, Transcript) else cls(value)

        items = core_schema.list_schema(core_schema.any_schema())
        return core_schema.no_info_plain_validator_function(
            read,
            json_schema_input_schema=items,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value: value._items, return_schema=items
            ),
        )


def _refuse(item: Any) -> None:
    """What JSON takes and gives back as something else: keys that are no text, tuples, members of enums."""
    if isinstance(item, enum.Enum):
        raise TypeError(f"{item!r} would come back as {item.value!r}; append its value")
    if isinstance(item, tuple):
        raise TypeError(f"the tuple {item!r:.80} would come back as a list; append list(...)")
    if isinstance(item, dict):
        for key, value in item.items():
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r} is no text")
            _refuse(value)
    elif isinstance(item, list):
        for value in item:
            _refuse(value)


class TranscriptSlot:
    """The attribute behind a ``Transcript`` field: it can be appended to, never replaced.

    A checkpoint holds what was added; a transcript put in another's place would be lost with the next crash.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, agent: Any, owner: type | None = None) -> Any:
        if agent is None:
            return self
        try:
            return agent.__dict__[self.name]
        except KeyError:
            raise AttributeError(self.name) from None

    def __set__(self, agent: Any, value: Any) -> None:
        if agent.__dict__.setdefault(self.name, value) is not value:
            raise InvalidState(
                f"{type(agent).__name__}.{self.name} is a Transcript, which only grows; it cannot be replaced. "
                f"Use self.{self.name}.append(item)."
            )

    def __delete__(self, agent: Any) -> None:
        raise InvalidState(f"{type(agent).__name__}.{self.name} cannot be deleted; a field always has a value.")
