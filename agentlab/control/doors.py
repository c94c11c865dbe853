"""The two ways in: cells call and block, agents ask and await. Both reach the same control operations."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from agentlab import frames
from agentlab.agent.arguments import signature_of
from agentlab.agent.base import Agent
from agentlab.books.agents import Entry
from agentlab.books.specs import newer_of, unknown
from agentlab.control import agents, travel
from agentlab.control.again import restart_child, start_again, start_child
from agentlab.control.children import (
    Control,
    call_named,
    count_children,
    entry_at,
    find,
    join,
    start,
    whereis,
    which_children,
)  # fmt: skip
from agentlab.control.explain import explain
from agentlab.control.skip import skip
from agentlab.errors import AgentLabError, CallCycle, CallTimeout, UnknownMessage
from agentlab.ground.words import few
from agentlab.kernel.runtime import Runtime
from agentlab.kernel.steps import Act, Asker
from agentlab.node.resident import current
from agentlab.node.steps import brief
from agentlab.ref.link import Outgoing, links
from agentlab.ref.reply import Sent, interruptible
from agentlab.wire.asks import REASONS, read_control, read_start, reasons
from agentlab.wire.exceptions import as_seen
from agentlab.wire.packing import pack

QUICK: dict[str, Control] = {
    "status": agents.status, "incarnation": agents.incarnation, "node": agents.node, "state": agents.state,
    "log": agents.log, "crash": agents.crash, "kill": agents.kill, "exit": agents.exit_signal,
    "retry": lambda runtime, path, what: agents.retry(runtime, what),
    "doubts": agents.doubts, "suspend": agents.suspend, "resume": agents.resume, "trace": agents.trace,
    "explain": explain,
}  # fmt: skip
"""Operations that are done when they return."""

WAITING: dict[str, Control] = {
    "info": agents.info, "draft": agents.draft, "stop": agents.stop, "restart": agents.restart,
    "rewind": travel.rewind, "fork": travel.fork, "replace_state": agents.replace_state,
    "settle": agents.settle, "skip": skip, "start_child": start_child,
    "which_children": which_children,
    "count_children": count_children, "terminate_child": call_named("terminate_child"),
    "restart_child": restart_child, "delete_child": call_named("delete_child"),
    "get_childspec": call_named("get_childspec"),
}  # fmt: skip
"""Operations that wait for something."""


# for cells


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
    return few(runtime.run(runtime.unrest))


OPERATIONS: dict[str, Control] = {
    **{name: _now(function) for name, function in QUICK.items()},
    **{name: _later(name, function) for name, function in WAITING.items()},
    "status": _status,
    "checkpoints": _checkpoints,
    "wait_idle": _wait_idle,
}


class KernelLink:
    """A ref's link in the kernel's process: any thread may use it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.lab_id = runtime.lab_id
        links[self.lab_id] = self

    @property
    def awaited(self) -> bool:
        """Nothing blocks in the runtime's thread, an agent, or a forked child: not even a ref's repr."""
        if self._runtime.thread.away:
            return True
        with contextlib.suppress(RuntimeError):
            return current.get() is not None or asyncio.get_running_loop() is self._runtime.desk.loop
        return False

    def send(self, message: Outgoing) -> Any:
        """Hand a message to the runtime; a call gives its ``Reply``, a cast its ``Sent``."""
        inside = current.get()
        if inside is not None:  # an agent that runs in this process, where its refs find the kernel's link
            return inside.host.link.send(message)
        reply = self._runtime.send(message)
        what = f"{message.path}.{message.method}"
        return Sent(what, lambda: self._runtime.submit(self._runtime.accepted)) if reply is None else reply

    def control(self, op: str, path: str, *args: Any) -> Any:
        """A control operation; blocks for milliseconds, or as long as what it waits for."""
        __tracebackhide__ = True
        inside = current.get()
        if inside is not None:
            return inside.host.link.control(op, path, *args)
        return OPERATIONS[op](self._runtime, path, *(reasons(op, args) if op in REASONS else args))

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


# for agents


async def serve(
    runtime: Runtime, caller: Entry | None, op: str, args: Sequence[Any], answer: Callable[..., None]
) -> None:
    """Answer what an agent asked of its lab, perhaps in a step."""
    act = answer if isinstance(answer, Act) else None
    try:
        value = await _serve(runtime, caller, op, args, None if act is None else act.origin)
        packed = pack(value, f"the result of {op}", keep=None if runtime.desk.ledger.durable else False)
    except Exception as error:  # the agent that asked gets it, whatever it is
        answer(None, error)
    else:
        if act is not None:
            act.gave = brief(value)
        answer(packed)


async def _serve(
    runtime: Runtime, caller: Entry | None, op: str, args: Sequence[Any], asker: Asker | None
) -> Any:  # fmt: skip
    if op == "start":
        what, id, under, options = read_start(args[0], _classes(runtime), links[runtime.lab_id])
        _refuse_circle(runtime, caller, under or "/", op)
        if len(args) > 1:  # exist_ok
            return (await start_again(runtime, what, id, under, options, asker=asker, patient=False))[0]
        return await start(runtime, what, id, under, options, asker=asker)
    if op == "whereis":
        return whereis(runtime, args[0])
    if op == "simulator":
        return await runtime.simulator()
    if op == "publish":
        return runtime.mail.publish(args[0], args[1], args[2], caller.path if caller is not None else "")
    if op == "control":
        name, path, data = args
        kind = functools.partial(_class_at, runtime, path)
        given = read_control(name, data, _classes(runtime), links[runtime.lab_id], kind)
        return await _controlled(runtime, caller, name, path, given, asker)
    if caller is not None and caller.life:
        SELF[op](runtime, caller, *args)
    return None


def _classes(runtime: Runtime) -> Callable[[int], type[Agent]]:
    return lambda number: runtime.desk.kinds[number].cls


def _class_at(runtime: Runtime, path: str) -> type[Agent]:
    return entry_at(runtime, path).kind.cls


async def _controlled(  # noqa: PLR0917  # as it was asked
    runtime: Runtime, caller: Entry | None, name: str, path: str, given: tuple[Any, ...], asker: Asker | None
) -> Any:  # fmt: skip
    if name in CHILD_OPERATIONS:
        _refuse_circle(runtime, caller, path, name)
    if caller is not None and name in BETWEEN_MESSAGES and path == caller.path and _busy(runtime, caller):
        raise CallCycle(
            f"{path} asks for {name} of itself, which waits for the end of the message that asks: "
            f"{path} → {path}. Set the fields themselves: self.field = value."
        )
    options = {"asker": asker} if name in STARTING else {}
    value = (QUICK.get(name) or WAITING[name])(runtime, path, *given, **options)
    if not hasattr(value, "__await__"):
        return value
    if caller is not None and _ends(caller, name, path, given):
        runtime.spawn(_unheard(value))  # it ends when the handler does, which would wait for it
        return None
    return await value


async def _unheard(work: Awaitable[Any]) -> None:
    with contextlib.suppress(AgentLabError):
        await work


def _busy(runtime: Runtime, caller: Entry) -> bool:
    """Whether a handler of the agent runs, or its ``on_start``."""
    return runtime.desk.starting(caller) or bool(caller.pending and caller.pending[0].begun)


def _ends(caller: Entry, name: str, path: str, given: tuple[Any, ...]) -> bool:
    """Whether it ends who asks for it: the agent itself, or a supervisor above it."""
    if name not in ENDING:
        return False
    ended = join(path, given[0]) if name == "terminate_child" else path
    return f"{caller.path}/".startswith(f"{ended.rstrip('/')}/")


CHILD_OPERATIONS = frozenset(name for name in WAITING if "child" in name)
STARTING = frozenset({"start_child", "fork"})
ENDING = frozenset({"stop", "restart", "skip", "terminate_child"})
BETWEEN_MESSAGES = frozenset({"replace_state", "rewind"})


def _refuse_circle(runtime: Runtime, caller: Entry | None, supervisor: str, op: str) -> None:
    """A supervisor that waits for this agent's start serves nobody, least of all the agent."""
    if caller is None or not runtime.desk.starting(caller) or find(runtime, supervisor).supervisor is None:
        return
    record = caller.record.supervisor
    while record is not None:
        if record.path == supervisor:
            raise CallCycle(
                f"{caller.path} asks for {op} under {supervisor!r}, which waits for its on_start: "
                f"{caller.path} → {supervisor} → {caller.path}. Do it in a message, after the start."
            )
        record = record.supervisor


def _subscribe(runtime: Runtime, caller: Entry, topic: str) -> None:
    if runtime.desk.is_outlived(caller):
        return  # a subscription is the agent's, and it goes on in another life
    runtime.desk.topics.setdefault(topic, {})[caller.path] = None
    caller.topics |= {topic}


def _unsubscribe(runtime: Runtime, caller: Entry, topic: str) -> None:
    runtime.desk.topics.get(topic, {}).pop(caller.path, None)
    caller.topics -= {topic}


SELF: dict[str, Callable[..., None]] = {
    "link": lambda runtime, caller, path: runtime.signals.link(caller, path),
    "unlink": lambda runtime, caller, path: runtime.signals.unlink(caller, path),
    "monitor": lambda runtime, caller, path: runtime.signals.monitor(caller, path),
    "demonitor": lambda runtime, caller, path: runtime.signals.demonitor(caller, path),
    "subscribe": _subscribe,
    "unsubscribe": _unsubscribe,
}
"""What an agent asks about itself."""
