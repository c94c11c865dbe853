"""Time slices: no step of an agent's code holds its node longer than a slice while others wait.

A *step* is what a task does between two awaits. asyncio lets it run as long as it likes. Here every task of an
agent steps inside a greenlet, a stack of its own. A timer's signal interrupts the main thread; when the same
step has held it since the last tick, the signal handler switches to the loop's stack: the step stays behind,
*parked* in the middle of whatever it did, and its task waits for a future like any other task. Parked steps go
on one per loop turn. Endless loops, ``time.sleep``, blocking sockets and long regular expressions all come by
the signal handler, so all of them are sliced.

What an agent may rely on:

* Its own tasks never interrupt each other. While one is parked the agent's others wait behind it, so between
  two awaits its state is its own, as in plain asyncio. Only *other* agents run meanwhile.
* A cancellation is raised at the next await, as ever; in a step that comes to none within a grace period, where
  it stands. ``interrupt`` does not wait. (An agent's own tasks cannot cancel its endless loop, since they wait for
  it: that takes a timeout or a cancel scope around it, or another task.)
* Context variables, ``current_task`` and ``sys.exc_info`` are those of its own task.

A thread gets the interpreter once it has waited for a quarter of a slice. Python's own 5 ms never pass where the main
thread lets go of it for a moment in each turn of the loop: who waits is woken, comes too late, and waits anew.

What it may not: a ``threading.Lock`` that agents of one node share can be held by a parked step, and an
``RLock`` keeps no task out, since all of them run in one thread. Where code may be left is said in ``places``.
Callbacks (``call_later``, ``add_done_callback``) run on the loop's own stack and are not sliced.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import logging
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, MutableSequence
from types import FrameType
from typing import Any

from agentlab.slicing.lane import Lane
from agentlab.slicing.places import Place, place
from agentlab.slicing.sliced import PARKED, Owner, Step, owner_of, run_step

try:
    import greenlet  # type: ignore[import-untyped]  # it ships no types
except ImportError:  # no build for this platform
    greenlet = None


class Slicer:
    """Slices the steps of every task that has an owner; the others are the node's own and run as ever.

    Args:
        loop: The event loop, asyncio's or uvloop's, of the main thread.
        slice_s: The longest slice (seconds, > 0); a step is interrupted after half to all of it.
        grace_s: How long a cancelled step may go on to its next await before it is cancelled where it stands (seconds).
        cells: Three places that take the running owner's life (0: none), the count of slices and what the owner has in
            hand (0: nothing), as ``Word.cells``.
        on_busy: Called on the loop's side, once, when an owner's ``busy`` is above its ``limit``.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        slice_s: float = 0.002,
        *,
        grace_s: float = 0.1,
        cells: MutableSequence[int] | memoryview | None = None,
        on_busy: Callable[[Any], object] | None = None,
    ) -> None:
        self.loop = loop
        self.running: Step | None = None
        self.grace_s = grace_s
        self.slicing = False  # False: steps run as in plain asyncio, only their costs are counted
        self._tick_s = slice_s / 2
        self.cells: Any = [0, 0, 0] if cells is None else cells
        self._on_busy = on_busy
        self.count = 0  # slices begun so far
        self._seen = 0  # the count at the last tick
        self.begun = 0.0
        self.armed = False
        self.result: Any = PARKED  # what the step that came back yielded or raised
        self.idle: list[Any] = []  # greenlets without work
        self.lane = Lane(self, patience=4 * slice_s)
        self._looking = False
        self._context = contextvars.copy_context()  # what every owner begins with
        self._dropped: set[Any] = set()
        self._home: Any = None  # the loop's greenlet
        self._previous: Any = None  # the signal handler before ours
        self._interval = 0.0  # the interpreter's switch interval before ours

    def install(self, *, slicing: bool = True) -> bool:
        """Take over the loop's task factory and the alarm signal; False, said in the log, where slicing cannot work.

        Args:
            slicing: False: steps are not to be sliced, only counted.
        """
        self.loop.set_task_factory(self._make)
        obstacle = _obstacle() if slicing else None
        if obstacle is not None or not slicing:
            self.armed = True  # there is no timer to arm
        if not slicing:
            return False
        if obstacle is not None:
            logging.getLogger(__name__).warning(
                "No time slices: %s. Agents here run as in plain asyncio: one that never awaits stops the others.",
                obstacle,
            )
            return False
        self._home = greenlet.getcurrent()
        self._previous = signal.signal(signal.SIGALRM, self._tick)
        self._interval = sys.getswitchinterval()
        sys.setswitchinterval(min(self._interval, self._tick_s / 2))
        atexit.register(self.close)  # an alarm after Python has put the handler back would end the process
        self.slicing = True
        return True

    def close(self) -> None:
        """Stop slicing. Steps that are parked stay so until their tasks are cancelled."""
        self.lane.close()
        self.loop.set_task_factory(None)
        if self.slicing:
            self.slicing = False
            self._disarm()
            self.armed = True  # as without a timer
            # One that rang before may be in the hands of another thread: where nobody takes it, it ends the process.
            signal.signal(signal.SIGALRM, self._previous if callable(self._previous) else late_alarm)
            sys.setswitchinterval(self._interval)
            atexit.unregister(self.close)
            self.idle.clear()

    @property
    def current(self) -> Owner | None:
        """The owner whose code runs now."""
        return None if self.running is None else self.running.owner

    def start(self, coro: Coroutine[Any, Any, Any], owner: Owner) -> asyncio.Task[Any]:
        """A task for this owner, in a context of its own; the tasks that it creates are the owner's too."""
        context = self._context.copy()
        context.run(owner_of.set, owner)
        return asyncio.Task(Step(self, owner, coro, context), loop=self.loop, context=context)

    def interrupt(self, owner: Owner, error: BaseException) -> bool:
        """Raise an exception in the owner's code, wherever it stands; False if it waits, and can be cancelled."""
        if not self.slicing:
            return False
        if self.running is not None and self.running.owner is owner:
            owner.error = error  # at the next tick
            return True
        head = owner.line[0] if owner.line else None
        if head is None or head._parked is None:
            return False
        owner.error = error
        head.open()
        return True

    def _make(
        self,
        loop: asyncio.AbstractEventLoop,
        coro: Any,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> asyncio.Task[Any]:
        """The loop's task factory: what an agent's code starts is the agent's, in whatever context."""
        if self.running is not None:
            owner: Owner | None = self.running.owner
        else:
            owner = owner_of.get() if context is None else context.get(owner_of)
        if owner is None or not asyncio.iscoroutine(coro):
            return asyncio.Task(coro, loop=loop, context=context, **options)
        if context is None:
            context = contextvars.copy_context()
        if context.get(owner_of) is not owner:
            context.run(owner_of.set, owner)
        task: asyncio.Task[Any] = asyncio.Task(Step(self, owner, coro, context), loop=loop, context=context, **options)
        owner.adopt(task)
        return task

    # one slice

    def too_busy(self, owner: Owner) -> None:
        """Say once that an owner is over its limit."""
        owner.limit = math.inf
        if self._on_busy is not None:
            self.loop.call_soon(self._on_busy, owner)

    def hire(self) -> Any:
        """Make one more stack for steps; it waits for its first."""
        if not self.slicing:
            return _Straight(self)
        worker = greenlet.greenlet(self._serve)
        worker.switch()
        return worker

    def _serve(self) -> None:
        while True:
            run_step(self, self._home.switch())
            if self._dropped and greenlet.getcurrent() in self._dropped:
                self._dropped.discard(greenlet.getcurrent())
                self.result = PARKED
                return

    # the timer

    def arm(self) -> None:
        """Let the alarm ring twice a slice, until it finds nothing running."""
        self.armed = True
        signal.setitimer(signal.ITIMER_REAL, self._tick_s, self._tick_s)

    def _disarm(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.armed = False

    def _tick(self, number: int, frame: FrameType | None) -> None:
        """The alarm rang: leave the step that has run since the last one, or raise in it what waits for it."""
        if self._looking:
            return  # the alarm rang while the last one was still looked into
        step, same = self.running, self._seen == self.count
        self._seen = self.count
        if step is None:
            if same and self.armed and self.slicing:
                self._disarm()  # nothing ran for a tick
            return
        owner = step.owner
        if (same or owner.error is not None) and frame is not None:
            self._looking = True
            try:
                where = place(frame, run_step.__code__)
            finally:
                self._looking = False
            if where is not Place.NOWHERE:
                self._stop(owner, where, same=same)

    def _stop(self, owner: Owner, where: Place, *, same: bool) -> None:
        error: BaseException | None = None
        if same and owner.error is None and where is Place.SWITCH and greenlet.getcurrent().parent is self._home:
            error = self._leave()
        elif owner.busy + time.perf_counter() - self.begun > owner.limit:
            owner.limit = math.inf
            if self._on_busy is not None:
                self._on_busy(owner)  # now: the loop does not come to it
        if owner.error is not None:
            error, owner.error = owner.error, None
        if error is not None:
            try:
                raise error
            finally:
                del error

    def _leave(self) -> BaseException | None:
        try:
            found: BaseException | None = self._home.switch()  # the loop runs on; a turn of the lane brings us back
        except greenlet.GreenletExit:  # its task is gone: what is left of the step unwinds, and its stack ends
            self._dropped.add(greenlet.getcurrent())
            raise
        return found


def late_alarm(number: int, frame: FrameType | None) -> None:
    """What an alarm finds that comes when slicing is over."""


class _Straight:
    """Stands in for a greenlet where there is no slicing: runs the step where it is called."""

    def __init__(self, slicer: Slicer) -> None:
        self._slicer = slicer
        self.gr_context: contextvars.Context | None = None

    def switch(self, job: Any) -> None:
        """Run one step."""
        run_step(self._slicer, job)


def _obstacle() -> str | None:
    """Why steps cannot be sliced here."""
    if greenlet is None:
        return "the package greenlet cannot be imported"
    if not hasattr(signal, "setitimer"):
        return "this system has no interval timers"
    if threading.current_thread() is not threading.main_thread():
        return "signals reach the main thread only, and this is another"
    return None
