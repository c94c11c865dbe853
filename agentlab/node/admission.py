"""When an attempt at a step may begin: a step with a ``dependency`` asks that one's breaker, and waits for its word.

The node asks the kernel, which has one breaker per dependency for all agents on all nodes (``kernel/breakers``), and
says afterwards how it went. A wait here is a wait of the step: the agent runs no code, so nothing of it is spent.
"""

from __future__ import annotations

import asyncio

from agentlab.faults import Fault
from agentlab.ground import limits
from agentlab.node.replay import Claim
from agentlab.node.resident import Resident
from agentlab.wire.frames import Went

OVERLOADS = frozenset({"rate_limit", "overloaded", "unavailable"})
"""Kinds of faults by which a provider says that it is too much."""

OUTAGES = frozenset(
    {"server_error", "connection", "timeout", "cut_stream", "stalled", "garbage", "server_down", "unreached"}
)
"""Kinds that may be of one call alone; over many agents they are an outage."""

ANSWERED = frozenset({"bad_request", "too_large", "no_such_model", "stopped_short", "cut_upload", "conflict"})
"""Kinds by which a provider shows that it is there."""


class Permit:
    """Leave for one attempt; it is given back exactly once.

    Attributes:
        left: What the answer said is left of the provider's limits.
    """

    __slots__ = ("_resident", "_ticket", "left")

    def __init__(self, resident: Resident, ticket: int) -> None:
        self._resident = resident
        self._ticket: int | None = ticket
        self.left: list[limits.Left] = []
        limits.heard.set(self.left)

    def give_back(self, how: Went, *, tokens: int = 0) -> None:
        """Say how the attempt went, and how many tokens it took."""
        self._say(how, tokens=tokens)

    async def fail(self, fault: Fault) -> bool:
        """Say that it failed; whether it is an outage, so that this says nothing of the request."""
        how = how_of(fault.kind)
        if self._ticket is None or how not in ("fault", "overload"):
            self._say(how)
            return False
        told = self._resident.host.put(
            lambda _life, question: self._say(how, why=fault.kind, retry_after=fault.retry_after, question=question)
        )
        return bool(await told)

    def _say(
        self, how: Went, *, why: str = "", retry_after: float | None = None, tokens: int = 0, question: int = 0
    ) -> None:  # fmt: skip
        ticket, self._ticket = self._ticket, None
        if ticket is None:
            return
        limits.heard.set(None)
        self._resident.host.say.went(
            placement=self._resident.life, ticket=ticket, how=how, why=why, retry_after=retry_after, left=self.left,
            tokens=tokens, question=question,
        )  # fmt: skip


def how_of(kind: str) -> Went:
    """What a kind of fault says of the dependency."""
    if kind in OVERLOADS:
        return "overload"
    if kind in OUTAGES:
        return "fault"
    return "ok" if kind in ANSWERED else "unknown"


async def admit(resident: Resident, found: Claim, dependency: str | None, after: float = 0.0) -> Permit | None:
    """Wait until an attempt at a step may begin, ``after`` so many seconds; None if it depends on nobody.

    While its breaker is open, the attempt begins when that lets calls through, sooner or later than ``after``.
    """
    if dependency is None:
        if after > 0:
            await asyncio.sleep(after)
        return None
    host = resident.host
    tickets: list[int] = []

    def ask(life: int, ticket: int) -> None:
        tickets.append(ticket)
        host.say.admit(
            placement=resident.life, ticket=ticket, key=found.key, number=found.number, dependency=dependency,
            after=after,
        )  # fmt: skip

    answer = host.put(ask)
    permit = Permit(resident, tickets[0])
    try:
        await answer
    except BaseException:
        permit.give_back("unknown")
        raise
    return permit
