"""The answer to a call, piece by piece while it comes: ``async for piece in ref.stream.ask("...")``."""

from __future__ import annotations

import concurrent.futures
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Literal, Self

from agentlab.errors import InvalidArgument
from agentlab.ground import interrupts
from agentlab.ref.link import Outgoing, Said
from agentlab.ref.messages import Messages
from agentlab.ref.reply import Reply, arrival

if TYPE_CHECKING:
    from agentlab.ref.ref import Ref

AGAIN = "\n[again]\n"
"""What a piece says that marks where the agent began again."""


class Piece(str):
    """Some text of an answer.

    Attributes:
        kind: ``text``; or ``again``: the agent was cut off and begins again, so what comes may have come before.
    """

    __slots__ = ("kind",)
    kind: Literal["text", "again"]

    def __new__(cls, text: str, kind: Literal["text", "again"] = "text") -> Self:
        made = super().__new__(cls, text)
        made.kind = kind
        return made


class Stream:
    """What an agent says while it works on a message (``self.emit``), and its answer at the end.

    ``async for`` waits for each piece, in a script a plain ``for`` does. ``await stream``, or ``stream.result()``, is
    the answer. Who leaves the loop early ends the listening, never the work; ``cancel()`` ends that.
    """

    def __init__(self, send: Callable[[Callable[[Said, int, str], None]], Any]) -> None:
        self._pieces: deque[Piece] = deque()
        self._lock = threading.Lock()
        self._more: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._life = 0
        self._heard = False
        self._unfinished = False  # text has come of a step that has not ended
        hear = weakref.WeakMethod(self._hear)  # nobody keeps what nobody listens to

        def hears(said: Said, life: int, text: str) -> None:
            if (found := hear()) is not None:
                found(said, life, text)

        self._reply: Reply = send(hears)
        self._reply._future.add_done_callback(lambda _: self._wake())

    def cancel(self) -> bool:
        """Take the message back; see ``Reply.cancel``."""
        return self._reply.cancel()

    def done(self) -> bool:
        """Whether the answer (or an error) is there; pieces may still wait to be read."""
        return self._reply.done()

    def result(self, timeout: float | None = None) -> Any:
        """Block for the whole answer; see ``Reply.result``."""
        __tracebackhide__ = True
        return self._reply.result(timeout)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._reply.__await__()

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Piece:
        while True:
            piece, more = self._take()
            if piece is not None:
                return piece
            if more is None:
                self._reply.result(0)  # an error is raised here; an answer is for who asks for it
                raise StopIteration
            try:
                interrupts.wait(more, self._end() - time.monotonic(), self._reply._way.look)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(self._reply._goes_on()) from None
            except concurrent.futures.TimeoutError:
                self._reply._moved()  # raises when it is late

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Piece:
        while True:
            piece, more = self._take()
            if piece is not None:
                return piece
            if more is None:
                await self._reply  # an error is raised here; an answer is for who asks for it
                raise StopAsyncIteration
            try:
                await arrival(more, self._end(), self._reply._way.look)
            except TimeoutError:
                self._reply._moved()  # raises when it is late

    def _end(self) -> float:
        return self._reply._deadline + self._reply._way.paused

    def _take(self) -> tuple[Piece | None, concurrent.futures.Future[None] | None]:
        """A piece; else what to wait for, None if no more will come."""
        done = self._reply.done()  # before the look: what was said is here when the answer is
        with self._lock:
            if self._pieces:
                return self._pieces.popleft(), None
            if done:
                return None, None
            if self._more.done():
                self._more = concurrent.futures.Future()
            more = self._more
        if self._reply.done():
            self._wake()  # it may have come before the new future was there
        return None, more

    def _hear(self, said: Said, life: int, text: str) -> None:
        """Called in the runtime's thread."""
        with self._lock:
            if said == "text":
                if self._heard and life != self._life:
                    self._pieces.append(Piece(AGAIN, "again"))
                self._pieces.append(Piece(text))
                self._life, self._heard, self._unfinished = life, True, True
            elif said == "cut" and self._unfinished:
                self._pieces.append(Piece(AGAIN, "again"))
                self._unfinished = False
            elif said == "whole":
                self._unfinished = False
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            more = self._more
        if not more.done():
            more.set_result(None)

    def __repr__(self) -> str:
        return repr(self._reply).replace("Reply", "Stream", 1)


class Streams(Messages):
    """The messages of one agent, each of which gives a ``Stream``: ``ref.stream``; completes by TAB."""

    __slots__ = ()

    def __init__(self, ref: Ref, *, timeout: float | None = None, redeliver: bool | None = None) -> None:
        super().__init__(ref, call=True, timeout=timeout, redeliver=redeliver)

    def __call__(self, *, timeout: float | None = None, redeliver: bool | None = None) -> Streams:
        """Set options, as ``ref.call`` does."""
        options = super().__call__(timeout=timeout, redeliver=redeliver)
        return Streams(self._ref, timeout=options._timeout, redeliver=options._redeliver)

    def __getattr__(self, method: str) -> Callable[..., Stream]:
        super().__getattr__(method)  # refuses what is no message
        return Streaming(self, method)

    def __repr__(self) -> str:
        return super().__repr__().replace("<call", "<stream", 1)


class Streaming:
    """One message of one agent, ready to be sent; shows the signature and the docstring of its method."""

    __slots__ = ("__name__", "_messages")

    def __init__(self, messages: Streams, method: str) -> None:
        self._messages = messages
        self.__name__ = method

    def __call__(self, *args: Any, **kwargs: Any) -> Stream:
        """Send the message with these arguments; its pieces come from now on.

        Raises:
            InvalidArgument: An argument does not fit, or an agent asks: pieces are for cells and scripts.
        """
        own, method = self._messages, self.__name__
        link, path = own._ref._link, own._ref.path
        if link.here() is not None:
            raise InvalidArgument(
                f"{link.here()} asks for a stream of {path}.{method}: pieces are for cells and scripts, as no journal "
                "holds them. Await the answer: ref.call."
            )
        link.check(path, method, args, kwargs)

        def send(hears: Callable[[Said, int, str], None]) -> Any:
            return link.send(
                Outgoing(
                    path, method, args, kwargs, call=True, timeout=own._timeout, redeliver=own._redeliver, hears=hears
                )
            )

        return Stream(send)
