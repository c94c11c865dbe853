"""Idleness: who waits until a lab, or one agent, has nothing in hand, and what keeps it from that."""

from __future__ import annotations

import asyncio

from agentlab.ground.words import counted
from agentlab.kernel.desk import Desk
from agentlab.kernel.placing import Placing
from agentlab.kernel.posts import Posts


class Idleness:
    """Looks whether all is at rest, after each commit for which somebody waits.

    Attributes:
        waiters: Who waits.
    """

    def __init__(self, desk: Desk, posts: Posts, placing: Placing) -> None:
        self._desk = desk
        self._posts = posts
        self._placing = placing
        self.waiters: list[asyncio.Future[None]] = []

    async def wait(self, path: str = "/") -> None:
        """Return when every mailbox is empty, no handler runs and no restart is pending.

        With the path of an agent: when that one is idle.
        """
        while not self._rests(path):
            waiter = self._desk.loop.create_future()
            self.waiters.append(waiter)
            await waiter

    def _rests(self, path: str) -> bool:
        desk = self._desk
        for entry in [entry for entry in desk.active if not entry.is_active]:
            desk.settle(entry)  # only these: to settle makes a turn due, after which whoever waits looks again
        if path == "/":
            return desk.tree.idle and not (desk.active or self._posts or self._placing.waiting or desk.pool.dying)
        return desk.entries.peek(path) not in desk.active and not self._posts

    def look_again(self) -> None:
        """A turn has ended: whoever waits looks again."""
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def unrest(self) -> list[str]:
        """What keeps the lab from being idle, for the error."""
        desk = self._desk
        busy = [f"{e.path} ({desk.status(e)}, {counted(len(e.pending), 'message')})" for e in desk.active]
        known = {entry.record for entry in desk.active}
        return busy + [f"{r.path} ({r.state})" for r in desk.tree.in_hand if r not in known]
