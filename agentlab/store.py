"""The store: one SQLite database that holds what must outlive an agent, a node or the kernel.

There is one writer, the runtime; it hands over a ``Batch`` per loop turn, and a batch is one transaction.
With a path the database is a file in WAL mode and readers have connections of their own; without one it is
in memory, rows wait in lists and reach SQLite when somebody reads. Everything in it is JSON and plain
columns: opening a store runs no code.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from agentlab.errors import StoreDamaged, StoreError, StoreFull, StoreLocked, StoreReadOnly, StoreTooNew

APPLICATION_ID = 0x61674C62  # "agLb"
VERSION = 1

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE child (
    path TEXT PRIMARY KEY, parent TEXT, spec TEXT, dynamic INTEGER, status TEXT,
    incarnation INTEGER, restarts INTEGER, seq INTEGER
);
CREATE TABLE event (
    seq INTEGER PRIMARY KEY, at INTEGER, kind TEXT, path TEXT, incarnation INTEGER, node INTEGER,
    reason TEXT, detail TEXT, took_s REAL
);
CREATE TABLE message (
    id INTEGER PRIMARY KEY, path TEXT, seq INTEGER, method TEXT, sender TEXT, sent_at INTEGER, started_at INTEGER,
    ended_at INTEGER, deliveries INTEGER, outcome TEXT, error TEXT
);
CREATE TABLE checkpoint (
    id INTEGER PRIMARY KEY, path TEXT, seq INTEGER, at INTEGER, incarnation INTEGER, bytes INTEGER, cls TEXT
);
CREATE TABLE field (path TEXT, name TEXT, seq INTEGER, value TEXT);
CREATE TABLE item (path TEXT, name TEXT, seq INTEGER, place INTEGER, value TEXT);
CREATE TABLE step (
    id INTEGER PRIMARY KEY, path TEXT, message_seq INTEGER, step INTEGER, attempt INTEGER, kind TEXT, name TEXT,
    started_at INTEGER, took_s REAL, outcome TEXT, fault TEXT, tokens_in INTEGER, tokens_out INTEGER,
    cost_usd REAL, replayed INTEGER, input TEXT, output TEXT
);
CREATE TABLE restart (
    id INTEGER PRIMARY KEY, path TEXT, at INTEGER, incarnation INTEGER, reason TEXT, fault TEXT, supervisor TEXT,
    strategy TEXT, backoff_s REAL, downtime_s REAL, rewound INTEGER
);
CREATE INDEX checkpoint_path ON checkpoint (path, seq);
CREATE INDEX field_path ON field (path, name, seq);
CREATE INDEX item_path ON item (path, name, place);
"""

INSERT = {
    "child": "INSERT INTO child VALUES (?,?,?,?,?,?,?,?) ON CONFLICT (path) DO UPDATE SET parent = excluded.parent,"
    " spec = excluded.spec, dynamic = excluded.dynamic, status = excluded.status,"
    " incarnation = excluded.incarnation, restarts = excluded.restarts, seq = excluded.seq",
    "gone": "DELETE FROM child WHERE path = ?",
    "gone_below": "DELETE FROM child WHERE substr(path, 1, length(?1)) = ?1",
    "forget": "DELETE FROM field WHERE path = ?",
    "forget_items": "DELETE FROM item WHERE path = ?",
    "event": "INSERT INTO event VALUES (?,?,?,?,?,?,?,?,?)",
    "message": "INSERT INTO message (path, seq, method, sender, sent_at, started_at, ended_at, deliveries, outcome,"
    " error) VALUES (?,?,?,?,?,?,?,?,?,?)",
    "checkpoint": "INSERT INTO checkpoint (path, seq, at, incarnation, bytes, cls) VALUES (?,?,?,?,?,?)",
    "field": "INSERT INTO field VALUES (?,?,?,?)",
    "item": "INSERT INTO item VALUES (?,?,?,?,?)",
    "step": "INSERT INTO step (path, message_seq, step, attempt, kind, name, started_at, took_s, outcome, fault,"
    " tokens_in, tokens_out, cost_usd, replayed, input, output) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
    "restart": "INSERT INTO restart (path, at, incarnation, reason, fault, supervisor, strategy, backoff_s,"
    " downtime_s, rewound) VALUES (?,?,?,?,?,?,?,?,?,?)",
}

IN_ORDER = frozenset({"child", "gone", "gone_below", "forget", "forget_items"})


class Batch:
    """Rows that become durable together, in the order in which they were added."""

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows: list[tuple[str, tuple[Any, ...]]] = []

    def add(self, table: str, *row: Any) -> None:
        """Add one row for ``table`` (a key of ``INSERT``)."""
        self.rows.append((table, row))

    def __bool__(self) -> bool:
        return bool(self.rows)


class Store:
    """The database of one lab: ``commit`` writes, ``select`` reads what was committed."""

    FLUSH = 20_000  # rows of a store in memory that wait in a list before SQLite gets them

    def __init__(self, path: Path | None = None, *, read_only: bool = False) -> None:
        """Open or create a store.

        Args:
            path: The file, or None for a store in memory.
            read_only: Only look; works while a lab writes.

        Raises:
            StoreLocked: Another live lab writes to it.
            StoreDamaged: No store, or a damaged one.
            StoreTooNew: Written by a newer version.
            StoreReadOnly: The file or its folder cannot be written.
        """
        self.path = path
        self.read_only = read_only
        self._lock = threading.RLock()
        self._waiting: list[tuple[str, tuple[Any, ...]]] = []
        self._held: IO[bytes] | None = None
        new = path is None or not path.exists() or path.stat().st_size == 0
        if path is not None and not read_only:
            self._held = _hold(path)
        try:
            self._db = self._open(new)
        except BaseException:
            self._release()
            raise

    def _open(self, new: bool) -> sqlite3.Connection:
        try:
            db = self._connect(self.read_only)
            if new and not self.read_only:
                db.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};{SCHEMA}")
            else:
                self._recognise(db)
            if self.path is not None and not self.read_only:
                db.execute("INSERT OR REPLACE INTO meta VALUES ('holder', ?)", (f"process {os.getpid()}",))
        except sqlite3.Error as error:
            raise self._named(error) from error
        return db

    def _connect(self, read_only: bool) -> sqlite3.Connection:
        if self.path is None:
            return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        if read_only and not self.path.exists():
            raise StoreError(f"{self.path}: no such store. Check the path, or make one with Lab({str(self.path)!r}).")
        uri = f"{self.path.resolve().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA trusted_schema = OFF")
        if not read_only:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
        return db

    def _recognise(self, db: sqlite3.Connection) -> None:
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION_ID:
            raise StoreDamaged(f"{self.path} is an SQLite file but no agentlab store. Choose another path.")
        if version > VERSION:
            raise StoreTooNew(
                f"{self.path} has store version {version}; this agentlab reads up to {VERSION}. Upgrade jupyter-agentlab."
            )

    def _named(self, error: sqlite3.Error) -> StoreError:
        text = str(error)
        if isinstance(error, sqlite3.OperationalError):
            if "full" in text:
                return StoreFull(f"{self.path}: {text}. Nothing was committed; free some space, then go on.")
            if "readonly" in text or "unable to open" in text:
                return StoreReadOnly(f"{self.path}: {text}. Give write permission to the file and its folder.")
        return StoreDamaged(f"{self.path}: {text}. The file was left as it is; restore it from a copy.")

    def commit(self, batch: Batch) -> None:
        """Make a batch durable, all of it or nothing.

        Raises:
            StoreError: Nothing of the batch was committed.
        """
        with self._lock:
            if self.path is None:
                self._waiting.extend(batch.rows)
                if len(self._waiting) > self.FLUSH:
                    self._flush()
            else:
                self._write(batch.rows)

    def _flush(self) -> None:
        rows, self._waiting = self._waiting, []
        if rows:
            self._write(rows)

    def _write(self, rows: Sequence[tuple[str, tuple[Any, ...]]]) -> None:
        db = self._db
        try:
            db.execute("BEGIN")
            for table, group in _groups(rows):
                db.executemany(INSERT[table], group)
            db.execute("COMMIT")
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise self._named(error) from error

    def select(self, sql: str, args: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of what was committed; any thread may ask."""
        if self.path is not None and not self.read_only:
            reader = self._connect(read_only=True)
            try:
                return reader.execute(sql, args).fetchall()
            except sqlite3.Error as error:
                raise self._named(error) from error
            finally:
                reader.close()
        with self._lock:
            self._flush()
            try:
                return self._db.execute(sql, args).fetchall()
            except sqlite3.Error as error:
                raise self._named(error) from error

    def state(self, path: str) -> dict[str, str | list[str]]:
        """The last committed state of an agent: JSON text per field, a list of texts per transcript."""
        state: dict[str, str | list[str]] = {}
        for name, value, _ in self.select("SELECT name, value, max(seq) FROM field WHERE path = ? GROUP BY name", (path,)):
            state[name] = value
        for name, value in self.select("SELECT name, value FROM item WHERE path = ? ORDER BY place", (path,)):
            items = state.setdefault(name, [])
            if isinstance(items, list):
                items.append(value)
        return state

    def close(self) -> None:
        """Let go of the file. A closed store can still be read if it was in memory."""
        with self._lock:
            if self.path is not None:
                self._db.close()
        self._release()

    def _release(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    def __repr__(self) -> str:
        return f"Store({str(self.path) if self.path else 'memory'!r})"


def _groups(rows: Iterable[tuple[str, tuple[Any, ...]]]) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    """Rows by table, for bulk statements; nothing moves past a statement that replaces or deletes."""
    groups: dict[str, list[tuple[Any, ...]]] = {}
    for table, row in rows:
        if table in IN_ORDER:
            yield from groups.items()
            groups = {}
            yield table, [row]
        else:
            groups.setdefault(table, []).append(row)
    yield from groups.items()


def _hold(path: Path) -> IO[bytes]:
    """Take the writer's lock; it goes with the process, however that ends."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = open(path, "ab")  # noqa: SIM115  # held open as long as the store is
    except OSError as error:
        raise StoreReadOnly(
            f"{path}: {error.strerror}. Give write permission to the file and its folder, or choose another path."
        ) from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.close()
        raise StoreLocked(
            f"{path} is held by another live lab ({_holder(path)}). Close that lab, or look with agentlab.open_store(path)."
        ) from None
    return held


def _holder(path: Path) -> str:
    try:
        with sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True) as db:
            row = db.execute("SELECT value FROM meta WHERE key = 'holder'").fetchone()
    except sqlite3.Error:
        row = None
    return str(row[0]) if row else "process unknown"
