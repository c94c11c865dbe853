"""An agent that notes what it gets, in the order in which it comes: whoever imports it loads no pytest."""

from __future__ import annotations

import anyio

from agentlab import Agent, Ref
from tests.marks import mark


class Taker(Agent):
    """Notes what it gets."""

    got: list[int] = []

    async def take(self, n: int) -> None:
        """Get a number."""
        self.got.append(n)

    async def gated(self, folder: str) -> None:
        """Do a step, and wait for a gate that is shut."""
        await self.step(mark, folder, "gated")
        if not await anyio.Path(folder, "gate").exists():
            await anyio.sleep_forever()
        self.got.append(-1)

    async def pass_on(self, other: Ref, folder: str) -> None:
        """Call a neighbour."""
        await other.call.gated(folder)
