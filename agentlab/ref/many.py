"""Many refs: as one, for a message to all of them, and as a sequence that makes each when it is looked at."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, overload

from agentlab.ground.given import seconds
from agentlab.ground.words import counted, spelt
from agentlab.ref.link import Link
from agentlab.ref.messages import Messages, check_options
from agentlab.ref.ref import Ref
from agentlab.ref.reply import DEFAULT_TIMEOUT, Replies

R = TypeVar("R", bound=Ref)


class Siblings(Sequence[Ref]):
    """Refs of agents under one supervisor, made when they are looked at: of each there is only its id."""

    __slots__ = ("_above", "_cls_name", "_ids", "_link")

    def __init__(self, link: Link, above: str, ids: Sequence[str], cls_name: str) -> None:
        self._link = link
        self._above = above.rstrip("/") + "/"
        self._ids = ids
        self._cls_name = cls_name

    @overload
    def __getitem__(self, index: int) -> Ref: ...
    @overload
    def __getitem__(self, index: slice) -> Siblings: ...
    def __getitem__(self, index: int | slice) -> Ref | Siblings:
        if isinstance(index, slice):
            return Siblings(self._link, self._above, self._ids[index], self._cls_name)
        return self._link.ref(self._above + self._ids[index], self._cls_name)

    def __len__(self) -> int:
        return len(self._ids)


class Refs(Sequence[R]):
    """Many refs as one: a message to all of them, a wait for all of them."""

    def __init__(self, refs: Sequence[R]) -> None:
        made_when_seen = isinstance(refs, Siblings)
        self._refs: Sequence[R] = refs if made_when_seen else tuple(refs)

    @property
    def call(self) -> Broadcast:
        """Ask all: ``await refs.call.method(...)`` gives the answers in order."""
        return Broadcast(self._refs, call=True)

    @property
    def cast(self) -> Broadcast:
        """Tell all."""
        return Broadcast(self._refs, call=False)

    def wait(self, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Block until none of the agents has a message waiting or in hand; CallTimeout after ``timeout`` s."""
        end = time.monotonic() + seconds(timeout, "wait: timeout")
        for ref in self._refs:
            ref._link.control("wait_idle", ref.path, max(0.0, end - time.monotonic()))

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> Refs[R]: ...
    def __getitem__(self, index: int | slice) -> R | Refs[R]:
        return Refs(self._refs[index]) if isinstance(index, slice) else self._refs[index]

    def __len__(self) -> int:
        return len(self._refs)

    def __iter__(self) -> Iterator[R]:
        return iter(self._refs)

    def __repr__(self) -> str:
        ends = f": {self._refs[0].path} … {self._refs[-1].path}" if self._refs else ""
        return f"Refs({counted(len(self._refs), 'agent', sep='')}{ends})"


class Broadcast:
    """``refs.call`` and ``refs.cast``: one method, every agent. Takes the options of ``ref.call``."""

    __slots__ = ("_call", "_options", "_refs")

    def __init__(self, refs: Sequence[Ref], *, call: bool, **options: Any) -> None:
        self._refs = refs
        self._call = call
        self._options = options

    @functools.partial(spelt, what="refs.call")
    def __call__(self, *, timeout: float | None = None, redeliver: bool | None = None) -> Broadcast:
        """Set options, as in ``ref.call(timeout=5)``."""
        check_options(timeout, redeliver)
        return Broadcast(self._refs, call=self._call, timeout=timeout, redeliver=redeliver)

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("_"):
            raise AttributeError(method)

        def send(*args: Any, **kwargs: Any) -> Any:
            replies = [self._to(ref, method)(*args, **kwargs) for ref in self._refs]
            return Replies(replies) if self._call else None

        return send

    def _to(self, ref: Ref, method: str) -> Callable[..., Any]:
        """The method of one of the agents."""
        found: Callable[..., Any] = getattr(Messages(ref, call=self._call, **self._options), method)
        return found

    def __dir__(self) -> list[str]:
        return Messages(self._refs[0], call=True).__dir__() if self._refs else []
