"""The agents of the stored lab. A store names classes, so this file stays where it is, and so do its names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

import anyio

from agentlab import Agent, Assistant, Ref, Transcript, tool

WRITES = "AGENTLAB_BEFORE_WRITES"
"""Set while the lab is written: what is in the middle then stays there until the snapshot is made."""

PAGE = "All the tea in the harbour. " * 100
"""A large text, which a store keeps once."""


@dataclass(frozen=True)
class Parcel:
    """A value of a class of ours."""

    label: str
    weights: tuple[float, ...]


THINGS = (
    None, -7, 2.5, "tea \ud800", b"\x00\xff", (1, (2,)), {3}, frozenset({4}), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    {"a": [1, {"b": ()}], 5: "five"}, Parcel("tea", (1.5, 2.5)),
)  # fmt: skip
"""What a message may hand over, and a step may give."""


async def hold() -> str:
    """A step that lasts until the lab's kernel is killed, and no time at all in a later one."""
    if os.environ.get(WRITES):
        await anyio.sleep_forever()
    return "done"


def fetch(query: str) -> str:
    """A step that finishes."""
    return f"{query}: {PAGE}"


@tool(once=True)
async def pay(amount: int) -> str:
    """A step that may have happened when its kernel dies."""
    await hold()
    return f"paid {amount}"


class Clerk(Agent):
    """Counts, remembers, and misbehaves on demand."""

    count: int = 0
    pages: list[str] = []
    seen: Transcript = Transcript()

    async def add(self, n: int = 1) -> int:
        """Add and say the sum."""
        self.count += n
        self.seen.append(n)
        return self.count

    async def look_up(self, query: str) -> int:
        """Two steps; the large result of one is state."""
        self.pages = [*self.pages, await self.step(fetch, query)]
        await self.step(fetch, query)
        return len(self.pages)

    async def boom(self) -> None:
        """Never works."""
        raise ValueError("no tea")


class Slow(Agent):
    """Is in the middle of a message when its kernel dies."""

    done: list[str] = []

    async def take(self, what: str, clerk: Ref) -> str:
        """A step that finishes, a call that is answered, a step that does not finish."""
        found = await self.step(fetch, what)
        count = await clerk.call.add(100)
        self.done = [*self.done, f"{what} {len(found)} {count} {await self.step(hold)}"]
        return what


class Payer(Agent):
    """Is in doubt when its kernel dies."""

    receipts: list[str] = []

    async def settle_up(self, amount: int) -> str:
        """Pay, once."""
        self.receipts = [*self.receipts, await self.step(pay, amount)]
        return self.receipts[-1]


class Alarm(Agent):
    """Has timers, a subscription and a monitor."""

    rung: int = 0
    downs: list[str] = []
    boss: Ref | None = None

    async def on_start(self) -> None:
        """Hear of bells, and of the boss's end."""
        self.subscribe("bells")
        if self.boss is not None:
            self.monitor(self.boss)

    async def on_down(self, ref: Ref, reason: object) -> None:
        """Note who ended."""
        self.downs = [*self.downs, ref.path]

    async def wind(self, seconds: float) -> None:
        """Ring once, soon or late, and again and again in another age."""
        self.after(seconds).ring()
        self.every(1e9).ring()

    async def ring(self) -> int:
        """Ring."""
        self.rung += 1
        return self.rung


def unpack() -> list[object]:
    """A step with a rich result."""
    return list(THINGS)


class Box(Agent):
    """Has fields of many types, and is given things of many."""

    sent: datetime | None = None
    names: set[str] = set()
    raw: bytes = b""
    pair: tuple[int, str] = (0, "")
    parcel: Parcel | None = None
    owner: Ref | None = None
    kept: list[str] = []

    async def put(self, *things: object) -> int:
        """Keep what they look like; the step is answered by the journal if this was cut off behind it."""
        found = await self.step(unpack)
        await self.step(hold)
        self.kept = [*self.kept, *map(repr, (*things, *found))]
        return len(self.kept)


class Founder(Agent):
    """Starts others."""

    async def found(self, id: str) -> Ref:
        """A start that a handler asks for is a step."""
        return await self.lab.start(Clerk, id=id, count=7)


@tool
def multiply(a: float, b: float) -> float:
    """Multiply two numbers."""
    return a * b


class Reckoner(Assistant):
    """Talks to the simulator and uses a tool."""

    system: ClassVar[str] = "Use the tools."
    tools: ClassVar = (multiply,)
