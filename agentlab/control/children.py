"""Starting children and the other administration calls, with OTP's results as named exceptions."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from agentlab.books.agents import Entry
from agentlab.books.specs import is_dynamic
from agentlab.control.crowd import look, look_below
from agentlab.errors import (
    AgentDown,
    AlreadyPresent,
    AlreadyStarted,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    InvalidSpec,
    MaxChildren,
    NotRunning,
    SimpleOneForOne,
    StartFailed,
)  # fmt: skip
from agentlab.exits import reason_text
from agentlab.ground.given import shown, text_of
from agentlab.kernel.promises import Place, Promise, place_of
from agentlab.kernel.runtime import Runtime
from agentlab.ref.link import links
from agentlab.ref.ref import Ref
from agentlab.supervision.child import Child, Limit, Supervisor, check_complete, child
from agentlab.supervision.records import Record
from agentlab.supervision.words import ChildInfo, Instance, Refused, Up
from agentlab.wire.frames import Asker
from agentlab.wire.packing import pack

ROOT_LIMIT = Limit(3, 5.0)
"""The own limit of what is started directly under the root, which has no limit itself, unless it says otherwise."""

STATUSES = ("running", "stopped", "parked")
"""What the store says of a child that is kept; of one that is not, ``gone``."""

ENDED = {"terminate_child": ("stopped", "gone"), "delete_child": ("gone",)}
"""What it says when these are done."""

Control = Callable[..., Any]


# finding


def find(runtime: Runtime, path: str) -> Record:
    """The record at a path; NotRunning if there is none."""
    record = runtime.desk.tree.find(path)
    if record is None:
        raise NotRunning(_nobody(runtime, path, "nothing at"))
    return record


def _nobody(runtime: Runtime, path: str, what: str) -> str:
    place = runtime.desk.waiting.below(path)
    if place is not None:
        return f"{path!r} is parked: {place.why}."
    return f"there is {what} {shown(path)} in this lab. Look: lab.agents()."


def entry_at(runtime: Runtime, path: str) -> Entry:
    """The agent at a path; NotRunning if there is none, or if it is a supervisor."""
    entry = runtime.desk.entries.get(path)
    if entry is None:
        if runtime.desk.tree.find(path) is not None:
            raise NotRunning(f"{shown(path)} is a supervisor, not an agent. Its children: which_children().")
        raise NotRunning(_nobody(runtime, path, "no agent"))
    return entry


def supervising(runtime: Runtime, path: str) -> Record:
    """The supervisor at a path; NotRunning if there is none, or if it is an agent."""
    record = find(runtime, path)
    if not record.is_supervisor:
        raise NotRunning(f"{shown(path)} is an agent, not a supervisor: it has no children.")
    return record


def living(runtime: Runtime, path: str, op: str) -> Entry:
    """The agent at a path, which must have a life."""
    entry = entry_at(runtime, path)
    if not entry.life:
        why = f" ({reason_text(entry.reason)})" if entry.reason is not None else ""
        raise NotRunning(f"{op}: {path!r} is {runtime.desk.status(entry)}{why}. Start it again: ref.restart().")
    return entry


# administration calls


async def administer(runtime: Runtime, record: Record, op: Any, *args: Any) -> Any:
    """An administration call about ``record`` to its supervisor; OTP's errors as exceptions."""
    parent = record.supervisor
    if parent is None:
        raise NotRunning(f"{op}: the root supervisor ends with lab.close().")
    return expect(await runtime.machine.ask(parent.path, op, *args), parent.path, op, args)


def expect(result: Any, supervisor: str, op: str, args: tuple[Any, ...]) -> Any:
    """The result of an administration call, or the exception that it means."""
    if not isinstance(result, Refused):
        return result
    who = args[0].id if args and isinstance(args[0], Child) else args[0] if args else None
    what = f"{op}{f' {shown(who)}' if who is not None else ''} under {shown(supervisor)}"
    if result.cause is not None:
        raise result.cause
    if result.kind == "start_failed":
        why = f"{what}: it did not start: {reason_text(result.reason)}. {_after_failure(op)}"
        raise StartFailed(why, result.reason)  # whoever asks sees what the agent raised
    if result.kind == "exit":
        gone = f"the supervisor ended with {reason_text(result.reason)!r} before it answered"
        raise AgentDown(f"{what}: {gone}. Why: lab.explain({supervisor!r}).", result.reason)
    kind, text = REFUSALS[result.kind]
    raise kind(f"{what}: {text}")


def _after_failure(op: str) -> str:
    return "It is kept and stays down." if op == "restart_child" else "Nothing was kept."


REFUSALS: Mapping[str, tuple[type[Exception], str]] = {
    "already_started": (
        AlreadyStarted,
        "a child with this id is running. start(..., exist_ok=True) gives its ref; or choose another id, or stop it.",
    ),
    "already_present": (
        AlreadyPresent,
        "a child with this id is kept, though not running. It goes on by start(..., exist_ok=True) or ref.restart().",
    ),
    "running": (ChildRunning, "the child is running. terminate_child it first."),
    "restarting": (ChildRestarting, "the child is between two restart attempts. terminate_child cancels them."),
    "not_found": (ChildNotFound, "there is no such child. Look: which_children()."),
    "simple_one_for_one": (
        SimpleOneForOne,
        "its children are instances of a template; one that ended is gone. Start another: lab.start(..., under=...).",
    ),
    "max_children": (MaxChildren, "the supervisor has max_children already."),
    "invalid_spec": (InvalidSpec, "the child spec is not valid."),
    "noproc": (NotRunning, "the supervisor does not run."),
}


async def start(  # as lab.start takes them
    runtime: Runtime, what: Any, id: str | None, under: str | None, options: dict[str, Any], *,
    asker: Asker | None = None,
) -> Ref:  # fmt: skip
    """Start an agent class, a child or a supervisor; its ref once the first incarnation runs.

    Args:
        runtime: Where.
        what: What to start.
        id: Its name among its siblings.
        under: The supervisor's path; the root if left out.
        options: Fields and options of ``child``.
        asker: The step that asked for it.
    """
    parent = supervising(runtime, under or "/")
    spec = as_child(runtime, parent, what, id, options)
    try:
        return await _start_as(runtime, parent, spec, id, asker)
    except (NotRunning, AgentDown) as error:
        if not runtime.desk.ledger.closing:
            raise
        why = f"start {spec.id!r} under {parent.path!r}: the lab is closing, and starts nobody any more."
        raise NotRunning(f"{why} Start another: Lab(); if it has a file, Lab(path) goes on with it.") from error


async def _start_as(runtime: Runtime, parent: Record, spec: Child, id: str | None, asker: Asker | None) -> Ref:
    if is_simple(parent):
        return await _start_one_more(runtime, parent, dict(spec.fields), id, asker)
    with promised(runtime, asker, join(parent.path, spec.id), functools.partial(ref_of, runtime)):
        return await _start(runtime, parent, spec)


async def _start_one_more(
    runtime: Runtime, parent: Record, fields: dict[str, Any], id: str | None, asker: Asker | None
) -> Ref:  # fmt: skip
    place = place_of(fields) if id is None else join(parent.path, id)  # without an id its supervisor numbers it
    with promised(runtime, asker, place, functools.partial(ref_of, runtime)):
        result = await runtime.machine.ask(parent.path, "start_child", id, fields)
        up = expect(result, parent.path, "start", (id,))
    look(runtime.desk, parent)
    return ref_of(runtime, up.record)


async def _start(runtime: Runtime, parent: Record, spec: Child) -> Ref:
    check_complete(spec.what, spec.fields, where=f"child {spec.id!r} of {parent.path!r}")
    kept = parent.children.get(spec.id)
    if kept is not None and free_again(runtime, parent, kept):
        await runtime.machine.ask(parent.path, "delete_child", spec.id)
    result = await runtime.machine.ask(parent.path, "start_child", spec)
    made = expect(result, parent.path, "start", (spec,)).record
    look(runtime.desk, parent)
    if made.is_supervisor:
        look_below(runtime.desk, made)
    return ref_of(runtime, made)


@contextlib.contextmanager
def promised(
    runtime: Runtime, asker: Asker | None, place: Place, answer: Callable[[Record], Any], *,
    when: Collection[str] = STATUSES,
) -> Iterator[None]:  # fmt: skip
    """A step does something to a child: who asks for it again, after the kernel's death, gets this answer.

    Args:
        runtime: Where.
        asker: The step; nothing is promised to a cell, which ends with the kernel.
        place: Where it shows.
        answer: Makes the answer, of the child's record.
        when: The child's statuses in the store that say that it is done.
    """
    ledger = runtime.desk.ledger
    if asker is None or not ledger.durable:
        yield
        return
    promise = Promise(asker, lambda record: pack(answer(record), "the answer", keep=True), when)
    ledger.children.promises.make(place, promise)
    try:
        yield
    except Exception:
        ledger.messages.drop_answer(asker)
        raise
    finally:
        ledger.children.promises.drop(place, asker)


def is_simple(supervisor: Record | None) -> bool:
    """Whether its children are instances of one template."""
    return supervisor is not None and getattr(supervisor.spec.what, "strategy", "") == "simple_one_for_one"


def free_again(runtime: Runtime, parent: Record, record: Record) -> bool:
    """Whether a child that was added has ended for good, so that its id is free: stopped, or under the root ended."""
    entry = runtime.desk.entries.peek(record.path)  # one without an entry has not been reached for, let alone stopped
    stopped = entry is not None and entry.is_stopped and is_dynamic(record)
    return stopped or (parent.supervisor is None and record.state == "undefined")


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
    if parent.supervisor is None and spec.own_limit is None:
        spec = dataclasses.replace(spec, own_limit=ROOT_LIMIT)
    return spec


def free_id(parent: Record, wanted: str) -> str:
    """``wanted``, or with a number behind it if a sibling has that id."""
    if wanted not in parent.children:
        return wanted
    return next(f"{wanted}-{n}" for n in range(2, len(parent.children) + 3) if f"{wanted}-{n}" not in parent.children)


def call_named(op: str) -> Control:
    """The administration call of that name, about a child by its id."""

    async def call(runtime: Runtime, path: str, id: str, *, asker: Asker | None = None) -> Any:
        supervising(runtime, path)
        text_of(id, f"{op}: id", "the id of a child", "id")
        by_name = op in {"terminate_child", "get_childspec"} and is_simple(runtime.desk.tree.find(path))
        with promised(runtime, asker, join(path, id), lambda record: None, when=ENDED[op] if asker else ()):
            result = expect(await runtime.machine.ask(path, op, Instance(id) if by_name else id), path, op, (id,))
        return ref_of(runtime, result.record) if isinstance(result, Up) else result

    call.__name__ = op
    return call


async def which_children(runtime: Runtime, path: str) -> list[tuple[str, Any, str]]:
    """The children, newest first."""
    supervising(runtime, path)
    found: list[ChildInfo] = expect(await runtime.machine.ask(path, "which_children"), path, "which_children", ())
    return [
        (kid.id, kid.life if kid.life in (None, "restarting") else ref_of(runtime, kid.record), kid.type)
        for kid in found
    ]  # fmt: skip


async def count_children(runtime: Runtime, path: str) -> dict[str, int]:
    """How many children by kind."""
    supervising(runtime, path)
    counts = expect(await runtime.machine.ask(path, "count_children"), path, "count_children", ())
    return dict(counts._asdict())


def join(parent: str, id: str) -> str:
    """A child's path."""
    return parent.rstrip("/") + "/" + id


def ref_of(runtime: Runtime, record: Record) -> Ref:
    """The ref of a record."""
    what: Any = record.spec.what
    return links[runtime.lab_id].ref(record.path, "Supervisor" if record.is_supervisor else what.__name__)


def whereis(runtime: Runtime, id: str) -> Ref | None:
    """The ref at a path, or of the only (else the first) agent or supervisor with that id."""
    path = id if id.startswith("/") else "/" + id
    record = runtime.desk.tree.find(path)
    if record is None and "/" not in id:
        record = next((r for r in runtime.desk.tree.records() if r.id == id and r.supervisor is not None), None)
    entry = runtime.desk.entries.peek(path) if record is None else None
    if entry is not None:  # of a supervisor that does not run: it comes back with that one
        record = entry.record
    if record is not None:
        return ref_of(runtime, record)
    place = runtime.desk.waiting.below(path) or (runtime.desk.waiting.named(id) if "/" not in id else None)
    return links[runtime.lab_id].ref(place.path, place.cls_name) if place is not None else None


def record_status(record: Record) -> str:
    """A supervisor's state in the words for agents."""
    words = {"undefined": "stopped", "restarting": "starting", "stopping": "busy"}
    return words.get(record.state, record.state)
