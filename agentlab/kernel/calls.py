"""Calls of agents: by the kernel or within a node, made once for the message that makes them, never in a circle."""

from __future__ import annotations

from agentlab.books.agents import Entry
from agentlab.books.messages import Answer, Message
from agentlab.errors import CallCycle, NotRunning, StartFailed
from agentlab.exits import Crash
from agentlab.kernel.desk import Desk
from agentlab.kernel.mail import HERE, Mail
from agentlab.kernel.placing import Placing
from agentlab.kernel.undecided import Undecided
from agentlab.pool.pool import Node
from agentlab.wire.exceptions import Term, describe, encode_reason
from agentlab.wire.frames import Asker


class Calls:
    """What agents call, and what they are answered."""

    def __init__(self, desk: Desk, mail: Mail, placing: Placing, undecided: Undecided) -> None:
        self._desk = desk
        self._mail = mail
        self._placing = placing
        self._undecided = undecided

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
        if origin is not None and origin in self._undecided.answers:
            answer(self._undecided.answers[origin])
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

        if origin is not None and origin in self._undecided.asked:
            if self._undecided.asked[origin].parked is not None:
                answered(None, NotRunning(self._desk.why_not(path, method)))
            else:
                self._undecided.asked[origin].answer = answered
            return
        sender = caller.path if caller is not None else ""
        self._mail.send(path, method, payload, sender=sender, answer=answered, redeliver=redeliver, origin=origin)

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
        error = self._cycle(caller, path, method) or self._mail.refusal(entry, path, message)
        if error is not None or entry is None or caller is None:  # a caller that was moved asks again where it is now
            self._undecided.refused[key] = asker
            node.say.withdraw(placement=target, key=key)
            answer(None, error or NotRunning(f"{path}.{method}: who asks is not here any more."))
            return
        caller.asking[origin] = path
        entry.accept(message)
        self._undecided.asked[origin] = self._undecided.posted[key] = message
        self._desk.settle(entry)
        if entry.place != target and entry.is_up:
            self._placing.deliver(entry, message)

    def paused(self, asker: Asker) -> float:
        """Seconds that a call of an agent has waited for what nobody can hurry."""
        message = self._undecided.asked.get(asker)
        return 0.0 if message is None or message.pause is None else message.pause.seconds(self._desk.loop.time())

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
