"""Agents that call, cast, start, publish and remind each other between steps, and what is true of them afterwards."""

from __future__ import annotations

import asyncio

from agentlab import Agent, Ref, Supervisor, child
from tests.crashes.world import at, effect, pay


class Member(Agent):
    """Counts what it began and lists what it finished: in a committed state the two agree."""

    folder: str
    begun: int = 0
    done: list[str] = []

    def _begin(self) -> None:
        """Half of the change."""
        self.begun += 1

    def _finish(self, what: str) -> None:
        """The other half."""
        self.done = [*self.done, what]

    def _sibling(self, name: str) -> Ref:
        """Another member of the family."""
        return self.lab[f"{self.path.rsplit('/', 1)[0]}/{name}"]


class Clerk(Member):
    """Takes orders: steps of its own, a call, a start, news for all, a cast and a timer."""

    async def on_start(self) -> None:
        """A boundary before the first message."""
        await at(self.folder, "clerk.start")

    async def work(self, order: str, once: bool = False) -> str:
        """One order."""
        self._begin()
        await at(self.folder, f"{order}.begin")
        await self.step(effect, self.folder, f"{order}.a")
        if once:
            await self.step(pay, self.folder, f"{order}.pay")
        await at(self.folder, f"{order}.before-call")
        taken = await self._sibling("bank").call.take(order)
        await at(self.folder, f"{order}.after-call")
        team = self.path.rsplit("/", 1)[0]
        aide = await self.lab.start(Aide, id=f"{order}-aide", under=team)
        await at(self.folder, f"{order}.started")
        self.lab.publish(f"{team} news", "note", f"{order}.{aide.id}")
        await at(self.folder, f"{order}.published")
        await asyncio.gather(self.step(effect, self.folder, f"{order}.x"), self.step(effect, self.folder, f"{order}.y"))
        self._sibling("book").cast.note(f"{order}.clerk")
        self.after(0.0).ring(order)
        self._finish(order)
        await at(self.folder, f"{order}.end")
        return f"{order} {taken}"

    async def ring(self, order: str) -> None:
        """The timer's message."""
        self._begin()
        await self.step(effect, self.folder, f"{order}.ring")
        self._finish(f"{order}.ring")


class Bank(Member):
    """Is called."""

    async def take(self, order: str) -> str:
        """Its part of the order."""
        self._begin()
        await self.step(effect, self.folder, f"{order}.t")
        await at(self.folder, f"{order}.bank")
        await self.step(effect, self.folder, f"{order}.u")
        self._sibling("book").cast.note(f"{order}.bank")
        self._finish(order)
        await at(self.folder, f"{order}.bank-end")
        return "taken"


class Book(Member):
    """Is told, and hears the news."""

    async def on_start(self) -> None:
        """Each life, so that a new kernel has it too."""
        await self.subscribe(f"{self.path.rsplit('/', 1)[0]} news")

    async def note(self, what: str) -> None:
        """Write it down."""
        self._begin()
        await self.step(effect, self.folder, f"{what}.note")
        self._finish(what)


class Aide(Agent):
    """Is started in the middle of an order."""


def family(name: str, folder: str, strategy: str) -> Supervisor:
    """The three of them, under a supervisor that bears any number of crashes."""
    members = [child(cls, id=cls.__name__.lower(), folder=folder) for cls in (Bank, Book, Clerk)]
    return Supervisor(name, *members, strategy=strategy, max_restarts=10_000, max_seconds=1.0)
