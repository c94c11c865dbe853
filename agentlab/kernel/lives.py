"""Lives in the kernel: started and ended.

The supervision machine says which life starts and which is told to end; this carries it out and reports
back. A life that may be running code is over when its node says that it is gone, or when its node has not
answered for a while; one at rest is over at once.
"""

from __future__ import annotations

import time
from typing import Any

from agentlab.agent.snapshot import Change
from agentlab.books.agents import Entry
from agentlab.books.dormant import Dormant
from agentlab.books.phase import DORMANT, MOVING, WAKING, After
from agentlab.books.specs import is_dynamic
from agentlab.exits import has_diverged, reason_text
from agentlab.kernel.desk import Desk
from agentlab.kernel.failures import SKIPPED, Failures
from agentlab.kernel.machine import Machine
from agentlab.kernel.placing import Placing
from agentlab.kernel.register import Register
from agentlab.kernel.signals import Fatal, Signals
from agentlab.kernel.undecided import Undecided
from agentlab.pool.pool import Node
from agentlab.supervision.records import Record
from agentlab.supervision.words import (
    Begun,
    Exited,
    Fact,
    Failed,
    Ignored,
    SignalWorker,
    Start,
    Started,
    Then,
)
from agentlab.wire.exceptions import Term, decode_reason, encode_reason
from agentlab.wire.frames import Blame

FENCE_SECONDS = 0.25
"""So long the successor of a life that was ended waits for the word of its node."""

THEN: dict[After, Then] = {"judged": "", "moves": "", "parked": "park", "returns": "park", "again": "again"}
"""What the machine is told to do after a life."""


class Lives:
    """The lives of a lab's agents."""

    def __init__(
        self, desk: Desk, placing: Placing, signals: Signals, *, failures: Failures, undecided: Undecided,
        register: Register,
    ) -> None:  # fmt: skip
        """Begin with none; the supervision machine's driver is fed here."""
        self._desk = desk
        self._placing = placing
        self._signals = signals
        self._failures = failures
        self._undecided = undecided
        self._register = register
        self.machine = Machine(desk, self)

    # the machine's commands

    def begun(self, command: Begun) -> None:
        """Agents run that need no node before somebody reaches for them."""
        desk = self._desk
        new: dict[int, list[Record]] = {}  # by the spec that they share
        for record in command.records:
            if desk.ledger.children.remembers_agent(record.path):
                self._come_back(record)
            else:
                new.setdefault(id(record.spec), []).append(record)
        for records in new.values():
            cls: Any = records[0].spec.what
            kind = desk.kinds.of(cls)
            own = all(record.fields for record in records)  # then what they share need not be a whole state
            note = Dormant(kind, time.time_ns(), {} if own else kind.first(records[0].spec.fields))
            for record in records:
                record.note = note
            desk.entries.dormant += len(records)
            desk.ledger.children.note_starts(records, note)
        desk.due()

    def _come_back(self, record: Record) -> None:
        """One of a stored lab: its next incarnation has nothing to do either."""
        entry = self._begin(record, record.life or 0)
        entry.restarts += 1
        self._placing.lull(entry)

    def start(self, command: Start) -> None:
        """Start a life."""
        entry = self._begin(command.record, command.life)
        if _lies_down(entry):
            entry.restarts += 1
            self._placing.lull(entry)
            self.machine.feed(Started(command.life))
        else:
            self._placing.place(entry)
        self._desk.settle(entry)

    def _begin(self, record: Record, life: int) -> Entry:
        """The entry of an agent whose next life begins."""
        before = self._desk.entries.get(record.path)
        if before is not None and before.life:  # its supervisor was killed: it still runs its on_stop
            self._outlive(before)
        entry = self._register.enter(record)
        entry.begin(life)
        entry.suspended = False
        self._desk.lives[life] = entry
        return entry

    def _outlive(self, entry: Entry) -> None:
        self._failures.judge(entry, "killed", None)
        old = entry.outlive()
        self._desk.lives[old.life] = old
        if old.place:
            self._desk.placed[old.place] = old
            self._placing.questions.left(old.place)  # what was asked was asked of the agent
        self._desk.settle(old)

    def signal(self, command: SignalWorker) -> None:
        """An exit signal from the supervisor. It is trapped by who says so, or has an ``on_stop``."""
        if self._dismiss(command):
            return
        entry = self._desk.living(command.life)
        if entry is None:
            return
        traps = entry.kind.traps_shutdown and not entry.is_starting
        if command.reason == "kill" or not traps:
            self.end(entry, "killed" if command.reason == "kill" else command.reason)
            return
        entry.order_end(command.reason)
        self._desk.settle(entry)
        say = self._placing.reach(entry)
        if say is None:
            self.drop(entry, command.reason)
        else:
            say.signal(placement=entry.place, reason=encode_reason(command.reason))

    def _dismiss(self, command: SignalWorker) -> bool:
        """End a dormant life without an entry being made for it, with the lab or for an heir; whether that was done."""
        record = self._desk.tree.find_life(command.life)
        if record is None or record.note is None:
            return False
        kill = command.reason == "kill"
        if not self._desk.ledger.closing:
            if command.reason != "killed" or not _has_passed_on(record):
                return False
            record.note = None
        elif record.note.kind.traps_shutdown and not kill:
            return False
        reason = "killed" if kill else command.reason
        self._desk.ledger.events.note_like_siblings("killed" if reason == "killed" else "exited", record, 1, reason)
        self.machine.feed(Exited(command.life, reason))
        return True

    def note(self, fact: Fact) -> None:
        """Something that the machine says is true now; who is tied to a supervisor hears of its end."""
        self._register.note(fact)
        if fact.kind == "supervisor_exited":
            self.tell_others(fact.life or 0, fact.path, fact.reason)

    # what nodes report

    def on_started(self, node: Node, *, placement: int, changes: list[Change]) -> None:
        """A life is up: what waited for it is handed over."""
        entry = self._desk.placed.get(placement)
        if entry is None or entry.is_fenced:
            return
        if entry.phase is WAKING:
            self._on_awake(entry, changes)
            return
        entry.incarnation += 1
        entry.restarts += entry.incarnation > 1 and entry.phase is not MOVING
        entry.since = time.time_ns()
        if changes:
            if entry.incarnation > 1:  # the first state is checkpoint 0, each later one has its own number
                entry.next_seq()
            self._desk.ledger.children.note_checkpoint(entry, changes)
        self._desk.ledger.children.note_start(entry)
        entry.come_up()
        self.machine.feed(Started(entry.life))
        if entry.doubt is not None:  # its siblings, a person or a new kernel started it too early
            self.drop(entry, "shutdown")
            return
        self._placing.steer(entry)
        self._placing.hand_over(entry)
        self._desk.settle(entry)

    def _on_awake(self, entry: Entry, changes: list[Change]) -> None:
        """A life that was dormant is on its node; it had started long before."""
        entry.come_up()
        self._placing.tell(entry).open(placement=entry.place)
        if changes:  # a set, say, whose JSON has another order there
            entry.next_seq()
            self._desk.ledger.children.note_checkpoint(entry, changes)
        self._desk.settle(entry)

    def on_failed(self, node: Node, *, placement: int, reason: Term, key: int | None, blame: Blame) -> None:
        """A life did not come up; ``Exit("normal")`` in ``on_start`` is OTP's *ignore*."""
        entry = self._desk.placed.get(placement)
        if entry is not None:
            self.failed(entry, decode_reason(reason))

    def failed(self, entry: Entry, reason: Any) -> None:
        """A life did not come up, for this reason."""
        if entry.is_known_to_run:
            self.over(entry, reason)
            return
        life, node = entry.life, entry.node
        self._leave(entry)
        entry.reason = reason
        if reason == "normal":
            self._desk.ledger.events.note_event("ignored", entry.path, node=node)
            self.machine.feed(Ignored(life))
        else:
            self._desk.ledger.events.note_failed_start(entry, node or 0, reason)
            self.machine.feed(Failed(life, reason))
        self._desk.settle(entry)

    def on_burnt(self, node: Node, *, placement: int) -> None:
        """Who keeps using up its slices has left its node between two messages; one that ends gets no other."""
        entry = self._desk.placed.get(placement)
        if entry is not None and (entry.is_ending or self._desk.is_outlived(entry)):
            self.over(entry, entry.reason_to_end)
        else:
            self._placing.on_burnt(placement)

    def on_ended(
        self, node: Node, *, placement: int, reason: Term, key: int | None, blame: Blame, why: str
    ) -> None:  # fmt: skip
        """A life ended by itself, or as it was told."""
        entry = self._desk.placed.get(placement)
        if entry is not None:
            self.over(entry, decode_reason(reason), key=key, blame=blame, why=why)

    # ends

    def tell_others(self, life: int, path: str, reason: Any) -> None:
        """A life ended: those linked to it get a signal, which may end them too, and its watchers a word."""
        for fatal in self._signals.over(life, path, reason):
            self.end(*fatal)

    def link(self, entry: Entry, path: str) -> None:
        """Link two lives; a link to nobody may end who asks for it."""
        self._heed(self._signals.link(entry, path))

    def exit_signal(self, entry: Entry, reason: Any, sender: str) -> None:
        """An exit signal from a stranger."""
        self._heed(self._signals.arrive(entry, reason, sender))

    def _heed(self, fatal: Fatal | None) -> None:
        if fatal is not None:
            self.end(*fatal)

    def end(self, entry: Entry, reason: Any) -> None:
        """End a life, whatever it does: one at rest at once, else when its node says that it is gone."""
        if not entry.life:
            return
        if not self._may_run(entry):
            self.drop(entry, reason)
        elif entry.heeds(reason):
            entry.order_end_at_once(reason)
            self._fence(entry, reason)

    def _fence(self, entry: Entry, reason: Any) -> None:
        """Have its node end a life; who comes after it waits for the node's word."""
        self._placing.tell(entry, wake=False).end(placement=entry.place, reason=encode_reason(reason))
        self._desk.loop.call_later(FENCE_SECONDS, self._overdue, entry, entry.place)
        self._desk.settle(entry)

    def leave_message(self, entry: Entry) -> None:
        """Its code does not let go of a message that was skipped: it goes on in another life, uncounted."""
        if entry.life and not entry.is_fenced:
            entry.order_to_leave(SKIPPED)
            self._fence(entry, SKIPPED)

    def _may_run(self, entry: Entry) -> bool:
        """Whether a node may be running code of this life now."""
        return entry.may_run_code and entry.node in self._desk.pool.nodes and not self._desk.ledger.closing

    def _overdue(self, entry: Entry, place: int) -> None:
        """Its node is busy with somebody else's code, or with its own in C: the successor gets another node."""
        if entry.place == place and entry.is_fenced:
            entry.shunned = entry.node
            self.drop(entry, entry.reason_to_end)
            self._desk.due()

    def drop(self, entry: Entry, reason: Any) -> None:
        """A life is over although its node has not said so: what it still says is not heard."""
        if entry.phase is not DORMANT:
            self._placing.tell(entry, wake=False).end(placement=entry.place, reason=encode_reason(reason))
        self.over(entry, reason)

    def over(
        self, entry: Entry, reason: Any, *, key: int | None = None, blame: Blame = "none", why: str = ""
    ) -> None:  # fmt: skip
        """A life is over: judge the message in hand, tell the machine, then the others.

        Args:
            entry: The agent.
            reason: Why.
            key: The message that its node says was in hand.
            blame: Whether that message is to blame for it.
            why: The rule of the fault table by which it ends.
        """
        desk, life = self._desk, entry.life
        if life not in desk.lives:
            return
        if entry.is_leaving_a_message:
            self._failures.judge(entry, SKIPPED, key)
            self._placing.move(entry, "fenced")
            return
        told = entry.ordered is not None
        then = THEN[entry.ordered.then] if entry.ordered is not None else ""
        self._leave(entry)
        entry.reason = reason
        desk.ledger.events.note_end(entry, reason, late=desk.is_outlived(entry))
        if blame == "escalated":
            desk.ledger.events.note_event(blame, entry.path, incarnation=entry.incarnation, reason=why)
        self._failures.judge(entry, reason, key, blame, why)
        doubt = entry.doubt
        if doubt is not None or has_diverged(reason):
            then, reason = "park", doubt or reason
        elif blame == "parked" and not told:
            then, reason = "park", f"{why}: {reason_text(reason)}"
        self.machine.feed(Exited(life, reason, then))
        self.tell_others(life, entry.path, reason)
        desk.settle(entry)

    def start_over_misled(self) -> None:
        """Whoever may have seen an answer that never was goes back to its last commit; a later life of it has not."""
        while self._undecided.misled:
            entry = self._desk.placed.get(self._undecided.misled.popleft())
            if entry is not None and not self._desk.is_outlived(entry):
                self.start_over(entry)

    def start_over(self, entry: Entry) -> None:
        """What its node has is past its last commit: it starts again from there; no crash, so not counted."""
        if not entry.life:
            return
        if entry.is_first_start:  # the same start, on a node that knows nothing of that
            self._placing.tell(entry, wake=False).end(placement=entry.place, reason="killed")
            self._placing.leave(entry)
            self._placing.place(entry)
            return
        entry.order_to_start_over()
        self.drop(entry, entry.reason_to_end)

    def _leave(self, entry: Entry) -> None:
        self._desk.lives.pop(entry.life, None)
        self._placing.leave(entry)
        self._desk.ledger.messages.accounts.free(entry.path)
        entry.be_over()
        entry.ask_no_more()


def _has_passed_on(record: Record) -> bool:
    """Whether the next process of its supervisor, which was killed, has a child that goes on from its note."""
    above = record.supervisor
    heir = above.children.get(record.id) if above is not None else None
    return heir is not None and heir is not record and heir.note is record.note


def _lies_down(entry: Entry) -> bool:
    """Whether a start needs no node: the agent comes back with its supervisor, to which it was added, and may rest."""
    above = entry.record.supervisor
    back = above is not None and above.state == "starting" and entry.incarnation > 0
    return back and is_dynamic(entry.record) and not entry.pending and entry.may_rest
