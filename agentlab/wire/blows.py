"""What a plan of chaos may do to a message or a step: where it strikes, with what, and how that crosses the wire."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

Strike = Literal["kill", "kill_node", "stall", "corrupt", "cut_stream", "slow_disk"]


class Place(NamedTuple):
    """Where a plan may strike: before a message of an agent, or before one of its steps.

    Attributes:
        path: The agent's.
        message: Its number at that agent, as ``lab.messages()`` has it.
        step: The step's number in that message; 0: the message itself.
        kind: ``message``, or the step's: ``tool``, ``model``, ``step``, ``call``.
        name: The method's, the tool's, the function's.
    """

    path: str
    message: int
    step: int
    kind: str
    name: str


class Blow(NamedTuple):
    """One strike.

    Attributes:
        strike: What is done.
        seconds: How long it takes; 0 for what takes no time.
        counts: Of a kill: whether it counts against the supervisor's limit of restarts, as a crash does.
    """

    strike: Strike
    seconds: float = 0.0
    counts: bool = False


@runtime_checkable
class Decides(Protocol):
    """Who decides what strikes where; ``agentlab.chaos.Plan`` does."""

    def strikes_at(self, place: Place) -> Sequence[Blow]:
        """What strikes there: always the same."""


WHERE = re.compile(r"message (\d+)(?:, step (\d+))?: (.*)", re.DOTALL)


def where_text(place: Place) -> str:
    """A place of an agent in words, as the event of a strike has it."""
    step = f", step {place.step}" if place.step else ""
    return f"message {place.message}{step}: {place.name}"


def read_where(text: str) -> tuple[int | None, int | None, str]:
    """The message, the step and the name in what ``where_text`` made; no message in any other text."""
    found = WHERE.fullmatch(text)
    return (None, None, text) if found is None else (int(found[1]), int(found[2] or 0), found[3])


def packed(blows: Sequence[Blow]) -> bytes:
    """Blows as a node gets them; empty bytes for none."""
    return json.dumps(blows).encode() if blows else b""


def unpacked(data: bytes) -> list[Blow]:
    """What ``packed`` made."""
    return [Blow(*blow) for blow in json.loads(data)] if data else []
