"""The ledger: what one loop turn wrote, committed as a whole, and only then told.

Everything that must be durable before anybody sees it passes through here: checkpoints, outcomes, events.
``commit`` writes the turn's batch, then runs what waited for it: replies first, then the hub.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

from agentlab.books.agents import Entry
from agentlab.books.messages import Message
from agentlab.errors import StoreError, StoreFull
from agentlab.events import Event, Hub
from agentlab.ground.words import counted
from agentlab.kernel.bulk import Facts
from agentlab.kernel.childlog import ChildLog
from agentlab.kernel.eventlog import EventLog
from agentlab.kernel.messagelog import MessageLog
from agentlab.kernel.page import Outcome, Page
from agentlab.store.batch import Batch
from agentlab.store.database import Store

AGAIN_SECONDS = 0.25
"""After the store refused a commit, for so long no other is tried."""

MOST_ROWS = 20_000
"""Rows that wait for a store that refuses, before events among them are forgotten."""


class Ledger:
    """What waits for the commit, and what happens then.

    Attributes:
        events: Notes events, and what looks different.
        messages: Notes messages, steps, timers and dead letters.
        children: Notes children, their states and their pasts.
    """

    def __init__(self, store: Store, hub: Hub, *, in_memory: bool = False) -> None:
        """Begin with an empty batch; ``in_memory``: on a full disk go on, and write when there is space."""
        self._page = Page(store)
        self.events = EventLog(self._page)
        self.messages = MessageLog(self._page, self.events)
        self.children = ChildLog(self._page, self.events, self.messages)
        self.store = store
        self.in_memory = in_memory
        self.closed = False
        self._hub = hub
        self._after: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._outcomes: list[Outcome] = []
        self._refused: tuple[float, StoreError] | None = None  # when the store refused last, and why

    def after_commit(self, action: Callable[..., None], *args: Any) -> None:
        """Run this once the turn is durable."""
        self._after.append((action, args))

    def begin_outcome(self, entry: Entry, message: Message) -> Outcome:
        """What is written from here to ``end_outcome`` is one message's: it is taken back if it cannot be stored."""
        outcome = Outcome(entry, message, entry.seq, len(self._page.batch.rows), len(self._after))
        self._page.outcome = outcome
        return outcome

    def end_outcome(self) -> None:
        """The message is written down."""
        outcome, self._page.outcome = self._page.outcome, None
        if outcome is not None:
            outcome.rows = slice(outcome.rows.start, len(self._page.batch.rows))
            outcome.after = slice(outcome.after.start, len(self._after))
            self._outcomes.append(outcome)

    def commit(self) -> None:
        """Make the turn durable, then tell. With ``in_memory`` what a full disk refuses is told, and written later.

        Raises:
            StoreError: Nothing was committed; ``take_back`` says who is concerned.
        """
        if self.events.alike is not None:
            self.events.number_siblings()
        full = self.in_memory and self._refused is not None
        if self._page.batch.rows:
            try:
                self._write()
            except StoreFull as error:
                if not self.in_memory:
                    raise
                self._remember(error)
        self._tell()
        if full and self._refused is None:
            self.events.note_event("store_written", "/", detail="there is space again; all that waited is stored")

    @property
    def durable(self) -> bool:
        """Whether the store is a file."""
        return self._page.durable

    @property
    def closing(self) -> bool:
        """Whether the lab ends; its tree does not, and is brought back as it was."""
        return self._page.closing

    def begin_closing(self) -> None:
        """From here on the tree is kept as it is."""
        self._page.closing = True

    @property
    def touched(self) -> Collection[str]:
        """The places of the tree that look different, until that is told."""
        return self._page.touched

    @property
    def has_news(self) -> bool:
        """Whether something was noted that no commit has seen."""
        return bool(self._after or self._page.events or self._page.touched or self._page.batch.rows)

    @property
    def waits(self) -> bool:
        """Whether something is not written yet."""
        return bool(self._page.batch.rows)

    @property
    def refused(self) -> StoreError | None:
        """Why the store has not taken what waits; None if nothing does."""
        return self._refused[1].with_traceback(None) if self._refused is not None and self._page.batch else None

    def _write(self) -> None:
        if self._refused is not None and time.monotonic() < self._refused[0] + AGAIN_SECONDS:
            raise self._refused[1].with_traceback(None)
        self.store.commit(self._page.batch)
        self._page.batch, self._refused = Batch(), None

    def _remember(self, error: StoreError) -> None:
        if self._refused is None:
            self.events.note_event("store_full", "/", reason=str(error), detail="the lab goes on in memory")
        self._was_refused(error)

    def _was_refused(self, error: StoreError) -> None:
        """Note when, and forget a past that is too long for memory before anything else."""
        if self._refused is None or error is not self._refused[1]:
            self._refused = time.monotonic(), error
        del self._page.events[:-MOST_ROWS]
        rows = self._page.batch.rows
        if len(rows) > MOST_ROWS:
            past = len(rows) - MOST_ROWS
            rows[:past] = [(table, row) for table, row in rows[:past] if table not in ("event", "message")]

    def _tell(self) -> None:
        self._outcomes.clear()
        after, self._after = self._after, []
        for action, args in after:
            action(*args)
        if self._page.events or self._page.touched:
            events, self._page.events = self._page.events, []
            touched, self._page.touched = self._page.touched, set()
            if self._hub.watched:
                touched.update(*(facts.paths for facts in events if isinstance(facts, Facts)))
                self._hub.publish(list(_singly(events)), touched)

    def take_back(self, error: StoreError) -> list[Outcome]:
        """The store refused the turn: its messages' outcomes are undone, the last one first.

        What else is true (who started, which step ended, what came in) waits for a commit that succeeds, and
        so does who waits for that.
        """
        outcomes, self._outcomes = self._outcomes[::-1], []
        rows = self._page.batch.rows
        for outcome in outcomes:
            del rows[outcome.rows]
            del self._after[outcome.after]
            outcome.entry.undo(outcome.before)
            outcome.entry.seq = outcome.seq
        self._was_refused(error)
        return outcomes

    def close(self) -> None:
        """Write what is left and let go of the store.

        Raises:
            StoreError: It could not be written; who waits for an answer is told that there is none.
        """
        self._refused, self.in_memory, self.closed = None, False, True
        try:
            self.commit()
        except StoreError as error:
            for action, args in self._after:
                if isinstance(args[-1], BaseException):
                    action(*args)
            rows = len(self._page.batch.rows)
            lost = f"{counted(rows, 'row')} of what happened since {'is' if rows == 1 else 'are'} lost"
            raise type(error)(f"{error} The lab is closed, its store is as its last commit left it: {lost}.") from None
        finally:
            self.store.close()


def _singly(events: list[Event | Facts]) -> Iterator[Event]:
    for event in events:
        if isinstance(event, Facts):
            yield from event
        else:
            yield event
