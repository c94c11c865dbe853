"""What SQLite's errors mean here, and what a person can do about each."""

from __future__ import annotations

import sqlite3

from agentlab.errors import StoreDamaged, StoreError, StoreFull, StoreLocked, StoreReadOnly

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


def named(error: sqlite3.Error, store: str, file: str) -> StoreError:
    """The error as it is told; ``store`` and ``file`` are the words for where it happened."""
    code = getattr(error, "sqlite_errorname", None)
    if code is None:  # not the file's fault: the store is closed, or a value is none for SQLite
        return StoreError(f"{store}: {error}.")
    kind, advice = next(named for prefix, named in NAMES if code.startswith(prefix))
    return kind(f"{file}: {error} ({code}). {advice}")
