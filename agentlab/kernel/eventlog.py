"""Events, numbered, and what else touches the tree: lives that begin and end, what they print, what the machine says.

Nothing here is durable yet, and nobody is told of it: see ``agentlab.kernel.turn``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from agentlab.books.agents import Entry
from agentlab.books.messages import Message
from agentlab.events import Event, EventKind, Move
from agentlab.exits import Crash, is_graceful, reason_text
from agentlab.ground.redaction import redact, redact_name
from agentlab.kernel.bulk import Alike, Facts, Paths
from agentlab.kernel.page import Page
from agentlab.store.batch import Rows
from agentlab.supervision.records import Record
from agentlab.supervision.words import Fact, FactKind, GaveUp, Used


class EventLog:
    """Gives each event its number, and notes which places of the tree look different.

    Attributes:
        alike: Events of siblings that have no numbers yet.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self.alike: Alike | None = None
        self._ended_at: dict[str, int] = {}
        last = page.store.select("SELECT max(seq) FROM event")
        self._seq = (last[0][0] or 0) if last else 0

    def note_event(
        self, kind: EventKind, path: str, *, incarnation: int | None = None, node: int | None = None,
        reason: str | None = None, detail: str | None = None, took_s: float | None = None,
    ) -> None:  # fmt: skip
        """Note a fact; it gets the next number."""
        if self.alike is not None:
            self.number_siblings()
        self._seq += 1
        reason, detail = reason and redact(reason), detail and redact(detail)
        event = Event(self._seq, time.time_ns(), kind, redact_name(path), incarnation, node, reason, detail, took_s)
        self._page.events.append(event)
        self._page.batch.add("event", *event)
        self._page.touched.add(path)

    def touch_path(self, path: str) -> None:
        """Say that this place of the tree looks different now."""
        self._page.touched.add(path)

    def note_like_siblings(self, kind: EventKind, record: Record, incarnation: int | None, reason: Any) -> None:
        """Note a fact as ``note_event`` does; many in a row about siblings, with one reason, cost little."""
        known = self.alike
        if known is None or known.kind != kind or known.parent is not record.parent or known.reason is not reason:
            self.number_siblings()
            known = self.alike = Alike(kind, record.parent, incarnation, reason)
        known.ids.append(record.id)

    def number_siblings(self) -> None:
        """Give the events of siblings that were alike so far their numbers."""
        known, self.alike = self.alike, None
        if known is not None and known.parent is not None:
            paths = Paths(known.parent.record.path, known.ids)
            self.note_together(known.kind, paths, time.time_ns(), known.incarnation, reason_text(known.reason))

    def note_together(
        self, kind: EventKind, paths: Paths, at: int, incarnation: int | None, reason: str | None
    ) -> None:
        """Note the same of all who have these paths."""
        self.number_siblings()
        facts = Facts(self._seq + 1, at, kind, paths, incarnation, reason)
        self._seq += len(paths)
        self._page.events.append(facts)
        self._page.batch.add_many("event", Rows(lambda: facts, len(paths)))

    def note_start(self, entry: Entry) -> None:
        """A new incarnation runs: an event, and a restart if it is not the first."""
        self.note_event("started", entry.path, incarnation=entry.incarnation, node=entry.node)
        ended = self._ended_at.pop(entry.path, None)
        if entry.incarnation > 1:
            supervisor = entry.record.supervisor
            now = time.time_ns()
            self._page.batch.add_restart(
                path=entry.path, at=now, incarnation=entry.incarnation, reason=reason_text(entry.reason),
                fault=_fault(entry.reason), supervisor=supervisor.path if supervisor else None,
                strategy=_strategy(supervisor), backoff_s=None, downtime_s=(now - ended) / 1e9 if ended else None,
                rewound=entry.rewound,
            )  # fmt: skip
        entry.rewound = 0

    def note_end(self, entry: Entry, reason: Any, *, late: bool = False) -> None:
        """A life is over; ``late``: its successor was not waiting for that."""
        kind: EventKind = "exited" if is_graceful(reason) else "killed" if reason == "killed" else "crashed"
        detail = reason.traceback if isinstance(reason, Crash) else None
        if not late:
            self._ended_at[entry.path] = time.time_ns()
        text = reason_text(reason)
        self.note_event(kind, entry.path, incarnation=entry.incarnation, node=entry.node, reason=text, detail=detail)

    def note_failed_start(self, entry: Entry, node: int, reason: Any) -> None:
        """A life did not come up."""
        detail = reason.traceback if isinstance(reason, Crash) else None
        self.note_event("start_failed", entry.path, node=node, reason=reason_text(reason), detail=detail)

    def note_traced_message(self, entry: Entry, message: Message, shown: str) -> None:
        """A message of an agent that is traced."""
        self.note_event("message", entry.path, incarnation=entry.incarnation, node=entry.node, detail=shown)

    def note_move(self, entry: Entry, why: Move) -> None:
        """An agent leaves its node for another: see ``Move``."""
        self._ended_at[entry.path] = time.time_ns()
        self.note_event(why, entry.path, incarnation=entry.incarnation, node=entry.node, reason=why)

    def note_printed_line(self, entry: Entry, line: str) -> None:
        """A line that an agent printed."""
        line = line.encode("utf-8", "backslashreplace").decode("utf-8")
        entry.lines().append(line)
        self.note_event("log", entry.path, incarnation=entry.incarnation, node=entry.node, detail=line)

    def pass_text_on(self, entry: Entry, text: str) -> None:
        """Text of the live transcript: it passes by, the hub alone sees it."""
        self._page.events.append(
            Event(0, time.time_ns(), "emit", entry.path, entry.incarnation, entry.node, None, text)
        )

    def note_fact(self, fact: Fact, incarnation: int | None) -> None:
        """Note what the supervision machine says, as an event where a person would want to know.

        Args:
            fact: What it says.
            incarnation: Of the supervisor whose life the fact is about.
        """
        self._page.touched.add(fact.path)
        if fact.record.supervisor is not None:
            self._page.touched.add(fact.record.supervisor.path)
        kind = EVENT_KINDS.get(fact.kind)
        if kind is not None:
            reason = reason_text(fact.reason) if fact.reason is not None else None
            self.note_event(kind, fact.path, incarnation=incarnation, reason=reason, detail=_detail(fact.detail))

    def forget_path(self, path: str) -> None:
        """The agent is gone for good: a later one at its path was not down since this one ended."""
        self._ended_at.pop(path, None)


EVENT_KINDS: Mapping[FactKind, EventKind] = {
    "supervisor_started": "supervisor_started", "supervisor_failed": "supervisor_failed",
    "supervisor_exited": "supervisor_exited", "restarting": "restarting", "backing_off": "backing_off",
    "gave_up": "gave_up", "parked": "parked", "down": "stopped", "removed": "removed",
    "shutdown_error": "shutdown_error",
}  # fmt: skip
"""The machine's facts that are events, and the events' words."""


def _detail(detail: Any) -> str | None:
    if isinstance(detail, Used):
        return f"{detail.restarts} of {detail.allowed:g} restarts in {detail.seconds:g} s"
    if isinstance(detail, GaveUp):
        last = f": {reason_text(detail.crashes[-1][2])}" if detail.crashes else ""
        span = detail.crashes[-1][0] - detail.crashes[0][0] if detail.crashes else 0.0
        return f"gave up after {len(detail.crashes)} crash{'es' * (len(detail.crashes) != 1)} in {span:.1f} s{last}"
    if isinstance(detail, float):
        return f"waits {detail:.3g} s"
    return None if detail is None else str(detail)


def _fault(reason: Any) -> str | None:
    if not isinstance(reason, Crash):
        return None
    return reason.fault if reason.fault not in ("", "crash") else reason.type


def _strategy(supervisor: Record | None) -> str | None:
    return None if supervisor is None else str(getattr(supervisor.spec.what, "strategy", ""))
