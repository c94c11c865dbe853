"""One coroutine whose steps run in time slices, and the owner for whom they run."""

from __future__ import annotations

import asyncio
import contextvars
import math
import time
from collections import deque
from collections.abc import Coroutine
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

if TYPE_CHECKING:
    from agentlab.slicing.slices import Slicer

MOST_IDLE = 64  # greenlets kept for the next steps
PARKED: Final = object()


class Owner:
    """An agent's life, for which steps run. Its steps follow one another, and the costs are added up here."""

    __slots__ = ("busy", "cpu", "error", "key", "life", "limit", "line", "tasks")

    def __init__(self, life: int) -> None:
        self.life = life  # its number in the shared word
        self.key: int | None = None  # the message in hand
        self.cpu = 0.0  # seconds of CPU so far; true to a slice
        self.busy = 0.0  # seconds in which its code held the node; set to 0 when a message begins
        self.limit = math.inf  # once busy is above, on_busy is called
        self.error: BaseException | None = None  # to be raised in the step that runs or is parked
        self.line: deque[Step] | None = None  # the parked step, and behind it those that must wait for its end
        self.tasks: set[asyncio.Task[Any]] | None = None  # those that its own code has made and that still run

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """Note a task that its code has made: it ends with its owner."""
        if self.tasks is None:
            self.tasks = set()
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


owner_of: contextvars.ContextVar[Owner | None] = contextvars.ContextVar("agentlab_owner", default=None)
"""The owner whose code runs; its tasks inherit it."""


class Job(Protocol):
    """A coroutine, or what stands for one that is given a value or an exception."""

    def send(self, value: None, /) -> Any:
        """Run one step."""


class _Sent:
    def __init__(self, coro: Coroutine[Any, Any, Any], value: Any) -> None:
        self.coro, self.value = coro, value

    def send(self, value: None, /) -> Any:
        return self.coro.send(self.value)


class _Thrown:
    def __init__(self, coro: Coroutine[Any, Any, Any], error: BaseException) -> None:
        self.coro = coro
        self.error = [error]

    def send(self, value: None, /) -> Any:
        return self.coro.throw(self.error.pop())  # kept, it would hold on to itself by its traceback


class Raised:
    """What a step raised, on its way to the loop's side."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class Held:
    """A cancellation that came while a step was parked."""

    __slots__ = ("count", "error", "task", "until")

    def __init__(self, error: asyncio.CancelledError, until: float) -> None:
        self.error = error
        self.until = until  # raised where the step stands if it has not awaited by then
        self.task = asyncio.current_task()
        self.count = self.task.cancelling() if self.task is not None else 0


class Step(Coroutine[Any, Any, Any]):
    """A coroutine whose steps run in time slices; to its task, and to anyio, it looks like the coroutine."""

    __slots__ = (
        "_bare", "_context", "_coro", "_error", "_gate", "_held", "_parked", "_queued", "_slicer", "in_lane", "owner",
    )  # fmt: skip

    def __init__(
        self, slicer: Slicer, owner: Owner, coro: Coroutine[Any, Any, Any], context: contextvars.Context
    ) -> None:
        self._slicer = slicer
        self._coro = coro
        self._context = context
        self.owner = owner
        self._parked: Any = None  # the greenlet in which it was interrupted
        self._gate: asyncio.Future[None] | None = None  # what its task waits for while it is parked or queued
        self._queued = False  # behind a parked step of the same owner
        self._error: BaseException | None = None  # thrown while it was queued
        self._bare = True  # it yielded to the loop, and waits for nothing
        self._held: Held | None = None  # a cancellation that came while it was parked
        self.in_lane = False

    def __getattr__(self, name: str) -> Any:
        """cr_frame, cr_running, cr_suspended, cr_await, cr_code and the names: those of the coroutine."""
        return getattr(self._coro, name)

    def __await__(self) -> Self:
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if self.owner.line is None and self._error is None:  # nearly always
            return self._advance(self._coro)
        return self.send(None)

    def send(self, value: Any) -> Any:
        """Run to the next await or the end of the slice; gives what the task must wait for."""
        line = self.owner.line
        if line is not None and line[0] is not self:
            return self._queue(None)
        if self._error is not None:
            return self.throw(self._error)
        self._queued = False
        return self._advance(self._coro if value is None else _Sent(self._coro, value))

    def throw(
        self, kind: BaseException | type[BaseException], value: Any = None, traceback: TracebackType | None = None, /
    ) -> Any:
        """Run the next step with an exception that is raised where the coroutine stands."""
        error = kind if isinstance(kind, BaseException) else value if isinstance(value, kind) else kind()
        line = self.owner.line
        try:
            if line is not None and line[0] is not self:
                return self._queue(error)
            if self._parked is not None and isinstance(error, asyncio.CancelledError) and self._hold(error):
                return self._wait() if self.in_lane else self._advance(self._coro)  # its turn has come
            self._queued = False
            if isinstance(self._error, asyncio.CancelledError):
                error = self._error
            self._error = None
            return self._advance(_Thrown(self._coro, error), error)
        finally:
            del error, kind, value

    def close(self) -> None:
        self._coro.close()

    def _advance(self, job: Job, error: BaseException | None = None) -> Any:
        """Run one slice. Its calls are few, and its bookkeeping is written out, for every step comes by here."""
        slicer, owner, worker = self._slicer, self.owner, self._parked
        if slicer.running is not None:  # stepped by hand, inside another step
            return job.send(None)
        slicer.running = self
        slicer.count = count = slicer.count + 1
        cells = slicer.cells
        cells[0] = owner.life
        cells[2] = owner.key or 0
        cells[1] = count
        if not slicer.armed:
            slicer.arm()
        if worker is None:
            worker = slicer.idle.pop() if slicer.idle else slicer.hire()
            worker.gr_context = self._context
            begun = slicer.begun = perf_counter()
            worker.switch(job)
            cpu = wall = perf_counter() - begun
        else:
            cpu, wall = self._resume(worker, error)
        slicer.running = None
        cells[0] = 0
        owner.cpu += cpu
        owner.busy = busy = owner.busy + wall
        if busy > owner.limit:
            slicer.too_busy(owner)
        del error, job
        result, slicer.result = slicer.result, PARKED
        if result is PARKED:
            self._parked = worker
            return self._park()
        if len(slicer.idle) < MOST_IDLE:
            slicer.idle.append(worker)
        if self._parked is not None or owner.line is not None or owner.error is not None:
            self._settle(result)
        if type(result) is Raised:
            try:
                raise result.error
            finally:
                del result  # a traceback that holds its own exception is garbage for the collector
        self._bare = result is None
        return result

    def _resume(self, worker: Any, error: BaseException | None) -> tuple[float, float]:
        """Go on where the step was parked; seconds of CPU and of the wall.

        The CPU's clock costs a system call, so the first slice of a step is taken by the wall's.
        """
        if self._held is not None and perf_counter() > self._held.until:
            error, self._held = self._held.error, None
        begun = self._slicer.begun = perf_counter()
        clock = time.thread_time()
        try:
            worker.switch(error)
        finally:
            del error
        return time.thread_time() - clock, perf_counter() - begun

    def _settle(self, result: Any) -> None:
        """A step that was parked, or waited for one, has come to an await or to its end."""
        owner = self.owner
        owner.error = None  # it was meant for this step
        self._parked = None
        held, self._held = self._held, None
        if owner.line is not None:
            self._leave(owner.line)
        if held is not None and type(result) is not Raised:
            self._deliver(held, result)

    def _park(self) -> asyncio.Future[None]:
        """Wait in the lane for the next slice, at the head of the owner's line."""
        if self.owner.line is None:
            self.owner.line = deque((self,))
        if not self.in_lane:
            self._slicer.lane.wait(self)
        return self._wait()

    def open(self) -> None:
        """Let it go on, if it waits."""
        if self._gate is not None and not self._gate.done():
            self._gate.set_result(None)

    def _hold(self, error: asyncio.CancelledError) -> bool:
        """Keep a cancellation back for the next await, which is where code expects it; False if none came for long."""
        slicer = self._slicer
        if slicer.lane.closed or self.owner.error is not None:
            return False
        if self._held is None:
            self._held = Held(error, perf_counter() + slicer.grace_s)
        elif perf_counter() > self._held.until:
            self._held = None
            return False
        return True

    def _deliver(self, held: Held, waits_for: Any) -> None:
        """Cancel a step that has come to its next await, as its task would have been cancelled there."""
        if held.task is None or held.task.cancelling() < held.count:
            return  # taken back meanwhile: the scope or the timeout that it came from is left
        if waits_for is None or not (waits_for.cancel(*held.error.args) or self._comes_again(held.error)):
            self._error = held.error

    def _queue(self, error: BaseException | None) -> asyncio.Future[None]:
        """Wait until the owner's parked step and those before this one are through."""
        assert self.owner.line is not None
        if not self._queued:
            self._queued = True
            self._error = error if self._error is None else self._error
            self.owner.line.append(self)
        elif not isinstance(self._error, asyncio.CancelledError) and not self._comes_again(error):
            self._error = error  # as a task that is cancelled between its waking and its step
        return self._wait()

    def _comes_again(self, error: BaseException | None) -> bool:
        """Whether a scope of anyio will try again: it cancels no task whose future is done, lest a result be lost."""
        return not self._bare and error is not None and str(error).startswith("Cancelled via cancel scope")

    def _wait(self) -> asyncio.Future[None]:
        self._gate = gate = self._slicer.loop.create_future()
        gate._asyncio_future_blocking = True  # as ``Future.__await__`` does before it yields itself
        return gate

    def _leave(self, line: deque[Step]) -> None:
        """The step came to its end: the next one of the same owner may begin."""
        line.popleft()
        if line:
            line[0].open()
        else:
            self.owner.line = None


def run_step(slicer: Slicer, job: Job) -> None:
    """Run one step; what it yielded, or raised, is left with the slicer."""
    try:
        slicer.result = job.send(None)
    except BaseException as error:  # of whatever kind: it is raised again on the loop's side
        trace = error.__traceback__
        slicer.result = Raised(error.with_traceback(trace.tb_next if trace is not None else None))
        del trace  # it holds this frame, which would hold it
