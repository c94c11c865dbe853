"""asyncio's own loop, with a word at the end of each turn, and a door for other threads.

Kernel and node both gather what one turn of their loop has said, and send it as a whole. To have the loop call them
once more for that takes a handle, a context and another look at every socket: more than most turns do.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any


class TurnLoop(asyncio.SelectorEventLoop):
    """An event loop that calls ``end_of_turn`` before it waits, if something has made that due.

    Attributes:
        due: Whether this turn's end has something to do. Whoever says so runs in the loop.
        end_of_turn: What it does then. If it makes itself due again, there is another turn at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.due = False
        self.end_of_turn: Callable[[], object] = bool
        self._posted: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._rung = False  # the loop was woken for them

    def post(self, callback: Callable[..., object], *args: Any) -> None:
        """Have it called soon, in the order of the posts; from any thread.

        As ``call_soon_threadsafe``, without a handle and a context for each, and with one wake-up for many.

        Raises:
            RuntimeError: The loop is closed.
        """
        self._check_closed()  # type: ignore[attr-defined]  # asyncio's own
        self._posted.append((callback, args))
        if not self._rung:
            self._rung = True
            self._write_to_self()  # type: ignore[attr-defined]  # as above

    def _read_from_self(self) -> None:
        """Some other thread, or a signal, has woken the loop."""
        try:
            self._process_self_data(self._ssock.recv(4096))  # type: ignore[attr-defined]  # what is left wakes it again
        except (BlockingIOError, InterruptedError):
            pass
        self._rung = False  # before the look: who posts after it rings again
        while self._posted:
            callback, args = self._posted.popleft()
            self._call(callback, *args)

    def _run_once(self) -> None:
        if self.due:  # made so while the loop did not run, as after a SystemExit that left it
            self.call_soon(bool)
        try:
            super()._run_once()  # type: ignore[misc]  # asyncio's own
        finally:
            if self.due:
                self.due = False
                self._call(self.end_of_turn)
                if self.due:
                    self.call_soon(bool)  # no wait before the next end

    def _call(self, callback: Callable[..., object], *args: Any) -> None:
        """Call it as the loop calls a handle."""
        try:
            callback(*args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            name = getattr(callback, "__qualname__", repr(callback))
            self.call_exception_handler({"message": f"Exception in callback {name}", "exception": error})
