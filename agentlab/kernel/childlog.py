"""Children and their pasts, as rows: who is kept, with which states; and what an earlier life of the lab had of them.

Nothing here is durable yet, and nobody is told of it: see ``agentlab.kernel.turn``.
"""

from __future__ import annotations

import time

from agentlab.agent.snapshot import Change
from agentlab.books.agents import Entry
from agentlab.books.dormant import Dormant
from agentlab.books.history import gone
from agentlab.books.specs import child_row
from agentlab.kernel.bulk import First, Paths, child_rows
from agentlab.kernel.eventlog import EventLog
from agentlab.kernel.messagelog import MessageLog
from agentlab.kernel.page import Page
from agentlab.kernel.promises import Promises
from agentlab.store.batch import Rows
from agentlab.supervision.records import Record
from agentlab.supervision.words import Fact


class ChildLog:
    """Keeps the children of supervisors and their checkpoints, so that the lab can be opened again.

    Attributes:
        as_stored: Children that wait to be resumed: the store knows what they were.
        promises: What steps ask to be done to children, until it is.
    """

    def __init__(self, page: Page, events: EventLog, messages: MessageLog) -> None:
        self._page = page
        self._events = events
        self._messages = messages
        self.as_stored: set[str] = set()
        self._recalled: dict[str, tuple[int, int, int]] = {}
        self._states: dict[str, dict[str, str | list[str]]] = {}  # of those that are about to come back
        self.promises = Promises()
        self._bases = {path for (path,) in page.store.select("SELECT DISTINCT base_path FROM fork")}

    def note_checkpoint(self, entry: Entry, changes: list[Change]) -> None:
        """The state as it is after the message just handled (or after ``on_start``)."""
        undone = entry.apply(changes)
        if self._page.outcome is not None:
            self._page.outcome.before += undone
        size = 0
        for (name, text, start, items), (_, old, _) in zip(changes, undone, strict=True):
            if text is None and (old or not items) and (start >= 0 or isinstance(old, list)):  # it began anew there
                self._page.batch.add_item(path=entry.path, name=name, seq=entry.seq, place=max(0, start), value=None)
            if text is not None or start < 0:
                self._page.batch.add_field(path=entry.path, name=name, seq=entry.seq, value=text)
                size += len(text or "")
            for place, item in enumerate(items, start):
                self._page.batch.add_item(path=entry.path, name=name, seq=entry.seq, place=place, value=item)
                size += len(item)
        self._page.batch.add_checkpoint(
            path=entry.path, seq=entry.seq, at=time.time_ns(), incarnation=max(1, entry.incarnation), bytes=size,
            cls=entry.kind.name,
        )  # fmt: skip

    def note_start(self, entry: Entry) -> None:
        """A new incarnation runs."""
        self._events.note_start(entry)
        self.keep_child(entry.record, entry)

    def note_starts(self, records: list[Record], note: Dormant) -> None:
        """The same of agents that were started together under one supervisor, and of their first states."""
        supervisor = records[0].supervisor
        assert supervisor is not None
        above = supervisor.path
        paths = Paths(above, [record.id for record in records])
        if self._page.durable and not self._page.closing:
            self._page.batch.add_many("child", Rows(lambda: child_rows(records, paths, above), len(records)))
        First(records, paths, note).add_to(self._page.batch)
        self._events.note_together("started", paths, note.at, 1, None)
        self._page.touched.add(above)

    def keep_supervisor(self, fact: Fact, newest: int) -> None:
        """Write down how a supervisor stands now, if the fact says that it changed; ``newest``: its incarnation."""
        # A lab that ends does not end its tree: it is brought back from here.
        if (
            not self._page.closing
            and fact.record.is_supervisor
            and fact.kind in ("supervisor_started", "down", "parked")
        ):
            self.keep_child(fact.record, None, newest)

    def drop_child(self, record: Record) -> None:
        """Nothing is kept at its path any more."""
        if not self._page.closing:
            self._page.batch.add("gone", record.path)
            if record.is_supervisor:
                self._page.batch.add("gone_below", record.path + "/")
            self._keep_promise(record, "gone")

    def keep_child(self, record: Record, entry: Entry | None, incarnation: int = 1) -> None:
        """Write down that this child is kept, so that the lab can be opened again."""
        if record.state != "parked":
            self.as_stored.discard(record.path)
        if (
            self._page.durable
            and record.supervisor is not None
            and not self._page.closing
            and record.path not in self.as_stored
        ):
            row = child_row(record, entry, incarnation)
            self._page.batch.add("child", *row)
            self._keep_promise(record, row.status)

    def _keep_promise(self, record: Record, status: str) -> None:
        """One commit holds what an act did to this child and the answer to whoever asked for it."""
        promise = self.promises.fulfil(record, status)
        if promise is not None:
            self._messages.keep_answer(promise.asker, promise.answer(record))

    def forget_agent(self, path: str) -> None:
        """The agent is gone for good: a later one with its id starts fresh."""
        if self._page.closing:
            return
        self._recalled.pop(path, None)
        self._states.pop(path, None)
        self._page.batch.add("gone", path)
        if path in self._bases:  # its forks' past is its own: it goes on under a name that no agent can have
            past = gone(path)
            for table in ("moved", "moved_items", "moved_checkpoints", "moved_fork", "moved_base"):
                self._page.batch.add(table, past, path)
            self._bases.discard(path)
            self._bases.add(past)
        for table in ("forget", "forget_items", "forget_checkpoints", "forget_fork"):
            self._page.batch.add(table, path)
        self._events.forget_path(path)

    def note_fork(
        self, entry: Entry, base: str, seq: int, *, again: tuple[int, int, int] | None = None, source: str
    ) -> None:
        """An agent whose past is another's.

        Args:
            entry: The fork.
            base: The path whose past it is, up to ``seq``.
            seq: Up to where.
            again: The key of the message that it handles again; the key of the base's, and its first step to run.
            source: The same in words.
        """
        self._bases.add(base)
        key, base_key, base_step = again or (None, None, None)
        self._page.batch.add_fork(
            path=entry.path, base_path=base, base_seq=seq, key=key, base_key=base_key, base_step=base_step
        )  # fmt: skip
        self._events.note_event("forked", entry.path, detail=source)

    def expect_agents(self, past: dict[str, tuple[int, int, int]]) -> None:
        """Agents that the store remembers: path to incarnation, restarts, seq."""
        self._recalled.update(past)

    def starts_before(self, path: str) -> int:
        """How often a supervisor has come up in earlier kernels; told once."""
        return self._recalled.pop(path, (0,))[0]

    def remembers_agent(self, path: str) -> bool:
        """Whether an agent at this path comes back."""
        return path in self._recalled

    def stored_state(self, path: str) -> dict[str, str | list[str]]:
        """The state that an agent comes back with, before it does; the store is asked once for both."""
        state = self._states[path] = self._page.store.state(path)
        return state

    def recall_agent(self, entry: Entry) -> None:
        """Give an agent that the store remembers its past back."""
        past = self._recalled.pop(entry.path, None)
        if past is not None:
            entry.incarnation, entry.restarts, entry.seq = past
            known = self._states.pop(entry.path, None)
            entry.fields = self._page.store.state(entry.path) if known is None else known
            entry.reason = "the lab was opened again"
