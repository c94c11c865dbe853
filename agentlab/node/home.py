"""The node, as the life of an agent needs it: what it may say and ask there, and what it must wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from agentlab.faults import Action
from agentlab.ref.inside import Answer
from agentlab.ref.link import Link, Outgoing
from agentlab.wire.frames import Asker, Cast, ToKernel

T = TypeVar("T")


class Home(Protocol):
    """Where a life lives; ``Host`` is one.

    Attributes:
        number: The node's.
        durable: Whether its lab has a file, which keeps JSON only.
        noted: What was said that later things may depend on.
        on_fault: What its lab does about which kind of fault, where that is not the table's own.
        chaos: Whether messages and steps ask what strikes them.
        watched: Whether somebody looks on, and so sees what agents emit.
    """

    number: int
    durable: bool
    noted: int
    on_fault: dict[str, Action]
    chaos: bool
    watched: bool

    @property
    def link(self) -> Link:
        """How refs here reach the lab."""

    @property
    def say(self) -> ToKernel:
        """What is said by it leaves at the end of the loop's turn."""

    @property
    def say_later(self) -> ToKernel:
        """Nobody waits for what is said by it: it leaves with what is urgent, or soon."""

    async def settled(self) -> None:
        """Wait until everything noted so far is committed: what follows may depend on it and leave the node."""

    async def ask(self, op: str, *args: Any, timeout: float | None = None) -> Any:
        """Ask the kernel and wait for its answer, as the agent whose code runs."""

    def ask_now(self, op: str, *args: Any) -> asyncio.Future[Any]:
        """Ask the kernel at once; what it will answer."""

    def put(self, question: Callable[[int, int], None]) -> asyncio.Future[Any]:
        """Put a question to the kernel now, given the placement and a ticket; what it will answer."""

    async def wait(
        self, answer: asyncio.Future[Any], what: str, timeout: float | None, asker: Asker | None = None
    ) -> Any:  # fmt: skip
        """Wait for an answer; CallTimeout if none comes in time, which stands still while who is asked waits too."""

    def cast(self, cast: Cast) -> None:
        """Send a message that no commit holds."""

    def post(
        self, message: Outgoing, payload: bytes, origin: Asker, *, redeliver: bool
    ) -> asyncio.Future[Any] | None:  # fmt: skip
        """Hand a call to a neighbour on this node; None if it must go by the kernel."""

    def check(self, path: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise InvalidArgument if the arguments do not fit the message of an agent that lives here."""

    def number_of(self, cls: type) -> int | None:
        """Under which number the kernel has sent a class, if it has."""

    async def sliced(self, work: Callable[[], Any]) -> Any:
        """Do what runs code of agents, as the agent whose code this is: in slices, and charged to it."""

    def end_life(self, resident: Any, ending: Any) -> None:  # of ``resident``, which stands on this file
        """End a life wherever its code stands."""

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin some work now; its result is awaited by who wants it, and its error is nobody's crash."""

    def answer(self, work: Coroutine[Any, Any, T], asked: str) -> Answer[T]:
        """Begin the work of an answer, as ``spawn``; ``asked``: how an agent writes what it asked."""
