"""Retention: what a store keeps of the past, and how the rest goes, a little at a time.

Each agent is trimmed by itself, some time after it wrote something. Its newest checkpoint always stays, and
so do the rows from which the kept checkpoints are rebuilt; so does all that a message in hand may need.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from agentlab.errors import InvalidSpec
from agentlab.ground.given import shown
from agentlab.store.rows import places
from agentlab.store.schema import TEXTS

Keep = int | timedelta | None
"""So many of each kind of row per agent, or so much time, or all."""

INDEXES = (
    "CREATE INDEX IF NOT EXISTS message_keep ON message (path, id)",
    "CREATE INDEX IF NOT EXISTS checkpoint_keep ON checkpoint (path, id)",
    "CREATE INDEX IF NOT EXISTS restart_keep ON restart (path, id)",
    "CREATE INDEX IF NOT EXISTS event_keep ON event (path, seq)",
    "CREATE INDEX IF NOT EXISTS step_keep ON step (path, started_at)",
    "CREATE INDEX IF NOT EXISTS item_cut ON item (path, name) WHERE value IS NULL",
)
"""What finds an agent's oldest rows; only a store that is trimmed pays for them."""

TABLES = (("event", "seq", "at"), ("restart", "id", "at"), ("message", "id", "ended_at"), ("checkpoint", "id", "at"))
"""Tables that grow by one row per fact: their numbers and their times."""

PATH = {table: places(table, "path")[0] for table in (*(table for table, _, _ in TABLES), "step")}
"""Where in a row of what is trimmed its agent stands."""

UNUSED = " AND ".join(
    f"NOT EXISTS (SELECT 1 FROM {table} WHERE typeof({column}) = 'blob' AND {column} = blob.hash)"  # noqa: S608  # ours
    for table, column in TEXTS
)


def checked(keep: Any) -> Keep:
    """Refuse what says no amount.

    Raises:
        InvalidSpec: Neither a count, nor a time, nor None.
    """
    fits = keep is None or (isinstance(keep, timedelta) and keep > timedelta(0))
    if fits or (isinstance(keep, int) and not isinstance(keep, bool) and 0 < keep < 1 << 63):
        return keep  # type: ignore[no-any-return]  # just looked at
    raise InvalidSpec(
        f"Lab: keep must be an int >= 1 (the last so many), a timedelta > 0 (an age) or None (all); got {shown(keep)}",
        kind="invalid_keep", value=keep,
    )  # fmt: skip


class Trimmer:
    """Deletes what need not be kept, in transactions of a few milliseconds.

    Args:
        keep: How much stays.
    """

    EVERY = 20  # commits between two looks
    ROWS = 200  # rows of one table that go at once
    SECONDS = 0.004  # how long one look may take, give or take one agent

    def __init__(self, keep: int | timedelta) -> None:
        self.keep = keep
        self._due: dict[str, None] = {}  # agents to look at, the longest waiting first
        self._old: dict[str, None] = {}  # agents of which rows will be too old one day
        self._look_again = 0.0
        self._commits = 0
        self._swept = 0  # the last text that was looked at

    def begin(self, db: sqlite3.Connection) -> None:
        """Make the indexes, and look at every agent that is there."""
        for sql in INDEXES:
            db.execute(sql)
        for table, _, _ in TABLES:
            self._due.update((path, None) for (path,) in db.execute(f"SELECT DISTINCT path FROM {table}"))  # noqa: S608

    def note(self, rows: Iterable[tuple[str, tuple[Any, ...]]]) -> None:
        """A commit wrote these."""
        self._commits += 1
        for table, row in rows:
            if table in PATH:
                self._due[row[PATH[table]]] = None

    def trim(self, db: sqlite3.Connection) -> None:
        """Trim some agents, if it is time to."""
        if self._commits < self.EVERY:
            return
        self._commits = 0
        now = time.monotonic()
        if now >= self._look_again and isinstance(self.keep, timedelta):
            self._due.update(self._old)
            self._look_again = now + max(1.0, self.keep.total_seconds() / 20)
        self.work(db, now + self.SECONDS)

    def work(self, db: sqlite3.Connection, until: float) -> bool:
        """Trim until then (monotonic seconds); whether anything is left to look at."""
        db.execute("BEGIN")
        try:
            while self._due and time.monotonic() < until:
                path = next(iter(self._due))
                del self._due[path]
                if self._trim(db, path):
                    self._due[path] = None
            self._sweep(db)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return bool(self._due)

    def _trim(self, db: sqlite3.Connection, path: str) -> bool:
        """One agent; whether there is more to trim."""
        gone = {table: self._rows(db, path, table, number, at) for table, number, at in TABLES}
        gone["step"] = self._steps(db, path)
        if gone["checkpoint"]:
            gone["state"] = self._state(db, path)
        return any(count >= self.ROWS for count in gone.values())

    def _rows(self, db: sqlite3.Connection, path: str, table: str, number: str, at: str) -> int:
        own = f"SELECT {number} FROM {table} WHERE path = :path"  # noqa: S608  # our own words, here and below
        if isinstance(self.keep, int):
            past, args = f"{number} <= ({own} ORDER BY {number} DESC LIMIT 1 OFFSET :most)", {"most": self.keep}
        else:
            past, args = f"{at} < :since", {"since": self._since()}
            self._old[path] = None
        newest = f"(SELECT max({number}) FROM {table} WHERE path = :path)"  # noqa: S608
        which = f"{own} AND {past} AND {number} < {newest} ORDER BY {number} LIMIT {self.ROWS}"
        return db.execute(f"DELETE FROM {table} WHERE {number} IN ({which})", args | {"path": path}).rowcount  # noqa: S608

    def _since(self) -> int:
        assert isinstance(self.keep, timedelta)
        return time.time_ns() - int(self.keep.total_seconds() * 1e9)

    def _steps(self, db: sqlite3.Connection, path: str) -> int:
        """Steps go with their messages; those of messages that are not decided stay."""
        (oldest,) = db.execute("SELECT min(started_at) FROM message WHERE path = ?", (path,)).fetchone()
        if oldest is None:
            return 0
        which = (
            "SELECT id FROM step WHERE path = ? AND started_at < ? AND message_key NOT IN (SELECT key FROM inbox)"  # noqa: S608
            " AND message_key NOT IN (SELECT base_key FROM fork WHERE key IN (SELECT key FROM inbox))"
            f" ORDER BY started_at LIMIT {self.ROWS}"
        )
        return db.execute(f"DELETE FROM step WHERE id IN ({which})", (path, oldest)).rowcount  # noqa: S608

    def _state(self, db: sqlite3.Connection, path: str) -> int:
        """Values that every kept checkpoint has replaced."""
        (first,) = db.execute(
            "SELECT min(seq) FROM (SELECT seq FROM checkpoint WHERE path = ?"
            " UNION ALL SELECT base_seq FROM fork WHERE base_path = ?)",  # what forks share stays
            (path, path),
        ).fetchone()
        replaced = (
            "SELECT f.rowid FROM field f WHERE f.path = :path AND f.seq <= :first AND f.rowid <"
            " (SELECT max(rowid) FROM field WHERE path = :path AND name = f.name AND seq <= :first)"
        )
        gone = db.execute(f"DELETE FROM field WHERE rowid IN ({replaced})", {"path": path, "first": first}).rowcount  # noqa: S608
        cuts = "SELECT rowid, name, place FROM item WHERE path = ? AND value IS NULL AND seq <= ?"
        for row, name, place in db.execute(cuts, (path, first)).fetchall():
            behind = "DELETE FROM item WHERE path = ? AND name = ? AND place >= ? AND rowid < ?"
            gone += db.execute(behind, (path, name, place, row)).rowcount
            # The cut itself says that the transcript is empty there, until an item stands in its place.
            after = "SELECT 1 FROM item WHERE path = ? AND name = ? AND place = ? AND rowid > ? AND seq <= ?"
            if db.execute(after, (path, name, place, row, first)).fetchone():
                db.execute("DELETE FROM item WHERE rowid = ?", (row,))
        return int(gone)

    def _sweep(self, db: sqlite3.Connection) -> None:
        """Look at the next few texts that rows share; those that no row uses go."""
        few = "SELECT max(rowid) FROM (SELECT rowid FROM blob WHERE rowid > ? ORDER BY rowid LIMIT 50)"
        (last,) = db.execute(few, (self._swept,)).fetchone()
        if last is not None:
            db.execute(f"DELETE FROM blob WHERE rowid > ? AND rowid <= ? AND {UNUSED}", (self._swept, last))  # noqa: S608
        self._swept = last or 0
