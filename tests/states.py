"""Agents whose states are hard to keep: what the tests of fields, transcripts and frames start."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import decimal
import enum
import logging
import sys
import uuid
from typing import Annotated, Any, ClassVar, Literal

import pydantic
from typing_extensions import TypedDict  # pydantic asks for this one before Python 3.12

from agentlab import Agent, Ref, Transcript


class Color(enum.Enum):
    """Values of two types."""

    RED = 1
    BLUE = "blue"


class Model(pydantic.BaseModel):
    """Refers to itself."""

    x: int = 0
    below: Model | None = None


@dataclasses.dataclass
class Point:
    """Bytes that are no UTF-8, and a float."""

    raw: bytes = b"\xff\x00"
    far: float = float("inf")


class Typed(TypedDict):
    """Bytes in a typed dict."""

    raw: bytes
    n: int


class Everything(Agent):
    """One field of each type that can be kept."""

    when: dt.datetime = dt.datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC)
    span: dt.timedelta = dt.timedelta(days=-1, microseconds=3)
    price: decimal.Decimal = decimal.Decimal("1.50")
    key: uuid.UUID = uuid.UUID(int=7)
    raw: bytes = b"\xff\x00"
    names: set[str] = {"a", "b"}
    pair: tuple[int, str] = (1, "a")
    color: Color = Color.BLUE
    mode: Literal["fast", "slow"] = "fast"
    maybe: int | None = None
    model: Model = Model(x=1, below=Model(x=2))
    point: Point = Point()
    typed: Typed = {"raw": b"\xfe", "n": 1}
    share: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.5
    floats: list[float] = [float("nan"), float("inf"), -0.0]
    by_number: dict[int, Color] = {1: Color.RED}
    anything: dict[str, Any] = {"a": [1, None, {"b": True}]}
    text: str = "\ud800 \x00 <script> \x1b[31m"

    async def look(self) -> dict[str, Any]:
        """All fields as they are in memory."""
        return {name: getattr(self, name) for name in self.__agent_fields__}


class Odd(Agent):
    """Takes any value into its fields."""

    n: int = 0
    anything: Any = None
    items: list[int] = []
    share: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.5
    model: Model = Model()
    shouted: str = ""

    async def put(self, name: str, value: Any) -> Any:
        """Set one field."""
        setattr(self, name, value)
        return value

    async def spoil(self) -> None:
        """Put a wrong value where pydantic does not look."""
        self.model.x = "many"  # type: ignore[assignment]  # the point of it

    async def lose(self) -> None:
        """Delete a field."""
        del self.n

    async def grow(self, size: int) -> int:
        """Hold a long text."""
        self.shouted = "x" * size
        return len(self.shouted)

    async def length(self) -> int:
        """Say how long it is."""
        return len(self.shouted)


class Diary(Agent):
    """Keeps a conversation, and forgets what is not declared."""

    messages: Transcript = Transcript([{"role": "system", "content": "Be brief."}])
    seen: ClassVar[int] = 0

    async def say(self, text: Any) -> int:
        """Add a message."""
        self.messages.append({"role": "user", "content": text})
        self._note = text
        return len(self.messages)

    async def say_and_crash(self, text: str) -> None:
        """Add a message that is never committed."""
        self.messages.append({"role": "user", "content": text})
        raise ValueError(text)

    async def noted(self) -> str | None:
        """What lives for one incarnation."""
        return getattr(self, "_note", None)

    async def start_over(self) -> None:
        """Put another transcript in its place."""
        self.messages = Transcript()

    async def tear_up(self) -> None:
        """Delete it."""
        del self.messages


class Friend(Agent):
    """Holds a ref in its state."""

    other: Ref | None = None

    async def meet(self, ref: Ref) -> None:
        """Keep a ref."""
        self.other = ref

    async def ask(self) -> int:
        """Call who is kept."""
        assert self.other is not None
        return await self.other.call.add(1)

    async def ask_both_at_once(self, first: Ref, second: Ref) -> list[int]:
        """Calls are sent when they are made, not when they are awaited."""
        replies = [first.call.meet_at(1), second.call.meet_at(2)]
        return [await reply for reply in replies]

    async def show(self) -> str:
        """A ref's repr inside a node."""
        return repr(self.other)


class Printer(Agent):
    """Prints in every way."""

    async def everywhere(self) -> None:
        """To both streams, from another thread, in pieces, and by the logging module."""
        print("out")
        print("err", file=sys.stderr)
        await asyncio.to_thread(print, "thread")
        print("pie", end="", flush=True)
        print("ces")
        logging.getLogger("kitchen").warning("hot")
        sys.stdout.writelines(["a\n", "b\n"])
        assert not sys.stdout.isatty()


gates: dict[int, asyncio.Event] = {}


class Gate(Agent):
    """Two of them on one node wait for each other."""

    async def meet_at(self, number: int) -> int:
        """Open one's own gate, then wait for the other's."""
        gates.setdefault(number, asyncio.Event()).set()
        await gates.setdefault(3 - number, asyncio.Event()).wait()
        return number


class Mixin:
    """No agent, but part of one."""

    tally: int = 0

    async def count(self) -> int:
        """Count."""
        self.tally += 1
        return self.tally


class Left(Agent):
    """One base."""

    a: int = 1
    shared: str = "left"


class Right(Agent):
    """The other base."""

    b: int = 2
    shared: str = "right"


class Both(Mixin, Left, Right):
    """Everything of its bases, with another default."""

    b = 3
