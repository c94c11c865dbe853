"""The nodes of one lab: start them, talk to them, notice when they die, fill up again.

A node is a plain process with one end of a socketpair, forked from the zygote.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from agentlab._wire import Reader, frame
from agentlab._zygote import NodeProcess, shared
from agentlab.errors import NodeDown
from agentlab.node.word import Word


class Node:
    """One node process, the line to it, and the word in which it says whose code it runs."""

    def __init__(self, number: int, process: NodeProcess, word: Word) -> None:
        self.number = number
        self.process = process
        self.word = word
        self.ready = False
        self.agents = 0
        self.classes: set[int] = set()
        self.transport: asyncio.WriteTransport | None = None
        self._out: list[tuple[Any, ...]] = []

    def say(self, *message: Any) -> None:
        """Queue one message; ``flush`` sends all that wait as one frame."""
        self._out.append(message)

    def flush(self) -> None:
        """Send what waits."""
        if self._out and self.transport is not None:
            out, self._out = self._out, []
            self.transport.write(frame(out))

    @property
    def waiting(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._out)

    def __repr__(self) -> str:
        return f"Node({self.number}, pid {self.process.pid}, {self.agents} agents)"


class Pool:
    """Keeps ``size`` nodes running. Everything happens in the runtime's loop."""

    BURST = 5  # nodes that died within BURST_SECONDS before the pool stops to refill at once
    BURST_SECONDS = 10.0

    def __init__(
        self, size: int, lab_id: str, hear: Callable[[Node, list[tuple[Any, ...]]], None],
        lost: Callable[[Node], None], *, durable: bool,
    ) -> None:  # fmt: skip
        self.size = size
        self.nodes: dict[int, Node] = {}
        self._lab_id = lab_id
        self._durable = durable
        self._hear = hear
        self._lost = lost
        self._numbers = itertools.count(1)
        self._closing = False
        self._deaths: list[float] = []

    async def fill(self) -> None:
        """Start as many nodes as are missing."""
        while len(self.nodes) < self.size and not self._closing:
            await self._spawn()

    async def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        number, word = next(self._numbers), Word()
        with theirs:
            process = shared().fork(number, self._lab_id, theirs, word, durable=self._durable)
        node = Node(number, process, word)
        self.nodes[number] = node
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_accepted_socket(lambda: _Line(self, node), ours)
        assert isinstance(transport, asyncio.WriteTransport)
        node.transport = transport
        node.flush()

    def pick(self, last: int | None, *, avoid: int | None = None) -> Node:
        """The node that an agent had last, else the one with the fewest agents; not ``avoid`` if it can be helped."""
        if last is not None and last != avoid and last in self.nodes:
            return self.nodes[last]
        nodes = [node for node in self.nodes.values() if node.number != avoid] or list(self.nodes.values())
        return min(nodes, key=lambda node: node.agents)

    def ended(self, node: Node) -> None:
        """The line to a node is cut: the node is dead, or as good as dead."""
        if self.nodes.pop(node.number, None) is None:
            return
        node.process.kill()
        if self._closing:
            return
        now = asyncio.get_running_loop().time()
        self._deaths = [t for t in self._deaths if t > now - self.BURST_SECONDS] + [now]
        node.process.wait()
        self._lost(node)
        node.word.close()

    def refill_delay(self) -> float:
        """Seconds to wait before the next node: none, unless the pool keeps dying."""
        return 0.0 if len(self._deaths) <= self.BURST else 1.0

    def flush(self) -> None:
        """Send what waits for every node."""
        for node in self.nodes.values():
            node.flush()

    def close(self) -> None:
        """End every node now."""
        self._closing = True
        for node in self.nodes.values():
            if node.transport is not None:
                node.transport.abort()
            node.process.kill()
        for node in self.nodes.values():
            node.process.wait()
            node.word.close()
        self.nodes.clear()


class SimulatorProcess:
    """The simulator in a process of its own; it ends when its standard input does, so never after us."""

    START_SECONDS = 20.0

    def __init__(self) -> None:
        self.endpoint: dict[str, str] = {}
        self._read, write = os.pipe()
        try:
            self.process = subprocess.Popen(  # must be the runtime's thread, as for nodes
                [sys.executable, "-m", "agentlab.sim", "--fd", str(write)],
                pass_fds=[write], start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            )  # fmt: skip
        finally:
            os.close(write)

    async def ready(self) -> None:
        """Wait for its address and token."""
        loop = asyncio.get_running_loop()
        with os.fdopen(self._read, "rb") as pipe:
            async with asyncio.timeout(self.START_SECONDS):
                while not (line := await self._line(loop, pipe.fileno())):
                    pass
        self.endpoint = json.loads(line)

    async def _line(self, loop: asyncio.AbstractEventLoop, fd: int) -> bytes:
        readable = loop.create_future()
        loop.add_reader(fd, lambda: None if readable.done() else readable.set_result(None))
        try:
            await readable
        finally:
            loop.remove_reader(fd)
        data = os.read(fd, 4096)
        if not data:
            raise NodeDown("the simulator ended before it was ready. Try it: python -m agentlab.sim --fd 1")
        return data

    def close(self) -> None:
        """End it now."""
        self.process.kill()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(5)


class _Line(asyncio.Protocol):
    """The kernel's end of one node's socket."""

    def __init__(self, pool: Pool, node: Node) -> None:
        self._pool = pool
        self._node = node
        self._reader = Reader()

    def data_received(self, data: bytes) -> None:
        self._pool._hear(self._node, self._reader.feed(data))

    def connection_lost(self, error: Exception | None) -> None:
        self._pool.ended(self._node)
