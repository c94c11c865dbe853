"""The file of a store: recognised before it is touched, held by one writer, opened to read or to write."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import sqlite3
import time
from pathlib import Path
from typing import IO

from agentlab.errors import StoreDamaged, StoreError, StoreLocked, StoreReadOnly, StoreTooNew
from agentlab.store.checksums import Connection, provide
from agentlab.store.schema import APPLICATION_ID, VERSION, migration

CHECKED_BYTES = 64 * 1024 * 1024
"""A store up to this size is read through before it is written to; damage in a larger one shows when it is met."""

LEAVING_S = 5.0
"""How long a lock may outlive its holder: children forked from a killed kernel let go of it as soon as they run."""


def connect(path: Path, mode: str) -> Connection:
    """A connection; ``mode`` is SQLite's."""
    refuse_left(path)
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, factory=Connection)
    db.execute("PRAGMA trusted_schema = OFF")
    provide(db)
    return db


def reader(path: Path) -> Connection:
    """A connection that only reads; where SQLite cannot put its files beside the store, it reads without them."""
    db = connect(path, "ro")
    try:
        db.execute("PRAGMA schema_version")
    except sqlite3.OperationalError:
        db.close()
        if path.with_name(path.name + "-wal").exists():
            raise
        return connect(path, "ro&immutable=1")
    except sqlite3.DatabaseError:
        db.close()
        raise
    return db


def recognise(path: Path, checked_bytes: int | None = CHECKED_BYTES) -> int:
    """Refuse what is no store, is too new, or is damaged; nothing is written. The store's version.

    A larger file than ``checked_bytes`` is not read through; None: whatever its size.
    """
    if not path.exists():
        raise StoreError(f"{path}: no such store. Check the path, or make one with Lab({str(path)!r}).")
    # Without files beside the store nobody writes to it; read so, SQLite puts none there.
    alone = not path.with_name(path.name + "-wal").exists()
    with contextlib.closing(connect(path, "ro&immutable=1" if alone else "ro")) as db:
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION_ID:
            raise StoreDamaged(f"{path} is an SQLite file but no agentlab store. Choose another path.")
        if version > VERSION:
            raise StoreTooNew(
                f"{path} has store version {version}; this agentlab reads up to {VERSION}. Upgrade jupyter-agentlab."
            )
        _refuse_foreign(db, path)
        if alone:
            _refuse_half(db, path)
    if checked_bytes is not None and path.stat().st_size > checked_bytes:
        return int(version)
    with contextlib.closing(reader(path)) as db:
        (found,) = db.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise StoreDamaged(f"{path}: {found}. The file was left as it is; restore it from a copy.")
    return int(version)


def _refuse_foreign(db: Connection, path: Path) -> None:
    """A view, a trigger or a virtual table would run whatever its maker has put into it, without an end perhaps."""
    try:
        found = db.execute("SELECT type, name FROM sqlite_schema WHERE type NOT IN ('table', 'index') OR rootpage = 0")
    except UnicodeDecodeError as error:  # SQLite names what is damaged, and the name is
        raise StoreDamaged(f"{path}: its schema is no text ({error}). Restore the file from a copy.") from None
    for kind, name in found:
        raise StoreDamaged(
            f"{path} holds a {kind} {name!r}, and a store holds tables and indexes only: somebody else has made or "
            "changed it. The file was left as it is; restore it from a copy."
        )


def _refuse_half(db: Connection, path: Path) -> None:
    """The last commits of a lab that was killed are in a file beside the store; without it the store is older."""
    if db.execute("SELECT 1 FROM meta WHERE key = 'open'").fetchone():
        wal = f"{path.name}-wal"
        raise StoreDamaged(
            f"{path} was not closed (its lab was killed, or this is a copy made while it ran), and {wal!r} beside it, "
            f"with its last commits, is gone. Put it back; to go on without them, make an empty file of that name."
        )


def unmade(path: Path) -> bool:
    """Whether there is no store yet: an empty file, or what is left of a process that died while it made one."""
    if path.stat().st_size == 0:
        return True
    with path.open("rb") as file:
        if file.read(16) != b"SQLite format 3\0":
            return False
    alone = not path.with_name(path.name + "-wal").exists()
    with contextlib.closing(connect(path, "ro&immutable=1" if alone else "ro")) as db:
        (application,) = db.execute("PRAGMA application_id").fetchone()
        return application == 0 and not db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()


def old_reader(path: Path, version: int) -> Connection:
    """A store of an older version to read: a copy in memory, brought up to date; the file stays as it is."""
    db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False, factory=Connection)
    provide(db)
    with contextlib.closing(reader(path)) as source:
        source.backup(db)
    db.executescript(migration(version))
    return db


def empty(path: Path) -> None:
    """A store that could not be created leaves nothing that looks like one."""
    try:
        os.truncate(path, 0)
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
    except OSError:
        return


held_here: set[tuple[int, int]] = set()
"""Files that stores of this process hold. To open and close such a file again would drop SQLite's locks on it."""


left_behind: dict[tuple[int, int], int] = {}
"""Files that were open in the process, given by its number, from which this one was forked. What SQLite knows of its
locks was copied, and they were not: whatever it did with such a file here could be wrong, or harm the file."""


def leave_behind(path: Path, held: IO[bytes] | None, *connections: sqlite3.Connection | None) -> None:
    """In a forked child: let go of the lock, which is the parent's, and never touch the connections again."""
    found = _identity(path)
    if held is not None:
        found = os.fstat(held.fileno()).st_dev, os.fstat(held.fileno()).st_ino
        held.close()  # it stays locked while the parent has it open
    if found is not None:
        left_behind[found] = os.getppid()
        held_here.discard(found)
    for db in connections:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(db))  # never collected, which would close it


def refuse_left(path: Path) -> None:
    """Raise StoreLocked for a file that was open in the parent when this process was forked."""
    parent = left_behind.get(_identity(path) or (0, 0)) if left_behind else None
    if parent is not None:
        raise StoreLocked(
            f"{path} was open in process {parent} when this one was forked from it; SQLite cannot use a file across "
            "a fork. Use it there, or start this process afresh: multiprocessing.get_context('spawn')."
        )


def hold(path: Path) -> IO[bytes]:
    """Take the writer's lock; it goes with the process, however that ends."""
    refuse_left(path)
    if _identity(path) in held_here:
        raise _locked(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = open(path, "ab", opener=_private)  # noqa: SIM115  # kept open; pathlib has no opener
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise StoreReadOnly(
            f"{path}: {getattr(error, 'strerror', error)}. Give write permission to the file and its folder, "
            "or choose another path."
        ) from None
    try:
        _lock(path, held)
    except OSError as error:
        held.close()
        if isinstance(error, BlockingIOError):
            raise _locked(path) from None
        raise StoreError(
            f"{path}: its file system has no locks ({error.strerror}). Choose a path on a local disk."
        ) from None
    identity = _identity(path)
    if identity is not None:
        held_here.add(identity)
    return held


def _lock(path: Path, held: IO[bytes]) -> None:
    late = time.monotonic() + LEAVING_S
    while True:
        try:
            return fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if _lives(_holder(path)) or time.monotonic() > late:
                raise
        time.sleep(0.01)


def _private(name: str, flags: int) -> int:
    """A new store is its owner's alone, as SQLite makes the files beside it."""
    return os.open(name, flags, 0o600)


def require_there(path: Path, held: IO[bytes] | None) -> None:
    """Refuse to go on with a file that was deleted, moved or replaced: what is written to it, nobody finds again.

    Raises:
        StoreError: It is not at its path any more.
    """
    if held is None:
        return
    try:
        found = os.stat(path)  # noqa: PTH116  # at each commit, and pathlib takes twice as long
    except OSError:
        found = None
    if found is None or not os.path.samestat(found, os.fstat(held.fileno())):
        raise StoreError(
            f"{path} was {'deleted or moved' if found is None else 'replaced by another file'} while its lab runs, so "
            "nothing more is committed. Move it back, and the lab goes on; or close the lab and start another."
        )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _holder(path: Path) -> str | None:
    """The number of the process that holds a store, as it has written it there."""
    try:
        with contextlib.closing(connect(path, "ro")) as db:
            row = db.execute("SELECT value FROM meta WHERE key = 'holder'").fetchone()
    except sqlite3.Error:
        return None
    return str(row[0]) if row else None


def _lives(process: str | None) -> bool:
    """Whether it lives; one that nobody knows may."""
    try:
        os.kill(int(process or ""), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except (PermissionError, ValueError):
        return True
    return True


def _locked(path: Path) -> StoreLocked:
    holder = _holder(path)
    who = f"process {holder or 'unknown'}" + (", this one" if holder == str(os.getpid()) else "")
    return StoreLocked(
        f"{path} is held by another live lab ({who}). Close that lab, or look with agentlab.open_store({str(path)!r}). "
        "In that process Lab(path) gives the lab back, and lab.start(..., exist_ok=True) its agents."
    )
