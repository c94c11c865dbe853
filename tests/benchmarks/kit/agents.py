"""The agent of most benchmarks, and families of it.

Nodes import this file, so it imports only what an agent needs: a class in a notebook travels with nothing more.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from agentlab import Agent, Ref, Supervisor


class Counter(Agent):
    """Counts, calls another one, crashes."""

    count: int = 0

    def add(self) -> int:
        """Add one."""
        self.count += 1
        return self.count

    def life(self) -> tuple[int, int]:
        """Which incarnation it is, and its count."""
        return self.incarnation, self.count

    def boom(self) -> None:
        """Crash."""
        raise RuntimeError("boom")

    async def talk(self, other: Ref, calls: int) -> float:
        """Call another one so often; microseconds per call."""
        began = time.perf_counter()
        for _ in range(calls):
            await other.call.add()
        return (time.perf_counter() - began) / calls * 1e6


class Beater(Agent):
    """Is busy for a moment, again and again."""

    period: float = 1.0

    async def on_start(self) -> None:
        """The first beat falls anywhere in the period."""
        self.after(self.random.random() * self.period).begin()

    async def begin(self) -> None:
        """From now on, every period."""
        self.every(self.period).beat()

    async def beat(self) -> None:
        """Busy, then running."""
        await asyncio.sleep(0.05)


def family(lab: Any, size: int, name: str = "family") -> Any:  # a Lab, and Refs
    """So many counters under one supervisor that bears any number of restarts."""
    return lab.start_many(Counter, size, under=lab.start(Supervisor(name, max_restarts=10**6)))
