"""Messages in the kernel: accepted, handed to a node, answered after the commit, delivered again or given up.

The books hold every message from the moment it was accepted until its outcome is committed. So a message
survives the agent, its node and, with a file, everything that is called from the next incarnation on.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from agentlab._books import Entry, Message, is_graceful, reason_text
from agentlab._desk import Desk
from agentlab._pool import Node
from agentlab._wire import revive
from agentlab.agent import HOOKS, Crash
from agentlab.errors import AgentDown, AgentLabError, CallCycle, MailboxFull, NotRunning, UnknownMessage

MAX_DELIVERIES = 3
MAX_MAILBOX = 10_000

Answer = Callable[..., None]


class Mail:
    """The mailboxes of a lab, kept in the kernel."""

    def __init__(self, desk: Desk, *, redeliver: bool) -> None:
        self._desk = desk
        self._redeliver = redeliver

    def send(
        self, path: str, method: str, payload: bytes, *, sender: str = "", answer: Answer | None = None,
        redeliver: bool | None = None,
    ) -> None:  # fmt: skip
        """Accept a message, or say why not: to the caller, or for a cast as a dead letter."""
        again = self._redeliver if redeliver is None else redeliver
        self._post(path, Message(next(self._desk.numbers), method, payload, sender, answer, redeliver=again))

    def _post(self, path: str, message: Message) -> None:
        entry = self._desk.entries.get(path)
        error = self._refusal(entry, path, message)
        if error is None and entry is not None:
            entry.pending.append(message)
            self._desk.settle(entry)
            if entry.life and not self._desk.starting(entry):
                self.hand_over(entry, message)
        elif message.answer is not None:
            message.answer(None, error)
        else:
            self._desk.ledger.event("dead_letter", path, reason=reason_text(error), detail=message.method)

    def _refusal(self, entry: Entry | None, path: str, message: Message) -> AgentLabError | None:
        if entry is None:
            return NotRunning(self._desk.why_not(path, message.method))
        if entry.down and not (message.answer is None and self._desk.status(entry) == "parked"):
            return NotRunning(self._desk.why_not(path, message.method))  # casts wait for a parked agent
        known = entry.kind.cls.__agent_messages__
        if message.method not in known and message.method not in HOOKS:
            have = ", ".join(sorted(known)) or "none"
            return UnknownMessage(f"{path!r} has no message {message.method!r}; {entry.kind.name} has: {have}.")
        return full(entry) if len(entry.pending) >= MAX_MAILBOX else None

    def hand_over(self, entry: Entry, message: Message) -> None:
        """Copy a message into the node's mailbox."""
        self._desk.tell(entry, "message", message.key, message.method, message.payload)

    def publish(self, topic: str, method: str, payload: bytes, sender: str = "") -> int:
        """Cast to every subscriber of a topic; how many there are."""
        subscribers = list(self._desk.topics.get(topic, ()))
        for path in subscribers:
            self.send(path, method, payload, sender=sender)
        return len(subscribers)

    def call_from(self, caller: Entry | None, ticket: int, path: str, answer: Answer, *rest: Any) -> None:
        """A call of an agent: refused at once if it would close a circle of agents that wait for each other."""
        method, payload, redeliver = rest
        if caller is not None:
            chain = self._chain(path, caller.path)
            if chain is not None:
                answer(None, CallCycle(
                    f"{caller.path} calls {path}.{method}, which waits for it: {' → '.join([caller.path, *chain])}. "
                    "Cast instead, or let a third agent hold what both need.",
                ))  # fmt: skip
                return
            caller.asking[ticket] = path

        def answered(value: Any, error: BaseException | None = None) -> None:
            if caller is not None:
                caller.asking.pop(ticket, None)
            answer(value, error)

        sender = caller.path if caller is not None else ""
        self.send(path, method, payload, sender=sender, answer=answered, redeliver=redeliver)

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

    # what nodes report

    def on_begun(self, node: Node, life: int, key: int, at: int, shown: str | None) -> None:
        """A handler begins."""
        entry = self._desk.present(life)
        if entry is not None and entry.pending and entry.pending[0].key == key:
            message = entry.pending[0]
            message.begun = at
            if shown is not None:
                self._desk.ledger.traced(entry, message, shown)
            self._desk.settle(entry)

    def on_step(self, node: Node, life: int, key: int | None, name: str | None) -> None:
        """A handler begins a step, or (with None) ends one."""
        entry = self._desk.present(life)
        if entry is not None and entry.pending and entry.pending[0].key == key:
            entry.pending[0].step = name
            self._desk.ledger.touch(entry.path)

    def on_done(
        self, node: Node, life: int, key: int, answer: bytes, changes: list[Any], casts: list[Any], steps: list[Any],
        started: int, took: float,
    ) -> None:  # fmt: skip
        """A handler returned: state, outcome and casts are one commit, and the answer follows it."""
        entry = self._desk.present(life)
        if entry is None or not entry.pending or entry.pending[0].key != key:
            return  # a life that is over: its message was or will be delivered again
        message = entry.pending.popleft()
        ledger = self._desk.ledger
        entry.seq += 1
        entry.handled += 1
        entry.node_deaths = 0
        ledger.handled(entry, message, "ok", None, started, int(took * 1e9))
        ledger.steps(entry, steps)
        if changes:
            ledger.checkpoint(entry, changes)
        if message.answer is not None:
            ledger.after_commit(message.answer, answer)
        for path, method, payload in casts:
            self.send(path, method, payload, sender=entry.path)
        self._desk.settle(entry)

    # messages without success

    def judge(self, entry: Entry, reason: Any, key: int | None, *, own: bool) -> None:
        """What becomes of the message in hand when its agent dies.

        Args:
            entry: The agent.
            reason: Why it died.
            key: The message that its node says was in hand, or None.
            own: Whether the handler itself raised it: only that is charged as a delivery.
        """
        if not entry.pending:
            return
        message = entry.pending[0]
        if key != message.key and not message.begun:
            return
        begun, message.begun, message.step = message.begun, 0, None
        charged = own and not is_graceful(reason)
        message.deliveries += charged
        ended_itself = own and is_graceful(reason)
        if not message.redeliver or message.deliveries >= MAX_DELIVERIES or ended_itself:
            entry.pending.popleft()
            message.begun = begun
            self._give_up(entry, message, reason)

    def judge_move(self, entry: Entry) -> None:
        """The same when its node died: innocent, but not for ever."""
        if not entry.pending or not entry.pending[0].begun:
            return
        message = entry.pending[0]
        message.begun, message.step = 0, None
        entry.node_deaths += 1
        if not message.redeliver or entry.node_deaths >= MAX_DELIVERIES:
            entry.pending.popleft()
            entry.node_deaths = 0
            self._give_up(entry, message, "node_down")

    def drop(self, entry: Entry, reason: Any, *, casts: bool = True) -> None:
        """Nobody will read what waits: callers learn it, casts become dead letters."""
        dropped = [message for message in entry.pending if message.answer is not None or casts]
        entry.pending = deque(message for message in entry.pending if message.answer is None and not casts)
        for message in dropped:
            self._give_up(entry, message, reason)

    def _give_up(self, entry: Entry, message: Message, reason: Any) -> None:
        """End a message without success, and tell after the commit that says so."""
        ledger = self._desk.ledger
        begun = message.begun or time.time_ns()
        ledger.handled(entry, message, "failed", reason_text(reason), begun, time.time_ns() - begun)
        if message.answer is None:
            ledger.event("dead_letter", entry.path, reason=reason_text(reason), detail=message.method)
        else:
            ledger.after_commit(message.answer, None, _down(entry, message, reason))


def _down(entry: Entry, message: Message, reason: Any) -> AgentDown:
    tries = f" after {message.deliveries} deliveries" if message.deliveries > 1 else ""
    down = AgentDown(
        f"{entry.path}.{message.method} was not answered: the agent ended with {reason_text(reason)!r}{tries}. "
        f"Why: lab.explain({entry.path!r}).",
        reason,
    )
    if isinstance(reason, Crash):
        down.__cause__ = revive(reason)
    return down


def full(entry: Entry) -> MailboxFull:
    """The error for a mailbox that takes no more."""
    return MailboxFull(
        f"{entry.path} has {len(entry.pending):,} messages waiting; a mailbox holds up to {MAX_MAILBOX:,}. "
        "Nothing accepted was dropped; wait for it: lab.wait_idle()."
    )
