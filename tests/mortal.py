"""Agents of kernels that tests kill: each such kernel, and each of its nodes, loads this module, and no pytest."""

from __future__ import annotations

import anyio

from agentlab import Agent, Ref, Transcript
from tests.marks import mark
from tests.patience import sign_of


class Clerk(Agent):
    """Notes numbers, each once."""

    seen: Transcript = Transcript()
    told: Transcript = Transcript()

    async def note(self, number: int) -> int:
        """Note a number that somebody waits for."""
        self.seen.append(number)
        return len(self.seen)

    async def tell(self, number: int) -> None:
        """Note a number that nobody waits for."""
        self.told.append(number)


class Front(Agent):
    """Takes numbers: does steps, calls one clerk and casts to another."""

    done: Transcript = Transcript()

    async def take(self, number: int, folder: str, clerk: Ref, other: Ref) -> int:
        """A step, a call, a step, a cast."""
        await self.step(mark, folder, f"a{number}")
        await clerk.call.note(number)
        await self.step(mark, folder, f"b{number}")
        other.cast.tell(number)
        self.done.append(number)
        return number


class Grower(Agent):
    """Has a state that does not fit on the disk."""

    text: str = ""

    async def grow(self, folder: str) -> None:
        """One step, then too much, when there is a sign."""
        await self.step(mark, folder, "step")
        await sign_of(f"{folder}/gate")
        self.text = "x" * 2_000_000


class Writer(Agent):
    """Talks, and works in steps."""

    style: str = "plain"
    said: Transcript = Transcript()
    drawn: list[float] = []

    async def say(self, *words: str) -> int:
        """Add to the conversation."""
        self.said.extend(words)
        return len(self.said)

    async def work(self, folder: str) -> str:
        """Three steps, the second in the writer's style."""
        first = await self.step(mark, folder, "first")
        self.drawn = [self.random.random()]
        second = await self.step(mark, folder, self.style)
        third = await self.step(mark, folder, "third")
        self.said.append(f"{first} {self.style} {second} {third}")
        return str(self.said[-1])

    async def gated(self, folder: str) -> None:
        """Two steps, and between them a gate that may be shut; what chance gave says which message it was."""
        await self.step(mark, folder, "first")
        chance = self.random.random()
        if await anyio.Path(folder, "gate").exists():
            await anyio.sleep_forever()
        await self.step(mark, folder, "second")
        self.said.append(f"{self.style} {chance}")
