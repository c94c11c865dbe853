"""Questions of the kernel to its nodes, each under a ticket, until it is answered or nobody can answer it any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from agentlab.books.numbers import Numbers
from agentlab.wire.frames import Told


class Questions:
    """What nodes were asked and have not answered yet."""

    def __init__(self, loop: asyncio.AbstractEventLoop, numbers: Numbers) -> None:
        self._loop = loop
        self._numbers = numbers
        self._open: dict[int, tuple[int, asyncio.Future[Any]]] = {}  # by ticket: who was asked, and the answer

    async def put(self, placement: int, ask: Callable[[int], None], *, timeout: float) -> Any:
        """Ask, and wait for the answer.

        Args:
            placement: Whom; 0 for the node itself.
            ask: Says it to the node, under a ticket.
            timeout: Seconds for the answer.

        Returns:
            The answer; None if the life left its node before it had answered.

        Raises:
            TimeoutError: There was none in time.
        """
        ticket = next(self._numbers)
        future: asyncio.Future[Any] = self._loop.create_future()
        self._open[ticket] = placement, future
        try:
            ask(ticket)
            async with asyncio.timeout(timeout):
                return await future
        finally:
            del self._open[ticket]

    def answer(self, ticket: int, value: Told) -> None:
        """A node has answered; perhaps nobody waits for it any more."""
        _, future = self._open.get(ticket, (0, None))
        if future is not None and not future.done():
            future.set_result(value)

    def left(self, placement: int) -> None:
        """A life is on its node no more: it answers nothing."""
        for asked, future in self._open.values():
            if asked == placement and not future.done():
                future.set_result(None)
