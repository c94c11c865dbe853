"""An event loop in a thread of its own, and what other threads ask of it.

Always asyncio's own loop: what a cell has chosen for its own (uvloop, nest_asyncio, trio) does not reach it. No wait
for it is for ever: when the loop has ended, or this is a forked child where its thread is not, who waits is told.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import os
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

from agentlab.errors import CallCycle, LabClosed
from agentlab.ground import interrupts
from agentlab.ground.once import Once
from agentlab.ground.turns import TurnLoop

CLOSED = "this lab is closed. Start another: Lab(); if it had a file, Lab(path) goes on with it."

JOIN_SECONDS = 10.0
"""So long who ends the loop waits for its thread, which a callback of somebody else's may hold."""

SWITCH_SECONDS = 0.0005
"""So long the loop's thread waits for the interpreter while a cell computes, before it insists. Python's own 5 ms are
ten times what a call between two agents takes, and a call waits several times."""

_all: weakref.WeakSet[LoopThread] = weakref.WeakSet()


class LoopThread:
    """The loop and its thread, which lasts until ``end``."""

    def __init__(self, name: str) -> None:
        self.loop: TurnLoop
        self.why: str | None = None  # it serves nobody any more
        self.away = False  # this is a process forked from its own
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._up = Coming(self)
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_SECONDS))  # the process's, from its first lab on
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._thread.start()
        self._ident = self._thread.ident
        concurrent.futures.wait([self._up])  # a moment, in which no interrupt may leave it behind
        self._up.result()
        _all.add(self)

    def _live(self) -> None:
        try:
            self.loop = loop = TurnLoop()
            asyncio.set_event_loop(loop)
        except BaseException as error:  # no descriptors
            self._up.set_exception(error)
            return
        loop.call_soon(self._up.set_result, None)
        try:
            while not self._stopping:
                try:
                    loop.run_forever()
                except (SystemExit, KeyboardInterrupt) as error:  # a callback's; this thread is not its to end
                    loop.call_exception_handler({"message": "a callback tried to end the loop", "exception": error})
            loop.run_until_complete(_leave())
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    @property
    def here(self) -> bool:
        """Whether this is the loop's thread: in a ``__del__``, say, which the garbage collector runs anywhere."""
        return threading.get_ident() == self._ident

    def check(self, what: str = "") -> None:
        """Raise LabClosed if it serves nobody any more; ``what`` was asked of it."""
        if self.why is not None:
            raise LabClosed(f"{what}: {self.why}" if what else self.why)

    def look(self) -> None:
        """Raise where a wait for it would have no end."""
        if self.why is not None:
            self.check()
        if threading.get_ident() == self._ident:
            raise _circle()

    def post(self, callback: Callable[..., Any], *args: Any) -> None:
        """Have the loop call it soon."""
        if self.why is not None:
            self.check()
        try:
            self.loop.post(callback, *args)
        except RuntimeError:
            raise LabClosed(CLOSED) from None

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function in the loop's thread and give its result."""
        self.look()
        outcome: Once[Callable[[], Any]] = Once()
        self.post(_carry_out, outcome, function, args)  # a task costs more
        return interrupts.wait(outcome, None, self.look)()

    def submit(self, work: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Coming:
        """Begin a coroutine function in the loop's thread; to cancel what it gives cancels the work."""
        coming = Coming(self)
        self.post(self._begin, coming, work, args)
        return coming

    def _begin(self, coming: Coming, work: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...]) -> None:
        if coming.done():
            return
        task = self.loop.create_task(_work(coming, work, args))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        coming.add_done_callback(functools.partial(self._cancel, task))

    def _cancel(self, task: asyncio.Task[None], coming: concurrent.futures.Future[Any]) -> None:
        if coming.cancelled() and self.why is None and not self.here:
            self.post(task.cancel)

    def end(self, why: str = CLOSED) -> None:
        """End the loop; whoever waits for it gets LabClosed."""
        if self.why is None:
            self._stopping = True
            self.post(self.loop.stop)
            self.why = why
        if not self.here:
            self._thread.join(JOIN_SECONDS)


class Coming(concurrent.futures.Future[Any]):
    """What the loop was asked for. A wait for it ends also when the loop has ended."""

    def __init__(self, thread: LoopThread) -> None:
        super().__init__()
        self._thread = thread

    def result(self, timeout: float | None = None) -> Any:
        """Block for it.

        Raises:
            LabClosed: The loop has ended.
            CallCycle: This is the loop's own thread.
        """
        try:
            return interrupts.wait(self, timeout, self._thread.look)
        except concurrent.futures.CancelledError:
            self._thread.check()
            raise


async def _work(coming: Coming, work: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...]) -> None:
    try:
        value = await work(*args)
    except asyncio.CancelledError:
        coming.cancel()
    except BaseException as error:  # whoever asked gets it, whatever it is
        if coming.set_running_or_notify_cancel():
            coming.set_exception(error)
    else:
        if coming.set_running_or_notify_cancel():
            coming.set_result(value)


def _carry_out(outcome: Once[Callable[[], Any]], function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        value = function(*args)
    except BaseException as error:  # as above
        outcome.set_result(functools.partial(_raise, error))
    else:
        outcome.set_result(lambda: value)


def _raise(error: BaseException) -> None:
    raise error


async def _leave() -> None:
    """Cancel what still runs, and let what was closed say so."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)


def _circle() -> CallCycle:
    return CallCycle(
        "this is the lab's own thread, which would wait for itself: a __del__ that the garbage collector runs there, "
        "say. Do it in another thread, or cast."
    )


def _forked() -> None:
    """In a forked child the threads of the loops are not there, and what is asked of them nobody hears."""
    for thread in list(_all):
        thread.away = True
        thread.why = (
            f"this lab lives in process {os.getppid()}; a process forked from it cannot use it. Open a lab of its own "
            "there, or start it afresh: multiprocessing.get_context('spawn')."
        )


os.register_at_fork(after_in_child=_forked)
