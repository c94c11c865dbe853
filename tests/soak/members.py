"""The agents of the soak. Every message changes the state in two places, so half a message would be seen."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from agentlab import Agent, Ref
from tests import misbehave

COINS = 100
"""What each begins with; no message makes or destroys any."""


def link(chain: int, number: int) -> int:
    """The chain after one more message: it depends on all of them and on their order."""
    return zlib.crc32(b"%d" % number, chain)


def effect(number: int) -> int:
    """A step."""
    return number


def fail() -> None:
    """Raise."""
    raise ValueError("planned")


DEEDS: dict[str, Callable[..., None]] = {
    "raise": fail,
    "loop": misbehave.loop,
    "sleep": misbehave.sleep,
    "hold": misbehave.hold,
    "exit": misbehave.leave,
    "segfault": misbehave.segfault,
}


class Member(Agent):
    """Handles numbered messages, passes coins on, sets timers, and misbehaves when told to."""

    count: int = 0
    chain: int = 0
    coins: int = COINS
    rings: int = 0

    async def add(self, number: int) -> int:
        """The plain message: one more, and the chain with it."""
        self.count += 1
        self.chain = link(self.chain, number)
        return self.chain

    async def work(self, number: int) -> int:
        """The same with a step between the two halves."""
        self.count += 1
        self.chain = link(self.chain, await self.step(effect, number))
        return self.chain

    async def give(self, number: int, to: Ref, coins: int) -> int:
        """Coins leave with a cast: it goes when this message is committed, or never."""
        self.coins -= coins
        to.cast.take(coins)
        return await self.add(number)

    async def take(self, coins: int) -> None:
        """Coins arrive."""
        self.coins += coins

    async def borrow(self, number: int, of: Ref, coins: int) -> int:
        """Coins come by a call: however often this message is delivered, they are lent once."""
        self.coins += await of.call.lend(coins)
        return await self.add(number)

    async def lend(self, coins: int) -> int:
        """Coins leave with the answer."""
        self.coins -= coins
        return coins

    async def remind(self, number: int) -> int:
        """A timer is set with the commit."""
        self.after(0.01).ring()
        return await self.add(number)

    async def ring(self) -> None:
        """The timer."""
        self.rings += 1

    async def misbehave(self, number: int, how: str, until: int, *args: Any) -> int:
        """Do it in the middle of the message, in every life before the one numbered ``until``."""
        self.count += 1
        if self.incarnation < until:
            DEEDS[how](*args)
        self.chain = link(self.chain, number)
        return self.chain
