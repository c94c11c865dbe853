"""What misbehaves on its way: values and exceptions that do not travel, and agents that use them."""

from __future__ import annotations

import functools
import re
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


DEEP: Any = functools.reduce(lambda inner, _: [inner], range(150), "<script>")
"""A value of many levels."""

TEXTS: dict[str, str] = {
    "markup": "<script>alert(1)</script><iframe src='javascript:alert(1)'></iframe><img src=x onerror=alert(1)>"
    "<a href='data:text/html,<script>alert(1)</script>' onclick=alert(1)>x</a><svg/onload=alert(1)></td></pre>",
    "markdown": "[a](javascript:alert(1)) ![b](data:text/html;base64,PHN2Zz4=)\n\n# <b onclick=alert(1)>\n\n`<script>`",
    "codes": "\x1b[31m\x1b[2J\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\ \x1b]52;c;aGk=\x07 \x9b31m \x08\x08 \x7f",
    "nul": "a\0b\0",
    "half characters": "\ud800 \udfff \udc80",
    "direction": "\u202e evil \u2066 d \u2069 \u200f \u061c",
    "no width": "\u200b \u2060 \ufeff \u180e \U000e0041\U000e0042",
    "breaks": "a\r\nb\rc\u2028d\u2029e\x85f\x0bg\x0ch\x1ci",
}
"""What a web page, a tool or a model may say to do harm where it is shown."""

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
_MARKUP = re.compile(r"<(script|iframe|img|a |svg/|b )")


def harm_in(shown: str, *, html: bool = False) -> set[str]:
    """What of a text a terminal, or a browser, would obey."""
    return set(_UNSEEN.findall(shown)) | set(_MARKUP.findall(shown) if html else ())
