"""When an attempt at a step may begin: a step with a ``dependency`` asks that one's breaker, and waits for its word.

The node asks the kernel, which has one breaker per dependency for all agents on all nodes (``kernel/breakers``), and
says afterwards how it went. A wait here is a wait of the step: the agent runs no code, so nothing of it is spent.
"""

from __future__ import annotations

import asyncio
from typing import Literal

from agentlab.faults import Fault
from agentlab.ground import limits
from agentlab.node.resident import Resident

How = Literal["ok", "fault", "overload", "unknown"]

OVERLOADS = frozenset({"rate_limit", "overloaded", "unavailable"})
"""Kinds of faults by which a provider says that it is too much."""

OUTAGES = frozenset({"server_error", "connection", "timeout", "cut_stream", "stalled", "garbage"})
"""Kinds that may be of one call alone; over many agents they are an outage."""

ANSWERED = frozenset({"bad_request", "too_large", "no_such_model", "stopped_short", "cut_upload", "conflict"})
"""Kinds by which a provider shows that it is there."""


class Permit:
    """Leave for one attempt; it is given back exactly once.

    Attributes:
        dependency: The breaker that gave it.
    """

    __slots__ = ("_resident", "_ticket", "dependency", "left")

    def __init__(self, resident: Resident, dependency: str, ticket: int) -> None:
        self._resident = resident
        self._ticket: int | None = ticket
        self.dependency = dependency
        self.left: list[limits.Left] = []
        limits.heard.set(self.left)

    def give_back(self, how: How, *, why: str = "", retry_after: float | None = None, tokens: int = 0) -> None:
        """Say how the attempt went."""
        ticket, self._ticket = self._ticket, None
        if ticket is None:
            return
        limits.heard.set(None)
        self._resident.host.say.went(
            placement=self._resident.life, ticket=ticket, dependency=self.dependency, how=how, why=why,
            retry_after=retry_after, left=self.left, tokens=tokens,
        )  # fmt: skip

    def fail(self, fault: Fault) -> None:
        """Say that it failed."""
        self.give_back(how_of(fault.kind), why=fault.kind, retry_after=fault.retry_after)


def how_of(kind: str) -> How:
    """What a kind of fault says of the dependency."""
    if kind in OVERLOADS:
        return "overload"
    if kind in OUTAGES:
        return "fault"
    return "ok" if kind in ANSWERED else "unknown"


async def admit(resident: Resident, dependency: str | None, after: float = 0.0) -> Permit | None:
    """Wait until an attempt may begin, ``after`` so many seconds; None for a step that depends on nobody.

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
        host.say.admit(placement=resident.life, ticket=ticket, dependency=dependency, after=after)

    answer = host.put(ask)
    try:
        await answer
    except BaseException:
        host.say.went(
            placement=resident.life, ticket=tickets[0], dependency=dependency, how="unknown", why="", retry_after=None,
            left=[], tokens=0,
        )  # fmt: skip
        raise
    return Permit(resident, dependency, tickets[0])
