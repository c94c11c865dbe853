"""What the kernel says to this node, acted on; of a life that is over nothing is heard."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

from agentlab.agent.base import Agent
from agentlab.agent.snapshot import Image, migrated
from agentlab.ground import redaction, tracebacks
from agentlab.ground.tracebacks import Source
from agentlab.node.context import InsideContext
from agentlab.node.home import Home
from agentlab.node.mailbox import Delivery, Item, Replace, Stop, Upgrade
from agentlab.node.resident import Ending, Resident, draft
from agentlab.wire.exceptions import Term, decode_reason, describe
from agentlab.wire.frames import KeptFault, KeptStep, ToNode
from agentlab.wire.packing import unpack
from agentlab.wire.stubs import hearing


class Hosting(Home, Protocol):
    """The host, as the kernel's orders need it.

    Attributes:
        residents: The lives here, by placement.
        paths: The same by path.
        classes: By the kernel's number.
        numbers: The same by class.
        keys: For calls within the node.
    """

    residents: dict[int, Resident]
    paths: dict[str, Resident]
    classes: dict[int, type[Agent]]
    numbers: dict[type, int]
    keys: Iterator[int]

    def note_settled(self, count: int) -> None:
        """So much of what this node has noted is committed."""

    def take_answer(self, ticket: int, value: bytes | None, error: Term) -> None:
        """Hand the kernel's answer to who has asked."""

    def work(self, resident: Resident, state: tuple[Image, Image] | None = None) -> None:
        """See to the mailbox; first of all, with a ``state``, start the life."""

    def end_life(self, resident: Resident, ending: Ending) -> None:
        """End a life, wherever its code stands."""


class Orders(ToNode):
    """The hearing end of the line from the kernel; everything happens in the node's loop."""

    def __init__(self, host: Hosting) -> None:
        self._host = host

    # to the node itself

    def secrets(self, *, found: dict[str, str]) -> None:
        """Text that holds one of them is redacted from here on."""
        redaction.learn(found)

    def keys(self, *, first: int, count: int) -> None:
        """Agents here may call their neighbours."""
        self._host.keys = iter(range(first, first + count))

    def teach(self, *, number: int, data: bytes, cells: dict[str, Source]) -> None:
        """Load a class; one that cannot be loaded fails where an agent of it starts."""
        tracebacks.learn(cells)
        host = self._host
        try:
            found = unpack(data)
            if isinstance(found, BaseException):
                raise found
            host.classes[number], host.numbers[found] = found, number
        except BaseException as error:  # the class's module may raise anything when it is imported here
            host.classes[number] = _unloadable(error)

    def chaos(self, *, on: bool) -> None:
        """What begins from now on asks what strikes it, or does not any more."""
        self._host.chaos = on

    def watched(self, *, on: bool) -> None:
        """From now on it is told what agents emit, or only to whose caller hears it."""
        self._host.watched = on

    def settled(self, *, count: int) -> None:
        """Go on with what waited for that commit."""
        self._host.note_settled(count)

    def answer(self, *, ticket: int, value: bytes | None, error: Term) -> None:
        """Hand it to who has asked."""
        self._host.take_answer(ticket, value, error)

    def migrate(self, *, ticket: int, number: int, image: Image) -> None:
        """The state as the class wants it, or why that cannot be."""
        try:
            made: tuple[Image | None, str | None] = (migrated(self._host.classes[number], image), None)
        except BaseException as error:  # whatever migrate raises
            made = (None, ": ".join(describe(error)[:2]))
        self._host.say.told(ticket=ticket, value=made)

    # to one life

    def start(
        self, *, placement: int, number: int, path: str, incarnation: int, max_busy: float | None, initial: Image,
        kept: Image,
    ) -> None:  # fmt: skip
        """Begin a life; its state is set in a task of its own."""
        host = self._host
        cls = host.classes[number]
        agent = object.__new__(cls)
        resident = Resident(host, placement, agent)
        resident.max_busy = math.inf if max_busy is None else max_busy
        agent._context = InsideContext(host, resident, cls, path, incarnation)
        host.residents[placement] = host.paths[path] = resident
        host.work(resident, (initial, kept))

    def open(self, *, placement: int) -> None:
        """Its neighbours may call it from here on."""
        resident = self._host.residents.get(placement)
        if resident is not None:
            resident.open = True

    def deliver(
        self, *, placement: int, key: int, method: str, payload: bytes, journal: list[KeptStep],
        faults: list[KeptFault], seed: str, redeliver: bool, heard: bool,
    ) -> None:  # fmt: skip
        """Put a message last in the mailbox."""
        resident = self._host.residents.get(placement)
        if resident is not None:
            resident.post(Delivery(key, method, payload, journal, faults, seed, redeliver, heard))
            if not resident.suspended:
                self._host.work(resident)

    def withdraw(self, *, placement: int, key: int) -> None:
        """Take a message out of the mailbox, or its handler out of its hands."""
        resident = self._host.residents.get(placement)
        if resident is None:
            return
        if resident.key == key and resident.task is not None:
            resident.withdrawn = key
            resident.task.cancel()
            return
        found = next((item for item in resident.mailbox if isinstance(item, Delivery) and item.key == key), None)
        if found is not None:
            resident.mailbox.remove(found)
            self._host.say.withdrawn(placement=placement, key=key)

    def stop(self, *, placement: int, reason: Term) -> None:
        """Last in the mailbox."""
        self._stop(placement, reason, first=False)

    def signal(self, *, placement: int, reason: Term) -> None:
        """First in the mailbox."""
        self._stop(placement, reason, first=True)

    def _stop(self, placement: int, reason: Term, *, first: bool) -> None:
        resident = self._host.residents.get(placement)
        if resident is not None:
            resident.post(Stop(decode_reason(reason)), first=first)
            resident.suspended = False
            self._host.work(resident)

    def end(self, *, placement: int, reason: Term) -> None:
        """Interrupt its code, wherever that stands."""
        resident = self._host.residents.get(placement)
        if resident is not None:
            self._host.end_life(resident, Ending(decode_reason(reason)))

    def suspend(self, *, placement: int, on: bool) -> None:
        """Let the mailbox wait, or go on with it."""
        resident = self._host.residents.get(placement)
        if resident is not None:
            resident.suspended = on
            if not on and resident.mailbox:
                self._host.work(resident)

    def trace(self, *, placement: int, on: bool) -> None:
        """Show its messages, or no more."""
        resident = self._host.residents.get(placement)
        if resident is not None:
            resident.traced = on

    def held(self, *, placement: int, ticket: int) -> None:
        """The message in hand by its key; 0 if there is none."""
        resident = self._host.residents.get(placement)
        self._host.say.told(ticket=ticket, value=0 if resident is None else resident.key or 0)

    def draft(self, *, placement: int, ticket: int) -> None:
        """The state in hand; what does not fit its type is shown as text."""
        resident = self._host.residents.get(placement)
        if resident is not None:
            self._host.say.told(ticket=ticket, value=draft(resident.agent))

    def meter(self, *, placement: int, ticket: int) -> None:
        """What it costs; nothing is said of a life that is over."""
        resident = self._host.residents.get(placement)
        if resident is not None:
            size = sum(map(len, draft(resident.agent).values()))
            self._host.say.told(ticket=ticket, value=(resident.cpu, size))

    def replace(self, *, placement: int, ticket: int, fields: Image) -> None:
        """Before the next message."""
        self._next(placement, Replace(ticket, fields))

    def upgrade(self, *, placement: int, number: int) -> None:
        """Before the next message."""
        self._next(placement, Upgrade(number))

    def _next(self, placement: int, item: Item) -> None:
        resident = self._host.residents.get(placement)
        if resident is not None:
            resident.post(item, first=True)
            self._host.work(resident)


hearing_of = hearing(ToNode)  # type: ignore[type-abstract]  # a protocol is what it reads
"""The table of what an ``Orders`` does with each frame; made before nodes are forked."""


def _unloadable(error: BaseException) -> type[Agent]:
    """Stands for a class that could not be loaded here: every start of it fails and says why."""
    why = ": ".join(describe(error)[:2])

    class Unloadable(Agent):
        async def on_start(self) -> None:
            raise RuntimeError(
                f"the agent's class could not be loaded in a node: {why}. "
                "A node imports modules by the same sys.path as the kernel."
            ) from error

    return Unloadable
