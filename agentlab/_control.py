"""Control operations: what a person (or an agent) may ask of an agent or a supervisor, beside messages.

Each operation exists once, as a function in the runtime's loop. ``OPERATIONS`` wraps them for cells, which
block; ``serve`` wraps them for agents, which await.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

from agentlab import frames
from agentlab._books import Entry, reason_text
from agentlab._runtime import Runtime
from agentlab._tree_records import Record
from agentlab._tree_words import ChildInfo, Refused, Signal, StopSupervisor, Up
from agentlab._wire import describe, encode_reason, pack, revive, unpack
from agentlab.agent import Agent, Crash
from agentlab.child import Child, Limit, Supervisor, check_complete, child
from agentlab.errors import (
    AlreadyPresent,
    AlreadyStarted,
    CallTimeout,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    Crashed,
    InvalidSpec,
    MaxChildren,
    NotRunning,
    SimpleOneForOne,
    StartFailed,
)
from agentlab.ref import Outgoing, Ref, Refs, links

ROOT_LIMIT = Limit(3, 5.0)
"""The own limit of agents started directly under the root, unless they say otherwise."""

Control = Callable[..., Any]


# finding


def find(runtime: Runtime, path: str) -> Record:
    """The record at a path; NotRunning if there is none."""
    record = runtime.tree.find(path)
    if record is None:
        raise NotRunning(f"there is nothing at {path!r} in this lab. Look: lab.agents().")
    return record


def entry_at(runtime: Runtime, path: str) -> Entry:
    """The agent at a path; NotRunning if there is none, or if it is a supervisor."""
    entry = runtime.entries.get(path)
    if entry is None:
        if runtime.tree.find(path) is not None:
            raise NotRunning(f"{path!r} is a supervisor, not an agent. Its children: which_children().")
        raise NotRunning(f"there is no agent {path!r} in this lab. Look: lab.agents().")
    return entry


def living(runtime: Runtime, path: str, op: str) -> Entry:
    """The agent at a path, which must have a life."""
    entry = entry_at(runtime, path)
    if not entry.life:
        why = f" ({reason_text(entry.reason)})" if entry.reason is not None else ""
        raise NotRunning(f"{op}: {path!r} is {runtime.status(entry)}{why}. Start it again: ref.restart().")
    return entry


# looking


def status(runtime: Runtime, path: str) -> str:
    """A word of the contract; ``stopped`` for what is not there (any more)."""
    entry = runtime.entries.get(path)
    if entry is not None:
        return runtime.status(entry)
    record = runtime.tree.find(path)
    return "stopped" if record is None else record_status(record)


def record_status(record: Record) -> str:
    """A supervisor's state in the words for agents."""
    words = {"undefined": "stopped", "restarting": "starting", "stopping": "busy"}
    return words.get(record.state, record.state)


def incarnation(runtime: Runtime, path: str) -> int:
    """The number of the present life, from 1."""
    entry = runtime.entries.get(path)
    return entry.incarnation if entry is not None else 0


def node(runtime: Runtime, path: str) -> int | None:
    """The number of the agent's node."""
    return entry_at(runtime, path).node


def state(runtime: Runtime, path: str) -> dict[str, Any]:
    """The committed state."""
    return entry_at(runtime, path).state()


def info(runtime: Runtime, path: str) -> dict[str, Any]:
    """What the books know of an agent."""
    entry = entry_at(runtime, path)
    head = entry.pending[0] if entry.pending and entry.pending[0].begun else None
    return {
        "path": path,
        "status": runtime.status(entry),
        "incarnation": entry.incarnation,
        "restarts": entry.record.restarts,
        "node": entry.node,
        "mailbox": len(entry.pending),
        "message": head.method if head else None,
        "message_age_s": (time.time_ns() - head.begun) / 1e9 if head else None,
        "step": head.step if head else None,
        "handled": entry.handled,
        "reason": reason_text(entry.reason) if entry.reason is not None else None,
    }


def log(runtime: Runtime, path: str) -> str:
    """What the agent printed."""
    return "\n".join(entry_at(runtime, path).log or ())


# ending


def crash(runtime: Runtime, path: str, error: BaseException | None = None) -> None:
    """Raise inside the agent now."""
    entry = living(runtime, path, "crash")
    if error is None:
        error = Crashed(f"{path} was told to crash")
    entry.ending = True
    runtime.settle(entry)
    node = runtime.pool.nodes.get(entry.node or 0)
    if node is not None:
        kind, message, _, pickled = describe(error)
        node.say("crash", entry.life, encode_reason(Crash(kind, message, "", pickled)))
    runtime.due()


def kill(runtime: Runtime, path: str) -> None:
    """End an agent at once; a supervisor is killed with all below it."""
    record = find(runtime, path)
    if record.is_supervisor:
        if record.life:
            runtime.feed(Signal(record.life, "kill"))
        return
    runtime.kill(living(runtime, path, "kill"))


async def stop(runtime: Runtime, path: str, reason: Any = "normal") -> None:
    """Stop in good order, for good: a permanent child is not restarted either."""
    record = find(runtime, path)
    if record.is_supervisor:
        call, future = runtime.expect()
        runtime.feed(StopSupervisor(call, path, reason))
        await future
        return
    entry = entry_at(runtime, path)
    if not entry.life:
        if not entry.down:
            await refuse(runtime, record, "terminate_child", record.id)
        return
    await _stop_life(runtime, entry, reason, for_good=True)


async def _stop_life(runtime: Runtime, entry: Entry, reason: Any, *, for_good: bool) -> None:
    entry.asked = for_good
    entry.ending = True
    life = entry.life
    runtime.settle(entry)
    node = runtime.pool.nodes.get(entry.node or 0)
    if node is not None:
        node.say("stop", life, encode_reason(reason))
    runtime.due()
    limit = entry.spec.shutdown
    end = runtime.now() + limit if isinstance(limit, (int, float)) else None
    if limit == "brutal_kill":
        runtime.kill(entry)
    while entry.life == life:
        if end is not None and runtime.now() >= end:
            runtime.kill(entry)
            break
        await runtime.turn(0.05)


async def restart(runtime: Runtime, path: str) -> None:
    """Stop in good order if it runs, then start the next incarnation; uncounted, as an administrator's act."""
    record = find(runtime, path)
    entry = runtime.entries.get(path)
    if entry is not None and entry.life:
        if entry.record.state == "starting":
            raise NotRunning(f"restart: {path!r} is still starting. Wait for it, or kill() it.")
        await _stop_life(runtime, entry, "shutdown", for_good=True)
    elif record.is_supervisor and record.life:
        await refuse(runtime, record, "terminate_child", record.id)
    await refuse(runtime, record, "restart_child", record.id)


# administration calls


async def refuse(runtime: Runtime, record: Record, op: Any, *args: Any) -> Any:
    """An administration call about ``record`` to its supervisor; OTP's errors as exceptions."""
    parent = record.supervisor
    if parent is None:
        raise NotRunning(f"{op}: the root supervisor ends with lab.close().")
    return expect(await runtime.ask_tree(parent.path, op, *args), parent.path, op, args)


def expect(result: Any, supervisor: str, op: str, args: tuple[Any, ...]) -> Any:
    """The result of an administration call, or the exception that it means."""
    if not isinstance(result, Refused):
        return result
    who = args[0].id if args and isinstance(args[0], Child) else args[0] if args else ""
    what = f"{op} {who!r} under {supervisor!r}"
    if result.cause is not None:
        raise result.cause
    if result.kind == "start_failed":
        failed = StartFailed(f"{what}: it did not start: {reason_text(result.reason)}. Nothing was kept.")
        if isinstance(result.reason, Crash):
            raise revive(result.reason) from failed
        raise failed
    kind, text = REFUSALS[result.kind]
    raise kind(f"{what}: {text}")


REFUSALS: Mapping[str, tuple[type[Exception], str]] = {
    "already_started": (AlreadyStarted, "a child with this id is running. Choose another id, or stop it first."),
    "already_present": (
        AlreadyPresent,
        "a child with this id is kept, though not running. restart_child or delete_child it.",
    ),
    "running": (ChildRunning, "the child is running. terminate_child it first."),
    "restarting": (ChildRestarting, "the child is between two restart attempts. terminate_child cancels them."),
    "not_found": (ChildNotFound, "there is no such child. Look: which_children()."),
    "simple_one_for_one": (SimpleOneForOne, "not for children of a simple_one_for_one supervisor, which have no ids."),
    "max_children": (MaxChildren, "the supervisor has max_children already."),
    "invalid_spec": (InvalidSpec, "the child spec is not valid."),
    "noproc": (NotRunning, "the supervisor does not run."),
    "exit": (NotRunning, "the supervisor ended before it answered."),
}


async def start(runtime: Runtime, what: Any, id: str | None, under: str | None, options: dict[str, Any]) -> Ref:
    """Start an agent class, a child or a supervisor; its ref once the first incarnation runs."""
    parent = find(runtime, under or "/")
    if not parent.is_supervisor:
        raise NotRunning(f"under={parent.path!r} is an agent, not a supervisor.")
    spec = as_child(runtime, parent, what, id, options)
    simple = getattr(parent.spec.what, "strategy", "") == "simple_one_for_one"
    if simple:
        up = expect(
            await runtime.ask_tree(parent.path, "start_child", id, dict(spec.fields)), parent.path, "start", (id,)
        )
        return ref_of(runtime, up.record)
    check_complete(spec.what, spec.fields, where=f"child {spec.id!r} of {parent.path!r}")
    kept = parent.children.get(spec.id)
    if kept is not None and parent.supervisor is None and _is_over(runtime, kept):
        await runtime.ask_tree(parent.path, "delete_child", spec.id)
    result = await runtime.ask_tree(parent.path, "start_child", spec)
    if (
        isinstance(result, Refused)
        and result.kind == "start_failed"
        and runtime.entries.get(join(parent.path, spec.id))
    ):
        runtime.discard(join(parent.path, spec.id))
    return ref_of(runtime, expect(result, parent.path, "start_child", (spec,)).record)


def _is_over(runtime: Runtime, record: Record) -> bool:
    """Whether a child of the root has ended for good, so that its id is free again."""
    entry = runtime.entries.get(record.path)
    return record.state == "undefined" or (entry is not None and entry.asked and not entry.life)


def as_child(runtime: Runtime, parent: Record, what: Any, id: str | None, options: dict[str, Any]) -> Child:
    """A child spec from what a person gave."""
    if isinstance(what, Child):
        if options:
            raise InvalidSpec(f"start: {', '.join(options)} belong into child(...), which was given already.")
        spec = what if id is None else dataclasses.replace(what, id=id)
    else:
        spec = child(what, id=id, **options)
        if id is None and not isinstance(what, Supervisor):
            spec = dataclasses.replace(spec, id=free_id(parent, spec.id))
    if parent.supervisor is None and spec.type == "worker" and spec.own_limit is None:
        spec = dataclasses.replace(spec, own_limit=ROOT_LIMIT)
    return spec


def free_id(parent: Record, wanted: str) -> str:
    """``wanted``, or with a number behind it if a sibling has that id."""
    if wanted not in parent.children:
        return wanted
    return next(f"{wanted}-{n}" for n in range(2, len(parent.children) + 3) if f"{wanted}-{n}" not in parent.children)


async def start_many(runtime: Runtime, cls: type[Agent], fields: list[dict[str, Any]], under: str | None) -> Refs:
    """Start many agents of one class in one go."""
    parent = find(runtime, under or "/")
    base = cls.__name__.lower()
    taken = len(parent.children)
    specs = [as_child(runtime, parent, cls, f"{base}-{taken + n}", given) for n, given in enumerate(fields, 1)]
    for spec in specs:
        check_complete(spec.what, spec.fields, where=f"child {spec.id!r} of {parent.path!r}")
    ups = expect(await runtime.ask_tree(parent.path, "start_children", specs), parent.path, "start_many", ())
    return Refs(
        [
            ref_of(runtime, expect(up, parent.path, "start_many", (spec,)).record)
            for up, spec in zip(ups, specs, strict=True)
        ]
    )


async def start_child(runtime: Runtime, path: str, spec: Any) -> Ref:
    """Start a child under this supervisor."""
    return await start(runtime, spec, None, path, {})


def _call(op: str) -> Control:
    async def call(runtime: Runtime, path: str, id: str) -> Any:
        result = await runtime.ask_tree(path, op, id)
        if isinstance(result, Refused) and result.kind == "simple_one_for_one" and op == "terminate_child":
            record = find(runtime, join(path, id))
            result = await runtime.ask_tree(path, op, record.life)
        result = expect(result, path, op, (id,))
        return ref_of(runtime, result.record) if isinstance(result, Up) else result

    call.__name__ = op
    return call


async def which_children(runtime: Runtime, path: str) -> list[tuple[str, Any, str]]:
    """The children, newest first."""
    found: list[ChildInfo] = expect(await runtime.ask_tree(path, "which_children"), path, "which_children", ())
    return [
        (kid.id, kid.life if kid.life in (None, "restarting") else ref_of(runtime, kid.record), kid.type)
        for kid in found
    ]  # fmt: skip


async def count_children(runtime: Runtime, path: str) -> dict[str, int]:
    """How many children by kind."""
    counts = expect(await runtime.ask_tree(path, "count_children"), path, "count_children", ())
    return dict(counts._asdict())


def join(parent: str, id: str) -> str:
    """A child's path."""
    return parent.rstrip("/") + "/" + id


def ref_of(runtime: Runtime, record: Record) -> Ref:
    """The ref of a record."""
    what: Any = record.spec.what
    return Ref(links[runtime.lab_id], record.path, "Supervisor" if record.is_supervisor else what.__name__)


# for cells


def _now(function: Callable[..., Any]) -> Control:
    def control(runtime: Runtime, *args: Any) -> Any:
        return runtime.run(function, runtime, *args)

    return control


def _later(function: Callable[..., Any]) -> Control:
    def control(runtime: Runtime, *args: Any) -> Any:
        return runtime.submit(function, runtime, *args).result()

    return control


def _status(runtime: Runtime, path: str) -> str:
    return "stopped" if runtime.closed else status(runtime, path)


def _wait_idle(runtime: Runtime, path: str, timeout: float) -> None:
    future = runtime.submit(runtime.wait_idle)
    try:
        future.result(timeout)
    except concurrent.futures.TimeoutError:
        future.cancel()
        unrest = runtime.run(runtime.unrest)
        shown = "; ".join(unrest[:5]) + (f"; and {len(unrest) - 5} more" if len(unrest) > 5 else "")
        raise CallTimeout(f"not idle after {timeout:g} s: {shown}. Wait longer: wait_idle(timeout=...).") from None


def _checkpoints(runtime: Runtime, path: str) -> Any:
    runtime.run(runtime.flush)
    return frames.checkpoints(runtime.ledger.store, path=path)


OPERATIONS: dict[str, Control] = {
    "status": _status,
    "incarnation": _now(incarnation),
    "node": _now(node),
    "state": _now(state),
    "info": _now(info),
    "log": _now(log),
    "checkpoints": _checkpoints,
    "crash": _now(crash),
    "kill": _now(kill),
    "stop": _later(stop),
    "restart": _later(restart),
    "start_child": _later(start_child),
    "terminate_child": _later(_call("terminate_child")),
    "restart_child": _later(_call("restart_child")),
    "delete_child": _later(_call("delete_child")),
    "get_childspec": _later(_call("get_childspec")),
    "which_children": _later(which_children),
    "count_children": _later(count_children),
    "wait_idle": _wait_idle,
}


# for agents

INSIDE: dict[str, Control] = {
    "status": status, "incarnation": incarnation, "node": node, "state": state, "info": info, "log": log,
    "crash": crash, "kill": kill, "stop": stop, "restart": restart, "start_child": start_child,
    "terminate_child": _call("terminate_child"), "restart_child": _call("restart_child"),
    "delete_child": _call("delete_child"), "get_childspec": _call("get_childspec"),
    "which_children": which_children, "count_children": count_children,
}  # fmt: skip


async def serve(runtime: Runtime, op: str, args: tuple[Any, ...], answer: Callable[..., None]) -> None:
    """Answer what an agent asked of its lab."""
    try:
        answer(await _serve(runtime, op, args), None)
    except Exception as error:  # the agent that asked gets it, whatever it is
        answer(None, error)


async def _serve(runtime: Runtime, op: str, args: tuple[Any, ...]) -> Any:
    if op == "start":
        what, id, under, options = unpack(args[0])
        ref = await start(runtime, what, id, under, options)
        return ref.path, ref._cls_name
    if op == "whereis":
        ref_found = whereis(runtime, args[0])
        return (ref_found.path, ref_found._cls_name) if ref_found else None
    if op == "simulator":
        return await runtime.simulator()
    name, path, data = args
    value = INSIDE[name](runtime, path, *unpack(data))
    if hasattr(value, "__await__"):
        value = await value
    return pack(value, f"the result of {name}")


def whereis(runtime: Runtime, id: str) -> Ref | None:
    """The ref at a path, or of the only (else the first) agent or supervisor with that id."""
    path = id if id.startswith("/") else "/" + id
    record = runtime.tree.find(path)
    if record is None and "/" not in id:
        record = next((r for r in runtime.tree.records() if r.id == id and r.supervisor is not None), None)
    return ref_of(runtime, record) if record is not None else None


class KernelLink:
    """A ref's link in the kernel's process: any thread may use it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.lab_id = runtime.lab_id
        links[self.lab_id] = self

    def send(self, message: Outgoing) -> Any:
        """Hand a message to the runtime; a call gives its ``Reply``."""
        return self._runtime.send(message)

    def control(self, op: str, path: str, *args: Any) -> Any:
        """A control operation; blocks for milliseconds, or as long as what it waits for."""
        return OPERATIONS[op](self._runtime, path, *args)

    def methods(self, path: str) -> frozenset[str] | None:
        """The messages of the agent at ``path``; None where there is no agent."""
        entry = self._runtime.entries.get(path)
        return entry.kind.cls.__agent_messages__ if entry is not None else None

    def check(self, path: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise TypeError if the arguments do not fit the method."""
        entry = self._runtime.entries.get(path)
        if entry is not None:
            entry.kind.check(method, args, kwargs)
