"""The breakers of a lab: one per dependency, made when it is first asked for, shared by all agents on all nodes.

The machine (``supervision/breaker``) decides; here are its clock, its events and the way back to who waits. A permit
belongs to a placement: a life that leaves its node, or dies with it, gives back what it held and waits for nothing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

from agentlab.books.agents import Entry
from agentlab.errors import InvalidSpec
from agentlab.events import EventKind
from agentlab.ground.given import LONGEST_WAIT, shown
from agentlab.ground.limits import Left
from agentlab.ground.redaction import redact
from agentlab.kernel.desk import Desk
from agentlab.pool.pool import Node
from agentlab.supervision.breaker import Breaker, Grant, Settings, State
from agentlab.supervision.limiter import Room
from agentlab.wire.frames import Went

KINDS: dict[State, EventKind] = {
    "closed": "breaker_closed",
    "open": "breaker_opened",
    "half_open": "breaker_half_open",
}


class Breakers:
    """All breakers of a lab; everything here belongs to the runtime's thread."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._rooms: dict[str, Waiting] = {}
        self._seats: dict[int, dict[int, Waiting]] = {}  # by placement and ticket: where it waits, or has a permit

    def named(self, name: str) -> Waiting:
        """The breaker of a dependency."""
        room = self._rooms.get(name)
        if room is None:
            room = self._rooms[name] = Waiting(self._desk, name)
        return room

    @property
    def names(self) -> list[str]:
        """Of all that were asked for, in that order."""
        return list(self._rooms)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(list(self._rooms.values()))

    def admit(self, entry: Entry, ticket: int, dependency: str, after: float) -> bool:
        """An agent wants to call, not before ``after`` seconds; whether it may at once."""
        room, seat = self.named(dependency), (entry.place, ticket)
        self._seats.setdefault(entry.place, {})[ticket] = room
        room.machine.ask(seat, entry.path, room.now(), after=after)
        room.act()
        return not room.machine.waits(seat)

    def on_went(
        self, node: Node, *, placement: int, ticket: int, how: Went, why: str, retry_after: float | None,
        left: list[Left], tokens: int, question: int,
    ) -> None:  # fmt: skip
        """An agent has called, or wants to no more."""
        room, outage = self._stand_up(placement, ticket), False
        if room is not None:
            now, seat = room.now(), (placement, ticket)
            if room.machine.waits(seat):
                room.machine.leave(seat, now)
                node.say.answer(ticket=ticket, value=b"", error=None)  # it asks for this no more
                self._desk.due()
            rooms = [Room(*each) for each in left]
            outage = room.machine.went(seat, how, now, why=why, retry_after=retry_after, rooms=rooms, tokens=tokens)
            room.act()
        if question:
            node.say.answer(ticket=question, value=b"1" if outage else b"", error=None)
            self._desk.due()

    def _stand_up(self, placement: int, ticket: int) -> Waiting | None:
        seats = self._seats.get(placement)
        room = seats.pop(ticket, None) if seats is not None else None
        if seats is not None and not seats:
            del self._seats[placement]
        return room

    def left(self, placement: int) -> None:
        """A life is on its node no more: its places are free."""
        for ticket, room in self._seats.pop(placement, {}).items():
            room.machine.leave((placement, ticket), room.now())
            room.act()

    def close(self) -> None:
        """The lab ends."""
        for room in self._rooms.values():
            room.close()


class Waiting:
    """One dependency's breaker, and the way back to who waits for it.

    Attributes:
        name: The dependency's.
        machine: What decides.
    """

    def __init__(self, desk: Desk, name: str) -> None:
        self.name = name
        self._desk = desk
        self.machine = Breaker(desk.loop.time())
        self._alarm: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """The loop's time (seconds)."""
        return self._desk.loop.time()

    def act(self) -> None:
        """Carry out what the machine says, and have it looked at when the next thing is due."""
        for command in self.machine.take():
            if isinstance(command, Grant):
                self._grant(command)
            else:
                self._desk.ledger.events.note_event(
                    KINDS[command.state], "/", reason=self.name, detail=command.why, took_s=command.took
                )
                self._desk.due()
        self.close()
        due = self.machine.due()
        if due < math.inf:
            self._alarm = self._desk.loop.call_later(max(0.0, due - self.now()), self._ring)

    def _ring(self) -> None:
        self.machine.tick(self.now())
        self.act()

    def _grant(self, grant: Grant) -> None:
        seat: Any = grant.ticket  # as ``on_admit`` made it
        placement, ticket = seat
        entry = self._desk.placed.get(placement)
        node = self._desk.pool.nodes.get(entry.node or 0) if entry is not None else None
        if node is not None:
            node.say.answer(ticket=ticket, value=b"", error=None)
            self._desk.due()

    def close(self) -> None:
        """Ring no more."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def hold(self, seconds: float | None) -> None:
        """A person opens it."""
        self.machine.hold(self.now(), seconds)
        self.act()

    def release(self) -> None:
        """A person closes it."""
        self.machine.release(self.now())
        self.act()

    def tune(self, changes: dict[str, float]) -> None:
        """Change its settings; the next cool-down is a first one."""
        known = {field.name for field in dataclasses.fields(Settings)}
        for name, value in changes.items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
            if name not in known or not number or (name == "share" and value > 1):
                raise InvalidSpec(
                    f"breaker {self.name!r}: {name}={shown(value)}; settings are {', '.join(sorted(known))}, "
                    "numbers > 0, and share is at most 1",
                    kind="invalid_breaker", value=value,
                )  # fmt: skip
        kept: dict[str, Any] = {name: min(value, LONGEST_WAIT) for name, value in changes.items()}
        self.machine.tune(dataclasses.replace(self.machine.settings, **kept))

    def row(self, now_ns: int) -> tuple[Any, ...]:
        """How it looks now, as a row of ``lab.breakers()``."""
        machine, now = self.machine, self.now()
        probes = machine.state == "open" and machine.probe_at < math.inf
        probe = now_ns + int((machine.probe_at - now) * 1e9) if probes else None
        since = now_ns - int((now - machine.since) * 1e9)
        return (
            redact(self.name), machine.state, since, redact(machine.why) or None, machine.waiting, machine.faults,
            machine.failing, machine.opened, probe,
        )  # fmt: skip
