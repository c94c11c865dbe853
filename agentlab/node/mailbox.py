"""What may lie in an agent's mailbox on its node."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from agentlab.agent.snapshot import Image
from agentlab.wire.frames import KeptFault, KeptStep


class Delivery(NamedTuple):
    """A message, handed over for the first time or again."""

    key: int
    method: str
    payload: bytes
    journal: list[KeptStep]
    faults: list[KeptFault]
    seed: str
    redeliver: bool
    heard: bool = False


class Stop(NamedTuple):
    """End in good order."""

    reason: Any


class Replace(NamedTuple):
    """Set fields, and answer under the ticket."""

    ticket: int
    fields: Image


class Upgrade(NamedTuple):
    """Go on with newer code: the class of that number."""

    number: int


Item = Delivery | Stop | Replace | Upgrade


class _Nothing(deque[Item]):
    """The mailbox of all who have nothing in theirs: even an empty one takes more than most agents."""

    def append(self, item: Item) -> None:
        raise TypeError("this mailbox is everybody's; Resident.post gives an agent its own")

    appendleft = append


NOTHING = _Nothing()
