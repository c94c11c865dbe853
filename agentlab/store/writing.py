"""How the rows of a batch are written: by statement, with checksums in a file, and each long text once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from agentlab.store.batch import Rows, Written
from agentlab.store.checksums import digest, with_sums
from agentlab.store.rows import places
from agentlab.store.schema import APART, INSERT, LARGE, SUMMED

LONG = 1024
"""Characters from which on a text is kept once, however many rows hold it."""


def write_rows(db: sqlite3.Connection, rows: Sequence[Written], *, sums: bool) -> None:
    """Write all of them as one transaction, or none; ``sums``: with their checksums.

    Raises:
        sqlite3.Error: Nothing was written.
    """
    try:
        _transact(db, rows, sums=sums)
    except UnicodeEncodeError:  # lone surrogates, which UTF-8 cannot hold: shown as \\ud800
        _transact(db, [(table, tuple(map(_encodable, row))) for table, row in each_row(rows)], sums=sums)


def _transact(db: sqlite3.Connection, rows: Sequence[Written], *, sums: bool) -> None:
    try:
        db.execute("BEGIN")
        for table, group in by_statement(rows):
            if sums and table in SUMMED:
                db.executemany(SUMMED[table], with_sums(table, group))
            else:
                db.executemany(INSERT[table], group)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def each_row(rows: Iterable[Written]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Row by row, also where many stand together."""
    for table, row in rows:
        if isinstance(row, Rows):
            for one in row:
                yield table, one
        else:
            yield table, row


def by_statement(rows: Iterable[Written]) -> Iterator[tuple[str, Iterable[tuple[Any, ...]]]]:
    """Rows by statement, for bulk: neighbours together and in order, those of tables that only grow at the end."""
    apart: dict[str, list[tuple[Any, ...]]] = {}
    run: list[tuple[Any, ...]] = []
    last = ""
    for table, row in rows:
        if isinstance(row, Rows):
            if run:
                yield last, run
                run = []
            yield table, (_slim(table, one, apart) for one in row) if table in LARGE else row
            continue
        if table in LARGE:
            row = _slim(table, row, apart)  # noqa: PLW2901  # the row that is written
        if table in APART:
            apart.setdefault(table, []).append(row)
            continue
        if table != last and run:
            yield last, run
            run = []
        if table == "forget_checkpoints" and "checkpoint" in apart:
            yield "checkpoint", apart.pop("checkpoint")
        last = table
        run.append(row)
    if run:
        yield last, run
    yield from apart.items()


_LARGE = {table: places(table, *columns) for table, columns in LARGE.items()}


def _slim(table: str, row: tuple[Any, ...], apart: dict[str, list[tuple[Any, ...]]]) -> tuple[Any, ...]:
    """The row with its long texts replaced by their hashes, under which ``blob`` keeps them."""
    long = [place for place in _LARGE[table] if row[place] is not None and len(row[place]) > LONG]
    if not long:
        return row
    parts = list(row)
    for place in long:
        text = parts[place]
        parts[place] = hashed = digest(text)
        apart.setdefault("blob", []).append((hashed, text))
    return tuple(parts)


def _encodable(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(value, str) else value
