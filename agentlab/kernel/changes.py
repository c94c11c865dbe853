"""What changes in a lab, for those in its loop who wait for it: the end of a life, a start, an upgrade.

Whatever makes a place of the tree look different touches it in the ledger. At the end of each turn those who wait
for one of these places look again, after the commit: so nobody is told of an end that a crash could take back, and
nobody looks by the clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection


class Changes:
    """Who waits for a change at which path.

    Attributes:
        waiting: Who waits, by path.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.waiting: dict[str, list[asyncio.Future[None]]] = {}

    async def at(self, path: str, seconds: float | None = None) -> None:
        """Return after the next turn in which something changed there, or after so many seconds."""
        future = self._loop.create_future()
        self.waiting.setdefault(path, []).append(future)
        try:
            await asyncio.wait([future], timeout=seconds)
        finally:
            if not future.done():
                self._forget(path, future)

    async def until(self, is_so: Callable[[], bool], path: str, end: float | None = None) -> bool:
        """Return when something is so that changes with the agent or supervisor at a path.

        Args:
            is_so: Looked at now, and after each change there.
            path: Where.
            end: The loop's time at which the wait ends, if it was not so before.

        Returns:
            Whether it is so.
        """
        while not is_so():
            left = None if end is None else end - self._loop.time()
            if left is not None and left <= 0:
                return False
            await self.at(path, left)
        return True

    def tell(self, touched: Collection[str]) -> None:
        """A turn has ended in which these places have changed."""
        for path in [path for path in self.waiting if path in touched]:
            for future in self.waiting.pop(path):
                if not future.done():
                    future.set_result(None)

    def _forget(self, path: str, future: asyncio.Future[None]) -> None:
        waiting = self.waiting.get(path, [])
        if future in waiting:
            waiting.remove(future)
            if not waiting:
                del self.waiting[path]
