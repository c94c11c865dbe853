"""The store: one SQLite database that holds what must outlive an agent, a node or the kernel.

There is one writer, the runtime; it hands over a ``Batch`` per loop turn, and a batch is one transaction.
With a path the database is a file in WAL mode and readers have connections of their own; without one it is
in memory, rows wait in lists and reach SQLite when somebody reads. Everything in it is JSON and plain
columns: opening a store runs no code.

Whoever uses the one connection of a store holds its lock, and that is never the main thread (``ground/aside``):
a signal handler may interrupt a reader and read as well.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, TypeVar

from agentlab.errors import LabClosed, StoreDamaged, StoreError
from agentlab.ground.aside import aside
from agentlab.store.batch import Batch, Written
from agentlab.store.checksums import Connection, guard, provide
from agentlab.store.file import (
    connect,
    empty,
    held_here,
    hold,
    leave_behind,
    old_reader,
    reader,
    recognise,
    require_there,
    unmade,
)
from agentlab.store.past import LAST, state_of
from agentlab.store.refusals import named
from agentlab.store.retention import Keep, Trimmer
from agentlab.store.rows import TABLES
from agentlab.store.schema import CREATE, VERSION, listed_whole, migration
from agentlab.store.waiting import WaitingRows
from agentlab.store.writing import each_row, write_rows

UNREADABLE = ("Could not decode", "user-defined function")
"""How SQLite's errors begin where a text is none, or a checksum could not be made."""

Synchronous = Literal["NORMAL", "FULL"]

T = TypeVar("T")
R = TypeVar("R", bound=NamedTuple)

_opened: weakref.WeakSet[Store] = weakref.WeakSet()


class Store:
    """The database of one lab: ``commit`` writes, ``select`` reads what was committed."""

    FLUSH = 20_000  # rows of a store in memory that wait in a list before SQLite gets them
    CHUNK = 500  # small enough to stay in the processor's cache while it becomes columns
    TRIM_SECONDS = 0.02  # for trimming a store in memory, after so many rows

    def __init__(
        self, path: Path | None = None, *, read_only: bool = False, synchronous: Synchronous = "NORMAL",
        keep: Keep = None,
    ) -> None:  # fmt: skip
        """Open or create a store.

        Args:
            path: The file, or None for a store in memory.
            read_only: Only look; works while a lab writes.
            synchronous: What a commit survives: ``"NORMAL"``: the death of any process; ``"FULL"``: power loss too.
            keep: How much of the past stays: all, the last so many of each per agent, or so much time.

        Raises:
            StoreLocked: Another live lab writes to it.
            StoreDamaged: No store, or a damaged one.
            StoreTooNew: Written by a newer version.
            StoreReadOnly: The file or its folder cannot be written.
        """
        self.path = path
        self.read_only = read_only
        self.synchronous = synchronous
        self._lock = threading.RLock()  # held while the connection is used
        self._waiting = WaitingRows()
        self._asking = threading.RLock()  # held while the connection is used that answers what is asked often
        self._asked: Connection | None = None
        self._closed = False
        self.keep = keep
        self._trimmer = Trimmer(keep) if keep is not None and not read_only else None
        self._held: IO[bytes] | None = None
        self._left: int | None = None  # this is a process forked from that one, which opened it
        if path is not None and not read_only:
            self._held = hold(path)
        try:
            self._db = self._open()
        except BaseException:
            self._release()
            raise
        _opened.add(self)

    def _open(self) -> Connection:
        if self.path is None:
            db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False, factory=Connection)
            weakref.finalize(self, db.close).atexit = False  # a closed lab in memory can still be read
            provide(db)
            db.executescript(CREATE)
            if self._trimmer is not None:
                self._trimmer.begin(db)
            return db
        try:
            if self.read_only:
                version = recognise(self.path)
                return guard(reader(self.path)) if version == VERSION else old_reader(self.path, version)
            return self._open_to_write(self.path)
        except sqlite3.Error as error:
            raise self._named(error) from error

    def _open_to_write(self, path: Path) -> Connection:
        new = unmade(path)
        version = VERSION if new else recognise(path)  # before anything is written: what is no store stays as it is
        db = connect(path, "rwc")
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {self.synchronous}")
            if new:
                db.executescript(CREATE)
            elif version < VERSION:
                db.executescript(migration(version))
            if self._trimmer is not None:
                self._trimmer.begin(db)
            db.execute("INSERT OR REPLACE INTO meta VALUES ('holder', ?), ('open', '1')", (str(os.getpid()),))
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # so that the file itself says that it is not the whole
        except sqlite3.Error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            db.close()
            if new:
                empty(path)
            raise
        return db

    def _named(self, error: sqlite3.Error) -> StoreError:
        return named(error, repr(self), str(self.path or "store in memory"))

    def commit(self, batch: Batch) -> None:
        """Make a batch durable, all of it or nothing.

        Raises:
            StoreError: Nothing of the batch was committed.
        """
        if self.path is not None:
            self._commit(batch.rows)
            return
        self._waiting.add_batch(batch.rows)
        if len(self._waiting) > self.FLUSH:
            aside(self._relieve)

    def _commit(self, rows: list[Written]) -> None:
        assert self.path is not None
        with self._lock:
            require_there(self.path, self._held)
            self._write(rows)
            if self._trimmer is not None:
                self._trimmer.note(each_row(rows))

    def _relieve(self) -> None:
        """Flush some rows; whoever reads a long table must not hold up the writer, which flushes another time."""
        if self._lock.acquire(blocking=False):
            try:
                self._flush(most=2 * self.FLUSH)
            finally:
                self._lock.release()

    def _flush(self, most: int | None = None) -> None:
        """Give SQLite the rows that wait, or about so many of them."""
        self._waiting.flush_rows(self._write, self._trim_after, most)

    def _trim_after(self, rows: list[Written]) -> None:
        if self._trimmer is not None:
            self._trimmer.note(each_row(rows))
            self._trimmer.work(self._db, time.monotonic() + self.TRIM_SECONDS)

    def trim(self) -> None:
        """Let a little of what need not be kept go, if it is time to; for moments when nobody waits for a commit."""
        if self._trimmer is None or self.path is None:
            return
        with self._lock, contextlib.suppress(sqlite3.Error):  # a full disk, say: there will be another time
            self._trimmer.trim(self._db)

    def _write(self, rows: Sequence[Written]) -> None:
        try:
            write_rows(self._db, rows, sums=self.path is not None)
        except sqlite3.Error as error:
            raise self._named(error) from error

    def select(self, sql: str, args: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of what was committed; any thread may ask."""
        return self.read(sql, args, lambda pieces: [row for rows in pieces for row in rows])

    def select_rows(self, kind: type[R], rest: str = "", args: Sequence[Any] = ()) -> list[R]:
        """Rows of one table, whole and by name; ``rest`` of the SQL says which, and in which order."""
        table = TABLES[kind]
        return [kind(*row) for row in self.select(f"SELECT {listed_whole(table)} FROM {table} {rest}", args)]  # noqa: S608  # ours

    def read(self, sql: str, args: Sequence[Any], make: Callable[[Iterator[list[tuple[Any, ...]]]], T]) -> T:
        """What ``make`` makes of the rows, which come in pieces of ``CHUNK``: some tables are too long for memory."""
        self._refuse_left()
        try:
            return aside(lambda: self._read(sql, args, make))
        except sqlite3.Error as error:
            raise self._named(error) from error

    def _read(self, sql: str, args: Sequence[Any], make: Callable[[Iterator[list[tuple[Any, ...]]]], T]) -> T:
        if self.path is not None and not self.read_only:
            require_there(self.path, self._held)
            with contextlib.closing(guard(reader(self.path), sql)) as db:
                return self._made(db, sql, args, make)
        with self._lock:
            self._flush()
            return self._made(self._db, sql, args, make)

    def _made(
        self, db: Connection, sql: str, args: Sequence[Any], make: Callable[[Iterator[list[tuple[Any, ...]]]], T]
    ) -> T:
        try:
            with contextlib.closing(_fetch(db, sql, args)) as pieces:
                return make(pieces)
        except sqlite3.Error as error:
            if db.damage is None and not str(error).startswith(UNREADABLE):
                raise
            damage, db.damage = db.damage or str(error), None
            raise StoreDamaged(
                f"{self.path}: {damage}. Restore it from a copy; agentlab.check({str(self.path)!r}) says what is whole."
            ) from None

    def state(self, path: str, at: int = LAST) -> dict[str, str | list[str]]:
        """The committed state of an agent, the last one or that of the checkpoint ``at``: see ``past.state_of``."""
        return state_of(self._ask, path, at)

    def _ask(self, sql: str, args: Sequence[Any]) -> list[tuple[Any, ...]]:
        """A few rows by a connection that is there: to open another takes longer than to read them."""
        path = self.path
        if path is None or self.read_only:
            return self.select(sql, args)
        self._refuse_left()
        try:
            return aside(lambda: self._ask_aside(path, sql, args))
        except sqlite3.Error as error:
            raise self._named(error) from error

    def _ask_aside(self, path: Path, sql: str, args: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self._asking:
            if self._closed:
                raise sqlite3.ProgrammingError("the store is closed")
            if self._asked is None:
                self._asked = guard(reader(path))
            return self._made(self._asked, sql, args, lambda pieces: [row for rows in pieces for row in rows])

    def close(self) -> None:
        """Let go of the file. A closed store can still be read if it was in memory."""
        if self._left is not None:
            return
        aside(self._close)
        self._release()

    def _close(self) -> None:
        with self._asking:
            self._closed = True
            if self._asked is not None:
                self._asked.close()
        with self._lock:
            if self.path is not None:
                if self._held is not None:
                    self._say_closed()
                self._db.close()

    def _say_closed(self) -> None:
        for _ in range(2):
            with contextlib.suppress(sqlite3.Error):  # closed already, or the disk is full
                self._db.execute("DELETE FROM meta WHERE key = 'open'")
                return
            with contextlib.suppress(sqlite3.Error):  # what was committed makes room for it
                self._db.execute("PRAGMA wal_checkpoint(RESTART)")

    def leave_behind(self) -> None:
        """This is a process forked from the one that opened it, perhaps while another thread held the lock."""
        self._left = os.getppid()
        self._lock, self._asking = threading.RLock(), threading.RLock()
        if self.path is not None:
            leave_behind(self.path, self._held, self._db, self._asked)
            self._held = None

    def _refuse_left(self) -> None:
        if self._left is not None:
            raise LabClosed(
                f"{self!r} lives in process {self._left}; a process forked from it cannot read it. Read it there, or "
                "start this process afresh: multiprocessing.get_context('spawn')."
            )

    def is_file(self, path: Path) -> bool:
        """Whether the store holds the very file that is at a path, under whatever name."""
        try:
            found, held = path.stat(), os.fstat(self._held.fileno()) if self._held is not None else None
        except (OSError, ValueError):
            return False
        return held is not None and (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)

    def _release(self) -> None:
        if self._held is not None:
            found = os.fstat(self._held.fileno())
            held_here.discard((found.st_dev, found.st_ino))
            self._held.close()
            self._held = None

    def __repr__(self) -> str:
        return f"Store({str(self.path) if self.path else 'memory'!r})"


def _forked() -> None:
    for store in list(_opened):
        store.leave_behind()


os.register_at_fork(after_in_child=_forked)


def _fetch(db: sqlite3.Connection, sql: str, args: Sequence[Any]) -> Generator[list[tuple[Any, ...]]]:
    cursor = db.execute(sql, args)
    while rows := cursor.fetchmany(Store.CHUNK):
        yield rows
