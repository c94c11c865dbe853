"""Where a running step may be left, and where an exception may be raised in it.

A timer's signal stops a step between any two bytecodes, or inside a C function that looks for signals. Most
code bears being left there for a while, as it bears a switch of threads. Some does not:

* what runs on, or is, the event loop: it counts on nothing happening between two awaits. asyncio, anyio, and
  the HTTP libraries, whose connection pools several agents may share. The node itself is of this kind.
* what holds a lock that belongs to a *thread*: all steps share one, so the lock keeps none of them out. Imports
  (a half-imported module would be seen), logging, queues, ``threading`` itself.
* finalizers, callbacks of the garbage collector, and what reports errors in them (``warnings``, pytest's hooks): they
  run in the middle of anything, and what is raised in them is lost.

Nor may a frame that has just made a coroutine and not yet begun to await it: an exception there would skip the
``__aexit__`` of an ``async with``.

A *coroutine* of such a module that only awaits further out is at an await, which is where it expects others to
run; a *function* of it that has called back into user code is not.
"""

from __future__ import annotations

import dis
import enum
import gc
import inspect
import sysconfig
import threading
from collections.abc import Callable
from pathlib import Path, PurePath
from types import CodeType, FrameType
from typing import Any


class Place(enum.IntEnum):
    """What may be done to a step that stands where it stands."""

    NOWHERE = 0
    RAISE = 1
    SWITCH = 2


class Kind(enum.IntEnum):
    """What sort of code a file holds."""

    USER = 0
    NEUTRAL = 1  # the standard library where it is as safe to leave as with threads
    LOCKING = 2  # left alone, except where it blocks and holds nothing
    ATOMIC = 3  # left alone


LOCKING = frozenset({"threading", "queue", "concurrent"})
ATOMIC = frozenset({
    "asyncio", "importlib", "logging", "_weakrefset", "weakref", "multiprocessing", "warnings", "_pytest", "pluggy",
    "anyio", "sniffio", "greenlet", "uvloop", "httpcore", "httpcore2", "httpx", "httpx2", "h11", "h2", "aiohttp",
})  # fmt: skip
AWAITS = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE
CACHE = dis.opmap.get("CACHE", 0)
GET_AWAITABLE = dis.opmap["GET_AWAITABLE"]
SITES = ("site-packages", "dist-packages")
STDLIB = Path(sysconfig.get_path("stdlib"))
HERE = Path(__file__).parent
NODE = HERE.parent / "node"

_kinds: dict[str, Kind] = {}  # by file name: a walk meets the same files over and over


def place(frame: FrameType, base: CodeType) -> Place:
    """What may be done to a step whose innermost frame this is; ``base`` is the code that runs steps.

    Walk outward. Before the first frame of user code nothing may be of a kind that is left alone: there nothing
    may be done. Further out only its coroutines may stand, else an exception may be raised, but not switched. A
    blocking wait of ``threading`` holds no lock, so the frames that led there do not count.
    """
    if frame.f_code.co_flags & AWAITS and _about_to_await(frame):
        return Place.NOWHERE
    waiting = frame.f_lasti in WAITS.get(frame.f_code, ())
    collecting = [getattr(callback, "__code__", None) for callback in gc.callbacks]
    user = False
    at: FrameType | None = frame
    while at is not None and at.f_code is not base:
        code = at.f_code
        kind = _kinds.get(code.co_filename)
        if kind is None:
            kind = _kinds[code.co_filename] = kind_of(code.co_filename)
        if code.co_name == "__del__" or code in collecting:
            return Place.NOWHERE
        if kind is Kind.USER or code is RUN:
            user, waiting = True, False
        elif kind is Kind.ATOMIC or (kind is Kind.LOCKING and not waiting):
            if not user:
                return Place.NOWHERE
            if not code.co_flags & AWAITS:
                return Place.RAISE
        at = at.f_back
    return Place.SWITCH if user else Place.NOWHERE


def run(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call user code from the node: the place counts as user code, so that a C function there can be left too."""
    return function(*args, **kwargs)


RUN = run.__code__


def _about_to_await(frame: FrameType) -> bool:
    """Whether the next instruction takes what was called and makes it an awaitable."""
    code, at = frame.f_code.co_code, frame.f_lasti + 2
    while at < len(code) and code[at] == CACHE:
        at += 2
    return at < len(code) and code[at] == GET_AWAITABLE


def kind_of(filename: str) -> Kind:
    """The kind of code that a file holds, by where it lies."""
    if filename.startswith("<frozen "):
        return Kind.ATOMIC if "importlib" in filename else Kind.NEUTRAL
    path = PurePath(filename)
    if path.is_relative_to(HERE) or path.is_relative_to(NODE):  # wherever it is installed
        return Kind.ATOMIC
    site = next((name for name in SITES if name in path.parts), None)
    if site is not None:
        package = path.parts[path.parts.index(site) + 1]
        return Kind.ATOMIC if package.removesuffix(".py") in ATOMIC else Kind.USER
    if not path.is_relative_to(STDLIB):
        return Kind.USER
    module = path.relative_to(STDLIB).parts[0].removesuffix(".py")
    return Kind.ATOMIC if module in ATOMIC else Kind.LOCKING if module in LOCKING else Kind.NEUTRAL


def _waits() -> dict[CodeType, frozenset[int]]:
    """The calls in ``threading`` that block while nothing is held: code → offsets of the call instructions.

    ``Condition.wait`` has given its lock back where it takes the waiter's for the second time, which is what
    waiting is; ``Thread.join`` holds nothing at all.
    """
    found = {threading.Condition.wait.__code__: _calls(threading.Condition.wait.__code__, after="gotit")}
    join = getattr(threading.Thread, "_wait_for_tstate_lock", threading.Thread.join).__code__
    found[join] = _calls(join, after=None)
    return found


def _calls(code: CodeType, *, after: str | None) -> frozenset[int]:
    """Offsets at which ``acquire`` or ``join`` is called, from the first store to a variable on."""
    offsets: set[int] = set()
    begun, method = after is None, None
    for instruction in dis.get_instructions(code):
        if instruction.opname == "STORE_FAST" and instruction.argval == after:
            begun = True
        elif instruction.opname in ("LOAD_METHOD", "LOAD_ATTR"):
            method = instruction.argval
        elif instruction.opname.startswith("CALL") and begun and method in ("acquire", "join"):
            offsets.add(instruction.offset)
            method = None
    return frozenset(offsets)


WAITS = _waits()
