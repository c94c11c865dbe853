"""Messages in the kernel: accepted, handed to a node, answered after the commit, delivered again or given up.

The books hold every message from the moment it was accepted until its outcome is committed. So a message
survives the agent, its node and, with a file, everything that is called from the next incarnation on.
"""

from __future__ import annotations

import concurrent.futures
import time
from collections import deque
from typing import Any, Literal

from agentlab.agent.base import HOOKS
from agentlab.agent.snapshot import Change
from agentlab.books.agents import Entry
from agentlab.books.messages import NOTHING, Answer, Hears, Message, Parked
from agentlab.books.specs import is_missing, unknown
from agentlab.errors import (
    AgentDown,
    AgentLabError,
    CallCycle,
    InvalidArgument,
    MailboxFull,
    NotRunning,
    StartFailed,
    StoreError,
)
from agentlab.exits import Crash, has_diverged, is_graceful, reason_text
from agentlab.ground.redaction import leaked
from agentlab.kernel.desk import Desk
from agentlab.kernel.own_time import OwnTime
from agentlab.kernel.page import Outcome
from agentlab.kernel.pauses import Pauses
from agentlab.kernel.placing import Placing
from agentlab.pool.pool import Node
from agentlab.wire.exceptions import Term, describe, encode_reason
from agentlab.wire.frames import Asker, Blame, Cast, Later

HERE: Any = object()
"""Stands for an answer that the caller, on the same node, has already."""

SKIPPED: Literal["skipped"] = "skipped"
"""The outcome of a message that somebody ended for good, and why nobody handles it."""

MAX_DELIVERIES = 3
MAX_MAILBOX = 10_000


class Mail:
    """The mailboxes of a lab, kept in the kernel."""

    def __init__(self, desk: Desk, placing: Placing, own_time: OwnTime, *, redeliver: bool) -> None:
        self._desk = desk
        self._placing = placing
        self._time = own_time
        self._redeliver = redeliver
        self.pauses = Pauses(desk)
        self.asked: dict[Asker, Message] = {}  # calls of agents under way, by message and step of the asker
        self.posted: dict[int, Message] = {}  # calls within a node, by key
        self.refused: dict[int, int | None] = {}  # who asked what was refused: the node may handle it all the same
        self.misled: deque[int] = deque()  # placements that build on what never was; ``Lives`` starts them over
        self.answers: dict[Asker, bytes] = {}  # and those answered, until the asker's message is over

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
        error = self._refusal(entry, path, message)
        if error is None and entry is not None:
            entry.accept(message)
            if message.answer is None and message.method not in HOOKS:
                self._desk.ledger.messages.keep_message(path, message)
            if message.origin is not None:
                self.asked[message.origin] = message
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
            self.asked[message.origin] = message
        self._desk.settle(entry)

    def _refusal(self, entry: Entry | None, path: str, message: Message) -> AgentLabError | None:
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

    def on_call(
        self, node: Node, *, placement: int, ticket: int, path: str, method: str, payload: bytes, redeliver: bool,
        origin: Asker | None,
    ) -> None:  # fmt: skip
        """A call of an agent: refused at once if it would close a circle of agents that wait for each other.

        A call that its caller has made before, in an earlier delivery of the same message, is not made again:
        it is answered from the record, or joins the one that is under way.
        """
        caller = self._desk.placed.get(placement)
        if placement and caller is None:
            return  # who asked is gone
        answer = answer_to(self._desk, node, ticket)
        if origin is not None and origin in self.answers:
            answer(self.answers[origin])
            return
        error = self._cycle(caller, path, method)
        if error is not None:
            answer(None, error)
            return
        asked = origin or ticket
        if caller is not None:
            caller.asking[asked] = path

        def answered(value: bytes | None, error: BaseException | None = None) -> None:
            if caller is not None:
                caller.asking.pop(asked, None)
            answer(value, error)

        if origin is not None and origin in self.asked:
            if self.asked[origin].parked is not None:
                answered(None, NotRunning(self._desk.why_not(path, method)))
            else:
                self.asked[origin].answer = answered
            return
        sender = caller.path if caller is not None else ""
        self.send(path, method, payload, sender=sender, answer=answered, redeliver=redeliver, origin=origin)

    def _cycle(self, caller: Entry | None, path: str, method: str) -> CallCycle | None:
        chain = self._chain(path, caller.path) if caller is not None else None
        if caller is None or chain is None:
            return None
        return CallCycle(
            f"{caller.path} calls {path}.{method}, which waits for it: {' → '.join([caller.path, *chain])}. "
            "Cast instead, or let a third agent hold what both need.",
        )

    def _chain(self, start: str, end: str) -> list[str] | None:
        """Who waits for whom, from ``start`` to ``end``; None if there is no such chain."""
        stack, seen = [[start]], {start}
        while stack:
            chain = stack.pop()
            if chain[-1] == end:
                return chain
            entry = self._desk.entries.get(chain[-1])
            for path in entry.asking.values() if entry is not None else ():
                if path not in seen:
                    seen.add(path)
                    stack.append([*chain, path])
        return None

    # calls within a node

    def on_posted(
        self, node: Node, *, placement: int, ticket: int, origin: Asker, target: int, key: int, path: str,
        method: str, payload: bytes, redeliver: bool, sent_at: int,
    ) -> None:  # fmt: skip
        """An agent has called a neighbour on its node, which may have begun, or be done, already."""
        caller, entry = self._desk.placed.get(placement), self._desk.entries.get(path)
        answer = answer_to(self._desk, node, ticket)

        def answered(value: bytes | None, error: BaseException | None = None) -> None:
            if caller is not None:
                caller.asking.pop(origin, None)
            if value is not HERE:
                answer(value, error)

        sender = caller.path if caller is not None else ""
        message = Message(key, method, payload, sender, answered, redeliver=redeliver, origin=origin)
        asker = placement if caller is not None else None
        message.sent_at, message.asker = sent_at, asker
        message.place = next(self._desk.numbers)  # its key is one of its node's own
        error = self._cycle(caller, path, method) or self._refusal(entry, path, message)
        if error is not None or entry is None or caller is None:  # a caller that was moved asks again where it is now
            self.refused[key] = asker
            node.say.withdraw(placement=target, key=key)
            answer(None, error or NotRunning(f"{path}.{method}: who asks is not here any more."))
            return
        caller.asking[origin] = path
        entry.accept(message)
        self.asked[origin] = self.posted[key] = message
        self._desk.settle(entry)
        if entry.place != target and entry.is_up:
            self._placing.deliver(entry, message)

    def _disown(self, entry: Entry | None, key: int, *, answered: bool) -> None:
        """A node has handled a message in vain: whoever there builds on it goes back to its last commit."""
        message = self.posted.get(key)
        asker = message.asker if message is not None else self.refused.get(key)
        if key in self.refused:
            del self.refused[key]
            if entry is not None:
                self.misled.append(entry.place)
        if answered and asker is not None:
            self.misled.append(asker)

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
            self._disown(entry, key, answered=answered)
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
            self.answers[message.origin] = answer
            ledger.messages.keep_answer(message.origin, answer)
        self._over(entry, message)
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
            self.answers.pop(message.origin, None)
        answer, message.answer = message.answer, None
        self._give_up(entry, message, f"its outcome could not be stored: {error}", letter=answer is None)
        if message.asker is not None:
            self.misled.append(message.asker)
        if answer is not None:
            what = f"{entry.path}.{message.method}"
            down = AgentDown(f"{what} was handled, but its outcome could not be stored: {error}", "store")
            down.__cause__ = error
            if message.kept:  # the store has it: a kernel that died before it is out there would hand it to the next
                self._desk.ledger.after_commit(answer, None, down)
            else:
                answer(None, down)

    def _over(self, entry: Entry, message: Message) -> None:
        """A message is decided: what was kept to deliver it again can go."""
        self._desk.ledger.messages.drop_message(message)
        self.posted.pop(message.key, None)
        if message.pause is not None:
            self.pauses.end_all(message)
        if message.origin is not None:
            self.asked.pop(message.origin, None)
        if message.journal is not None:
            for number in [step.number for step in message.journal.steps.values() if step.reaches]:
                self.answers.pop((message.key, number), None)
                entry.asking.pop((message.key, number), None)
                under_way = self.asked.pop((message.key, number), None)
                if under_way is not None:
                    under_way.origin = None  # its answer need not be kept: nobody will ask for it again

    # messages that are taken back

    def withdraw(self, path: str, message: Message) -> bool:
        """Take a message back, as its caller wants; whether it was there. If a node has it, the node says when."""
        entry = self._desk.entries.get(path)
        if entry is None or message not in entry.pending:
            return False
        self.take_back(entry, message, message.withdrawn or "cancelled")
        return True

    def paused(self, asker: Asker) -> float:
        """Seconds that a call of an agent has waited for what nobody can hurry."""
        message = self.asked.get(asker)
        return 0.0 if message is None or message.pause is None else message.pause.seconds(self._desk.loop.time())

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
            self._withdrawn(entry, message)
        else:
            say.withdraw(placement=entry.place, key=message.key)

    def on_withdrawn(self, node: Node, *, placement: int, key: int) -> None:
        """A node has dropped a message, or has interrupted its handler and forgotten what that did."""
        self.refused.pop(key, None)
        entry = self._desk.placed.get(placement)
        message = next((m for m in entry.pending if m.key == key), None) if entry is not None else None
        if entry is not None and message is not None:
            self._withdrawn(entry, message)

    def on_refused(self, node: Node, *, placement: int, key: int, why: str, argument: str) -> None:
        """A message whose arguments its agent does not take: its sender is told, the agent is as before."""
        self.refused.pop(key, None)
        entry = self._desk.placed.get(placement)
        message = self._in_hand(entry, key) if entry is not None else None
        if entry is not None and message is not None:
            entry.pending.popleft()
            self._give_up(entry, message, InvalidArgument(why, argument=argument))
            self._desk.settle(entry)

    def _withdrawn(self, entry: Entry, message: Message) -> None:
        entry.pending.remove(message)
        ledger = self._desk.ledger
        if message.withdrawn == SKIPPED:
            ledger.events.note_event(SKIPPED, entry.path, incarnation=entry.incarnation, detail=message.method)
            self._give_up(entry, message, SKIPPED, failed=True)
            self._desk.settle(entry)
            return
        if message.begun:
            entry.next_seq()
            ledger.messages.note_outcome(
                entry, message, "cancelled", None, message.begun, time.time_ns() - message.begun
            )
        ledger.events.note_event("cancelled", entry.path, incarnation=entry.incarnation, detail=message.method)
        self._over(entry, message)
        if message.answer is not None:
            ledger.after_commit(message.answer, None, concurrent.futures.CancelledError())
        self._desk.settle(entry)

    def _forget_withdrawn(self, entry: Entry) -> None:
        """Its life is over, and with it what its node would have said."""
        for message in [m for m in entry.pending if m.withdrawn]:
            self._withdrawn(entry, message)

    # messages without success

    def charge(self, entry: Entry, reason: Any, blame: Blame) -> None:
        """What becomes of the message in hand when its agent dies: delivered again, or given up.

        A death that the message is to blame for is charged as a delivery. One that its handler raised also takes
        back what it may have died of: the newest finished step, then the newest two.
        """
        own = blame == "own"
        message = entry.pending[0]
        begun, message.begun, message.step, message.tried = message.begun, 0, None, True
        self.pauses.end_own(message)
        doubted = message.redeliver and self.doubt(entry) is not None  # a person decides, whatever is used up
        if own and is_graceful(reason) and not doubted:
            self._end(entry, reason, begun)
            return
        if blame != "none":
            message.deliveries += 1
            self._desk.ledger.messages.charge_delivery(message)
        if doubted:
            return
        if not message.redeliver or message.deliveries >= MAX_DELIVERIES:
            self._end(entry, reason, begun)
        elif own and message.journal is not None and not has_diverged(reason):
            taken = message.journal.rewind(message.deliveries)
            if taken:
                self._desk.ledger.messages.note_steps_taken_back(entry, message, taken)

    def _end(self, entry: Entry, reason: Any, begun: int) -> None:
        doubt = self.doubt(entry)
        message = entry.pending.popleft()
        message.begun = begun
        failed = doubt is not None or (message.redeliver and not is_graceful(reason))
        self._give_up(entry, message, reason if doubt is None else f"{reason_text(reason)}; {doubt}", failed=failed)

    def judge(
        self, entry: Entry, reason: Any, key: int | None, blame: Blame = "none", why: str = ""
    ) -> None:  # fmt: skip
        """Judge the message in hand, if there is one.

        Args:
            entry: The agent.
            reason: Why it died.
            key: The message that its node says was in hand, or None.
            blame: Whether the message is to blame, and whether its handler raised it.
            why: Of one that waits with its agent: the rule that it met.
        """
        self._forget_withdrawn(entry)
        if not entry.pending or not (key == entry.pending[0].key or entry.pending[0].begun):
            return
        if blame in ("parked", "escalated") and self.doubt(entry) is None:
            self._park(entry, reason, why, wait=blame == "parked")
        else:
            self.charge(entry, reason, blame)

    def _park(self, entry: Entry, reason: Any, why: str, *, wait: bool) -> None:
        """The message in hand met a fault that no restart mends: it waits with its agent, uncharged, or is given up."""
        message = entry.pending[0]
        begun, message.begun, message.step, message.tried = message.begun, 0, None, True
        self.pauses.end_own(message)
        if not wait or not message.redeliver:
            message.deliveries += 1
            self._end(entry, reason, begun)
            return
        message.parked = Parked(why, reason)
        if message.journal is not None:
            message.journal.faults.clear()  # a person who starts it again wants all attempts made again

    def doubt(self, entry: Entry) -> str | None:
        """Why the message in hand cannot be delivered again by itself: a ``once`` step may have happened."""
        journal = entry.pending[0].journal if entry.pending else None
        if journal is None or not journal.doubts:
            return None
        names = ", ".join(step.name for step in journal.doubts)
        return f"in doubt: {names} began and did not finish; ref.doubts() shows it, ref.settle(...) decides"

    def drop(self, entry: Entry, reason: Any, *, casts: bool = True, gone: bool = False) -> None:
        """Nobody will read what waits: callers learn it, casts become dead letters.

        A doubt waits for a person, unless the agent is gone. Its caller waits with it, but not where everything
        else is dropped too: nobody starts the agent again. What the store kept waits for the next kernel.
        """
        if self._desk.ledger.closing:
            self._leave(entry, reason)
        self._desk.ledger.events.touch_path(entry.path)
        doubted = entry.pending[0] if not gone and self.doubt(entry) is not None else None
        if doubted is None and not casts and entry.pending and entry.pending[0].parked is not None:
            doubted = self._tell_of_park(entry, entry.pending[0])
        kept = [m for m in entry.pending if m is doubted or (m.answer is None and not casts)]
        dropped = [m for m in entry.pending if m not in kept]
        entry.pending = deque(kept) if kept else NOTHING
        for message in dropped:
            self._give_up(entry, message, reason)
        if doubted is not None and casts and doubted.answer is not None:
            self._desk.ledger.after_commit(doubted.answer, None, _down(entry, doubted, reason, self.doubt(entry)))
            doubted.answer = None

    def _tell_of_park(self, entry: Entry, message: Message) -> Message:
        """Nobody need wait for a message that waits for a person: who asked is told why."""
        assert message.parked is not None
        if message.answer is not None:
            why = f"for {message.parked.why}; ref.restart() tries again"
            self._desk.ledger.after_commit(message.answer, None, _down(entry, message, message.parked.cause, why))
            message.answer = None
        return message

    def _leave(self, entry: Entry, reason: Any) -> None:
        """The lab closes: what is in its store is handled when it is opened again, and who waits is told."""
        for message in [m for m in entry.pending if m.kept]:
            entry.pending.remove(message)
            if message.answer is not None:
                self._desk.ledger.after_commit(message.answer, None, _down(entry, message, reason))

    def _give_up(
        self, entry: Entry, message: Message, reason: Any, *, letter: bool = True, failed: bool = False
    ) -> None:  # fmt: skip
        """End a message without success, and tell after the commit that says so.

        What nobody waits for is a dead letter (``letter``), and so is what was tried and failed (``failed``).
        """
        ledger = self._desk.ledger
        begun = message.begun or time.time_ns()
        entry.next_seq()
        self._over(entry, message)
        outcome = SKIPPED if reason == SKIPPED else "failed"
        ledger.messages.note_outcome(entry, message, outcome, reason_text(reason), begun, time.time_ns() - begun)
        if failed or (letter and message.answer is None):
            ledger.messages.add_dead_letter(entry.path, message, reason_text(reason))
        if message.answer is not None:
            refused = isinstance(reason, InvalidArgument)
            ledger.after_commit(message.answer, None, reason if refused else _down(entry, message, reason))


def answer_to(desk: Desk, node: Node, ticket: int) -> Answer:
    """Answers a question of a node."""

    def answer(value: bytes | None, error: BaseException | None = None) -> None:
        node.say.answer(ticket=ticket, value=value, error=None if error is None else _told(error))
        desk.due()

    return answer


def _told(error: BaseException) -> Term:
    """An error for an agent: of a start that failed, what the other agent raised, as its node took it apart."""
    if isinstance(error, StartFailed) and isinstance(error.reason, Crash):
        return encode_reason(error.reason)
    kind, message, _, form = describe(error, own=True)
    return encode_reason(Crash(kind, message, "", form))


def _down(entry: Entry, message: Message, reason: Any, doubt: str | None = None) -> AgentDown:
    if reason == SKIPPED:
        return AgentDown(
            f"{entry.path}.{message.method} was not answered: it was ended for good by ref.skip(). The agent goes on "
            "from its last checkpoint; the message is a dead letter: lab.dead_letters().",
            reason,
        )
    tries = f" after {message.deliveries} deliveries" if message.deliveries > 1 else ""
    waits = f" The message waits for a person, {doubt}." if doubt is not None else ""
    return AgentDown(  # whoever asks makes the exception behind it
        f"{entry.path}.{message.method} was not answered: the agent ended with {reason_text(reason)!r}{tries}.{waits} "
        f"Why: lab.explain({entry.path!r}).",
        reason,
    )


def full(entry: Entry) -> MailboxFull:
    """The error for a mailbox that takes no more."""
    return MailboxFull(
        f"{entry.path} has {len(entry.pending):,} messages waiting; a mailbox holds up to {MAX_MAILBOX:,}. "
        "Nothing accepted was dropped; wait for it: lab.wait_idle()."
    )
