"""The way in for cells: any thread may ask, and blocks until the lab has answered."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Callable
from typing import Any

from agentlab import frames
from agentlab.agent.arguments import signature_of
from agentlab.books.specs import newer_of, unknown
from agentlab.control import agents
from agentlab.control.children import (
    Control,
)  # fmt: skip
from agentlab.control.operations import FUNCTIONS
from agentlab.errors import CallTimeout, UnknownMessage
from agentlab.ground.words import few
from agentlab.kernel.runtime import Runtime
from agentlab.node.resident import current
from agentlab.ref.cell import RefInCell
from agentlab.ref.link import Outgoing, links
from agentlab.ref.ref import Ref
from agentlab.ref.reply import Sent, interruptible
from agentlab.wire.asks import reasons
from agentlab.wire.exceptions import as_seen
from agentlab.wire.operations import OPERATIONS
from agentlab.wire.packing import pack


def answer_of(future: concurrent.futures.Future[Any], goes_on: Callable[[], str] = str) -> Any:
    """What the runtime's thread answers, or the error as its asker sees it; ``goes_on``: what an interrupt leaves."""
    __tracebackhide__ = True
    try:
        return interruptible(future.result, goes_on)
    except Exception as error:
        failed = as_seen(error)
    raise failed from failed.__cause__


def _now(function: Callable[..., Any]) -> Control:
    def control(runtime: Runtime, *args: Any) -> Any:
        try:
            return runtime.run(function, runtime, *args)
        except Exception as error:
            failed = as_seen(error)
        raise failed from failed.__cause__

    return control


def _later(name: str, function: Callable[..., Any]) -> Control:
    def control(runtime: Runtime, path: str, *args: Any) -> Any:
        def goes_on() -> str:
            return f"{name} of {path} goes on; nobody waits for it. If a message in hand holds it up: ref.skip()."

        __tracebackhide__ = True
        return answer_of(runtime.submit(function, runtime, path, *args), goes_on)

    return control


def _status(runtime: Runtime, path: str) -> str:
    return "stopped" if runtime.closed and not runtime.thread.away else str(runtime.run(agents.status, runtime, path))


def _checkpoints(runtime: Runtime, path: str) -> Any:
    runtime.run(runtime.flush)
    return frames.checkpoints(runtime.desk.ledger.store, path=path)


def _wait_idle(runtime: Runtime, path: str, timeout: float) -> None:
    __tracebackhide__ = True
    future = runtime.submit(runtime.wait_idle, path)
    try:
        interruptible(lambda: future.result(timeout), lambda: _busy_still(runtime))
    except concurrent.futures.TimeoutError:
        shown = _unrest(runtime)
        raise CallTimeout(f"not idle after {timeout:g} s: {shown}. Wait longer: wait_idle(timeout=...).") from None
    finally:
        future.cancel()


def _busy_still(runtime: Runtime) -> str:
    return f"{_unrest(runtime)}: that goes on; nobody waits for it. End a message: reply.cancel(), or ref.skip()."


def _unrest(runtime: Runtime) -> str:
    return few(runtime.run(runtime.idleness.unrest))


BLOCKING: dict[str, Control] = {
    **{name: _later(name, made) if OPERATIONS[name].waits else _now(made) for name, made in FUNCTIONS.items()},
    "status": _status,
    "checkpoints": _checkpoints,
    "wait_idle": _wait_idle,
}
"""What a cell may ask for, by name: it blocks for milliseconds, or as long as what it waits for."""


class KernelLink:
    """A ref's link in the kernel's process: any thread may use it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.lab_id = runtime.lab_id
        links[self.lab_id] = self

    def ref(self, path: str, cls_name: str = "?") -> Ref:
        """A ref as cells hold it; where an agent of this lab runs in this process, as that agent does."""
        inside = current.get()
        if inside is not None and inside.host.link.lab_id == self.lab_id:
            return inside.host.link.ref(path, cls_name)
        return RefInCell(self, path, cls_name)

    def may_wait(self) -> bool:
        """Nothing blocks in the runtime's thread, an agent, or a forked child: not even a ref's repr."""
        if self._runtime.thread.away or current.get() is not None:
            return False
        with contextlib.suppress(RuntimeError):
            return asyncio.get_running_loop() is not self._runtime.desk.loop
        return True

    def send(self, message: Outgoing) -> Any:
        """Hand a message to the runtime; a call gives its ``Reply``, a cast its ``Sent``."""
        inside = current.get()
        if inside is not None:  # an agent that runs in this process, where its refs find the kernel's link
            return inside.host.link.send(message)
        reply = self._runtime.posts.send(message)
        what = f"{message.path}.{message.method}"
        return Sent(what, lambda: self._runtime.submit(self._runtime.accepted)) if reply is None else reply

    def control(self, op: str, path: str, *args: Any) -> Any:
        """A control operation; blocks for milliseconds, or as long as what it waits for."""
        __tracebackhide__ = True
        inside = current.get()
        if inside is not None:
            return inside.host.link.control(op, path, *args)
        return BLOCKING[op](self._runtime, path, *reasons(op, args))

    def keep(self, value: Any) -> bytes:
        """A value as a journal keeps it: JSON where the store is a file."""
        return pack(value, "the result", keep=self._runtime.desk.ledger.durable)

    def methods(self, path: str) -> frozenset[str] | None:
        """The messages at ``path``, none for a supervisor; None where there is nothing."""
        kind = self._runtime.desk.entries.kind(path)
        if kind is not None:
            return kind.cls.__agent_messages__
        return frozenset() if self._runtime.signals.supervises(path) else None  # a supervisor has none

    def unknown(self, path: str, method: str, cls_name: str) -> UnknownMessage:
        """The error of a message that there is not, with what helps."""
        kind = self._runtime.desk.entries.kind(path)
        if kind is None:
            return UnknownMessage(f"{path!r} has no message {method!r}; {cls_name} has: none.")
        return unknown(path, method, kind.cls)

    def here(self) -> str | None:
        """The path of the agent whose code runs in this process, or None."""
        inside = current.get()
        return inside.agent.path if inside is not None else None

    def check(self, path: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise InvalidArgument if the arguments do not fit the method."""
        kind = self._runtime.desk.entries.kind(path)
        if kind is None:
            return
        try:
            signature_of(kind.cls, method).check(args, kwargs, path)
        except TypeError as error:
            name = kind.cls.__name__
            if newer_of(kind.cls) is not None:
                error.add_note(f"{path} runs an older {name} than is defined now: lab.upgrade({name}).")
            raise

    def function(self, path: str, method: str) -> Callable[..., Any] | None:
        """The method itself, for its signature and its docstring."""
        kind = self._runtime.desk.entries.kind(path)
        found: Callable[..., Any] | None = getattr(kind.cls, method, None) if kind is not None else None
        return found
