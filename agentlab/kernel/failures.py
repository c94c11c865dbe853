"""Messages that end without success: delivered again, parked, taken back, given up, or dropped with their agent."""

from __future__ import annotations

import concurrent.futures
import time
from collections import deque
from typing import Any, Literal

from agentlab.books.agents import Entry
from agentlab.books.messages import NOTHING, Message, Parked
from agentlab.errors import AgentDown, InvalidArgument
from agentlab.exits import has_diverged, is_graceful, reason_text
from agentlab.kernel.desk import Desk
from agentlab.kernel.undecided import Undecided
from agentlab.wire.frames import Blame

SKIPPED: Literal["skipped"] = "skipped"
"""The outcome of a message that somebody ended for good, and why nobody handles it."""

MAX_DELIVERIES = 3


class Failures:
    """Decides what becomes of messages that no handler finishes, and tells who waits for them."""

    def __init__(self, desk: Desk, undecided: Undecided) -> None:
        self._desk = desk
        self._undecided = undecided

    def charge(self, entry: Entry, reason: Any, blame: Blame) -> None:
        """What becomes of the message in hand when its agent dies: delivered again, or given up.

        A death that the message is to blame for is charged as a delivery. One that its handler raised also takes
        back what it may have died of: the newest finished step, then the newest two.
        """
        own = blame == "own"
        message = entry.pending[0]
        begun, message.begun, message.step, message.tried = message.begun, 0, None, True
        self._undecided.pauses.end_own(message)
        doubted = message.redeliver and entry.doubt is not None  # a person decides, whatever is used up
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
        doubt = entry.doubt
        message = entry.pending.popleft()
        message.begun = begun
        failed = doubt is not None or (message.redeliver and not is_graceful(reason))
        self.give_up(entry, message, reason if doubt is None else f"{reason_text(reason)}; {doubt}", failed=failed)

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
        if blame in ("parked", "escalated") and entry.doubt is None:
            self._park(entry, reason, why, wait=blame == "parked")
        else:
            self.charge(entry, reason, blame)

    def _park(self, entry: Entry, reason: Any, why: str, *, wait: bool) -> None:
        """The message in hand met a fault that no restart mends: it waits with its agent, uncharged, or is given up."""
        message = entry.pending[0]
        begun, message.begun, message.step, message.tried = message.begun, 0, None, True
        self._undecided.pauses.end_own(message)
        if not wait or not message.redeliver:
            message.deliveries += 1
            self._end(entry, reason, begun)
            return
        message.parked = Parked(why, reason)
        if message.journal is not None:
            message.journal.faults.clear()  # a person who starts it again wants all attempts made again

    def drop(
        self, entry: Entry, reason: Any, *, casts: bool = True, gone: bool = False, patient: bool = False
    ) -> None:  # fmt: skip
        """Nobody will read what waits: callers learn it, casts become dead letters.

        A doubt waits for a person, unless the agent is gone, and its caller is told so unless it is ``patient``: then
        what the person says answers it. What the store kept waits for the next kernel.
        """
        if self._desk.ledger.closing:
            self._leave(entry, reason)
        self._desk.ledger.events.touch_path(entry.path)
        doubted = entry.pending[0] if not gone and entry.doubt is not None else None
        if doubted is None and not casts and entry.pending and entry.pending[0].parked is not None:
            doubted = self._tell_of_park(entry, entry.pending[0])
        kept = [m for m in entry.pending if m is doubted or (m.answer is None and not casts)]
        dropped = [m for m in entry.pending if m not in kept]
        entry.pending = deque(kept) if kept else NOTHING
        for message in dropped:
            self.give_up(entry, message, reason)
        if doubted is not None and not patient and doubted.answer is not None:
            self._desk.ledger.after_commit(doubted.answer, None, down(entry, doubted, reason, entry.doubt))
            doubted.answer = None

    def _tell_of_park(self, entry: Entry, message: Message) -> Message:
        """Nobody need wait for a message that waits for a person: who asked is told why."""
        assert message.parked is not None
        if message.answer is not None:
            why = f"for {message.parked.why}; ref.restart() tries again"
            self._desk.ledger.after_commit(message.answer, None, down(entry, message, message.parked.cause, why))
            message.answer = None
        return message

    def _leave(self, entry: Entry, reason: Any) -> None:
        """The lab closes: what is in its store is handled when it is opened again, and who waits is told."""
        for message in [m for m in entry.pending if m.kept]:
            entry.pending.remove(message)
            if message.answer is not None:
                self._desk.ledger.after_commit(message.answer, None, down(entry, message, reason))

    def give_up(
        self, entry: Entry, message: Message, reason: Any, *, letter: bool = True, failed: bool = False
    ) -> None:  # fmt: skip
        """End a message without success, and tell after the commit that says so.

        What nobody waits for is a dead letter (``letter``), and so is what was tried and failed (``failed``).
        """
        ledger = self._desk.ledger
        begun = message.begun or time.time_ns()
        entry.next_seq()
        self._undecided.decide(entry, message)
        outcome = SKIPPED if reason == SKIPPED else "failed"
        ledger.messages.note_outcome(entry, message, outcome, reason_text(reason), begun, time.time_ns() - begun)
        if failed or (letter and message.answer is None):
            ledger.messages.add_dead_letter(entry.path, message, reason_text(reason))
        if message.answer is not None:
            refused = isinstance(reason, InvalidArgument)
            ledger.after_commit(message.answer, None, reason if refused else down(entry, message, reason))

    def end_withdrawn(self, entry: Entry, message: Message) -> None:
        """A message that was taken back is in no node's hand any more."""
        entry.pending.remove(message)
        ledger = self._desk.ledger
        if message.withdrawn == SKIPPED:
            ledger.events.note_event(SKIPPED, entry.path, incarnation=entry.incarnation, detail=message.method)
            self.give_up(entry, message, SKIPPED, failed=True)
            self._desk.settle(entry)
            return
        if message.begun:
            entry.next_seq()
            ledger.messages.note_outcome(
                entry, message, "cancelled", None, message.begun, time.time_ns() - message.begun
            )
        ledger.events.note_event("cancelled", entry.path, incarnation=entry.incarnation, detail=message.method)
        self._undecided.decide(entry, message)
        if message.answer is not None:
            ledger.after_commit(message.answer, None, concurrent.futures.CancelledError())
        self._desk.settle(entry)

    def _forget_withdrawn(self, entry: Entry) -> None:
        """Its life is over, and with it what its node would have said."""
        for message in [m for m in entry.pending if m.withdrawn]:
            self.end_withdrawn(entry, message)


def down(entry: Entry, message: Message, reason: Any, doubt: str | None = None) -> AgentDown:
    """The error for whoever waits for an answer that does not come."""
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
