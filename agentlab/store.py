"""The store: one SQLite database that holds what must outlive an agent, a node or the kernel.

There is one writer, the runtime; it hands over a ``Batch`` per loop turn, and a batch is one transaction.
With a path the database is a file in WAL mode and readers have connections of their own; without one it is
in memory, rows wait in lists and reach SQLite when somebody reads. Everything in it is JSON and plain
columns: opening a store runs no code.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from agentlab._schema import APART, APPLICATION_ID, CREATE, INSERT, VERSION
from agentlab.errors import StoreDamaged, StoreError, StoreFull, StoreLocked, StoreReadOnly, StoreTooNew

CHECKED_BYTES = 64 * 1024 * 1024
"""A store up to this size is read through before it is written to; damage in a larger one shows when it is met."""

NAMES: tuple[tuple[str, tuple[type[StoreError], str]], ...] = (
    ("SQLITE_FULL", (StoreFull, "Nothing was committed; free some space, then go on.")),
    ("SQLITE_IOERR_WRITE", (StoreFull, "Nothing was committed; the disk, or your quota of it, may be full.")),
    ("SQLITE_IOERR_SHMSIZE", (StoreFull, "Nothing was committed; the disk, or your quota of it, may be full.")),
    ("SQLITE_READONLY", (StoreReadOnly, "Give write permission to the file and its folder.")),
    ("SQLITE_CANTOPEN", (StoreReadOnly, "Give write permission to the file and its folder.")),
    ("SQLITE_PERM", (StoreReadOnly, "Give write permission to the file and its folder.")),
    ("SQLITE_BUSY", (StoreLocked, "Another program has it open to write; close it there.")),
    ("SQLITE_LOCKED", (StoreLocked, "Another program has it open to write; close it there.")),
    ("SQLITE_IOERR", (StoreError, "The disk failed; nothing was committed.")),
    ("", (StoreDamaged, "The file was left as it is; restore it from a copy.")),
)
"""What SQLite's error names mean here, the first that fits."""


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
    CHUNK = 500  # small enough to stay in the processor's cache while it becomes columns

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
        self._lock = threading.RLock()  # held while the connection is used
        self._gate = threading.Lock()  # held for a moment, for the rows that wait
        self._waiting: list[list[tuple[str, tuple[Any, ...]]]] = []
        self._rows_waiting = 0
        self._held: IO[bytes] | None = None
        if path is not None and not read_only:
            self._held = _hold(path)
        try:
            self._db = self._open()
        except BaseException:
            self._release()
            raise

    def _open(self) -> sqlite3.Connection:
        if self.path is None:
            db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            db.executescript(CREATE)
            return db
        try:
            if self.read_only:
                _recognise(self.path)
                return _reader(self.path)
            return self._open_to_write(self.path)
        except sqlite3.Error as error:
            raise self._named(error) from error

    def _open_to_write(self, path: Path) -> sqlite3.Connection:
        new = path.stat().st_size == 0
        if not new:
            _recognise(path)  # before anything is written: what is no store stays as it is
        db = _connect(path, "rwc")
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            if new:
                db.executescript(CREATE)
            db.execute("INSERT OR REPLACE INTO meta VALUES ('holder', ?)", (str(os.getpid()),))
        except sqlite3.Error:
            db.close()
            if new:
                _empty(path)
            raise
        return db

    def _named(self, error: sqlite3.Error) -> StoreError:
        code = getattr(error, "sqlite_errorname", None)
        if code is None:  # not the file's fault: the store is closed, or a value is none for SQLite
            return StoreError(f"{self!r}: {error}.")
        kind, advice = next(named for prefix, named in NAMES if code.startswith(prefix))
        return kind(f"{self.path or 'store in memory'}: {error} ({code}). {advice}")

    def commit(self, batch: Batch) -> None:
        """Make a batch durable, all of it or nothing.

        Raises:
            StoreError: Nothing of the batch was committed.
        """
        if self.path is not None:
            with self._lock:
                self._write(batch.rows)
            return
        with self._gate:
            self._waiting.append(batch.rows)
            self._rows_waiting += len(batch.rows)
        # Whoever reads a long table must not hold up the writer; it flushes another time.
        if self._rows_waiting > self.FLUSH and self._lock.acquire(blocking=False):
            try:
                self._flush()
            finally:
                self._lock.release()

    def _flush(self) -> None:
        with self._gate:
            batches, self._waiting, self._rows_waiting = self._waiting, [], 0
        if not batches:
            return
        try:
            self._write([row for rows in batches for row in rows])
        except StoreError:
            for rows in batches:  # a bad one must not take the others with it
                with contextlib.suppress(StoreError):
                    self._write(rows)
            raise

    def _write(self, rows: Sequence[tuple[str, tuple[Any, ...]]]) -> None:
        try:
            self._transact(rows)
        except UnicodeEncodeError:  # lone surrogates, which UTF-8 cannot hold: shown as \\ud800
            self._transact([(table, tuple(map(_encodable, row))) for table, row in rows])

    def _transact(self, rows: Sequence[tuple[str, tuple[Any, ...]]]) -> None:
        db = self._db
        try:
            db.execute("BEGIN")
            for table, group in _groups(rows):
                db.executemany(INSERT[table], group)
            db.execute("COMMIT")
        except BaseException as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise self._named(error) from error
            raise

    def select(self, sql: str, args: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of what was committed; any thread may ask."""
        return [row for rows in self.chunks(sql, args) for row in rows]

    def chunks(self, sql: str, args: Sequence[Any] = ()) -> Iterator[list[tuple[Any, ...]]]:
        """The same in pieces of ``CHUNK`` rows, for tables that are too long to hold as rows."""
        try:
            if self.path is not None and not self.read_only:
                with contextlib.closing(_reader(self.path)) as reader:
                    yield from _fetch(reader, sql, args)
            else:
                with self._lock:
                    self._flush()
                    yield from _fetch(self._db, sql, args)
        except sqlite3.Error as error:
            raise self._named(error) from error

    def state(self, path: str) -> dict[str, str | list[str]]:
        """The last committed state of an agent: JSON text per field, a list of texts per transcript."""
        newest = (
            "SELECT name, value FROM field WHERE rowid IN (SELECT max(rowid) FROM field WHERE path = ? GROUP BY name)"
        )
        state: dict[str, str | list[str]] = dict(self.select(newest, (path,)))
        items = "SELECT name, place, value FROM item WHERE path = ? ORDER BY rowid"
        for name, place, value in self.select(items, (path,)):
            known = state.setdefault(name, [])
            if isinstance(known, list):
                known[place:] = [value]  # a transcript that began anew leaves its old items behind
        return state

    def close(self) -> None:
        """Let go of the file. A closed store can still be read if it was in memory."""
        with self._lock:
            if self.path is not None:
                self._db.close()
        self._release()

    def _release(self) -> None:
        if self._held is not None:
            found = os.fstat(self._held.fileno())
            _held_here.discard((found.st_dev, found.st_ino))
            self._held.close()
            self._held = None

    def __repr__(self) -> str:
        return f"Store({str(self.path) if self.path else 'memory'!r})"


def _groups(rows: Iterable[tuple[str, tuple[Any, ...]]]) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    """Rows by statement, for bulk: neighbours together and in order, those of tables that only grow at the end."""
    apart: dict[str, list[tuple[Any, ...]]] = {}
    run: list[tuple[Any, ...]] = []
    last = ""
    for table, row in rows:
        if table in APART:
            apart.setdefault(table, []).append(row)
            continue
        if table != last and run:
            yield last, run
            run = []
        last = table
        run.append(row)
    if run:
        yield last, run
    yield from apart.items()


def _fetch(db: sqlite3.Connection, sql: str, args: Sequence[Any]) -> Iterator[list[tuple[Any, ...]]]:
    cursor = db.execute(sql, args)
    while rows := cursor.fetchmany(Store.CHUNK):
        yield rows


def _encodable(value: Any) -> Any:
    return value.encode("utf-8", "backslashreplace").decode("utf-8") if isinstance(value, str) else value


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA trusted_schema = OFF")
    return db


def _reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads; where SQLite cannot put its files beside the store, it reads without them."""
    db = _connect(path, "ro")
    try:
        db.execute("PRAGMA schema_version")
    except sqlite3.OperationalError:
        db.close()
        if path.with_name(path.name + "-wal").exists():
            raise
        return _connect(path, "ro&immutable=1")
    except sqlite3.DatabaseError:
        db.close()
        raise
    return db


def _recognise(path: Path) -> None:
    """Refuse what is no store, is too new, or is damaged; nothing is written."""
    if not path.exists():
        raise StoreError(f"{path}: no such store. Check the path, or make one with Lab({str(path)!r}).")
    # Without files beside the store nobody writes to it; read so, SQLite puts none there.
    alone = not path.with_name(path.name + "-wal").exists()
    with contextlib.closing(_connect(path, "ro&immutable=1" if alone else "ro")) as db:
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION_ID:
            raise StoreDamaged(f"{path} is an SQLite file but no agentlab store. Choose another path.")
        if version > VERSION:
            raise StoreTooNew(
                f"{path} has store version {version}; this agentlab reads up to {VERSION}. Upgrade jupyter-agentlab."
            )
    if path.stat().st_size > CHECKED_BYTES:
        return
    with contextlib.closing(_reader(path)) as db:
        (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise StoreDamaged(f"{path}: {found}. The file was left as it is; restore it from a copy.")


def _empty(path: Path) -> None:
    """A store that could not be created leaves nothing that looks like one."""
    try:
        os.truncate(path, 0)
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
    except OSError:
        return


_held_here: set[tuple[int, int]] = set()
"""Files that stores of this process hold. To open and close such a file again would drop SQLite's locks on it."""


def _hold(path: Path) -> IO[bytes]:
    """Take the writer's lock; it goes with the process, however that ends."""
    if _identity(path) in _held_here:
        raise _locked(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = path.open("ab")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise StoreReadOnly(
            f"{path}: {getattr(error, 'strerror', error)}. Give write permission to the file and its folder, "
            "or choose another path."
        ) from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        held.close()
        if isinstance(error, BlockingIOError):
            raise _locked(path) from None
        raise StoreError(
            f"{path}: its file system has no locks ({error.strerror}). Choose a path on a local disk."
        ) from None
    identity = _identity(path)
    if identity is not None:
        _held_here.add(identity)
    return held


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _locked(path: Path) -> StoreLocked:
    try:
        with contextlib.closing(_connect(path, "ro")) as db:
            row = db.execute("SELECT value FROM meta WHERE key = 'holder'").fetchone()
    except sqlite3.Error:
        row = None
    who = f"process {row[0]}" + (", this one" if row[0] == str(os.getpid()) else "") if row else "process unknown"
    return StoreLocked(
        f"{path} is held by another live lab ({who}). Close that lab, or look with agentlab.open_store({str(path)!r})."
    )
