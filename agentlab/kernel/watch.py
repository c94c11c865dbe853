"""Nodes that stall, grow too large or die: who is to blame, and who moves.

A node notes in a word of shared memory whose code it runs, and counts its slices there. So the kernel knows, also
of a node that answers nothing any more, who holds it and for how long; and of a dead one, who is guilty: that
agent's restart counts, and its message is charged a delivery. The others did nothing wrong: they go on elsewhere
from their last commits, uncounted, with their messages. Who brings a node down twice, or has the same message in
hand whenever its node dies, gets a node of its own.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from agentlab.books.agents import Entry
from agentlab.errors import NodeDown
from agentlab.exits import Crash
from agentlab.ground.memory import memory_of
from agentlab.ground.words import counted
from agentlab.kernel.desk import Desk
from agentlab.kernel.failures import Failures
from agentlab.kernel.lives import Lives
from agentlab.kernel.placing import AGAIN_SECONDS, Placing
from agentlab.pool.pool import Node

MOST_OFFENCES = 2
"""Nodes that an agent may bring down before it gets one of its own."""

MOST_SUSPICIONS = 3
"""Nodes that may die, by nobody's visible fault, while one message is in hand."""

LOOK_SECONDS = 0.05
"""How often the kernel looks at the words of its nodes while one of them runs an agent's code."""

IDLE_SECONDS = 0.15
"""How often while none does: who begins to stall meanwhile is noticed so much later."""

WEIGH_SECONDS = 0.45
"""How often it also asks how much memory they use."""

MOST_LOOKS = 10
"""Looks, one after the other, in which a node may be too big though nobody runs on it."""


class Patience(NamedTuple):
    """How long a node may make no progress while it runs an agent's code (seconds)."""

    notice: float = 0.25
    kill: float = 10.0


class Watch:
    """Looks at the nodes, and sees to what follows from their ends."""

    def __init__(self, desk: Desk, failures: Failures, placing: Placing, lives: Lives, patience: Patience) -> None:
        self._desk = desk
        self._failures = failures
        self._placing = placing
        self._lives = lives
        self._patience = patience
        self._weighed_at = 0.0  # by the loop's clock
        self._no_room_until = 0.0  # by the loop's clock
        self._next: asyncio.TimerHandle | None = None

    # nodes that stall or grow

    def look(self) -> None:
        """Look at every node, now and from now on."""
        now = self._desk.loop.time()
        weighs = now - self._weighed_at >= WEIGH_SECONDS
        self._weighed_at = now if weighs else self._weighed_at
        for node in list(self._desk.pool.nodes.values()):
            if node.kind != "kernel" and node.number in self._desk.pool.nodes:
                self._look_at(node, now)
        for node in self._desk.pool.nodes.values():
            if node.why is None and (node.too_big or weighs):
                self._weigh(node)
        busy = any(map(_is_watched_closely, self._desk.pool.nodes.values()))
        self._next = self._desk.loop.call_later(LOOK_SECONDS if busy else IDLE_SECONDS, self.look)

    def close(self) -> None:
        """Look no more."""
        if self._next is not None:
            self._next.cancel()

    def _look_at(self, node: Node, now: float) -> None:
        if not node.ready and node.why is None and node.born_at is not None:
            limit = node.process.ready_seconds
            if now - node.born_at >= limit:
                self._kill(node, f"it said nothing within {limit:g} s of its start; another is started")
        place, count = node.word.read()
        if place == 0 or (place, count) != node.seen[:2]:
            node.seen = (place, count, now)
            if node.stalled:
                node.stalled = False
                self._desk.ledger.events.note_event("node_back", "/", node=node.number)
                self._desk.due()
            return
        still = now - node.seen[2]
        if still >= self._patience.kill and node.why is None:
            self._kill(node, f"it made no progress for {still:.3g} s", place)
        elif still >= self._patience.notice:
            self._stalls(node, place, still)

    def _stalls(self, node: Node, place: int, still: float) -> None:
        """Whoever waits for a message to begin is served elsewhere; who has begun one stays until the node is back."""
        pool = self._desk.pool
        if not node.stalled:
            node.stalled = True
            holder = self._desk.placed.get(place)
            by = f"{holder.path} holds it" if holder is not None else None
            self._desk.ledger.events.note_event("node_stalled", "/", node=node.number, detail=by, took_s=still)
            self._desk.due()
        waiting = [
            entry for entry in self._desk.active
            if entry.node == node.number and entry.place not in (0, place) and entry.waits_for_its_turn
        ]  # fmt: skip
        alone = node.kind == "pool" and all(other.stalled for other in pool.of_kind("pool"))
        if waiting and alone and not self._starts_another():
            return  # where they are they are not worse off
        for entry in waiting:
            self._placing.move(entry, "node_stalled", avoid=node.number)

    def _starts_another(self) -> bool:
        """Start a node beside those that stall; whether there was room for one."""
        now = self._desk.loop.time()
        if now < self._no_room_until:
            return False
        try:
            self._desk.pool.spawn("pool")
        except (NodeDown, OSError) as error:
            self._no_room_until = now + AGAIN_SECONDS
            self._placing.failed("/", error)
            return False
        return True

    def _weigh(self, node: Node) -> None:
        """Kill a node that is too big when somebody runs on it, who is to blame; after some looks in any case."""
        if node.limit is None or node.process.pid is None or not node.ready:
            return
        size = (memory_of(node.process.pid) or 0) - node.born_with
        node.too_big = node.too_big + 1 if size > node.limit else 0
        place, _ = node.word.read()
        if node.too_big and (place or node.too_big > MOST_LOOKS):
            self._kill(node, f"it used {size:,} bytes and may use {node.limit:,}", place)

    def _kill(self, node: Node, why: str, place: int | None = None) -> None:
        node.why = why
        node.ran = place
        node.process.kill()  # its line breaks, and ``lost`` is told

    # nodes that die

    def unborn(self, node: Node, error: BaseException) -> None:
        """There is no such node after all: nobody ran on it, and who was to live there waits for another one."""
        for entry in [entry for entry in self._desk.placed.values() if entry.node == node.number]:
            if entry.is_ending or self._desk.is_outlived(entry):
                self._lives.over(entry, entry.reason_to_end)
            else:
                self._failures.judge(entry, "node_down", None)
                self._placing.unhouse(entry)
        self._placing.failed("/", error)

    def lost(self, node: Node) -> None:
        """A node died: its agents go on elsewhere, and another takes its place."""
        self._judge(node, _died_of(node.process.wait()))
        delay = self._desk.pool.refill_delay()
        if delay and node.kind == "pool":
            detail = f"nodes keep dying: the next ones are started in {delay:g} s"
            self._desk.ledger.events.note_event("pool_unstable", "/", node=node.number, reason=node.why, detail=detail)
        self._desk.loop.call_later(delay, self._placing.refill)
        self._desk.due()

    def _judge(self, node: Node, how: str) -> None:
        why = how if node.why is None else f"killed because {node.why}"
        place = node.word.read()[0] if node.ran is None else node.ran
        here = {number: entry for number, entry in self._desk.placed.items() if entry.node == node.number}
        if node.kind == "own" and (node.ready or node.why is None):
            place = next(iter(here), 0)
        guilty = None if node.struck else here.get(place)
        blamed = f"; it ran {guilty.path}" if guilty is not None else ""
        moved = len(here) - bool(blamed)
        detail = f"{counted(moved, 'agent')} {'moves' if moved == 1 else 'move'}{blamed}"
        self._desk.ledger.events.note_event("node_down", "/", node=node.number, detail=detail, reason=why)
        for number, entry in here.items():
            if entry.place != number:  # what became of one before ended it too
                continue
            if entry.is_ending or self._desk.is_outlived(entry):
                self._lives.over(entry, entry.reason_to_end)
            elif entry is guilty:
                self._blame(entry, node, why)
            else:
                self._move(entry, node)

    def _blame(self, entry: Entry, node: Node, why: str) -> None:
        entry.offences += 1
        if entry.offences >= MOST_OFFENCES and entry.spec.isolation == "node":
            self.isolate(entry, f"it brought {entry.offences} nodes down")
        crash = Crash("NodeDown", f"node {node.number} died ({why}) while it ran this agent")
        if entry.is_first_start:
            self._lives.failed(entry, crash)
        else:
            in_hand = entry.pending[0].key if entry.pending else None  # its word that it began may have died with it
            self._lives.over(entry, crash, key=in_hand, blame="charged")

    def _move(self, entry: Entry, node: Node) -> None:
        """It did nothing wrong: it goes on elsewhere, with its state and its messages."""
        if entry.pending and entry.pending[0].begun and not node.struck:
            entry.suspicions += 1
            if entry.suspicions >= MOST_SUSPICIONS:
                self.isolate(entry, f"{entry.suspicions} nodes died with one message of it in hand")
        self._failures.judge(entry, "node_down", None)
        if entry.doubt is not None:
            self._lives.over(entry, "node_down")
            return
        # An incarnation ended though the machine's life goes on: its links and monitors are told.
        self._lives.tell_others(entry.life, entry.path, "node_down")
        self._placing.move(entry, "node_down", avoid=node.number)

    def isolate(self, entry: Entry, why: str) -> None:
        """From its next placement on the agent has a node of its own."""
        if not entry.isolated:
            entry.isolated = True
            self._desk.ledger.events.note_event("isolated", entry.path, incarnation=entry.incarnation, detail=why)


def _is_watched_closely(node: Node) -> bool:
    """Whether it starts, is being killed, is too big, or ran an agent's code when it was last looked at."""
    return not node.ready or node.why is not None or node.too_big > 0 or node.seen[0] != 0


def _died_of(code: int | None) -> str:
    if code is None:
        return "the line was cut"
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
