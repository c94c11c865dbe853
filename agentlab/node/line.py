"""The node's end of the line to the kernel: what is said, asked, answered, and known to be committed.

Everything that leaves the node goes through ``say`` or ``say_later``, in order, and is sent once per loop turn.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from agentlab.errors import CallTimeout
from agentlab.ground.turns import TurnLoop
from agentlab.node.resident import Resident, current
from agentlab.ref.inside import Answer
from agentlab.ref.reply import SHORTEST
from agentlab.wire.codec import Frame, Reader, frame
from agentlab.wire.exceptions import Refused, Term, decode_reason
from agentlab.wire.frames import Asker, Cast, ToKernel
from agentlab.wire.packing import unpack
from agentlab.wire.plain import flat
from agentlab.wire.stubs import sender

SayToKernel = sender(ToKernel, __file__)  # type: ignore[type-abstract]  # a protocol is what it reads

T = TypeVar("T")
Task = TypeVar("Task", bound="asyncio.Task[Any]")

SOON_SECONDS = 0.001
"""So long a message for which nobody waits may wait for others."""


class Line:
    """The line, and what waits for its other end. Everything happens in the node's loop.

    Attributes:
        hears: What to do with each frame of the kernel.
    """

    hears: dict[str, Callable[[Frame], None]]

    def __init__(self) -> None:
        self.noted = 0  # what was said that later things may depend on
        self._settled = 0  # so much of it is committed
        self._unsettled: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.say = SayToKernel(self._queue)  # what is said by it leaves at the end of the loop's turn, as one frame
        self.say_later = SayToKernel(self._queue_later)  # nobody waits for that: it leaves with what is urgent, or soon
        self._out: list[Frame] = []
        self._urgent = False  # it leaves at the end of this turn,
        self._leaves_soon = False  # or a moment later
        self._away: dict[int, Resident] = {}  # who asked what is not answered yet
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._tickets = itertools.count(1)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop: TurnLoop
        self._transport: asyncio.WriteTransport

    async def connect(self, sock: socket.socket) -> asyncio.Future[None]:
        """Begin to listen; what is done when the kernel's end closes."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, TurnLoop)
        self._loop = loop
        loop.end_of_turn = self._end_turn
        gone: asyncio.Future[None] = self._loop.create_future()
        transport, _ = await self._loop.connect_accepted_socket(lambda: _Ear(self, gone), sock)
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        return gone

    def _queue(self, said: Frame) -> None:
        self._out.append(said)
        self._urgent = self._loop.due = True

    def _queue_later(self, said: Frame) -> None:
        self._out.append(said)
        self._loop.due = True

    def _end_turn(self) -> None:
        if self._urgent:
            self.flush()
        elif self._out and not self._leaves_soon:
            self._leaves_soon = True
            self._loop.call_later(SOON_SECONDS, self._leave)

    def _leave(self) -> None:
        self._leaves_soon = False
        self.flush()

    def flush(self) -> None:
        """Send what waits."""
        self._urgent = False
        if self._out:
            out, self._out = self._out, []
            try:
                data = frame(out)
            except ValueError:  # a text of a class of its own, say
                data = frame([flat(said) for said in out])
            self._transport.write(data)

    async def settled(self) -> None:
        """Wait until everything noted so far is committed: what follows may depend on it and leave the node."""
        noted = self.noted
        while self._settled < noted:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._unsettled.append((noted, waiter))
            await waiter

    def note_settled(self, count: int) -> None:
        """So much of what this node has noted is committed."""
        self._settled = count
        waiting = self._unsettled
        while waiting and waiting[0][0] <= count:
            waiter = waiting.popleft()[1]
            if not waiter.done():
                waiter.set_result(None)

    def hear(self, frame: Frame) -> None:
        """Act on what the kernel says."""
        self.hears[frame[0]](frame)

    def misheard(self, frame: Frame, error: BaseException) -> None:
        """Acting on what the kernel says has raised; the host knows whose fault that is."""
        raise error

    async def ask(self, op: str, *args: Any, timeout: float | None = None) -> Any:
        """Ask the kernel and wait for its answer, as the agent whose code runs."""
        return await self.wait(self.ask_now(op, *args), f"{op} {args[:2]}", timeout)

    def ask_now(self, op: str, *args: Any) -> asyncio.Future[Any]:
        """Ask the kernel at once, as the agent whose code runs; what it will answer."""
        return self.put(lambda life, ticket: self.say.ask(placement=life, ticket=ticket, op=op, args=args))

    def put(self, question: Callable[[int, int], None]) -> asyncio.Future[Any]:
        """Put a question to the kernel now, as the agent whose code runs; what it will answer.

        Args:
            question: Asks it, given the agent's placement (0: it is no agent's code) and the ticket for the answer.
        """
        resident = current.get()
        ticket, answer = self._expect()
        question(resident.life if resident else 0, ticket)
        if resident is not None:
            resident.away += 1
            self._away[ticket] = resident
        return answer

    def cast(self, cast: Cast) -> None:
        """Send a message that no commit holds."""
        self.noted += 1
        path, method, payload = cast
        self.say.cast(path=path, method=method, payload=payload)

    def _expect(self) -> tuple[int, asyncio.Future[Any]]:
        ticket = next(self._tickets)
        answer = self._asked[ticket] = self._loop.create_future()
        answer.add_done_callback(lambda _: self._asked.pop(ticket, None))
        return ticket, answer

    async def wait(
        self, answer: asyncio.Future[Any], what: str, timeout: float | None, asker: Asker | None = None
    ) -> Any:  # fmt: skip
        """Wait for an answer; CallTimeout if none comes in time.

        Args:
            answer: What to wait for.
            what: What was asked, for the error.
            timeout: Seconds, or None.
            asker: Whose step it is: who was asked may wait for what nobody can hurry, which moves the deadline.
        """
        late = None
        if timeout is not None:
            late = self._loop.call_later(timeout, self._be_late, answer, what, timeout, asker)
        try:
            return await answer
        except Refused as refused:
            error = await self.sliced(refused.error)
        finally:
            if late is not None:
                late.cancel()
        raise error

    def _be_late(self, answer: asyncio.Future[Any], what: str, timeout: float, asker: Asker | None) -> None:
        if answer.done():
            return
        if asker is None:
            answer.set_exception(CallTimeout(f"no answer to {what} within {timeout:g} s; the work goes on."))
        else:
            self.spawn(self._look_again(answer, what, timeout, asker, self._loop.time() - timeout))

    async def _look_again(
        self, answer: asyncio.Future[Any], what: str, timeout: float, asker: Asker, began: float
    ) -> None:  # fmt: skip
        """A deadline has come: has it moved? The kernel knows who waits, and for whom."""
        while not answer.done():
            ticket, told = self._expect()
            self.say.ask(placement=0, ticket=ticket, op="paused", args=asker)
            left = began + timeout + unpack(await told) - self._loop.time()
            if left <= 0:
                self._be_late(answer, what, timeout, None)
            else:
                await asyncio.sleep(max(left, SHORTEST))

    async def sliced(self, work: Callable[[], Any]) -> Any:
        """Do what runs code of agents, as the agent whose code this is."""
        return work()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Begin some work now; its result is awaited by who wants it, and its error is nobody's crash."""
        return self._kept(asyncio.Task(work, loop=self._loop))

    def answer(self, work: Coroutine[Any, Any, T], asked: str) -> Answer[T]:
        """Begin the work of an answer, as ``spawn``; ``asked``: how an agent writes what it asked."""
        return self._kept(Answer(work, self._loop, asked))

    def _kept(self, task: Task) -> Task:
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen: asyncio need not complain

    def take_answer(self, ticket: int, value: bytes | None, error: Term) -> None:
        """Hand the kernel's answer to who has asked."""
        resident = self._away.pop(ticket, None)
        if resident is not None:  # who does not wait any more has its question under way all the same
            resident.away -= 1
        future = self._asked.get(ticket)
        if future is None or future.done():
            return
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(Refused(decode_reason(error)))


class _Ear(asyncio.Protocol):
    """The node's end of the socket: bytes in, frames to the line."""

    def __init__(self, line: Line, gone: asyncio.Future[None]) -> None:
        self._line = line
        self._gone = gone
        self._reader = Reader()

    def data_received(self, data: bytes) -> None:
        for heard in self._reader.feed(data):
            try:
                self._line.hear(heard)
            except BaseException as error:  # what an agent made raises when it is looked at: the line stays
                self._line.misheard(heard, error)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._gone.done():
            self._gone.set_result(None)
