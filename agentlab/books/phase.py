"""An agent's phase: whether it has a life, where that stands, and how its end was ordered.

Everything that changes a phase is a method of ``Phased`` with a name, and what is not allowed raises; so this file says
what can happen to an agent::

    BETWEEN ── begin ─► STARTING ── come_up ─► RUNNING ── be_over ─► BETWEEN ── go_down ─► DOWN
                           │ ▲                   │                   LEAVING ── go_down ─► STOPPED
                  lie_down │ └── begin (DOWN …)  │ move              RETURNING
                           ▼                     ▼
         be_over ◄─ DORMANT ── wake ─► WAKING  MOVING ── come_up ─► RUNNING, or lie_down ─► DORMANT

A life that runs code does not end when that is ordered, it ends when its node says so: until then it has an ``Order``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal


class Phase(Enum):
    """Where an agent stands; five phases without a life, five with one."""

    BETWEEN = "no life, and its supervisor says what comes next"
    RETURNING = "no life, and whoever ended the last for a restart starts the next"
    LEAVING = "no life, somebody asked for its end, and its supervisor says what comes next"
    DOWN = "kept without a process"
    STOPPED = "kept without a process, as somebody asked"
    STARTING = "its life has a node, or waits for one, and has not come up"
    RUNNING = "its life is up on its node"
    DORMANT = "its life runs, and no node has it: nobody has reached for it"
    WAKING = "somebody has reached for a dormant life, and no node has said that it is there"
    MOVING = "its life ran on a node that it lost or left, and has not come up on the next"


# In Python 3.11 a member that is looked up on its class costs a third of a microsecond, and each call asks for some.
BETWEEN, RETURNING, LEAVING, DOWN, STOPPED, STARTING, RUNNING, DORMANT, WAKING, MOVING = Phase

LIFELESS = (BETWEEN, RETURNING, LEAVING, DOWN, STOPPED)
COMING_UP = (STARTING, WAKING, MOVING)

How = Literal["orderly", "at once", "skipped"]
"""Orderly: after what its node has in hand. At once: where its code stands. Skipped: the same, since its code does not
let go of a message that somebody skipped."""

After = Literal["judged", "parked", "returns", "again", "moves"]
"""What follows a life: its supervisor judges the reason; it is parked; the same until the restart that ended it; the
kernel starts it again, uncounted; or it goes on elsewhere, so that it is no end for anybody else."""


@dataclass(frozen=True, slots=True)
class Order:
    """An end that was ordered, and has not come yet.

    Attributes:
        reason: Why; any term, None too.
        how: How it was ordered.
        then: What follows.
        for_good: Somebody asked for the agent to be over.
    """

    reason: Any
    how: How = "orderly"
    then: After = "judged"
    for_good: bool = False


class Phased:
    """What has a phase: an agent in the books.

    Attributes:
        phase: Where it stands.
        life: The number of its life; 0 if it has none.
        place: The number of its life's placement on a node; 0 if it has none.
        ordered: How the end of this life was ordered, if it was.
        forsaken: Its supervisor is gone and nobody starts it again, though its life still ends.
    """

    __slots__ = ("forsaken", "life", "ordered", "phase", "place")

    def __init__(self) -> None:
        self.phase = BETWEEN
        self.life = 0
        self.place = 0
        self.ordered: Order | None = None
        self.forsaken = False

    def _go(self, to: Phase, *allowed: Phase) -> None:
        """Change the phase; what comes from any other than these is a mistake of the kernel's."""
        if self.phase not in allowed:
            names = ", ".join(phase.name for phase in allowed)
            raise RuntimeError(f"{self!r} cannot become {to.name}: it is {self.phase.name}, not one of {names}.")
        self.phase = to

    def _must(self, held: bool, rule: str) -> None:
        if not held:
            raise RuntimeError(f"{self!r} is {self.phase.name}, place {self.place}, {self.ordered}: {rule}.")

    # a life begins

    def begin(self, life: int) -> None:
        """A start attempt begins, and has no node yet."""
        self._must(life != 0, "a life has a number")
        self._go(STARTING, *LIFELESS)
        self.life, self.ordered, self.forsaken = life, None, False

    def settle_at(self, place: int) -> None:
        """Its life gets a node, under this number."""
        self._must(self.place == 0, "a life has one placement at a time")
        self._must(self.phase in COMING_UP, "only who is about to come up is placed")
        self.place = place

    def leave_place(self) -> int:
        """Its life is on no node any more; the number of the placement that it had, or 0."""
        place, self.place = self.place, 0
        return place

    def come_up(self) -> None:
        """Its node says that it is there."""
        self._go(RUNNING, *COMING_UP)

    def lie_down(self) -> None:
        """Its life runs in the books, until somebody reaches for it."""
        self._must(self.place == 0 and self.ordered is None, "who lies down has no node, and no end before it")
        self._go(DORMANT, STARTING, MOVING)

    def wake(self) -> None:
        """Somebody reaches for a dormant life: it is to get a node."""
        self._go(WAKING, DORMANT)

    def move(self) -> None:
        """Its life goes on elsewhere; a start that nobody has heard of is tried again, and is still the same start."""
        self._must(self.place == 0 and not self.is_ending, "who moves has left its node, and goes on")
        self._go(STARTING if self.phase is STARTING else MOVING, STARTING, RUNNING, WAKING, MOVING)
        self.ordered = None

    # a life ends

    def order_end(self, reason: Any, *, then: After | None = None, for_good: bool | None = None) -> None:
        """An orderly end is wanted. If one was ordered before, its reason and pace stay.

        Args:
            reason: Why.
            then: What follows; as it was ordered before, if nothing is said.
            for_good: Whether it was somebody who wants the agent to be over; as before, if nothing is said.
        """
        self._must(self.life != 0, "who has no life cannot be told to end")
        before = self.ordered or Order(reason)
        after = before.then if before.then != "moves" else "judged"
        good = before.for_good if for_good is None else for_good
        self.ordered = Order(before.reason, before.how, then or after, good)

    def order_end_at_once(self, reason: Any) -> None:
        """Its node is to end it where its code stands; what follows stays as it was ordered before."""
        self.order_end(reason)
        assert self.ordered is not None
        self.ordered = Order(reason, "at once", self.ordered.then, self.ordered.for_good)

    def order_to_leave(self, reason: Any) -> None:
        """Its node is to end it, for a message that was skipped; the agent goes on, if its end is not ordered too."""
        self._must(self.life != 0, "who has no life cannot leave a message")
        before = self.ordered or Order(reason, then="moves")
        self.ordered = dataclasses.replace(before, reason=reason, how="skipped")

    def order_to_start_over(self) -> None:
        """What its node has is past its last commit: it starts again from there, if its end is not ordered too."""
        if self.ordered is None:
            self.order_end("killed", then="again")
        elif not self.is_fenced and self.ordered.then == "judged":
            self.order_end("killed", then="parked")

    def be_over(self) -> None:
        """Its life is over, and has left its node; with it ends what was ordered for it."""
        self._must(self.place == 0, "a life that is over has no node")
        self._must(self.life != 0, "who has no life cannot end")
        then, for_good = (self.ordered.then, self.ordered.for_good) if self.ordered is not None else ("judged", False)
        if self.forsaken:
            self.phase = STOPPED if for_good else DOWN
        elif then == "returns":
            self.phase = RETURNING
        else:
            self.phase = LEAVING if for_good else BETWEEN
        self.life, self.ordered, self.forsaken = 0, None, False

    def pass_on(self, heir: Phased) -> None:
        """Its life still ends although a successor starts; another object stands for it from here on."""
        self._must(self.life != 0, "who has no life has none to pass on")
        heir.phase, heir.life, heir.place = self.phase, self.life, self.place
        if self.ordered is not None and self.is_ending:  # the fence goes with the successor: its node's word counts
            heir.ordered = Order(self.ordered.reason)
        self.phase, self.life, self.place, self.ordered, self.forsaken = BETWEEN, 0, 0, None, False

    # no life

    def go_down(self) -> None:
        """It is kept without a process, or will be once its life has ended."""
        if self.life:
            self.forsaken = True
        elif self.phase in (LEAVING, STOPPED):
            self.phase = STOPPED
        else:
            self._go(DOWN, BETWEEN, RETURNING, DOWN)

    def stop_for_good(self) -> None:
        """Somebody asks for the end of an agent that has no life."""
        if self.phase in (DOWN, STOPPED):
            self.phase = STOPPED
        else:
            self._go(LEAVING, BETWEEN, RETURNING, LEAVING)

    # what may be asked

    @property
    def is_down(self) -> bool:
        """Whether it is kept without a process and not about to get one; its last life may still end."""
        return self.phase is DOWN or self.phase is STOPPED or self.forsaken

    @property
    def is_stopped(self) -> bool:
        """Whether somebody asked for its end, and it has no life."""
        return self.phase is STOPPED or self.phase is LEAVING

    @property
    def is_asked_to_stop(self) -> bool:
        """Whether somebody asked for its end, and it has not begun anew since."""
        return self.is_stopped or (self.ordered is not None and self.ordered.for_good)

    @property
    def is_asleep(self) -> bool:
        """Whether its life runs without a node that could tell anything of it."""
        return self.phase is DORMANT or self.phase is WAKING

    @property
    def has_node(self) -> bool:
        """Whether its life has a node, or waits for one; what has none is as the books say."""
        return self.life != 0 and self.phase is not DORMANT

    @property
    def is_ending(self) -> bool:
        """Whether it was told to end; one that leaves only a message goes on."""
        return self.ordered is not None and self.ordered.then != "moves"

    @property
    def is_fenced(self) -> bool:
        """Whether its node was told to end it where its code stands, and no more is heard but that it is gone."""
        return self.ordered is not None and self.ordered.how != "orderly"

    @property
    def is_leaving_a_message(self) -> bool:
        """Whether the end of this life is none for the agent: it goes on elsewhere."""
        return self.ordered is not None and self.ordered.then == "moves"

    @property
    def reason_to_end(self) -> Any:  # any term
        """Why its life ends, if nobody can say more: as it was told, if at once."""
        return self.ordered.reason if self.ordered is not None and self.is_fenced else "killed"

    def heeds(self, reason: Any) -> bool:
        """Whether another order to end at once changes anything: ``killed`` does, and whatever follows a skip."""
        if self.ordered is None or self.ordered.how != "at once":
            return True
        return bool(reason == "killed" and self.ordered.reason != "killed")
