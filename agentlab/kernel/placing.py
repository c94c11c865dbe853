"""Which node a life runs on.

Every placement has a number of its own, and a node knows a life by it: what it says of a life that was moved
or ended since is not heard.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from agentlab.books.agents import Entry
from agentlab.books.classes import Kind
from agentlab.books.phase import WAKING
from agentlab.errors import NodeDown
from agentlab.events import Move
from agentlab.ground.tracebacks import sources
from agentlab.kernel.desk import Desk
from agentlab.pool.pool import Node

AGAIN_SECONDS = 1.0
"""After the system had no room for another process."""


class Placing:
    """Places lives on nodes."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._homeless: list[int] = []  # lives that wait for a node
        self.refill: Callable[[], None]  # fills the pool and houses who waits; a floor above
        desk.wake = self.wake

    def place(self, entry: Entry, *, avoid: int | None = None) -> None:
        """Send a life to a node; it waits if there is none."""
        try:
            node = self._node_for(entry, avoid if avoid is not None else entry.shunned)
        except (NodeDown, OSError) as error:
            self.failed(entry.path, error)
            node = None
        if node is None:
            self._homeless.append(entry.life)
            return
        entry.node, entry.shunned = node.number, None
        entry.settle_at(next(self._desk.numbers))
        self._desk.placed[entry.place] = entry
        node.agents += 1
        teach(node, entry.kind)
        if entry.spec.restore == "fresh" and entry.incarnation and entry.phase is not WAKING:
            entry.fields = {}
        node.say.start(
            placement=entry.place, number=entry.kind.number, path=entry.path,
            incarnation=entry.incarnation + (entry.phase is not WAKING), max_busy=entry.spec.max_busy,
            initial=entry.initial, kept=entry.fields,
        )  # fmt: skip
        if entry.phase is WAKING:
            self.steer(entry)
        self._desk.due()

    def failed(self, path: str, error: Exception) -> None:
        """There was no room for another process: it is tried again."""
        self._desk.ledger.event("no_node", path, reason=str(error), detail=f"tried again in {AGAIN_SECONDS:g} s")
        self._desk.loop.call_later(AGAIN_SECONDS, self.refill)
        self._desk.due()

    def _node_for(self, entry: Entry, avoid: int | None) -> Node | None:
        pool = self._desk.pool
        if entry.spec.isolation == "kernel":
            return pool.the("kernel")
        if entry.spec.isolation == "process" or entry.isolated:
            return pool.spawn("own", entry.spec.max_memory)
        if entry.lowered:
            return pool.the("low")
        return pool.pick(entry.node, avoid=avoid)

    def wake(self, entry: Entry) -> None:
        """Somebody reaches for a dormant life: it gets a node, which makes it from its last commit."""
        entry.wake()
        self.place(entry)

    def steer(self, entry: Entry) -> None:
        """Tell a node that has just got a life what was asked of it before."""
        if entry.traced:
            self._desk.tell(entry, wake=False).trace(placement=entry.place, on=True)
        if entry.suspended:
            self._desk.tell(entry, wake=False).suspend(placement=entry.place, on=True)

    def leave(self, entry: Entry) -> None:
        """The life is on no node any more; a node of its own goes with it."""
        place = entry.leave_place()
        self._desk.placed.pop(place, None)
        self._desk.questions.left(place)
        node = self._desk.pool.nodes.get(entry.node or 0)
        if node is not None:
            node.agents -= 1
            if node.kind == "own":
                self._desk.pool.retire(node)

    def move(self, entry: Entry, reason: Move, *, avoid: int | None = None) -> None:
        """The life goes on elsewhere from its last commit, with its messages; its next incarnation is not counted."""
        self._desk.tell(entry, wake=False).end(placement=entry.place, reason=reason)
        self.leave(entry)
        sleeps = entry.may_sleep
        entry.move()
        entry.reason = reason
        entry.ask_no_more()
        self._desk.ledger.moved(entry, reason)
        if sleeps:
            self.lull(entry, avoid=avoid)
        else:
            self.place(entry, avoid=avoid)
        self._desk.settle(entry)

    def lull(self, entry: Entry, *, avoid: int | None = None) -> None:
        """Its next incarnation has nothing to do: it runs in the books until somebody reaches for it."""
        entry.incarnation += 1
        entry.since = time.time_ns()
        entry.node, entry.shunned = None, avoid
        entry.lie_down()
        self._desk.ledger.started(entry)

    def on_burnt(self, placement: int) -> None:
        """An agent that keeps using up its slices has left its node between two messages."""
        entry = self._desk.placed.get(placement)
        if entry is not None and not entry.is_fenced:
            entry.lowered = True
            self.move(entry, "low_priority")

    def house(self) -> list[Entry]:
        """There are nodes again: place the lives that waited for one.

        Returns:
            Those that run already: they are not told of a start, so their messages can be handed over now.
        """
        homeless, self._homeless = self._homeless, []
        found = [entry for entry in map(self._desk.present, homeless) if entry is not None]
        for entry in found:
            if not entry.place:  # a start that was begun again while it waited is here twice
                self.place(entry)
        return [entry for entry in found if entry.phase is WAKING]

    @property
    def waiting(self) -> bool:
        """Whether a life waits for a node."""
        return bool(self._homeless)


def teach(node: Node, kind: Kind) -> None:
    """Give a node an agent class, once."""
    if kind.number not in node.classes:
        node.classes.add(kind.number)
        node.say.teach(number=kind.number, data=kind.data, cells=sources(kind.cls))
