"""A lab that is only read, as views want a lab: its store asked once a second for what other processes added to it.

So the same views show a lab that runs elsewhere, or ran once; nothing can be done to it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from typing import Any

from agentlab.control.looking import ITEMS, LINES, Letter, Seen
from agentlab.events import Change, Event, Feed, Hub, Row
from agentlab.frames import stored_approvals
from agentlab.frames.places import stored_rows

POLL = 1.0
"""Seconds between two questions."""

ASKED = 10_000
"""Events that are taken at once; more than that, and everything is read anew."""

OVER = ("read only", "This is read from its store: nothing can be done to it here.")
COLUMNS = "seq, at, kind, path, incarnation, node, reason, detail, took_s"
MARK = (
    "SELECT (SELECT max(seq) FROM event), (SELECT max(id) FROM checkpoint), (SELECT max(id) FROM message),"
    " (SELECT max(id) FROM step)"
)
WAITS = "SELECT key, method, sender, sent_at, deliveries FROM inbox WHERE path = ? ORDER BY place"
PRINTED = "SELECT detail FROM event WHERE path = ? AND kind = 'log' ORDER BY seq DESC LIMIT ?"
DOUBTS = (
    "SELECT begun.step, begun.mark, inbox.method, begun.at FROM begun JOIN inbox ON inbox.key = begun.message_key"
    " WHERE inbox.path = ? AND begun.once = 1 AND NOT EXISTS (SELECT 1 FROM step WHERE"
    " step.message_key = begun.message_key AND step.step = begun.step AND step.outcome = 'ok') ORDER BY begun.step"
)
Mark = tuple[int, int, int, int]


def looked_at(lab: Any) -> Any:
    """What views look at: a live lab itself, else its store."""
    return lab if hasattr(lab, "_live") else Elsewhere(lab)


class Elsewhere:
    """A stored lab as views want it.

    Args:
        lab: What ``open_store`` gave.
    """

    def __init__(self, lab: Any) -> None:
        self._stored = lab
        self._store = lab._store
        self._lock = threading.Lock()
        self._rows: list[Row] = []
        self._read_at: Mark | None = None
        self.over = OVER

    @property
    def closed(self) -> bool:
        """Whether the file was let go of."""
        return bool(self._store._closed)

    def rows(self, paths: Iterable[str] | None = None) -> list[Row]:
        """The tree as last committed; read anew only if something was."""
        mark = self.mark()
        with self._lock:
            if mark != self._read_at:
                self._rows, self._read_at = stored_rows(self._store), mark
            wanted = None if paths is None else set(paths)
            return [row for row in self._rows if wanted is None or row.path in wanted]

    @property
    def _last(self) -> list[Row]:
        return self._rows

    def feed(self) -> Feed:
        """What is committed from now on."""
        return StoreFeed(self)

    def mark(self) -> Mark:
        """How far the store is: the last event, checkpoint, message and step."""
        ((event, checkpoint, message, step),) = self._store.select(MARK)
        return event or 0, checkpoint or 0, message or 0, step or 0

    def _read(self) -> Any:
        return self._store

    def seen(self, path: str) -> Seen | None:
        """An agent as last committed; None if none was there."""
        row = next((row for row in self.rows([path]) if row.kind == "agent"), None)
        if row is None:
            return None
        select = self._store.select
        image = self._store.state(path)
        seqs = select("SELECT max(seq) FROM checkpoint WHERE path = ?", (path,))
        waits = select(WAITS, (path,))
        lines = select(PRINTED, (path, LINES))
        letters = [Letter(key, method, sender, sent, 0, tries, [], "") for key, method, sender, sent, tries in waits]
        lengths = {name: len(saved) for name, saved in image.items() if isinstance(saved, list)}
        newest = {name: saved[-ITEMS:] if isinstance(saved, list) else saved for name, saved in image.items()}
        return Seen(
            path, row.cls, row.status, row.incarnation, row.restarts, row.node, row.reason or "", row.since,
            row.messages, seqs[0][0] or 0, newest, lengths, letters, len(letters),
            [line for (line,) in reversed(lines)], [], [],
        )  # fmt: skip

    def transcripts(self, path: str) -> list[str]:
        """The fields of an agent that are transcripts, as far as they have items."""
        return [name for (name,) in self._store.select("SELECT DISTINCT name FROM item WHERE path = ?", (path,))]

    def __getitem__(self, path: str) -> StoredRef:
        return StoredRef(self, path)

    def __repr__(self) -> str:
        return repr(self._stored)


class StoredRef:
    """What views ask a ref for, as far as the store has it: who only reads sees what waits, and cannot answer.

    Args:
        lab: Where it is.
        path: Which agent.
    """

    def __init__(self, lab: Elsewhere, path: str) -> None:
        self._lab = lab
        self.path = path
        self.draft: dict[str, Any] = {}

    def approvals(self) -> list[dict[str, Any]]:
        """Calls that wait for a person: step, tool, input, message, since."""
        found = stored_approvals(self._lab._read())
        names = ("step", "tool", "input", "message", "since")
        return [{name: row[name] for name in names} for row in found[found["path"] == self.path].to_dict("records")]

    def doubts(self) -> list[dict[str, Any]]:
        """``once`` steps that began and did not finish, of an agent that is parked: another's may be under way."""
        if not any(row.status == "parked" for row in self._lab.rows([self.path])):
            return []
        found = []
        for step, mark, method, at in self._lab._read().select(DOUBTS, (self.path,)):
            kind, name, *_ = json.loads(mark)
            if kind != "approval":
                found.append({"step": step, "name": name, "message": method, "began": at})
        return found


class StoreFeed(Feed):
    """What a store gets from now on, found by asking it."""

    def __init__(self, lab: Elsewhere) -> None:
        super().__init__(Hub())
        self._lab = lab
        self._at: Mark | None = None
        self._asked = 0.0

    def take(self) -> Change:
        """What was added since the last time; the first time that everything may have changed."""
        super().take()  # there is nothing in it: another process writes
        now = time.monotonic()
        if self._at is not None and now - self._asked < POLL:
            return Change([], set())
        self._asked, before, self._at = now, self._at, self._lab.mark()
        if before is None:
            return Change([], None)
        if before == self._at:
            return Change([], set())
        return self._since(before)

    def _since(self, before: Mark) -> Change:
        select = self._lab._store.select
        rows = select(f"SELECT {COLUMNS} FROM event WHERE seq > ? ORDER BY seq LIMIT {ASKED}", (before[0],))  # noqa: S608  # ours
        events = [Event(*row) for row in rows]
        if len(events) == ASKED:
            return Change(events, None)
        paths = {event.path for event in events}
        for table, last in zip(("checkpoint", "message", "step"), before[1:], strict=True):
            asked = f"SELECT DISTINCT path FROM {table} WHERE id > ? LIMIT {ASKED}"  # noqa: S608  # ours
            paths.update(path for (path,) in select(asked, (last,)))
        return Change(events, paths)
