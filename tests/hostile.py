"""What misbehaves on its way: values and exceptions that do not travel, and agents that use them."""

from __future__ import annotations

import threading
from typing import Any

from agentlab import Agent, Exit


class Hostile:
    """Fails when it is pickled."""

    def __reduce__(self) -> Any:
        raise RuntimeError("not today")


class Needy(Exception):
    """Pickles, and does not come back."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


class Unstable(Exception):
    """Fails when it is pickled."""

    def __str__(self) -> str:
        return "tipped over"

    def __reduce__(self) -> Any:
        raise SystemError("no")


class Nameless(Exception):
    """Has no message that can be had."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    def __reduce__(self) -> Any:
        raise RuntimeError("no pickle")


class Deaf(Exception):
    """Holds what does not travel."""

    def __init__(self, lock: Any) -> None:
        super().__init__("holds a lock")
        self.lock = lock


class Greedy(Agent):
    """Answers with too much."""

    async def answer(self, size: int) -> str:
        """So many letters."""
        return "x" * size

    async def lock(self) -> Any:
        """What cannot travel."""
        return threading.Lock()


class Dying(Agent):
    """Dies in every way."""

    async def hello(self) -> str:
        """Say that it lives."""
        return "hello"

    async def die(self, how: str) -> None:
        """Die this way."""
        if how == "leave":
            raise Exit(("shutdown", {"not": object()}, threading.Lock()))
        raise {"needy": Needy(1, 2), "nameless": Nameless(), "deaf": Deaf(threading.Lock())}[how]

    async def step_with(self, what: str) -> str:
        """Run an effect with arguments whose repr fails, or that hold a key."""
        value = Unshown() if what == "unshown" else what
        return str(await self.step(shout, value, loud=True))


class Unshown:
    """Has no repr."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __str__(self) -> str:
        return "unshown"


def shout(value: Any, *, loud: bool) -> str:
    """An effect."""
    return str(value).upper() if loud else str(value)
