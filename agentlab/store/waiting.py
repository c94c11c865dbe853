"""Rows of a store in memory, which wait in lists until somebody reads: a commit costs no statement."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from agentlab.errors import StoreError
from agentlab.store.batch import Rows, Written


class WaitingRows:
    """Batches that are committed and that SQLite does not have yet.

    The writer adds batches at the end, in its thread; whoever holds the store's lock takes them away at the beginning.
    """

    def __init__(self) -> None:
        self._batches: list[list[Written]] = []
        self._added = 0  # only the writer counts here,
        self._flushed = 0  # and only a flush here
        self._flushing = False

    def add_batch(self, rows: list[Written]) -> None:
        """Let the rows of a batch wait."""
        self._batches.append(rows)
        self._added += len(rows)

    def __len__(self) -> int:
        return self._added - self._flushed

    def flush_rows(
        self, write: Callable[[list[Written]], None], then: Callable[[list[Written]], None], most: int | None = None
    ) -> None:
        """Write the rows that wait.

        Rows that are not made yet count only here: a bulk start holds nobody up, and is written bit by bit. A
        finalizer that reads while this thread flushes sees what is written so far.

        Args:
            write: Writes rows, all of them or none.
            then: Is told what was written; it uses the connection, so no other flush begins before its end.
            most: About how many rows, the oldest; None for all.
        """
        if self._flushing:
            return
        self._flushing = True
        try:
            batches = self._oldest(most)
            if batches:
                self._write_batches(write, batches)
                then([row for rows in batches for row in rows])
        finally:
            self._flushing = False

    def _oldest(self, most: int | None) -> list[list[Written]]:
        batches: list[list[Written]] = []
        for rows in self._batches:
            if most is not None:
                if most <= 0:
                    break
                most -= sum(row.about if isinstance(row, Rows) else 1 for _, row in rows)
            batches.append(rows)
        return batches

    def _write_batches(self, write: Callable[[list[Written]], None], batches: list[list[Written]]) -> None:
        try:
            write([row for rows in batches for row in rows])
        except StoreError:
            for rows in batches:  # a bad one must not take the others with it
                with contextlib.suppress(StoreError):
                    write(rows)
                self._forget(1)
            raise
        self._forget(len(batches))

    def _forget(self, batches: int) -> None:
        """The first that wait are written, or never will be."""
        self._flushed += sum(map(len, self._batches[:batches]))
        del self._batches[:batches]
