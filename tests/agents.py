"""Agents that several tests start."""

from __future__ import annotations

import os
from typing import ClassVar

import anyio

from agentlab import Agent, Exit, Ref


class Counter(Agent):
    """Counts; and misbehaves on demand."""

    count: int = 0

    async def add(self, n: int = 1) -> int:
        """Add and say the sum."""
        self.count += n
        return self.count

    async def boom(self, text: str = "no tea") -> None:
        """Change the state, then crash."""
        self.count += 1000
        raise ValueError(text)

    async def leave(self, reason: str) -> None:
        """End with a reason."""
        raise Exit(reason)

    async def finish(self) -> str:
        """Answer, then end normally."""
        self.stop()
        return "done"

    async def hang(self) -> None:
        """Wait for ever."""
        await anyio.sleep_forever()

    async def pid(self) -> int:
        """The node's process."""
        return os.getpid()

    async def say(self, text: str) -> None:
        """Print."""
        print(text)

    def life(self) -> int:
        """A plain method is a message too."""
        return self.incarnation


class Boss(Agent):
    """Talks to other agents."""

    heard: list[str] = []

    async def hire(self, id: str) -> Ref:
        """Start a counter."""
        return await self.lab.start(Counter, id=id)

    async def ask(self, ref: Ref, n: int) -> int:
        """Call another agent."""
        return await ref.call.add(n)

    async def tell_then_crash(self, ref: Ref) -> None:
        """A cast leaves with the commit, so this one never does."""
        ref.cast.add(1)
        raise ValueError("after the cast")

    async def tell(self, ref: Ref, n: int) -> None:
        """Cast."""
        ref.cast.add(n)

    async def take(self, thing: object) -> None:
        """Anything that can travel."""

    async def mutate(self, ref: Ref) -> list[int]:
        """Pass a list, then change it."""
        mine = [1, 2]
        kept = await ref.call.keep(mine)
        mine.append(3)
        return kept


class Keeper(Agent):
    """Keeps a list."""

    items: list[int] = []

    async def keep(self, items: list[int]) -> list[int]:
        """Keep what was given and change it here."""
        self.items = items
        items.append(99)
        return items

    async def look(self) -> list[int]:
        """What is kept."""
        return self.items


class Polite(Agent):
    """Has both hooks."""

    log: list[str] = []
    trace: ClassVar[str] = ""

    async def on_start(self) -> None:
        """Note the life."""
        self.log.append(f"start {self.incarnation}")

    async def on_stop(self, reason: str) -> None:
        """Say why."""
        print(f"stopped: {reason}")

    async def look(self) -> list[str]:
        """The log."""
        return self.log


class Stillborn(Agent):
    """Never comes up."""

    async def on_start(self) -> None:
        """Fail."""
        raise LookupError("no such kettle")


class Shy(Agent):
    """Declines to run."""

    async def on_start(self) -> None:
        """Say no, which is no error."""
        raise Exit("normal")

    async def hello(self) -> str:
        """Never heard."""
        return "hello"
