"""Which node a life runs on.

Every placement has a number of its own, and a node knows a life by it: what it says of a life that was moved
or ended since is not heard.
"""

from __future__ import annotations

from agentlab._books import Entry, Kind
from agentlab._desk import Desk
from agentlab._pool import Node


class Placing:
    """Places lives on nodes."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._homeless: list[int] = []  # lives that wait for a node

    def place(self, entry: Entry, *, avoid: int | None = None) -> None:
        """Send a life to a node; it waits if there is none."""
        pool = self._desk.pool
        if not pool.nodes:
            self._homeless.append(entry.life)
            return
        node = pool.pick(entry.node, avoid=avoid if avoid is not None else entry.shunned)
        entry.node, entry.shunned = node.number, None
        entry.place = next(self._desk.numbers)
        self._desk.placed[entry.place] = entry
        node.agents += 1
        teach(node, entry.kind)
        if entry.spec.restore == "fresh" and entry.incarnation:
            entry.fields = {}
        begin = (entry.kind.number, entry.path, entry.incarnation + 1, entry.spec.max_busy)
        node.say("start", entry.place, *begin, entry.initial, entry.fields)
        self._desk.due()

    def leave(self, entry: Entry) -> None:
        """The life is on no node any more."""
        self._desk.placed.pop(entry.place, None)
        entry.place = 0
        node = self._desk.pool.nodes.get(entry.node or 0)
        if node is not None:
            node.agents -= 1

    def house(self) -> None:
        """There are nodes again: place the lives that waited for one."""
        homeless, self._homeless = self._homeless, []
        for life in homeless:
            entry = self._desk.present(life)
            if entry is not None:
                self.place(entry)

    @property
    def waiting(self) -> bool:
        """Whether a life waits for a node."""
        return bool(self._homeless)


def teach(node: Node, kind: Kind) -> None:
    """Give a node an agent class, once."""
    if kind.number not in node.classes:
        node.classes.add(kind.number)
        node.say("class", kind.number, kind.data)
