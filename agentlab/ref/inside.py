"""A ref as an agent holds it: whatever is asked of it is awaited, and an answer that was not awaited says so.

The lab lives in another process, so an answer is a task: it is asked at once, and comes to its end whether or not
somebody awaits it (``ref.crash()``). Taken for its value, as in ``ref.status == "running"``, it would be False for
ever; that is an error here, which says what to write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from agentlab.errors import NotAwaited
from agentlab.ref.ref import Ref

T = TypeVar("T")


class RefInside(Ref):
    """A ``Ref`` in an agent: ``await ref.status`` is the word, ``await ref.info()`` the dict."""

    __slots__ = ()


FACTS = frozenset(name for name, value in vars(Ref).items() if isinstance(value, property))


def written(op: str) -> str:
    """How an operation of a ref is written."""
    return f"ref.{op}" if op in FACTS else f"ref.{op}(...)"


class Answer(asyncio.Task[T]):
    """What an agent's lab will answer: a task like any other, except that it is not taken for its result."""

    __slots__ = ("_asked",)

    def __init__(self, work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop, asked: str) -> None:
        super().__init__(work, loop=loop)
        self._asked = asked

    def __repr__(self) -> str:
        return f"<the answer to {self._asked}, {'there' if self.done() else 'on its way'}: await it>"

    def _not_awaited(self, why: str, then: str = "") -> NotAwaited:
        write = f"(await {self._asked}){then}" if then else f"await {self._asked}"
        return NotAwaited(f"{self._asked} is an answer that was not awaited: {why}. In an agent write: {write}.")

    if not TYPE_CHECKING:  # a checker shall refuse what these refuse, each by a rule of its own

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):  # what libraries look for
                raise AttributeError(name)
            raise self._not_awaited(f"it has no {name!r}", f".{name}")

        def __eq__(self, other: object) -> bool:
            if self is other:  # as collections of tasks ask
                return True
            raise self._not_awaited("it equals nothing")

        __hash__ = asyncio.Task.__hash__

        def __lt__(self, other: object) -> NoReturn:
            raise self._not_awaited("it is neither more nor less than anything")

        __le__ = __gt__ = __ge__ = __lt__

        def __bool__(self) -> NoReturn:
            raise self._not_awaited("it is neither true nor false")

        def __str__(self) -> NoReturn:
            raise self._not_awaited("there is no text of it")

        def __format__(self, spec: str) -> NoReturn:
            raise self._not_awaited("there is no text of it")

        def __getitem__(self, key: object) -> NoReturn:
            raise self._not_awaited("there is nothing in it", f"[{key!r}]")

        def __contains__(self, key: object) -> NoReturn:
            raise self._not_awaited("there is nothing in it")

        def __len__(self) -> NoReturn:
            raise self._not_awaited("it has no length")

        def __iter__(self) -> NoReturn:  # of a task, a way to await that only asyncio knows
            raise self._not_awaited("there is nothing in it")
