"""Checksums of a store's rows: made where a row is written, verified wherever one is read.

A connection that reads sees each table through a view of the same name, which asks for the checksum of every row
that it passes; so no query can forget to. Rows of older stores, and those that were changed in place, have none.
A text that is kept once is found by its hash, and verified by it.
"""

from __future__ import annotations

import functools
import hashlib
import marshal
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any
from zlib import crc32

from agentlab.store.rows import floats, places
from agentlab.store.schema import COLUMNS

FORMAT = 2
"""Marshal's: the last one in which equal values are equal bytes, whoever else holds them."""

CHANGES = {"inbox": ("deliveries",)}
"""What is no part of a row's checksum, since it changes."""

_summed = {
    table: tuple(name for name in names if name not in CHANGES.get(table, ())) for table, names in COLUMNS.items()
}
_floats = {table: floats(table) for table in COLUMNS}
_left_out = {table: places(table, *CHANGES.get(table, ())) for table in COLUMNS}


class Connection(sqlite3.Connection):
    """A connection that remembers what it found damaged; SQLite has no way to say it."""

    damage: str | None = None


def with_sums(table: str, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Rows as they are written to a file, each with its checksum at the end."""
    width, numbers, left_out = len(COLUMNS[table]), _floats[table], _left_out[table]
    for row in rows:
        if len(row) != width:  # SQLite says what is wrong about it
            yield row
            continue
        kept = tuple(row)  # marshal takes no named one
        for place in numbers:
            if kept[place].__class__ is int:
                kept = (*kept[:place], float(kept[place]), *kept[place + 1 :])
        for place in left_out:
            kept = (*kept[:place], *kept[place + 1 :])
        try:
            yield (*row, crc32(marshal.dumps(kept, FORMAT)))
        except ValueError:  # a value of a class of its own; SQLite keeps what it is a kind of
            yield (*row, crc32(marshal.dumps(tuple(map(_as_kept, kept)), FORMAT)))


def _as_kept(value: Any) -> Any:
    for kind in (str, int, float, bytes):
        if isinstance(value, kind):
            return kind.__str__(value) if kind is str else kind(value)  # type: ignore[arg-type]  # it is one of that kind
    return value


def provide(db: Connection) -> None:
    """Give a connection what every query may call."""
    db.create_function("lost", 1, functools.partial(_lost, db))


def guard(db: Connection, sql: str | None = None) -> Connection:
    """Verify the rows of the tables that ``sql`` names, or of all tables, wherever this connection reads them."""
    db.execute("PRAGMA temp_store = MEMORY")
    db.create_function("whole_row", -1, functools.partial(_whole_row, db), deterministic=True)
    db.create_function("whole_text", 2, functools.partial(_whole_text, db), deterministic=True)
    for table, names in _summed.items():
        if sql is None or table in sql:
            seen = ", ".join(("row.rowid AS rowid", *(f"row.{name}" for name in (*_own(table), *COLUMNS[table]))))
            asked = ", ".join((f"'{table}'", "again.rowid", "again.sum", *(f"again.{name}" for name in names)))
            # Verified by another cursor: in "path = '/a' AND whole_row(path)" SQLite would put '/a' for both of them.
            both = f"main.{table} AS row CROSS JOIN main.{table} AS again ON again.rowid = row.rowid"
            _view(db, f"{table} AS SELECT {seen} FROM {both} WHERE whole_row({asked})")  # noqa: S608  # our names
    if sql is None or "blob" in sql:
        _view(db, "blob AS SELECT rowid AS rowid, hash, text FROM main.blob WHERE whole_text(hash, text)")
    return db


def _own(table: str) -> tuple[str, ...]:
    return ("id",) if table in ("message", "checkpoint", "step", "dead", "restart") else ()


def _view(db: sqlite3.Connection, text: str) -> None:
    db.execute(f"CREATE TEMP VIEW {text}")


def summed(table: str) -> tuple[str, ...]:
    """The columns that a row's checksum covers."""
    return _summed[table]


def is_whole(kept: int, row: tuple[Any, ...]) -> bool:
    """Whether the columns of a row that its checksum covers are as they were written."""
    return kept == crc32(marshal.dumps(row, FORMAT))


def is_whole_text(hashed: Any, text: Any) -> bool:
    """Whether a text that is kept once is the one that its hash was made of."""
    return isinstance(text, str) and digest(text) == hashed


def _whole_row(db: Connection, table: str, number: int, kept: int | None, *row: Any) -> int:
    if kept is None or is_whole(kept, row):
        return 1
    return _damaged(db, f"row {number} of table {table!r} is not as it was written")


def _whole_text(db: Connection, hashed: Any, text: Any) -> int:
    if is_whole_text(hashed, text):
        return 1
    return _damaged(db, "a text of table 'blob' is not as it was written")


def _lost(db: Connection, hashed: Any) -> int:
    return _damaged(
        db, f"table 'blob' has no text with the hash {hashed.hex() if isinstance(hashed, bytes) else hashed}"
    )


def _damaged(db: Connection, what: str) -> int:
    db.damage = what
    raise ValueError(what)


def digest(text: str) -> bytes:
    """Under which hash a text is kept."""
    return hashlib.blake2b(text.encode(), digest_size=20).digest()
