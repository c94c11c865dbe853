"""A value that comes once, from another thread: what a future does for whoever waits, without its four locks."""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Once(Generic[T]):
    """The value, and who is called when it is there. Any thread may ask; whoever has it sets it, once."""

    __slots__ = ("_is_there", "_then", "_value")

    def __init__(self) -> None:
        self._value: Any = None
        self._is_there = False
        self._then: list[Callable[[], object]] = []

    def done(self) -> bool:
        """Whether it is there."""
        return self._is_there

    def set_result(self, value: T) -> None:
        """It is there: whoever waits goes on."""
        self._value = value
        self._is_there = True  # before the look: who adds after it finds it there
        self._call_all()

    def add_done_callback(self, then: Callable[[Any], object]) -> None:
        """Have it called, with this, when the value is there; at once if it is."""
        self._add(functools.partial(then, self))

    def result(self, timeout: float | None = None) -> T:
        """Block for it.

        Raises:
            TimeoutError: It is not there after ``timeout`` seconds.
        """
        if not self._is_there:
            gate = threading.Lock()
            gate.acquire()
            self._add(gate.release)
            if not gate.acquire(timeout=-1 if timeout is None else timeout):
                with contextlib.suppress(ValueError):  # it has just come
                    self._then.remove(gate.release)
                if not self._is_there:
                    raise TimeoutError
        value: T = self._value
        return value

    def _add(self, then: Callable[[], object]) -> None:
        self._then.append(then)
        if self._is_there:
            self._call_all()

    def _call_all(self) -> None:
        """Call each once, by whichever thread takes it out."""
        while self._then:
            try:
                then = self._then.pop()
            except IndexError:  # the other thread was faster
                return
            try:
                then()
            except Exception:
                logging.getLogger(__name__).exception("what waited for a value raised when it came")
