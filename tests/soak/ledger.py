"""What was sent and what was acknowledged, kept outside the lab, and what the agents' states must therefore be."""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import Any

from agentlab import Lab, Ref, Reply
from agentlab.errors import AgentDown, AgentLabError
from tests.soak.members import COINS, link

PATIENCE = 60.0
"""Seconds after which an answer that is not there is called lost."""


class Account:
    """One agent as the ledger knows it."""

    __slots__ = ("chain", "count", "ref", "rings", "sent")

    def __init__(self, ref: Ref) -> None:
        self.ref = ref
        self.count = self.chain = self.rings = 0
        self.sent: deque[tuple[int, str, Reply | None, float]] = deque()

    def settle(self, books: Counter[str]) -> str | None:
        """Enter what is decided, oldest first; what is wrong with it, if something is."""
        while self.sent:
            number, method, reply, since = self.sent[0]
            if reply is not None and not reply.done():
                late = time.monotonic() - since > PATIENCE
                return f"{self.ref.path}: no answer to {method} {number} in {PATIENCE:g} s" if late else None
            self.sent.popleft()
            try:
                answer = None if reply is None else reply.result(0)
            except AgentDown:  # given up: nothing of it may show
                books[f"failed {method}"] += 1
                continue
            except AgentLabError as error:  # it was refused, or forgotten
                return f"{self.ref.path}: {method} {number}: {error!r}"
            books[method] += 1
            self.count, self.chain = self.count + 1, link(self.chain, number)
            self.rings += method == "remind"
            if reply is not None and answer != self.chain:
                return f"{self.ref.path}: {method} {number} found a state that is not what was acknowledged before it"
        return None

    def expected(self) -> dict[str, int]:
        """Fields of its state."""
        return {"count": self.count, "chain": self.chain, "rings": self.rings}


class Ledger:
    """All accounts."""

    def __init__(self, refs: list[Ref]) -> None:
        self.accounts = {ref: Account(ref) for ref in refs}
        self.books: Counter[str] = Counter()
        self.faults: list[str] = []
        self._open: set[Ref] = set()
        self._number = 0

    def call(self, ref: Ref, method: str, *args: Any) -> Reply:
        """Send a numbered message and remember that an answer is owed."""
        reply: Reply = getattr(ref.call(timeout=PATIENCE), method)(self._next(), *args)
        self._enter(ref, method, reply)
        return reply

    def cast(self, ref: Ref, method: str, *args: Any) -> None:
        """Send a numbered message that is accepted and will be handled."""
        getattr(ref.cast, method)(self._next(), *args)
        self._enter(ref, method, None)

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _enter(self, ref: Ref, method: str, reply: Reply | None) -> None:
        self.accounts[ref].sent.append((self._number, method, reply, time.monotonic()))
        self._open.add(ref)

    def settle(self) -> int:
        """Enter all that is decided; how many agents still owe an answer."""
        for ref in list(self._open):
            fault = self.accounts[ref].settle(self.books)
            if fault is not None:
                self.faults.append(f"{fault}; {ref.info()}")
                self.accounts[ref].sent.clear()
            if not self.accounts[ref].sent:
                self._open.discard(ref)
        return len(self._open)

    @property
    def acknowledged(self) -> int:
        """Messages that must show in a state."""
        return sum(account.count for account in self.accounts.values())

    def audit(self, lab: Lab) -> list[str]:
        """Compare every state with its account, and the coins with what there were; what is wrong."""
        faults, coins = [], 0
        for account in self.accounts.values():
            state = lab[account.ref.path].state
            coins += state["coins"]
            found = {name: state[name] for name in account.expected()}
            if found != account.expected():
                word = "lost" if found["count"] < account.count else "doubled" if found["count"] > account.count else ""
                faults.append(f"{account.ref.path}: {word} expected {account.expected()}, found {found}")
        letters = lab.dead_letters().query("method != 'misbehave'")  # all of those were calls, and told
        faults += [f"dead letter: {letter}" for letter in letters.astype(str).to_dict("records")]
        # A message that borrowed and was then given up has its coins nowhere: what it called was committed.
        astray = coins - COINS * len(self.accounts)
        if astray and not self.books["failed borrow"]:
            faults.append(f"coins: {astray:+d}")
        return faults
