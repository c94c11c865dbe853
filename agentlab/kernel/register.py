"""Who is in the books: agents enter them with their first life, stay in them between lives, and leave them.

The supervision machine says when: each of its facts is written down here, for the books and for the store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentlab.books.agents import Entry
from agentlab.books.phase import RETURNING
from agentlab.exits import reason_text
from agentlab.kernel.desk import Desk
from agentlab.kernel.failures import Failures
from agentlab.kernel.own_time import OwnTime
from agentlab.supervision.past import noted
from agentlab.supervision.records import Record
from agentlab.supervision.words import Fact, FactKind


class Register:
    """The agents of a lab, and what is true of them by the supervision machine.

    Attributes:
        births: What a fork begins with, by the identity of its spec, or of an instance's fields, while it is asked for.
    """

    def __init__(self, desk: Desk, failures: Failures, own_time: OwnTime) -> None:
        self._desk = desk
        self._failures = failures
        self._time = own_time
        self.births: dict[int, Callable[[Entry], None]] = {}

    def enter(self, record: Record) -> Entry:
        """The entry of an agent, made if the books have none, and brought to what its record says."""
        desk = self._desk
        path = record.path
        entry = desk.entries.get(path)
        record.note = None
        what: Any = record.spec.what
        if entry is None:
            entry = Entry(record, desk.kinds.of(what))
            desk.entries.put(entry)
            desk.ledger.children.recall_agent(entry)
            birth = self.births.get(id(record.spec)) or self.births.get(id(record.fields))
            if birth is not None:
                birth(entry)
            desk.ledger.children.keep_child(record, entry)
        elif entry.record is not record or entry.spec is not record.spec:
            entry.belong_to(record, desk.kinds.of(what))
            desk.ledger.children.keep_child(record, entry)
        return entry

    def note(self, fact: Fact) -> None:
        """Something that the machine says is true now."""
        desk, record = self._desk, fact.record
        if record.note is not None and desk.ledger.closing:
            if fact.kind == "removed":
                desk.ledger.events.note_like_siblings("removed", record, None, fact.reason)
            return
        if fact.kind == "supervisor_started":
            desk.supervisors.began(fact.path, fact.life or 0, before=desk.ledger.children.starts_before(fact.path))
        desk.ledger.events.note_fact(fact, desk.supervisors.number(fact.life))
        desk.ledger.children.keep_supervisor(fact, desk.supervisors.count(fact.path))
        if fact.kind == "removed" and not self._has_heir(record):
            desk.ledger.children.drop_child(record)
            desk.supervisors.forget(fact.path)
            self._forget_waiting(fact.path)
        if record.is_supervisor:
            act = SUPERVISOR_ACTS.get(fact.kind)
            if act is not None:
                act(self, fact)
        elif fact.kind in ("parked", "down", "removed"):
            self._note_end(fact)

    def _forget_waiting(self, path: str) -> None:
        """What waited to be resumed is gone for good, and all below it; a later one with its id starts fresh."""
        place = self._desk.waiting.places.get(path)
        if place is not None:
            self._desk.waiting.remove(place)
            for below in place.walk():
                self._desk.ledger.children.forget_agent(below.path)

    def _has_heir(self, record: Record) -> bool:
        """Whether another child has its path already: its supervisor ended slowly, and that one's successor runs.

        What the machine has is not enough to say that: it is ahead of its commands, so a record that it has at this
        path may be of a child whose start is yet to be carried out.
        """
        desk, path = self._desk, record.path
        now = desk.tree.find(path)
        if now is None or now is record:
            return False
        if now.is_supervisor:
            return desk.supervisors.life(path) != 0 or any(e.record.is_below(now) for e in desk.entries.values())
        entry = desk.entries.peek(path)
        return now.note is not None if entry is None else entry.record is not record

    def _note_end(self, fact: Fact) -> None:
        """An agent is kept without a process, or gone for good."""
        desk, record = self._desk, fact.record
        entry = desk.entries.make(record) or desk.entries.get(fact.path)
        if entry is None and (fact.kind == "parked" or fact.path in desk.ledger.children.as_stored):
            entry = self.enter(record)  # kept, but never started by this process
        if entry is None:
            return
        if entry.record is not record:
            if fact.kind == "removed" or entry.life:
                return
            what: Any = record.spec.what
            entry.belong_to(record, desk.kinds.of(what))  # its supervisor is back, and it stays down
        if fact.kind == "removed":
            self.forget(entry, fact.reason)
            return
        if entry.phase is RETURNING:
            return  # it is about to be started again: its messages wait
        entry.go_down()
        if fact.kind == "parked":
            entry.reason = fact.reason
        for_good = fact.kind == "down" or entry.is_asked_to_stop
        self._failures.drop(entry, fact.reason, casts=for_good, patient=not for_good)
        if for_good:
            self._leave_topics(entry)
        desk.ledger.children.keep_child(record, entry)
        desk.settle(entry)

    def stop_parked(self, entry: Entry, reason: Any) -> None:
        """Somebody wants an agent that is parked already to be over, for good: its id is free again."""
        desk = self._desk
        entry.stop_for_good()
        entry.reason = reason
        desk.ledger.events.note_event("stopped", entry.path, incarnation=entry.incarnation, reason=reason_text(reason))
        self._failures.drop(entry, reason)
        self._leave_topics(entry)
        desk.ledger.children.as_stored.discard(entry.path)
        desk.ledger.children.keep_child(entry.record, entry)
        desk.settle(entry)

    def _supervisor_ended(self, fact: Fact) -> None:
        """Its life is none any more; ``Lives`` tells those who are tied to it."""
        self._desk.supervisors.ended(fact.path, fact.life or 0)

    def _supervisor_down(self, fact: Fact) -> None:
        """Its agents stay in the books but do not run: their callers are told now.

        If it is stopped to be started again, all is as after a crash: those below start again with it, or are removed,
        and messages wait. If it is parked, what was cast waits for who starts it again, as for a parked agent.
        """
        if fact.kind == "down" and self._desk.supervisors.comes_back(fact.path):
            return
        for entry in self._left_below(fact.record):
            entry.go_down()
            self._failures.drop(entry, fact.reason, casts=fact.kind == "down" or entry.is_asked_to_stop)

    def _supervisor_removed(self, fact: Fact) -> None:
        """Its agents are gone for good with it."""
        for entry in self._left_below(fact.record):
            self.forget(entry, fact.reason)

    def _left_below(self, record: Record) -> list[Entry]:
        """The agents of a supervisor that is gone, but not of its successor; none in a lab that closes."""
        desk, path = self._desk, record.path
        if desk.ledger.closing:
            return []
        now = desk.tree.find(path)
        heir = now if now is not record else None
        for below in noted(record):  # it may have ended before it had brought all of them back
            desk.entries.make(below)
        return [entry for entry in desk.entries.below(path) if heir is None or not entry.record.is_below(heir)]

    def forget(self, entry: Entry, reason: Any) -> None:
        """The agent is gone for good; a later one with its id starts fresh."""
        desk = self._desk
        self._failures.drop(entry, entry.doubt or reason, gone=True)
        if desk.entries.peek(entry.path) is not entry:
            return  # a dormant one, and another has its path
        desk.entries.remove(entry.path)
        if not entry.life:
            desk.active.discard(entry)
        self._leave_topics(entry)
        self._time.forget(entry.path)
        desk.ledger.children.forget_agent(entry.path)

    def _leave_topics(self, entry: Entry) -> None:
        topics = self._desk.topics
        for topic in entry.topics:
            topics[topic].pop(entry.path, None)
            if not topics[topic]:
                del topics[topic]
        entry.topics = frozenset()


SUPERVISOR_ACTS: dict[FactKind, Callable[[Register, Fact], None]] = {
    "supervisor_exited": Register._supervisor_ended,
    "down": Register._supervisor_down,
    "parked": Register._supervisor_down,
    "removed": Register._supervisor_removed,
}
"""What a fact about a supervisor means for the agents below it."""
