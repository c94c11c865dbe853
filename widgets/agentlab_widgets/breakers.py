"""The breakers of a lab, below its tree: what state each is in, why, and how many calls wait there."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from agentlab.ground.texts import clean
from agentlab.ground.words import counted
from agentlab.looks import BREAKER

EVENTS = {"open": "breaker_opened", "half_open": "breaker_half_open", "closed": "breaker_closed"}
ACTIONS = ("open", "close")


class Seen(NamedTuple):
    """A breaker as it is now.

    Attributes:
        name: The dependency's.
        state: ``closed``, ``open`` or ``half_open``.
        why: Why it is in that state; empty if it always was.
        waiting: Calls that wait for it.
    """

    name: str
    state: str
    why: str
    waiting: int

    @property
    def status(self) -> str:
        """Its state in words, and how many calls wait."""
        return self.state.replace("_", " ") + (f", {counted(self.waiting, 'call')} waiting" if self.waiting else "")

    @property
    def colour(self) -> str:
        """Of its state."""
        return BREAKER[EVENTS[self.state]].colour

    def facts(self) -> dict[str, Any]:
        """What a browser shows of it, as JSON; every text cleaned and cut."""
        return {
            "name": clean(self.name, 60), "state": self.state, "status": self.status, "why": clean(self.why, 200),
            "colour": self.colour,
        }  # fmt: skip


def seen(lab: Any) -> list[Seen]:
    """The breakers that were asked for, as they are now; none of a closed lab, whose breakers ended with it."""
    runtime = None if lab.closed else getattr(lab, "_live", None)
    if runtime is None or not runtime.breakers.names:
        return []
    now = time.time_ns()
    rows = runtime.run(lambda: [room.row(now) for room in runtime.breakers])
    return [Seen(name, state, why or "", waiting) for name, state, _, why, waiting, *_ in rows]


def turn(lab: Any, shown: str, what: str) -> None:
    """Open or close a breaker by the name that it is shown by.

    Raises:
        InvalidArgument: There is none; names those that there are.
    """
    names = [breaker.name for breaker in seen(lab) if breaker.facts()["name"] == shown]
    getattr(lab.breaker(names[0] if names else shown), what)()


def cells(breaker: Seen) -> tuple[str, str, str, str, str]:
    """Its row where nothing lives, in the columns of the tree."""
    return clean(breaker.name, 60), "breaker", breaker.status, "", clean(breaker.why)
