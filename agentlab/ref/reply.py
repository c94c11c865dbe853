"""The answer to a call, in time: what a cell awaits, or a script waits for."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import math
import sys
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, NoReturn, Protocol, TypeVar, overload

from agentlab.errors import CallTimeout
from agentlab.ground import interrupts
from agentlab.ground.given import seconds
from agentlab.ground.once import Once
from agentlab.ground.tracebacks import full

T = TypeVar("T")

Awaited = concurrent.futures.Future[Any] | Once[Any]
"""What other threads make done."""

SHORTEST = 0.05
"""Seconds until a deadline that stands still is looked at again, at the least."""

DEFAULT_TIMEOUT = 60.0
"""Seconds that a call waits for its answer unless it says otherwise."""


class Way(Protocol):
    """The way back to the lab from which an answer will come."""

    @property
    def begun(self) -> bool | None:
        """Whether the message's handler runs; None while the lab does not have the message."""

    @property
    def paused(self) -> float:
        """Seconds that the message has waited for what nobody can hurry: deadlines move by that."""

    def take_back(self) -> bool:
        """Take the message back; whether it was there."""

    def look(self) -> None:
        """Raise where no answer can come any more."""


class Reply:
    """The answer to a call, in time: ``await reply``, or ``reply.result(timeout)`` in a script.

    A wait that ends early (its timeout, an interrupted cell) ends the wait, never the work.
    """

    __slots__ = ("_deadline", "_future", "_message", "_timeout", "_way")

    def __init__(self, message: str, timeout: float | None, way: Way) -> None:
        self._message = message
        self._way = way
        self._timeout = DEFAULT_TIMEOUT if timeout is None else timeout
        self._deadline = time.monotonic() + self._timeout
        self._future: Once[Callable[[], Any]] = Once()

    def _settle(self, outcome: Callable[[], Any]) -> None:
        """Called by the runtime, once; ``outcome`` returns or raises in the thread of who waits."""
        if not self._future.done():
            self._future.set_result(outcome)

    def done(self) -> bool:
        """Whether the answer (or an error) is there."""
        return self._future.done()

    def cancel(self) -> bool:
        """Take the message back.

        One that waits in the mailbox is not handled. One that is being handled is interrupted: its handler gets
        ``asyncio.CancelledError`` where it stands, its casts and timers never leave, and the state is that of
        before; the steps that it has done stay in ``lab.steps()``. The agent lives on, with the next message.

        Returns:
            Whether it is being taken back: then ``result()`` raises ``concurrent.futures.CancelledError`` and
            ``await`` raises ``asyncio.CancelledError``, unless the handler comes to its end before it is reached,
            and the answer after all. False if the answer, or an error, was there before.
        """
        return not self._future.done() and self._way.take_back()

    def result(self, timeout: float | None = None) -> Any:
        """Block for the answer.

        Args:
            timeout: Seconds to wait, whatever happens. The call's own timeout (60 s) if left out; that one stands still
                while the agent, or one that it asks, waits for a provider or for the next attempt at a step.

        Raises:
            CallTimeout: No answer in time; the agent goes on with the work.
            AgentDown: The agent died and the message was given up.
            concurrent.futures.CancelledError: It was taken back; see ``cancel``.
        """
        __tracebackhide__ = True
        end = self._deadline if timeout is None else time.monotonic() + seconds(timeout, "result: timeout")
        while True:
            try:
                outcome = interrupts.wait(self._future, end - time.monotonic(), self._way.look)
                break
            except KeyboardInterrupt:
                raise KeyboardInterrupt(self._goes_on()) from None
            except concurrent.futures.TimeoutError:
                end = self._moved(timeout)
        try:
            return answered(outcome)
        except concurrent.futures.CancelledError:
            raise concurrent.futures.CancelledError(f"{self._message} was taken back: reply.cancel()") from None

    def _moved(self, timeout: float | None = None) -> float:
        """Where the deadline is now (of ``time.monotonic``); CallTimeout if it is over, or was given for this wait."""
        now = time.monotonic()
        left = self._deadline + self._way.paused - now
        if timeout is not None or left <= 0:
            raise self._late(self._timeout if timeout is None else timeout) from None
        return now + max(left, SHORTEST)

    def _goes_on(self) -> str:
        """What an interrupted wait leaves behind, and how to end it."""
        begun = self._way.begun
        if self._future.done() or begun is None:
            return f"{self._message} is not waited for any more."
        if begun:
            return f"{self._message} goes on; nobody waits for it. End it: {self._agent}.skip(), or reply.cancel()."
        return (
            f"{self._message} stays in the mailbox; nobody waits for it. Take it back: reply.cancel(). "
            f"End what its agent has in hand: {self._agent}.skip()."
        )

    @property
    def _agent(self) -> str:
        """How a cell names the agent."""
        return f"lab[{self._message.rpartition('.')[0]!r}]"

    def _late(self, seconds: float) -> CallTimeout:
        still = (
            "the agent still does the work" if self._way.begun else "it still waits in the mailbox, and will be handled"
        )
        return CallTimeout(
            f"no answer from {self._message} within {seconds:g} s; {still}. Wait longer: reply.result(seconds), or "
            "next time ref.call(timeout=seconds). Look: ref.info()."
        )

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._wait().__await__()

    def __aiter__(self) -> NoReturn:
        _, _, method = self._message.rpartition(".")
        raise TypeError(
            f"the reply of {self._message} is one answer: await it. Piece by piece, while the agent works: "
            f"async for piece in ref.stream.{method}(...)"
        )

    async def _wait(self) -> Any:
        end = self._deadline
        try:
            while not self._future.done():
                try:
                    await arrival(self._future, end, self._way.look)
                except TimeoutError:
                    end = self._moved()
        except asyncio.CancelledError as error:
            error.args = error.args or (self._goes_on(),)  # the same exception: its scope knows it by its words
            raise error.with_traceback(None)  # noqa: B904  # it is that one, without asyncio's frames
        try:
            return answered(self._future.result())
        except concurrent.futures.CancelledError:
            if in_trio():
                raise
            raise asyncio.CancelledError(f"{self._message} was taken back: reply.cancel()") from None

    def __repr__(self) -> str:
        return f"Reply({self._message}, {'done' if self.done() else 'pending'})"


def answered(outcome: Callable[[], Any]) -> Any:
    """The answer, or the error, without the frames between the asker and what made it."""
    __tracebackhide__ = True
    try:
        return outcome()
    except Exception as error:
        raise error if full() else error.with_traceback(None)  # noqa: B904  # it is that one


def interruptible(wait: Callable[[], T], goes_on: Callable[[], str]) -> T:
    """What ``wait`` gives; an interrupt says in a line what it leaves behind, and how to end that."""
    __tracebackhide__ = True
    try:
        return wait()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(goes_on()) from None


def in_trio() -> bool:
    """Whether a task of trio runs, and none of asyncio."""
    trio = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_task())


async def arrival(future: Awaited, end: float = math.inf, look: Callable[[], object] = bool) -> None:
    """Wait until it is done, in asyncio (of whatever make) or trio.

    Args:
        future: What to wait for.
        end: Until when (of ``time.monotonic``).
        look: Called before each part of the wait; what it raises ends it.

    Raises:
        TimeoutError: It is not done at the time ``end``.
    """
    if not future.done():
        await (_arrival_in_trio if in_trio() else _arrival_in_asyncio)(future, end, look)


async def _arrival_in_asyncio(
    future: Awaited, end: float, look: Callable[[], object]
) -> None:  # fmt: skip
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()

    def wake(_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the waiting loop is closed: nobody waits any more
            loop.call_soon_threadsafe(lambda: None if waiter.done() else waiter.set_result(None))

    future.add_done_callback(wake)
    while not future.done():
        await asyncio.wait([waiter], timeout=_part(end, look))


async def _arrival_in_trio(
    future: Awaited, end: float, look: Callable[[], object]
) -> None:  # fmt: skip
    trio: Any = sys.modules["trio"]
    event, token = trio.Event(), trio.lowlevel.current_trio_token()

    def wake(_: object) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(event.set)

    future.add_done_callback(wake)
    while not future.done():
        with trio.move_on_after(_part(end, look)):
            await event.wait()


def _part(end: float, look: Callable[[], object]) -> float:
    """Seconds to wait until the next look."""
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    look()
    return min(interrupts.WAKE, left)


class Replies(Sequence[Reply]):
    """The replies to one message sent to many agents, in the order of the refs."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self._replies = tuple(replies)

    def cancel(self) -> int:
        """Take all messages back that are not answered yet, as ``Reply.cancel``; how many."""
        return sum(reply.cancel() for reply in self._replies)

    def result(self, timeout: float | None = None) -> list[Any]:
        """Wait for all; the first error is raised."""
        end = None if timeout is None else time.monotonic() + seconds(timeout, "result: timeout")
        return [r.result(None if end is None else max(0.0, end - time.monotonic())) for r in self._replies]

    def __await__(self) -> Generator[Any, Any, list[Any]]:
        async def gather() -> list[Any]:
            return [await reply for reply in self._replies]

        return gather().__await__()

    @overload
    def __getitem__(self, index: int) -> Reply: ...
    @overload
    def __getitem__(self, index: slice) -> Replies: ...
    def __getitem__(self, index: int | slice) -> Reply | Replies:
        return Replies(self._replies[index]) if isinstance(index, slice) else self._replies[index]

    def __len__(self) -> int:
        return len(self._replies)

    def __repr__(self) -> str:
        return f"Replies({sum(r.done() for r in self._replies)} of {len(self)} done)"


class Sent:
    """A cast on its way. It needs no waiting; who awaits it knows that it is durable."""

    __slots__ = ("_accepted", "_message")

    def __init__(self, message: str, accepted: Callable[[], concurrent.futures.Future[None]]) -> None:
        self._message = message
        self._accepted = accepted

    def result(self, timeout: float | None = DEFAULT_TIMEOUT) -> None:
        """Block until the message is in the store (with a file), or in the books."""
        self._accepted().result(None if timeout is None else seconds(timeout, "result: timeout"))

    def __await__(self) -> Generator[Any, Any, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        accepted = self._accepted()
        await arrival(accepted)
        accepted.result()

    def _ipython_display_(self) -> None:
        """Show nothing: a cell that ends with a cast has no answer to show."""

    def __repr__(self) -> str:
        return f"Sent({self._message})"
