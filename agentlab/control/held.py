"""One lab of this process per file: who opens a file again gets the lab that holds it.

A cell that says ``lab = Lab("run.lab")`` is run again and again. The first time it opens the file; after that the
class itself answers with the lab that is there, its agents undisturbed. ``Lab`` has ``OneLabPerFile`` as its
metaclass for that: ``__init__`` runs only for a lab that is new.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import inspect
import os
import threading
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agentlab.errors import InvalidSpec, StoreLocked
from agentlab.ground import interrupts
from agentlab.ground.given import file_of
from agentlab.pool.fork import close_shared

_live: dict[str, Any] = {}
"""The labs that hold a file, by its resolved path; no weak references, since such a lab runs until it is closed."""

_opening: dict[str, threading.RLock] = {}
"""Held while the file is opened or closed, so that threads which race for it get one lab."""


_open: weakref.WeakSet[Any] = weakref.WeakSet()
"""The labs that run, with a file or without."""


def _forget() -> None:
    """A forked child holds none of them: the threads of its parent's labs are not there."""
    _open.clear()
    _live.clear()
    _opening.clear()


os.register_at_fork(after_in_child=_forget)


class OneLabPerFile(type):
    """Answers ``Lab(path)`` with the lab of this process that holds the file, if there is one."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:  # as ``cls.__init__`` takes them
        """The live lab, or a new one; if it is interrupted before it has one, nothing is left of it."""
        return interrupts.whole(functools.partial(cls._find_or_open, args, kwargs), _undo)[0]

    def _find_or_open(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, bool]:
        """A lab, and whether it is new."""
        given = _given(cls, args, kwargs)
        path = given.pop("store", None)
        if not isinstance(path, (str, os.PathLike)) or given.get("resume") is False:
            return super().__call__(*args, **kwargs), True
        file = file_of(path, "Lab: store")
        with turn(file):
            found = find(file)
            if found is None:
                return super().__call__(*args, **kwargs), True
            _same_options(found, given)
            return found, False

    @property
    def __signature__(cls) -> inspect.Signature:
        """What ``Lab?`` shows: the parameters of ``__init__``."""
        whole = inspect.signature(cls.__init__)  # type: ignore[misc]  # its own
        return whole.replace(parameters=list(whole.parameters.values())[1:], return_annotation=inspect.Signature.empty)


def _undo(opened: tuple[Any, bool]) -> None:
    lab, new = opened
    if new:
        lab.close(0.0)


def _given(cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments by name; none if they do not fit, which ``__init__`` says best."""
    try:
        return dict(inspect.signature(cls.__init__).bind(None, *args, **kwargs).arguments)  # type: ignore[misc]  # its own
    except TypeError:
        return {}


@contextlib.contextmanager
def turn(path: Path) -> Iterator[None]:
    """One thread at a time opens or closes a file."""
    lock = _opening.setdefault(os.path.realpath(path), threading.RLock())
    interrupts.acquire(lock)
    try:
        yield
    finally:
        lock.release()


def hold(path: Path | None, lab: Any) -> None:
    """From here on this lab runs, and has the file if there is one."""
    _open.add(lab)
    if path is not None:
        _live[os.path.realpath(path)] = lab


def let_go(lab: Any) -> None:
    """The lab has ended."""
    _open.discard(lab)
    for key in [key for key, held in list(_live.items()) if held is lab]:
        del _live[key]


def find(path: Path) -> Any:
    """The lab of this process that holds the file, by whatever name it is given; None if there is none.

    Raises:
        StoreLocked: One holds a file of that name, which was deleted or replaced meanwhile.
    """
    lab = _live.get(os.path.realpath(path)) or next(
        (lab for lab in list(_live.values()) if lab._store.is_file(path)), None
    )
    if lab is not None and not lab._store.is_file(path):
        raise StoreLocked(
            f"{path} was deleted or replaced while {lab!r} runs on it. Close that lab first: lab.close(); what it did "
            "meanwhile goes with the deleted file."
        )
    return lab


def _same_options(lab: Any, given: Mapping[str, Any]) -> None:
    """Refuse options that the live lab does not have; those that are left out are not compared.

    Raises:
        InvalidSpec: Names the options, what they are and what was asked.
    """
    had = lab._options
    other = {name: value for name, value in given.items() if name in had and had[name] != value}
    for name in ("nodes", "resume", "node_memory"):  # None: as if it were left out
        if other.get(name, ...) is None:
            del other[name]
    if other:
        told = "; ".join(f"{name} is {had[name]!r}, asked {value!r}" for name, value in other.items())
        raise InvalidSpec(
            f"Lab: {lab!r} of this process holds that file already, with other options: {told}. Leave them out to get "
            "that lab, or close it first: lab.close().",
            kind="other_options", value=other,
        )  # fmt: skip


@atexit.register
def _close_all() -> None:
    """A lab left open is closed at exit, also if another one's last rows could not be stored."""
    with contextlib.ExitStack() as stack:
        stack.callback(close_shared)
        for lab in list(_open):
            stack.callback(lab.close, timeout=2.0)
