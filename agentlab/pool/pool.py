"""The nodes of one lab: start them, talk to them, notice when they die, fill up again.

A node is a plain process with one end of a socketpair, forked from the zygote. Of the *pool* there are always as
many as the lab was asked for. Beside them, on demand: a node of its own for an agent, one at low priority, and a
thread of the kernel's process that stands in for one.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import itertools
import os
import socket
import weakref
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Protocol

from agentlab.errors import NodeDown
from agentlab.faults import Action
from agentlab.ground.redaction import known_secrets
from agentlab.pool.fork import END_SECONDS, NodeProcess, advice, shared
from agentlab.pool.thread import NodeThread
from agentlab.wire.codec import Frame, Reader, frame
from agentlab.wire.frames import ToNode
from agentlab.wire.stubs import sender
from agentlab.wire.word import Word

SayToNode = sender(ToNode, __file__)  # type: ignore[type-abstract]  # a protocol is what it reads

NodeKind = Literal["pool", "own", "low", "kernel"]


class Node:
    """One node process, the line to it, and the word in which it says whose code it runs.

    Attributes:
        limit: Bytes that it may use beside those it was born with; past them it is killed. None: no limit.
        born_with: Bytes that it had when it was ready: what it shares with the zygote counts as its own.
        seen: The word as it was when it last changed, and the time of that.
        stalled: It has made no progress for a while, though it runs an agent's code.
        too_big: In how many looks, one after the other, it used more than its limit.
        why: What the kernel kills it for.
        ran: Whose code it ran when the kernel decided to, by the placement (0: nobody's), since it may have come to
            another by now. None: its word says it.
        struck: A plan of chaos has killed it, whoever ran on it.
        restarts: How many nodes of the pool were lost at its place before it.
        born: Done when it was forked, or could not be.
        born_at: When it was forked, by the loop's clock; from then on it has a while to be ready.
    """

    def __init__(self, number: int, process: NodeProcess | NodeThread, word: Word, kind: NodeKind) -> None:
        self.number = number
        self.process = process
        self.word = word
        self.kind = kind
        self.limit: int | None = None
        self.born: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.born_at: float | None = None
        self.born_with = 0
        self.seen = (0, 0, 0.0)
        self.stalled = False
        self.heard = self.told = 0  # notes of the node: heard, and told to be committed
        self.too_big = 0
        self.why: str | None = None
        self.ran: int | None = None
        self.struck = False
        self.ready = False
        self.agents = 0
        self.restarts = 0
        self.classes: set[int] = set()
        self.transport: asyncio.WriteTransport | None = None
        self.said: list[Frame] = []
        self.say = SayToNode(self.said.append)  # what is said leaves with ``flush``, as one frame
        self._knows: dict[str, str] | None = None  # which secrets

    def flush(self) -> None:
        """Send what waits."""
        if self.said and self.transport is not None:
            out: list[Frame] = []
            if (secrets := known_secrets()) is not self._knows:
                self._knows = secrets
                SayToNode(out.append).secrets(found=secrets)  # before what may hold one
            out += self.said
            self.said.clear()
            self.transport.write(frame(out))

    @property
    def waiting(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self.said)

    def __repr__(self) -> str:
        return f"Node({self.number}, pid {self.process.pid}, {self.agents} agents)"


class Kernel(Protocol):
    """At whose end the lines to the nodes come together."""

    def hear(self, node: Node, frames: list[Frame]) -> None:
        """A node says something."""

    def lost(self, node: Node) -> None:
        """A node died by itself; it is among the nodes no more."""

    def unborn(self, node: Node, error: BaseException) -> None:
        """A node could not be forked; it is among the nodes no more."""


class Pool:
    """Keeps ``size`` nodes of the pool running. Everything happens in the runtime's loop."""

    BURST = 5  # nodes that died within BURST_SECONDS before the pool stops to refill at once
    BURST_SECONDS = 10.0

    def __init__(
        self, size: int, lab_id: str, kernel: Kernel, *, durable: bool, node_memory: int | None = None,
        on_fault: Mapping[str, Action] | None = None,
    ) -> None:  # fmt: skip
        self.size = size
        self.share = node_memory or share_of_memory(size)
        self.nodes: dict[int, Node] = {}
        self._lab_id = lab_id
        self._durable = durable
        self.chaos = False  # a plan is on: nodes are told
        self.watched = False  # somebody looks on: so are they
        self._on_fault = {kind: asdict(action) for kind, action in (on_fault or {}).items()}
        self.kernel = kernel
        self._numbers = itertools.count(1)
        self._closing = False
        self._deaths: list[float] = []
        self._lost: list[int] = []  # restarts of the nodes of the pool whose places are not taken yet
        self._tasks: set[asyncio.Task[None]] = set()
        self.dying: set[Node] = set()  # of these it is not known yet how they ended

    async def begin(self) -> None:
        """Start the nodes; returns when all are forked.

        Raises:
            NodeDown: There could be none.
        """
        self.fill()
        for node in list(self.nodes.values()):
            await node.born
            error = node.process.born.exception()
            if error is not None:
                raise error

    def fill(self) -> None:
        """Start as many nodes of the pool as are missing."""
        for _ in range(self.size - len(self.of_kind("pool"))):
            if not self._closing:
                restarts = self._lost.pop(0) + 1 if self._lost else 0
                self.spawn("pool").restarts = restarts
        self._lost.clear()  # a node beside one that stalled has taken the place

    def tell_watched(self, *, on: bool) -> None:
        """Tell the nodes, those to come too, whether somebody looks on: what agents emit leaves its node then."""
        if self.watched != on:
            self.watched = on
            for node in self.nodes.values():
                node.say.watched(on=on)

    def of_kind(self, kind: NodeKind) -> list[Node]:
        """The nodes of a kind."""
        return [node for node in self.nodes.values() if node.kind == kind]

    def the(self, kind: NodeKind) -> Node:
        """The node of its kind, of which one is enough; another is started if it is not there, or stalls."""
        return next((node for node in self.of_kind(kind) if not node.stalled), None) or self.spawn(kind)

    def spawn(self, kind: NodeKind, memory: int | None = None) -> Node:
        """A new node; what it is told waits until its line is up.

        Raises:
            NodeDown: There could be none.
        """
        number = next(self._numbers)
        about = {
            "number": number, "lab": self._lab_id, "durable": self._durable, "kind": kind, "memory": memory,
            "on_fault": self._on_fault, "chaos": self.chaos, "watched": self.watched,
        }  # fmt: skip
        ours, theirs, word, process = _born(about, kind)
        node = self.nodes[number] = Node(number, process, word, kind)
        node.limit = None if kind == "kernel" else memory or self.share
        self._spawn(self._connect(node, ours))
        process.born.add_done_callback(functools.partial(self._say_born, asyncio.get_running_loop(), node))
        if kind != "kernel":  # after that: where no node has it, the loop must not take its end for a node's
            process.born.add_done_callback(lambda _: theirs.close())
        return node

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _say_born(self, loop: asyncio.AbstractEventLoop, node: Node, _: object) -> None:
        with contextlib.suppress(RuntimeError):  # the lab is closed
            loop.call_soon_threadsafe(self._on_born, node)

    def _on_born(self, node: Node) -> None:
        error = node.process.born.exception()
        node.born.set_result(None)
        if error is None:
            node.born_at = asyncio.get_running_loop().time()
        elif self.nodes.pop(node.number, None) is not None:
            if node.transport is not None:
                node.transport.abort()
            self.kernel.unborn(node, error)
            node.word.close()

    async def _connect(self, node: Node, line: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_accepted_socket(lambda: _Line(self, node), line)
        assert isinstance(transport, asyncio.WriteTransport)
        if self._closing or node.number not in self.nodes:
            transport.abort()
        node.transport = transport
        node.flush()

    def pick(self, last: int | None, *, avoid: int | None = None) -> Node | None:
        """A node of the pool: the one that an agent had last, else the one with the fewest agents.

        Not ``avoid``, and none that stalls, if it can be helped. None if there is none at all.
        """
        nodes = self.of_kind("pool")
        fit = [node for node in nodes if node.number != avoid and not node.stalled] or nodes
        kept = next((node for node in fit if node.number == last), None)
        return kept or min(fit, key=lambda node: node.agents, default=None)

    def retire(self, node: Node) -> None:
        """A node that is not needed any more."""
        if self.nodes.pop(node.number, None) is not None:
            node.process.kill()
            if node.transport is not None:
                node.transport.abort()
            self._spawn(self._bury(node))

    async def _bury(self, node: Node, then: Callable[[Node], None] = lambda node: None) -> None:
        """Learn how a node ended; its word is kept until then."""
        loop = asyncio.get_running_loop()
        told: asyncio.Future[None] = loop.create_future()
        try:
            node.process.over().add_done_callback(functools.partial(_tell, loop, told))  # it goes on if this ends
            await told
            self.dying.discard(node)  # before: what follows may look whether all is quiet
            if not self._closing:
                then(node)
        finally:
            self.dying.discard(node)
            node.word.close()

    def ended(self, node: Node) -> None:
        """The line to a node is cut: the node is dead, or as good as dead."""
        if self.nodes.pop(node.number, None) is None:
            return
        node.process.kill()
        now = asyncio.get_running_loop().time()
        self._deaths = [t for t in self._deaths if t > now - self.BURST_SECONDS] + [now]
        if node.kind == "pool":
            self._lost.append(node.restarts)
        self.dying.add(node)
        self._spawn(self._bury(node, self.kernel.lost))

    def refill_delay(self) -> float:
        """Seconds to wait before the next node: none, unless the pool keeps dying."""
        return 0.0 if len(self._deaths) <= self.BURST else 1.0

    def flush(self) -> None:
        """Send what waits for every node."""
        for node in self.nodes.values():
            if node.said:
                node.flush()

    def close(self) -> None:
        """End every node now."""
        self._closing = True
        for node in self.nodes.values():
            if node.transport is not None:
                node.transport.abort()
            node.process.kill()
        concurrent.futures.wait([node.process.over() for node in self.nodes.values()], END_SECONDS)
        for node in self.nodes.values():
            node.word.close()
        self.nodes.clear()

    def kill(self) -> None:
        """Kill every node that is left, from any thread; nobody waits for them."""
        for node in list(self.nodes.values()):
            node.process.kill()


def _tell(loop: asyncio.AbstractEventLoop, told: asyncio.Future[None], _: object) -> None:
    with contextlib.suppress(RuntimeError):  # the lab is closed
        loop.call_soon_threadsafe(lambda: None if told.done() else told.set_result(None))


_lines: weakref.WeakSet[socket.socket] = weakref.WeakSet()
"""This process's ends of the lines to nodes."""


def _forked() -> None:
    """A forked child keeps no line open: a node ends when its kernel has let go of it."""
    for line in list(_lines):
        line.close()


os.register_at_fork(after_in_child=_forked)


def _born(about: dict[str, Any], kind: NodeKind) -> tuple[socket.socket, socket.socket, Word, NodeProcess | NodeThread]:
    """Both ends of the line to a new node, its word, and the node; nothing stays open if there can be none."""
    with contextlib.ExitStack() as stack:
        try:
            ours, theirs = socket.socketpair()
            stack.enter_context(ours)
            stack.enter_context(theirs)
            word = Word()
            stack.callback(word.close)
            process = NodeThread(theirs, word, about) if kind == "kernel" else shared().fork(about, theirs, word)
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread
            raise NodeDown(f"no node can be started: {error}. {advice(error)}") from error
        stack.pop_all()
    _lines.add(ours)
    return ours, theirs, word, process


def share_of_memory(size: int) -> int:
    """Bytes that each of ``size`` nodes may use: together four fifths of what this process may."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        with contextlib.suppress(OSError, ValueError):  # not there, or it says "max"
            total = min(total, int(file.read_text()))
    return total * 4 // 5 // size


class _Line(asyncio.Protocol):
    """The kernel's end of one node's socket."""

    def __init__(self, pool: Pool, node: Node) -> None:
        self._pool = pool
        self._node = node
        self._reader = Reader()
        self._hear = pool.kernel.hear

    def data_received(self, data: bytes) -> None:
        self._hear(self._node, self._reader.feed(data))

    def connection_lost(self, error: Exception | None) -> None:
        self._pool.ended(self._node)
