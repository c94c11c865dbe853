"""What a signal's handler raises at a bad moment is kept until the work in hand is whole, or can be undone.

Ctrl-C is an exception that may be raised between any two instructions of the main thread: after a file was locked
and before its caller knows of it, say. While a lab opens or closes, the handlers of such signals run as ever; what
they raise is kept, and raised where the work waits for something or has come to its end. So it can clean up.

Waits that a person may interrupt go by ``wait``: a thread that blocks is not woken by a signal that came just
before it began to.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import math
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

from agentlab.ground.once import Once

T = TypeVar("T")

SIGNALS = ("SIGALRM", "SIGHUP", "SIGTERM", "SIGINT")
"""Whose handlers may raise; the one that people press is put back last."""

WAKE = 0.25
"""Seconds between two wake-ups of a thread that waits: an interrupt lands at the next one."""


class _Guard:
    """Stands in for the handlers of signals, and keeps what they raise."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.news: queue.SimpleQueue[None] = queue.SimpleQueue()  # a handler may put into it whatever it interrupts
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}

    def install(self) -> None:
        """Take the places of the handlers that are functions."""
        for number in (getattr(signal, name) for name in SIGNALS if hasattr(signal, name)):
            handler = signal.getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                signal.signal(number, self._handle)

    def remove(self) -> None:
        """Put them back."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        try:
            self._handlers[number](number, frame)
        except BaseException as error:  # whatever it raises, where it would have been raised
            self.error = error
            self.news.put(None)

    def check(self) -> None:
        """Raise what is kept."""
        error, self.error = self.error, None
        if error is not None:
            raise error

    def pause(self, seconds: float) -> None:
        """Wait until there is news, so long at most."""
        with contextlib.suppress(queue.Empty):
            self.news.get(timeout=seconds)


_guard: _Guard | None = None  # the main thread's


def _forked() -> None:
    """A child that was forked while a lab opened does not wait for that."""
    global _guard  # as below
    guard, _guard = _guard, None
    if guard is not None:
        with contextlib.suppress(ValueError):  # not the main thread
            guard.remove()


os.register_at_fork(after_in_child=_forked)


def _mine() -> _Guard | None:
    return _guard if _guard is not None and threading.current_thread() is threading.main_thread() else None


def whole(work: Callable[[], T], undo: Callable[[T], object] | None = None) -> T:
    """What ``work`` gives. What a signal's handler raises meanwhile is raised by ``wait`` in it, or after it.

    Args:
        work: What is to be done as a whole; it cleans up if it raises.
        undo: Takes back what it gave, if something is raised after it.
    """
    if _guard is not None or threading.current_thread() is not threading.main_thread():
        return work()
    done: list[T] = []
    try:
        _guarded(work, done)
    except BaseException:
        if done and undo is not None:
            undo(done[0])
        raise
    return done[0]


def _guarded(work: Callable[[], T], done: list[T]) -> None:
    global _guard  # noqa: PLW0603  # signals are the process's
    guard = _Guard()
    try:
        _guard = guard
        guard.install()
        done.append(work())
    finally:
        _guard = None
        guard.remove()
    guard.check()


def wait(
    future: concurrent.futures.Future[T] | Once[T], timeout: float | None = None, look: Callable[[], object] = bool
) -> T:  # fmt: skip
    """What a future gives; felt by interrupts also where ``whole`` keeps them.

    Args:
        future: What to wait for.
        timeout: Seconds, or None.
        look: Called before each part of the wait; what it raises ends it.

    Raises:
        TimeoutError: It is not there in time; or it is an error of that kind.
    """
    guard = _mine()
    take = future.result if isinstance(future, Once) else functools.partial(concurrent.futures.Future.result, future)
    if guard is not None:
        future.add_done_callback(lambda _: guard.news.put(None))
    end = math.inf if timeout is None else time.monotonic() + timeout
    while True:
        left = max(0.0, min(WAKE, end - time.monotonic()))
        if not future.done():
            look()
        if guard is not None and not future.done():
            guard.check()
            guard.pause(left)
            if not future.done():
                guard.check()
        try:
            return take(0.0 if guard is not None else left)
        except TimeoutError:
            if future.done():
                return take(0.0)
            if time.monotonic() >= end:
                raise


def acquire(lock: Any) -> None:
    """Take a lock; an interrupt ends the wait for it."""
    while not lock.acquire(timeout=WAKE):
        guard = _mine()
        if guard is not None:
            guard.check()
