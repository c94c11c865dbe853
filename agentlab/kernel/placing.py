"""Which node a life runs on.

Every placement has a number of its own, and a node knows a life by it: what it says of a life that was moved
or ended since is not heard.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

from agentlab.books.agents import Entry
from agentlab.books.classes import Kind
from agentlab.books.messages import Message
from agentlab.books.phase import DORMANT, WAKING
from agentlab.errors import NodeDown
from agentlab.events import Move
from agentlab.ground.tracebacks import sources
from agentlab.kernel.breakers import Breakers
from agentlab.kernel.desk import Desk
from agentlab.kernel.questions import Questions
from agentlab.pool.pool import Node, SayToNode
from agentlab.wire.frames import ToNode

KEYS = 1 << 32
"""Numbers that a node gets at once, for calls within it."""

AGAIN_SECONDS = 1.0
"""After the system had no room for another process."""


NOBODY = SayToNode(lambda frame: None)
"""What is said here nobody hears."""


class Placing:
    """Places lives on nodes, and speaks to them there.

    Attributes:
        questions: What nodes were asked.
        breakers: What agents wait for in their steps.
        unread: Messages that a stored lab still has, by path: until these are read, neighbours wait.
        chance: What the chance of messages begins with where it must not depend on who came first; None: it may.
        seeds: While it must not: that of each message, by its key.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._homeless: list[int] = []  # lives that wait for a node
        self.questions = Questions(desk.loop, desk.numbers)
        self.breakers = Breakers(desk)
        self.unread: dict[str, list[Message]] = {}
        self.chance: str | None = None
        self.seeds: dict[int, str] = {}

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

    def failed(self, path: str, error: BaseException) -> None:
        """There was no room for another process: it is tried again."""
        self._desk.ledger.events.note_event(
            "no_node", path, reason=str(error), detail=f"tried again in {AGAIN_SECONDS:g} s"
        )
        self._desk.loop.call_later(AGAIN_SECONDS, self.refill)
        self._desk.due()

    def unhouse(self, entry: Entry) -> None:
        """The node that it was given could not be started: it waits for another, as if it had got none."""
        self._desk.placed.pop(entry.leave_place(), None)
        self._homeless.append(entry.life)

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
            self.tell(entry, wake=False).trace(placement=entry.place, on=True)
        if entry.suspended:
            self.tell(entry, wake=False).suspend(placement=entry.place, on=True)

    def leave(self, entry: Entry) -> None:
        """The life is on no node any more; a node of its own goes with it."""
        place = entry.leave_place()
        self._desk.placed.pop(place, None)
        self.questions.left(place)
        self.breakers.left(place)
        node = self._desk.pool.nodes.get(entry.node or 0)
        if node is not None:
            node.agents -= 1
            if node.kind == "own":
                self._desk.pool.retire(node)

    def move(self, entry: Entry, reason: Move, *, avoid: int | None = None) -> None:
        """The life goes on elsewhere from its last commit, with its messages; its next incarnation is not counted."""
        self.tell(entry, wake=False).end(placement=entry.place, reason=reason)
        self.leave(entry)
        sleeps = entry.may_sleep
        entry.move()
        entry.reason = reason
        entry.ask_no_more()
        self._desk.ledger.events.note_move(entry, reason)
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
        self._desk.ledger.children.note_start(entry)

    def on_burnt(self, placement: int) -> None:
        """An agent that keeps using up its slices has left its node between two messages."""
        entry = self._desk.placed.get(placement)
        if entry is not None and not entry.is_fenced:
            entry.lowered = True
            self.move(entry, "low_priority")

    def refill(self) -> None:
        """Fill the pool, and house the lives that waited for a node.

        Those that run already are not told of a start, so their messages are handed over now.
        """
        if self._desk.ledger.closing:
            return
        try:
            self._desk.pool.fill()
        except (NodeDown, OSError) as error:
            self.failed("/", error)
        for entry in self._house():
            self.hand_over(entry)
        self._desk.due()

    def _house(self) -> list[Entry]:
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

    # what is said to a life

    def reach(self, entry: Entry, *, wake: bool = True) -> ToNode | None:
        """Where to speak to the life's node, if there is one; ask for ``entry.place`` after that.

        Args:
            entry: The agent.
            wake: Whether a dormant life gets a node for that. What the books have its node is told with the start.
        """
        if entry.phase is DORMANT and wake:
            self.wake(entry)
        node = self._desk.pool.nodes.get(entry.node or 0)
        if node is None or not entry.place:
            return None
        self._desk.due()
        return node.say

    def tell(self, entry: Entry, *, wake: bool = True) -> ToNode:
        """Where to speak to the life's node; if there is none, nobody hears it."""
        return self.reach(entry, wake=wake) or NOBODY

    async def ask(self, entry: Entry, question: Callable[[ToNode, int], None], *, timeout: float) -> Any:
        """Ask the life's node; None if it does not answer within ``timeout`` seconds, or the life leaves it."""
        say = self.reach(entry)
        if say is None:
            return None
        try:
            return await self.questions.put(entry.place, functools.partial(question, say), timeout=timeout)
        except TimeoutError:
            return None

    def deliver(self, entry: Entry, message: Message) -> None:
        """Copy a message into the node's mailbox."""
        message.parked = None
        journal, faults = message.journal.for_node() if message.journal is not None else ([], [])
        (self.reach(entry) or NOBODY).deliver(
            placement=entry.place, key=message.key, method=message.method, payload=message.payload, journal=journal,
            faults=faults, seed=message.seed or self._seed(entry, message), redeliver=message.redeliver,
            heard=message.hears is not None,
        )  # fmt: skip

    def _seed(self, entry: Entry, message: Message) -> str:
        if self.chance is None:
            return f"{entry.path} {message.key}"
        number = entry.seq + 1 + entry.pending.index(message)
        message.seed = self.seeds[message.key] = f"{self.chance} {entry.path} {number}"
        return message.seed

    def fix_chance(self, seed: str | None) -> None:
        """Let the chance of messages follow from this, their agent and their number there; None: as before.

        A key says who came first. Nodes get none to give, so that all messages come by here.
        """
        self.chance = seed
        for node in self._desk.pool.nodes.values():
            if node.ready:
                self.give_keys(node)
        self._desk.due()

    def give_keys(self, node: Node) -> None:
        """Give a node numbers for calls within it."""
        count = KEYS if self.chance is None else 0
        node.say.keys(first=self._desk.numbers.take(count) if count else 0, count=count)

    def hand_over(self, entry: Entry) -> None:
        """Copy all its messages into its node's mailbox; from then on its neighbours there may call it themselves."""
        for message in entry.pending:
            self.deliver(entry, message)
        if entry.path not in self.unread:
            self.tell(entry).open(placement=entry.place)


def teach(node: Node, kind: Kind) -> None:
    """Give a node an agent class, once."""
    if kind.number not in node.classes:
        node.classes.add(kind.number)
        node.say.teach(number=kind.number, data=kind.data, cells=sources(kind.cls))
