"""Messages in the kernel: accepted, handed to a node, answered after the commit, or taken back.

The books hold every message from the moment it was accepted until its outcome is committed. So a message
survives the agent, its node and, with a file, everything that is called from the next incarnation on.
"""

from __future__ import annotations

from typing import Any

from agentlab.agent.base import HOOKS
from agentlab.agent.snapshot import Change
from agentlab.books.agents import Entry
from agentlab.books.messages import Answer, Hears, Message
from agentlab.books.specs import is_missing, unknown
from agentlab.errors import (
    AgentDown,
    AgentLabError,
    InvalidArgument,
    MailboxFull,
    NotRunning,
    StoreError,
)
from agentlab.exits import reason_text
from agentlab.ground.redaction import leaked
from agentlab.kernel.desk import Desk
from agentlab.kernel.failures import Failures
from agentlab.kernel.own_time import OwnTime
from agentlab.kernel.page import Outcome
from agentlab.kernel.placing import Placing
from agentlab.kernel.undecided import Undecided
from agentlab.pool.pool import Node
from agentlab.wire.frames import Asker, Cast, Later

HERE: Any = object()
"""Stands for an answer that the caller, on the same node, has already."""

MAX_MAILBOX = 10_000


class Mail:
    """The mailboxes of a lab, kept in the kernel; ``calls`` is what agents ask of each other."""

    def __init__(
        self, desk: Desk, placing: Placing, own_time: OwnTime, *, undecided: Undecided, failures: Failures,
        redeliver: bool,
    ) -> None:  # fmt: skip
        """Open the mailboxes; ``redeliver``: whether messages are delivered again unless they say otherwise."""
        self._desk = desk
        self._placing = placing
        self._undecided = undecided
        self._failures = failures
        self._time = own_time
        self._redeliver = redeliver

    def send(
        self, path: str, method: str, payload: bytes, *, sender: str = "", answer: Answer | None = None,
        redeliver: bool | None = None, origin: Asker | None = None, hears: Hears | None = None,
    ) -> Message:  # fmt: skip
        """Accept a message, or say why not: to the caller, or for a cast as a dead letter."""
        again = self._redeliver if redeliver is None else redeliver
        number = next(self._desk.numbers)
        message = Message(number, method, payload, sender, answer, redeliver=again, origin=origin)
        message.hears = hears
        self._post(path, message)
        return message

    def _post(self, path: str, message: Message) -> None:
        entry = self._desk.entries.get(path)
        error = self.refusal(entry, path, message)
        if error is None and entry is not None:
            entry.accept(message)
            if message.answer is None and message.method not in HOOKS:
                self._desk.ledger.messages.keep_message(path, message)
            if message.origin is not None:
                self._undecided.asked[message.origin] = message
            self._desk.settle(entry)
            if entry.is_up:
                self._placing.deliver(entry, message)
        elif message.answer is None and leaked(message.method) is None and self._desk.waiting.takes(path, MAX_MAILBOX):
            self._desk.waiting.mail.setdefault(path, []).append(message)  # casts wait for whoever will be resumed
            self._desk.ledger.messages.keep_message(path, message)
        elif message.answer is not None:
            message.answer(None, error)
        else:
            self._desk.ledger.messages.add_dead_letter(path, message, reason_text(error))

    def restore(self, entry: Entry, message: Message) -> None:
        """Put back a message that the store kept through the kernel's death."""
        entry.accept(message)
        if message.origin is not None:
            self._undecided.asked[message.origin] = message
        self._desk.settle(entry)

    def refusal(self, entry: Entry | None, path: str, message: Message) -> AgentLabError | None:
        """Why an agent does not take a message; None if it does."""
        if entry is None:
            return NotRunning(self._desk.why_not(path, message.method))
        if message.answer is not None and self._desk.ledger.closing and not entry.life:
            return NotRunning(self._desk.why_not(path, message.method))  # nobody starts it again
        if not (entry.takes_calls if message.answer is not None else entry.takes_casts):
            return NotRunning(self._desk.why_not(path, message.method))  # casts wait for a parked agent
        cls = entry.kind.cls
        has = message.method in cls.__agent_messages__ or message.method in HOOKS
        if not has and (not is_missing(cls) or leaked(message.method)):  # nobody knows what a missing class takes
            return unknown(path, message.method, cls)
        return full(entry) if len(entry.pending) >= MAX_MAILBOX else None

    def heard_by(self, topic: str) -> list[Entry]:
        """Who would get what is published now."""
        found = [self._desk.entries.get(path) for path in self._desk.topics.get(topic, ())]
        return [entry for entry in found if entry is not None]

    def publish(self, topic: str, method: str, payload: bytes, sender: str = "") -> int:
        """Cast to every subscriber of a topic; how many there are."""
        subscribers = list(self._desk.topics.get(topic, ()))
        for path in subscribers:
            self.send(path, method, payload, sender=sender)
        return len(subscribers)

    def _in_hand(self, entry: Entry, key: int) -> Message | None:
        """The message with that key, brought to the head of the mailbox: its node has begun it."""
        pending = entry.pending
        if pending and pending[0].key == key:
            return pending[0]
        found = next((message for message in pending if message.key == key), None)
        if found is not None:  # a call within the node came before what is on its way there
            pending.remove(found)
            found.place = pending[0].place - 1
            pending.appendleft(found)
        return found

    # what nodes report

    def on_begun(self, node: Node, *, placement: int, key: int, at: int, shown: str | None) -> None:
        """A handler begins."""
        entry = self._desk.placed.get(placement)
        message = self._in_hand(entry, key) if entry is not None else None
        if entry is not None and message is not None:
            message.begun = at
            if shown is not None:
                self._desk.ledger.events.note_traced_message(entry, message, shown)
            self._desk.settle(entry)

    def on_done(
        self, node: Node, *, placement: int, key: int, answer: bytes, changes: list[Change], casts: list[Cast],
        timers: list[Later], started: int, took: float, answered: bool,
    ) -> None:  # fmt: skip
        """A handler returned: state, outcome, timers and casts are one commit, and the answer follows it."""
        if casts or answered:
            self._desk.noted(node)
        entry = self._desk.placed.get(placement)
        message = self._in_hand(entry, key) if entry is not None else None
        if entry is None or message is None:  # a life that is over: its message was or will be delivered again
            self._undecided.disown(entry, key, answered=answered)
            return
        entry.pending.popleft()
        ledger = self._desk.ledger
        outcome = ledger.begin_outcome(entry, message)
        entry.next_seq()
        entry.handled += 1
        entry.suspicions = 0
        ledger.messages.note_outcome(entry, message, "ok", None, started, int(took * 1e9))
        if changes:
            ledger.children.note_checkpoint(entry, changes)
        if message.origin is not None:
            self._undecided.answers[message.origin] = answer
            ledger.messages.keep_answer(message.origin, answer)
        self._undecided.decide(entry, message)
        if message.answer is not None:
            ledger.after_commit(message.answer, HERE if answered else answer)
        for path, method, payload in casts:
            outcome.sent.append((path, self.send(path, method, payload, sender=entry.path)))
        for timer in timers:
            outcome.timers.append(self._time.set_timer(entry.path, *timer))
        ledger.end_outcome()
        self._desk.settle(entry)

    def fail(self, outcome: Outcome, error: StoreError) -> None:
        """A message was handled, and its outcome could not be stored: it failed, and what it sent never was."""
        entry, message = outcome.entry, outcome.message
        entry.handled -= 1
        for path, sent in outcome.sent:
            target = self._desk.entries.get(path)
            if target is not None and sent in target.pending:
                target.pending.remove(sent)
                self._placing.tell(target).withdraw(placement=target.place, key=sent.key)
                self._desk.settle(target)
        self._time.take_back(outcome.timers)
        if message.origin is not None:
            self._undecided.answers.pop(message.origin, None)
        answer, message.answer = message.answer, None
        self._failures.give_up(entry, message, f"its outcome could not be stored: {error}", letter=answer is None)
        if message.asker is not None:
            self._undecided.misled.append(message.asker)
        if answer is not None:
            what = f"{entry.path}.{message.method}"
            down = AgentDown(f"{what} was handled, but its outcome could not be stored: {error}", "store")
            down.__cause__ = error
            if message.kept:  # the store has it: a kernel that died before it is out there would hand it to the next
                self._desk.ledger.after_commit(answer, None, down)
            else:
                answer(None, down)

    # messages that are taken back

    def withdraw(self, path: str, message: Message) -> bool:
        """Take a message back, as its caller wants; whether it was there. If a node has it, the node says when."""
        entry = self._desk.entries.get(path)
        if entry is None or message not in entry.pending:
            return False
        self.take_back(entry, message, message.withdrawn or "cancelled")
        return True

    def in_hand(self, entry: Entry) -> Message | None:
        """The message that the agent handles, or will handle again: a life that is over had it in hand."""
        head = entry.pending[0] if entry.pending else None
        begun = head is not None and (head.begun or head.tried or head.deliveries or head.journal is not None)
        return head if begun else None

    def take_back(self, entry: Entry, message: Message, outcome: str) -> None:
        """End a message: at once if no node has it, else when its node says that nothing of it shows."""
        message.withdrawn = outcome
        say = self._placing.reach(entry) if entry.is_up else None
        if say is None:
            self._failures.end_withdrawn(entry, message)
        else:
            say.withdraw(placement=entry.place, key=message.key)

    def on_withdrawn(self, node: Node, *, placement: int, key: int) -> None:
        """A node has dropped a message, or has interrupted its handler and forgotten what that did."""
        self._undecided.refused.pop(key, None)
        entry = self._desk.placed.get(placement)
        message = next((m for m in entry.pending if m.key == key), None) if entry is not None else None
        if entry is not None and message is not None:
            self._failures.end_withdrawn(entry, message)

    def on_refused(self, node: Node, *, placement: int, key: int, why: str, argument: str) -> None:
        """A message whose arguments its agent does not take: its sender is told, the agent is as before."""
        self._undecided.refused.pop(key, None)
        entry = self._desk.placed.get(placement)
        message = self._in_hand(entry, key) if entry is not None else None
        if entry is not None and message is not None:
            entry.pending.popleft()
            self._failures.give_up(entry, message, InvalidArgument(why, argument=argument))
            self._desk.settle(entry)


def full(entry: Entry) -> MailboxFull:
    """The error for a mailbox that takes no more."""
    return MailboxFull(
        f"{entry.path} has {len(entry.pending):,} messages waiting; a mailbox holds up to {MAX_MAILBOX:,}. "
        "Nothing accepted was dropped; wait for it: lab.wait_idle()."
    )
