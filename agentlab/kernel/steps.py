"""Steps: as nodes report them, and as the kernel carries them out; journaled in the books and the ledger.

What a node reports is acknowledged after the commit. What a handler asks of its lab the kernel carries out
itself, once for each message and number; its answer leaves after the commit that holds it.
"""

from __future__ import annotations

import time

from agentlab.books.agents import Entry
from agentlab.books.journal import Journal, Step
from agentlab.books.messages import Answer, Message
from agentlab.errors import NotRunning
from agentlab.exits import reason_text
from agentlab.kernel.breakers import Breakers
from agentlab.kernel.desk import Desk
from agentlab.kernel.undecided import Undecided
from agentlab.node.attempts import LEFT
from agentlab.node.replay import APPROVAL
from agentlab.pool.pool import Node
from agentlab.wire.frames import Asker, Mark, Tokens


class Steps:
    """The journals of the messages in hand."""

    def __init__(self, desk: Desk, undecided: Undecided, breakers: Breakers) -> None:
        self._desk = desk
        self._undecided = undecided
        self._breakers = breakers
        self._acts: dict[Asker, Act] = {}  # what is under way
        self._given: dict[Asker, str] = {}  # what running steps were given, by message and number

    def on_step(
        self, node: Node, *, placement: int, key: int, number: int, mark: Mark, once: bool, at: int, given: str
    ) -> None:  # fmt: skip
        """A step begins."""
        found = self._in_hand(placement, key)
        if found is None:
            self._desk.noted(node)
            return
        entry, message = found
        if message.journal is None:
            message.journal = Journal()
            self._desk.ledger.messages.keep_message(entry.path, message)
        step = message.journal.begin(number, mark, once, at)
        message.step = step.name
        self._given[key, number] = given
        self._desk.ledger.messages.note_step_began(message, step)
        self._desk.ledger.events.touch_path(entry.path)
        self._desk.noted(node)

    def on_tried(
        self, node: Node, *, placement: int, key: int, number: int, took: float, gave: str, fault: str, does: str,
        delay: float, why: str, tokens: Tokens, outage: bool,
    ) -> None:  # fmt: skip
        """An attempt at a step failed, and there will be another: a row, and an event that says why."""
        found = self._step(placement, key, number)
        if found is not None:
            entry, message, journal, step = found
            if message.hears is not None:
                message.hears("cut", placement, "")
            ledger, given = self._desk.ledger, self._given.get((key, number), "")
            shown = f"{gave} ({does}: {why})"
            ledger.messages.note_step(
                entry, message, step, "failed", took, None, given, shown, tokens=tokens, fault=fault
            )
            journal.note_fault(step.mark, fault, again=True, counts=not outage)
            self._undecided.pauses.begin(message, number)
            ledger.events.note_event(
                "waiting" if does == "wait" else "retrying", entry.path, incarnation=entry.incarnation, node=entry.node,
                reason=f"{fault}: {gave}", detail=f"{step.name}: {why}", took_s=took,
            )  # fmt: skip
        self._desk.noted(node)

    def on_admit(
        self, node: Node, *, placement: int, ticket: int, key: int, number: int, dependency: str, after: float
    ) -> None:  # fmt: skip
        """A step wants to call what it depends on; while it must wait, nobody who waits for its agent is late."""
        found = self._step(placement, key, number)
        if found is None:
            node.say.answer(ticket=ticket, value=b"", error=None)
            self._desk.due()
        elif not self._breakers.admit(found[0], ticket, dependency, after):
            self._undecided.pauses.begin(found[1], number)

    def on_tries_again(self, node: Node, *, placement: int, key: int, number: int, at: int) -> None:
        """The wait is over: the next attempt begins."""
        found = self._step(placement, key, number)
        if found is not None:
            found[3].began = at
            self._undecided.pauses.end(found[1], number)

    def on_stepped(
        self, node: Node, *, placement: int, key: int, number: int, outcome: str, took: float, result: bytes | None,
        gave: str, fault: str | None, tokens: Tokens, ran: bool,
    ) -> None:  # fmt: skip
        """A step ends."""
        self._ended(
            placement, key, number, outcome=outcome, took=took, result=result, gave=gave, fault=fault, tokens=tokens,
            ran=ran,
        )  # fmt: skip
        self._desk.noted(node)

    def on_called(
        self, node: Node, *, placement: int, key: int, number: int, took: float, result: bytes, gave: str
    ) -> None:  # fmt: skip
        """A call was answered: a step that ends, and nobody waits for that to be committed."""
        self._ended(placement, key, number, outcome="ok", took=took, result=result, gave=gave, tokens=None)

    def _ended(
        self, placement: int, key: int, number: int, *, outcome: str, took: float, result: bytes | None, gave: str,
        tokens: Tokens, fault: str | None = None, ran: bool = True,
    ) -> None:  # fmt: skip
        given = self._given.pop((key, number), "")
        found = self._step(placement, key, number)
        if found is None:
            return
        entry, message, journal, step = found
        # A once step that raised may have happened, and a call may still be under way: it keeps its key.
        if result is not None or not ((step.once and ran) or step.is_call):
            journal.end(number, result)
        if step.once and not ran:  # certainly not: it is in no doubt
            self._desk.ledger.messages.forget_step(message, step)
        message.step = None
        if message.hears is not None and outcome == "ok":
            message.hears("whole", placement, "")
        self._undecided.pauses.end(message, number)
        if outcome != LEFT:
            self._desk.ledger.messages.note_step(
                entry, message, step, outcome, took, result, given, gave, tokens=tokens, fault=fault
            )
        if fault is not None:
            journal.note_fault(step.mark, fault)
        self._desk.ledger.events.touch_path(entry.path)

    def _step(self, placement: int, key: int, number: int) -> tuple[Entry, Message, Journal, Step] | None:
        """A step that runs, of the message in hand of who lives there."""
        found = self._in_hand(placement, key)
        if found is None or found[1].journal is None:
            return None
        entry, message = found
        step = found[1].journal.steps.get(number)
        return None if step is None else (entry, message, found[1].journal, step)

    def on_replayed(
        self, node: Node, *, placement: int, key: int, number: int, mark: Mark, given: str, gave: str
    ) -> None:  # fmt: skip
        """The journal answered for a step that an earlier delivery finished."""
        found = self._in_hand(placement, key)
        if found is not None:
            entry, message = found
            step = Step(number, mark, False, message.begun)
            self._desk.ledger.messages.note_step(entry, message, step, "ok", 0.0, None, given, gave, replayed=True)

    def on_diverged(self, node: Node, *, placement: int, key: int, name: str) -> None:
        """A handler that is delivered again asks for something else than before."""
        found = self._in_hand(placement, key)
        if found is not None:
            self._desk.ledger.events.note_event("diverged", found[0].path, detail=f"{found[1].method} asked for {name}")

    def act(
        self, entry: Entry, answer: Answer, *, key: int, number: int, mark: Mark, at: int, given: str
    ) -> Act | None:  # fmt: skip
        """A handler asks for something; what is to be told how it went, or None if it is done or under way already."""
        _, message = self._in_hand(entry.place, key) or (entry, None)
        if message is None:
            answer(None, NotRunning(f"{mark[1]}: the message of {entry.path!r} that asks for it is over."))
            return None
        origin = (key, number)
        if origin in self._acts:
            self._acts[origin].answers.append(answer)
            self._wait_for_person(message, self._acts[origin].step)
            self._desk.settle(entry)
            return None
        if message.journal is None:
            message.journal = Journal()
            self._desk.ledger.messages.keep_message(entry.path, message)
        known = message.journal.steps.get(number)
        if known is not None and known.finished and known.reaches:
            answer(known.result)
            return None
        if mark[0] == APPROVAL and known is None:
            self._desk.ledger.events.note_event("approval_asked", entry.path, detail=f"{mark[1]}({given})")
        begun = message.journal.begin(number, mark, False, at)
        act = self._acts[origin] = Act(self, entry, message, begun, given)
        act.answers.append(answer)
        self._desk.ledger.messages.note_step_began(message, begun)
        message.step = begun.name
        if begun.reaches and origin in self._undecided.answers:  # an earlier kernel has done it
            act(self._undecided.answers[origin])
            return None
        self._wait_for_person(message, begun)
        self._desk.settle(entry)
        return act

    def _wait_for_person(self, message: Message, step: Step) -> None:
        """What a step waits for is said; nobody is late meanwhile whom a person keeps waiting."""
        message.step = step.name
        if step.mark[0] == APPROVAL:
            self._undecided.pauses.begin(message, step.number)

    def answer_act(self, origin: Asker, result: bytes, gave: str) -> bool:
        """End an act that a person answers; whether it is under way."""
        act = self._acts.get(origin)
        if act is not None:
            act.gave = gave
            act(result)
        return act is not None

    def acted(self, act: Act, result: bytes | None, error: BaseException | None) -> None:
        """It is done, or it failed: that is written down, and who asked is told after the commit."""
        entry, message, step = act.entry, act.message, act.step
        self._acts.pop((message.key, step.number), None)
        self._undecided.pauses.end(message, step.number)
        if message.journal is not None and message.journal.steps.get(step.number) is step:
            message.journal.end(step.number, result)
        if message.step == step.name:
            message.step = None
        ledger = self._desk.ledger
        gave = act.gave if error is None else reason_text(error)
        took, outcome = (time.time_ns() - step.began) / 1e9, "ok" if result is not None else "failed"
        ledger.messages.note_step(entry, message, step, outcome, took, result, act.given, gave, seq=act.seq)
        ledger.events.touch_path(entry.path)
        if step.reaches and not (entry.pending and entry.pending[0] is message):
            ledger.messages.drop_answer(act.origin)  # the message is over
        for answer in act.answers:
            ledger.after_commit(answer, result, error)
        self._desk.settle(entry)

    def _in_hand(self, placement: int, key: int) -> tuple[Entry, Message] | None:
        entry = self._desk.placed.get(placement)
        if entry is None or not entry.pending or entry.pending[0].key != key:
            return None
        return entry, entry.pending[0]


class Act:
    """A step that the kernel carries out; called with how it went."""

    __slots__ = ("answers", "entry", "gave", "given", "message", "origin", "seq", "step", "steps")

    def __init__(self, steps: Steps, entry: Entry, message: Message, step: Step, given: str) -> None:
        self.steps = steps
        self.entry = entry
        self.message = message
        self.step = step
        self.given = given
        self.seq = entry.seq + 1  # the message may be over before it is
        self.gave = "answered by the kernel before"
        self.origin: Asker = (message.key, step.number)
        self.answers: list[Answer] = []  # who waits: the life that asked, and those that asked again

    def __call__(self, result: bytes | None, error: BaseException | None = None) -> None:
        """It is done: its packed result, or why it failed."""
        self.steps.acted(self, result, error)
