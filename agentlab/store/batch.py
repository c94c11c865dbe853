"""What one commit writes: rows by name, statements, and rows that are made when they are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Concatenate, ParamSpec, cast

from agentlab.events import Event
from agentlab.store.rows import (
    TABLES,
    AnswerRow,
    BegunRow,
    CheckpointRow,
    ChildRow,
    DeadRow,
    FieldRow,
    ForkRow,
    InboxRow,
    ItemRow,
    MessageRow,
    RestartRow,
    StepRow,
    TimerRow,
)

P = ParamSpec("P")


class Rows:
    """Many rows of one table that are made when they are written; in memory that is when somebody reads."""

    __slots__ = ("_make", "about")

    def __init__(self, make: Callable[[], Iterable[tuple[Any, ...]]], about: int) -> None:
        """Take what makes the rows, the same ones each time it is called, and ``about`` how many there are."""
        self._make = make
        self.about = about

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self._make())


Written = tuple[str, tuple[Any, ...] | Rows]
"""A table (or another key of ``schema.INSERT``), and a row for it, or many."""


def _compiled(row: Any, before: str, result: str) -> Any:
    """A function of a row's columns, compiled as ``namedtuple`` compiles its own, that makes a plain tuple of them.

    With a named tuple SQLite takes half as long again, and to call its class takes a dict of all the keywords.
    """
    columns = ", ".join(row._fields)
    function = eval(f"lambda {before}{columns}: {result.format(f'({columns},)')}")  # noqa: S307  # our own words
    function.__defaults__ = row.__new__.__defaults__
    return function


def row_of(row: Callable[P, Any]) -> Callable[P, tuple[Any, ...]]:
    """A function that makes rows of this class, by name, for ``Rows``."""
    return cast(Callable[P, tuple[Any, ...]], _compiled(row, "", "{}"))


def _adder_of(row: Callable[P, Any]) -> Callable[Concatenate[Any, P], None]:
    adds = f"self.rows.append(({TABLES[cast(Any, row)]!r}, {{}}))"
    return cast(Callable[Concatenate[Any, P], None], _compiled(row, "self, ", adds))


class Batch:
    """Rows that become durable together, in the order in which they were added.

    Attributes:
        rows: What is written, each beside its table.
    """

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows: list[Written] = []

    add_child = _adder_of(ChildRow)
    add_event = _adder_of(Event)
    add_message = _adder_of(MessageRow)
    add_checkpoint = _adder_of(CheckpointRow)
    add_field = _adder_of(FieldRow)
    add_item = _adder_of(ItemRow)
    add_step = _adder_of(StepRow)
    add_begun = _adder_of(BegunRow)
    add_inbox = _adder_of(InboxRow)
    add_answer = _adder_of(AnswerRow)
    add_timer = _adder_of(TimerRow)
    add_dead = _adder_of(DeadRow)
    add_restart = _adder_of(RestartRow)
    add_fork = _adder_of(ForkRow)

    def add(self, statement: str, *values: Any) -> None:
        """Add what a statement (a key of ``schema.INSERT``) does with these values."""
        self.rows.append((statement, values))

    def add_many(self, table: str, rows: Rows) -> None:
        """Add the rows of one table that are not made yet."""
        self.rows.append((table, rows))

    def __bool__(self) -> bool:
        return bool(self.rows)
