"""``agentlab.check``: every row of a store is read, and what is damaged is said."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

from agentlab.errors import StoreDamaged
from agentlab.ground.given import file_of
from agentlab.ground.words import counted
from agentlab.store.checksums import is_whole, is_whole_text, summed
from agentlab.store.file import reader, recognise
from agentlab.store.schema import COLUMNS, TEXTS

MOST = 100
"""Damaged rows that are told of each table."""


@dataclass
class Checked:
    """What ``agentlab.check`` found.

    Attributes:
        path: The store.
        rows: How many rows of each table could be read.
        unchecked: How many of them have no checksum: an older version wrote them, or they were changed in place.
        damage: What is damaged, a sentence each; empty if the store is whole.
    """

    path: Path
    rows: dict[str, int] = field(default_factory=dict)
    unchecked: int = 0
    damage: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damage

    def __repr__(self) -> str:
        counts = ", ".join(f"{count:,} {table}" for table, count in self.rows.items() if count) or "none"
        without = f" {self.unchecked:,} of them have no checksum." if self.unchecked else ""
        if self.whole:
            return f"{self.path} is whole. Rows read: {counts}.{without}"
        told = "\n".join(f"  {what}" for what in self.damage)
        return f"{self.path} is damaged:\n{told}\nRows read: {counts}.{without} Restore it from a copy."


def check(path: str | os.PathLike[str]) -> Checked:
    """Read every row of a store, also while its lab runs, and say what is whole: ``agentlab.check("run.lab")``.

    Raises:
        StoreError: There is no such file.
        StoreTooNew: Written by a newer version.
    """
    found = Checked(file_of(path, "check: path"))
    try:
        recognise(found.path, checked_bytes=None)
    except (StoreDamaged, sqlite3.Error) as error:
        found.damage.append(str(error).removeprefix(f"{found.path}: "))
    with contextlib.suppress(sqlite3.Error), contextlib.closing(reader(found.path)) as db:
        for table in COLUMNS:
            _read(db, table, found)
        _read_texts(db, found)
    return found


def _read(db: sqlite3.Connection, table: str, found: Checked) -> None:
    damaged = count = 0
    try:
        there = {name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")}
        names = ", ".join(name for name in summed(table) if name in there)  # an older version has fewer columns
        sums = "sum" in there
        for number, kept, *row in db.execute(f"SELECT rowid, {'sum' if sums else 'NULL'}, {names} FROM {table}"):  # noqa: S608  # ours
            count += 1
            found.unchecked += kept is None
            if kept is not None and not is_whole(kept, tuple(row)):
                damaged += 1
                if damaged <= MOST:
                    found.damage.append(f"row {number} of table {table!r} is not as it was written")
    except (sqlite3.Error, UnicodeDecodeError) as error:  # the names of its columns may be damaged too
        found.damage.append(f"table {table!r} cannot be read on from its row {count + 1}: {error}")
    found.rows[table] = count
    if damaged > MOST:
        found.damage.append(f"and {damaged - MOST:,} rows more of table {table!r}")


def _read_texts(db: sqlite3.Connection, found: Checked) -> None:
    try:
        for number, hashed, text in db.execute("SELECT rowid, hash, text FROM blob"):
            found.rows["blob"] = found.rows.get("blob", 0) + 1
            if not is_whole_text(hashed, text):
                found.damage.append(f"row {number} of table 'blob' is not as it was written")
        for table, column in TEXTS:
            gone = f"WHERE typeof({column}) = 'blob' AND {column} NOT IN (SELECT hash FROM blob)"  # noqa: S608  # ours
            (count,) = db.execute(f"SELECT count(*) FROM {table} {gone}").fetchone()  # noqa: S608  # ours
            if count:
                found.damage.append(f"{counted(count, 'row')} of table {table!r} without {column!r}, which is lost")
    except (sqlite3.Error, UnicodeDecodeError) as error:
        found.damage.append(f"table 'blob' cannot be read: {error}")
