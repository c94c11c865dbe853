"""What a plan may strike with; each says where, how often, and for how long."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from agentlab.errors import InvalidSpec
from agentlab.ground.given import shown
from agentlab.wire.blows import Blow, Place
from agentlab.wire.blows import Strike as Word

LONGEST = 3600.0
"""Seconds that one strike may take."""

OWN = "/servers/*"
"""The lab's own servers are struck only by a strike whose ``path`` names them."""


@dataclass(frozen=True, slots=True, repr=False)
class Strike:
    """One thing that goes wrong again and again: made by ``kill``, ``stall`` and the others.

    Attributes:
        word: What it does.
        rate: The share of places that it strikes, 0 to 1.
        given: What its author has said of it, for its repr.
        kinds: Kinds of places that it may strike; empty: all.
        name: The tool or the function that it may strike; None: any.
        path: Agents that it may strike, ``"/team/*"``; None: all but the lab's own servers.
        seconds: How long it takes.
        counts: Of a kill: whether it counts against the supervisor's limit of restarts.
    """

    word: Word
    rate: float
    given: tuple[tuple[str, Any], ...]
    kinds: Collection[str] = ()
    name: str | None = None
    path: str | None = None
    seconds: float = 0.0
    counts: bool = False

    def strikes(self, place: Place, salt: str) -> Blow | None:
        """Whether it strikes there, by a hash: a higher rate strikes the same places, and more."""
        if self.kinds and place.kind not in self.kinds:
            return None
        if self.name is not None and place.name != self.name:
            return None
        if not fnmatch.fnmatchcase(place.path, self.path or "*"):
            return None
        if self.path is None and fnmatch.fnmatchcase(place.path, OWN):
            return None
        text = "\0".join([salt, *map(str, place)])
        drawn = int.from_bytes(hashlib.blake2b(text.encode(errors="replace"), digest_size=8).digest()) / 2**64
        return Blow(self.word, self.seconds, self.counts) if drawn < self.rate else None

    def __repr__(self) -> str:
        return f"{self.word}({', '.join(f'{name}={value!r}' for name, value in self.given)})"


def kill(
    rate: float | None = None, *, every: int | None = None, path: str | None = None, counts: bool = False
) -> Strike:  # fmt: skip
    """Kill an agent just before it handles a message, or begins a step: what it had in hand is delivered again.

    Args:
        rate: The share of messages and steps that are struck, 0 to 1; 0.01 if nothing is said.
        every: The same as one of so many, drawn by a hash like everything here.
        path: Agents that may be struck, ``"/team/*"``; all if left out.
        counts: Whether its supervisor counts it as a crash. It does not, unless told so: how many restarts fall into
            its window of seconds is a matter of the clock, and a run would not be the same twice.

    Raises:
        InvalidSpec: What was given is none.
    """
    return _made("kill", rate, every, path=path, counts=counts)


def kill_node(every: int | None = None, *, rate: float | None = None, path: str | None = None) -> Strike:
    """Kill the process of an agent's node there, with all agents in it: they go on elsewhere, uncounted.

    Args:
        every: One of so many messages and steps is struck; 30 if nothing is said.
        rate: The same as a share, 0 to 1.
        path: Agents whose messages and steps may be struck, ``"/team/*"``; all if left out.

    Raises:
        InvalidSpec: What was given is none.
    """
    return _made("kill_node", rate, 30 if every is None and rate is None else every, path=path)


def stall(
    rate: float | None = None, *, every: int | None = None, seconds: float = 1.0, path: str | None = None
) -> Strike:  # fmt: skip
    """Let a message or a step hang before it begins; ``seconds``: how long, up to 3,600. The rest as ``kill``."""
    return _made("stall", rate, every, path=path, seconds=seconds)


def corrupt(
    tool: str | None = None, rate: float | None = None, *, every: int | None = None, path: str | None = None
) -> Strike:  # fmt: skip
    """Spoil what a tool gives: half of a text, another number, a list cut short.

    ``tool``: its name, or that of a function which is a step; every tool if left out. The rest as ``kill``, of calls.
    """
    if tool is not None and not (isinstance(tool, str) and tool):
        raise InvalidSpec(
            f"corrupt: tool must be the name of a tool, as tool='search'; got {shown(tool)}.", kind="bad_tool"
        )
    kinds = ("tool",) if tool is None else ("tool", "step")
    return _made("corrupt", rate, every, path=path, kinds=kinds, name=tool)


def cut_stream(rate: float | None = None, *, every: int | None = None, path: str | None = None) -> Strike:
    """Cut a model's answer off before its last event: it was paid for, nobody has it, and the call is made again.

    Each call is cut once. The arguments are those of ``kill``, of model calls.
    """
    return _made("cut_stream", rate, every, path=path, kinds=("model",))


def slow_disk(
    rate: float | None = None, *, every: int | None = None, seconds: float = 0.1, path: str | None = None
) -> Strike:  # fmt: skip
    """Let the lab's next commit take ``seconds`` longer, up to 3,600: nobody gets an answer meanwhile.

    The other arguments are those of ``kill``: of the messages and steps before which that happens.
    """
    return _made("slow_disk", rate, every, path=path, seconds=seconds)


def _made(
    word: Word, rate: float | None, every: int | None, *, path: str | None, seconds: float | None = None,
    kinds: Collection[str] = (), name: str | None = None, counts: bool = False,
) -> Strike:  # fmt: skip
    lasts = 0.0 if seconds is None else _number(word, "seconds", seconds, LONGEST, f"from 0 to {LONGEST:g}")
    share, said = _share(word, rate, every)
    if path is not None and not (isinstance(path, str) and path[:1] in ("/", "*")):
        raise InvalidSpec(
            f"{word}: path must be a path of agents, as path='/team/*'; got {shown(path)}.", kind="bad_path", value=path
        )
    given = [("tool", name), said, ("seconds", seconds), ("path", path), ("counts", counts or None)]
    said_all = tuple(pair for pair in given if pair[1] is not None)
    return Strike(word, share, said_all, kinds, name, path, lasts, bool(counts))


def _share(word: str, rate: float | None, every: int | None) -> tuple[float, tuple[str, Any]]:
    if every is None:
        rate = 0.01 if rate is None else rate
        return _number(word, "rate", rate, 1.0, "a share from 0 to 1"), ("rate", rate)
    if rate is not None:
        raise InvalidSpec(
            f"{word}: rate={shown(rate)} and every={shown(every)} say the same thing twice; give one.", kind="bad_rate"
        )
    if not is_whole(every) or every < 1:
        rule = "a whole number of messages and steps, at least 1"
        raise InvalidSpec(f"{word}: every must be {rule}; got {shown(every)}.", kind="bad_every", value=every)
    return 1 / int(every), ("every", int(every))


def is_whole(value: Any) -> bool:
    """Whether it is a whole number, numpy's too."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def _number(word: str, option: str, value: Any, most: float, rule: str) -> float:
    if type(value) is bool or not isinstance(value, Real) or not 0 <= float(value) <= most:
        raise InvalidSpec(f"{word}: {option} must be {rule}; got {shown(value)}.", kind=f"bad_{option}", value=value)
    return float(value)
