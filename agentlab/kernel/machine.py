"""The supervision machine's driver: events go in, one after the other, and what the machine says is carried out.

The machine knows neither clock nor loop. Here are its timers, and the futures of those who called it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Protocol

from agentlab.kernel.desk import Desk
from agentlab.supervision.words import (
    Arm,
    Begun,
    Call,
    Command,
    Disarm,
    Due,
    Event,
    Fact,
    SignalWorker,
    Start,
)


class Lifeguard(Protocol):
    """Who carries out what the machine says of lives: it feeds the machine, and stands above its driver."""

    def start(self, command: Start) -> None:
        """Start a life."""

    def begun(self, command: Begun) -> None:
        """Agents run that need no node yet."""

    def signal(self, command: SignalWorker) -> None:
        """Give a life an exit signal of its supervisor."""

    def note(self, fact: Fact) -> None:
        """Write down what is true now."""


class Machine:
    """Drives the machine of one lab's tree, in the lab's loop."""

    def __init__(self, desk: Desk, lives: Lifeguard) -> None:
        self.calls: dict[int, asyncio.Future[Any]] = {}  # those without an answer yet
        self._desk = desk
        self._lives = lives
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._inbox: deque[Event] = deque()
        self._pumping = False

    def start(self) -> None:
        """Start the root supervisor."""
        self._obey(self._desk.tree.start(self._desk.loop.time()))

    def feed(self, event: Event) -> None:
        """Tell the machine what happened and carry out what it says; what happens meanwhile comes after that."""
        self._inbox.append(event)
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._inbox:
                self._obey(self._desk.tree.handle(self._inbox.popleft(), self._desk.loop.time()))
        finally:
            self._pumping = False
        self._desk.due()

    def _obey(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Fact):  # most of them are
                self._lives.note(command)
            elif isinstance(command, Start):
                self._lives.start(command)
            elif isinstance(command, Begun):
                self._lives.begun(command)
            elif isinstance(command, SignalWorker):
                self._lives.signal(command)
            elif isinstance(command, Arm):
                self._timers[command.timer] = self._desk.loop.call_later(command.seconds, self._ring, command.timer)
            elif isinstance(command, Disarm):
                handle = self._timers.pop(command.timer, None)
                if handle is not None:
                    handle.cancel()
            else:
                future = self.calls.pop(command.call, None)
                if future is not None and not future.done():
                    future.set_result(command.result)

    def _ring(self, timer: int) -> None:
        if self._timers.pop(timer, None) is not None:
            self.feed(Due(timer))

    def expect(self) -> tuple[int, asyncio.Future[Any]]:
        """A number for a call to the machine, and the future of its answer."""
        number = next(self._desk.numbers)
        future = self.calls[number] = self._desk.loop.create_future()
        return number, future

    async def ask(self, supervisor: str, op: Any, *args: Any) -> Any:
        """An administration call; its result, or ``Refused``."""
        number, future = self.expect()
        self.feed(Call(number, supervisor, op, *args))
        return await future
