"""One thread that does one thing after another, for those who cannot wait: a loop, above all."""

from __future__ import annotations

import concurrent.futures
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

Work = tuple["concurrent.futures.Future[Any]", Callable[..., Any], tuple[Any, ...]]


class Aside:
    """The thread, which begins with the first thing to do and lasts as long as the process, or until ``end``."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._todo: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def do(self, work: Callable[..., T], *args: Any) -> concurrent.futures.Future[T]:
        """Have the thread do this after all that it was given before.

        Raises:
            RuntimeError: The system has no room for a thread.
        """
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._live, name=self._name, daemon=True)
                thread.start()
                self._thread = thread
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._todo.put((future, work, args))
        return future

    def end(self) -> None:
        """Let the thread end when it has done what it was given."""
        self._todo.put(None)

    def _live(self) -> None:
        while (given := self._todo.get()) is not None:
            future, work, args = given
            try:
                future.set_result(work(*args))
            except BaseException as error:  # who wanted it is told
                future.set_exception(error)
            del given, future, work, args  # a thread that waits holds nothing of what it did
