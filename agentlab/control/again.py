"""A start of what may be there already, ``lab.start(..., exist_ok=True)``: a cell may be run any number of times.

What is there is found, and resumed if it waits since the lab was opened again; what is absent is started. The child
that is there must be the one that was asked for: the same class by its name, the same options and first values.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from agentlab.agent.base import Agent
from agentlab.agent.code import same_code
from agentlab.agent.fields import MISSING
from agentlab.books.specs import dump_fields, is_missing
from agentlab.control.children import (
    as_child,
    call_named,
    expect,
    find,
    free_again,
    is_simple,
    join,
    promised,
    ref_of,
    start,
    supervising,
)  # fmt: skip
from agentlab.control.many import Progress, parts, start_many
from agentlab.control.resume import resume, resume_one
from agentlab.errors import AlreadyPresent, AlreadyStarted, InvalidSpec
from agentlab.exits import reason_text
from agentlab.ground.given import text_of
from agentlab.ground.words import few
from agentlab.kernel.runtime import Runtime
from agentlab.ref.link import links
from agentlab.ref.many import Refs, Siblings
from agentlab.ref.ref import Ref
from agentlab.supervision.child import FLAGS, OPTIONS, Child, Supervisor
from agentlab.supervision.records import Record
from agentlab.supervision.words import Refused
from agentlab.wire.frames import Asker

COMPARED = tuple(name for name in OPTIONS if name != "id")
"""Options of a child; its id is how it was found."""


async def start_again(  # as lab.start takes them
    runtime: Runtime, what: Any, id: str | None, under: str | None, options: dict[str, Any], *,
    asker: Asker | None = None, patient: bool = True,
) -> tuple[Ref, list[str]]:  # fmt: skip
    """Find what is asked for, resume it, or start it; its ref, and what a person should know about it.

    Args:
        runtime: Where.
        what: What to start.
        id: Its name among its siblings.
        under: The supervisor's path; the root if left out.
        options: Fields and options of ``child``.
        asker: The step that asked for it.
        patient: Wait for a first incarnation that somebody else has just begun.

    Raises:
        InvalidSpec: What is there is not what is asked for; names both.
    """
    parent = supervising(runtime, under or "/")
    if is_simple(parent) and id is None:
        raise InvalidSpec(
            f"start under {parent.path!r}: its supervisor numbers its children, so exist_ok=True needs the id of one: "
            "id=...",
            kind="missing_id",
        )
    if id is None and isinstance(what, type):
        id = what.__name__.lower()
    spec = as_child(runtime, parent, what, id, options)
    given = frozenset(options) if isinstance(what, type) else None
    while True:
        record = parent.children.get(spec.id)
        if record is None or free_again(runtime, parent, record):
            try:
                return await start(runtime, what, id, under, options, asker=asker), []
            except (AlreadyStarted, AlreadyPresent):  # somebody else was quicker
                continue
        if patient and record.state == "starting" and record.restarts == 0:
            await runtime.desk.changes.at(record.path)
            continue
        refuse_other(record, spec, given)
        return await found(runtime, record, spec)


async def start_child(
    runtime: Runtime, path: str, spec: Any, exist_ok: bool = False, *, asker: Asker | None = None
) -> Ref:  # fmt: skip
    """Start a child under this supervisor."""
    if not exist_ok:
        return await start(runtime, spec, None, path, {}, asker=asker)
    ref, _ = await start_again(runtime, spec, None, path, {}, asker=asker, patient=asker is None)
    return ref


async def restart_child(runtime: Runtime, path: str, id: str, *, asker: Asker | None = None) -> Any:
    """Start a child that is kept but does not run; ``asker``: the step that asks."""
    text_of(id, "restart_child: id", "the id of a child", "id")
    place = join(path, id)
    with promised(runtime, asker, place, functools.partial(ref_of, runtime), when=("running",)):
        if await resume_one(runtime, place, "restart_child"):
            return ref_of(runtime, find(runtime, place))
        return await call_named("restart_child")(runtime, path, id)


async def found(runtime: Runtime, record: Record, spec: Child) -> tuple[Ref, list[str]]:
    """What is there, running if it can: its ref, and what a person should know about it."""
    place = runtime.desk.waiting.places.get(record.path)
    if place is not None and place.status == "running" and record.state == "parked":
        await resume(runtime, lambda one: one is place, {record.path: _newer(record.spec, spec)})
    elif _has_ended(runtime, record):  # its supervisor keeps it
        result = await runtime.machine.ask(record.parent.record.path, "restart_child", record.id)  # type: ignore[union-attr]  # not the root
        if not (isinstance(result, Refused) and result.kind == "running"):
            expect(result, record.path, "start", (record.id,))
    told = [*_still_parked(record), *_older(runtime, record, spec)]
    return ref_of(runtime, record), told


def _has_ended(runtime: Runtime, record: Record) -> bool:
    entry = runtime.desk.entries.get(record.path)
    return record.state == "undefined" or (entry is not None and entry.is_stopped)


def _newer(kept: Child, spec: Child) -> Child:
    """How a child that waits is kept from here on: as it was, its classes as they are defined now."""
    return dataclasses.replace(kept, what=spec.what)


def _still_parked(record: Record) -> Iterator[str]:
    if record.state == "parked":
        reason = record.trouble.reason if record.trouble is not None else None
        yield f"{record.path} is there, parked: {reason_text(reason)}. ref.restart() starts it again."


def _older(runtime: Runtime, record: Record, spec: Child) -> Iterator[str]:
    """A line for each class that was defined again, with other code, while agents of the older one run."""
    older: dict[type, list[str]] = {}
    for path, cls in _agents(record.path, spec):
        there = runtime.desk.tree.find(path)
        kept: Any = there.spec.what if there is not None else cls
        if not _same(kept, cls):
            older.setdefault(cls, []).append(path)
    yield from older_code(older)


def _same(kept: Any, cls: type) -> bool:
    return not isinstance(kept, type) or is_missing(kept) or same_code(kept, cls)


def older_code(older: Mapping[type, list[str]]) -> Iterator[str]:
    """What to say of agents that keep older code, by their newer class."""
    for cls, paths in older.items():
        name = cls.__name__
        keeps = "keep" if len(paths) > 1 else "keeps"
        yield f"{_first(paths)} {keeps} the older {name}; lab.upgrade({name}) gives the code that is defined now."


def _first(paths: list[str]) -> str:
    return f"{paths[0]} and {len(paths) - 1:,} more" if len(paths) > 1 else paths[0]


def _agents(path: str, spec: Child) -> Iterator[tuple[str, type]]:
    if isinstance(spec.what, Supervisor):
        for kid in spec.what.children if spec.what.strategy != "simple_one_for_one" else ():
            yield from _agents(join(path, kid.id), kid)
    elif isinstance(spec.what, type):
        yield path, spec.what


async def start_many_again(
    runtime: Runtime, cls: type[Agent], fields: list[dict[str, Any]], under: str | None, progress: Progress
) -> tuple[Refs[Ref], list[str]]:  # fmt: skip
    """Find, resume or start agents of one class, whose ids are its name and the numbers from 1."""
    while True:
        try:
            return await _start_absent(runtime, cls, fields, under, progress)
        except (AlreadyStarted, AlreadyPresent):  # somebody else was quicker with some of them
            continue


async def _start_absent(
    runtime: Runtime, cls: type[Agent], fields: list[dict[str, Any]], under: str | None, progress: Progress
) -> tuple[Refs[Ref], list[str]]:  # fmt: skip
    """Start those that are not there, find or resume the others."""
    parent = supervising(runtime, under or "/")
    base = cls.__name__.lower()
    wanted = {f"{base}-{number}": given for number, given in enumerate(fields, 1)}
    there: list[Record] = []
    absent: list[str] = []
    plain = as_child(runtime, parent, cls, base, {})
    for part in parts(list(wanted)):
        for name in part:
            record = parent.children.get(name)
            if record is None or free_again(runtime, parent, record):
                absent.append(name)
                continue
            given = wanted[name]
            if given or record.spec.what is not cls:
                refuse_other(record, as_child(runtime, parent, cls, name, given) if given else plain, given)
            there.append(record)
        await asyncio.sleep(0)
    told = await _found_many(runtime, there, cls)
    for name in absent:
        if name in parent.children:  # it has ended for good
            await runtime.machine.ask(parent.path, "delete_child", name)
    await start_many(runtime, cls, [wanted[name] for name in absent], under, progress, absent)
    return Refs(Siblings(links[runtime.lab_id], parent.path, list(wanted), cls.__name__)), told


async def _found_many(runtime: Runtime, there: list[Record], cls: type[Agent]) -> list[str]:
    """Resume those that wait; what a person should know about the others."""
    paths = {record.path: record for record in there}
    waiting = [path for path in paths if path in runtime.desk.waiting.places]
    specs = {path: dataclasses.replace(paths[path].spec, what=cls) for path in waiting}
    await resume(runtime, lambda place: place.path in specs, specs)
    older = [path for path, record in paths.items() if not _same(record.spec.what, cls)]
    parked = [path for path, record in paths.items() if record.state in ("parked", "undefined")]
    told = list(older_code({cls: older} if older else {}))
    if parked:
        told.append(f"{_first(parked)}: there, not running. ref.restart() starts an agent again.")
    return told


# whether it is the same


def refuse_other(record: Record, spec: Child, given: Iterable[str] | None) -> None:
    """Refuse what is there if it is not what is asked for.

    Args:
        record: What is there.
        spec: What is asked for.
        given: The options and fields that were given; None for a whole spec, in which all count.

    Raises:
        InvalidSpec: Names each difference: what is there and what was asked.
    """
    simple = is_simple(record.supervisor)
    told = list(_differences(record.path, record.spec, record.initial, spec, () if simple and given is None else given))
    if told:
        raise InvalidSpec(
            f"start {record.path!r}: it is there, and another one: {few(told)}. Ask for it as it is, choose another "
            "id, or let it go first: ref.stop().",
            kind="other_spec", value=told,
        )  # fmt: skip


def _differences(
    path: str, kept: Child, initial: Mapping[str, object], spec: Child, given: Iterable[str] | None
) -> Iterator[str]:  # fmt: skip
    """What differs, as ``path: option is this, asked that``."""
    here = f"{path}: "
    one, other = _what(kept.what), _what(spec.what)
    if one != other:
        yield f"{here}it is {one}, asked {other}"
        return
    for name in COMPARED:
        had, asked = getattr(kept, name), getattr(spec, name)
        if had != asked and (given is None or name in given):
            yield f"{here}{name} is {had!r}, asked {asked!r}"
    if isinstance(spec.what, Supervisor) and isinstance(kept.what, Supervisor):
        yield from _supervisors(path, kept.what, spec.what)
    elif isinstance(spec.what, type):
        yield from _fields(here, spec.what, _First(kept.what, initial), _First(spec.what, spec.fields), given)


def _what(what: object) -> str:
    if isinstance(what, Supervisor):
        return "a supervisor"
    return f"{what.__module__}.{what.__qualname__}".removeprefix("__main__.") if isinstance(what, type) else repr(what)


def _supervisors(path: str, kept: Supervisor, spec: Supervisor) -> Iterator[str]:
    for name in FLAGS:
        had, asked = getattr(kept, name), getattr(spec, name)
        if had != asked:
            yield f"{path}: {name} is {had!r}, asked {asked!r}"
    ids, wanted = ([kid.id for kid in one.children] for one in (kept, spec))
    if ids != wanted:
        yield f"{path}: its children are {', '.join(ids) or 'none'}, asked {', '.join(wanted) or 'none'}"
        return
    for one, other in zip(kept.children, spec.children, strict=True):
        yield from _differences(join(path, one.id), one, one.fields, other, None)


class _First:
    """The first values of an agent's fields as JSON values, which the store has too."""

    def __init__(self, cls: Any, fields: Mapping[str, object]) -> None:
        self._fields = {} if is_missing(cls) else cls.__agent_fields__
        self.given = dump_fields(cls, fields)

    def of(self, name: str) -> Any:
        """The value of one, as it was given, else its default; MISSING where there is none."""
        if name in self.given:
            return self.given[name]
        field = self._fields.get(name)
        if field is None or field.required:
            return MISSING
        return [] if field.grows else json.loads(field.dump(field.default))


def _fields(here: str, cls: Any, had: _First, asked: _First, given: Iterable[str] | None) -> Iterator[str]:
    for name in asked.given if given is not None else {**had.given, **asked.given}:
        one, other = had.of(name), asked.of(name)
        if not _same_value(cls, name, one, other):
            yield f"{here}{name} is {_shown(one)}, asked {_shown(other)}"


def _shown(value: Any) -> str:
    return "not given" if value is MISSING else json.dumps(value)[:200]


def _same_value(cls: Any, name: str, had: Any, asked: Any) -> bool:
    """Two JSON values that mean the same: a set, say, has no order."""
    if had == asked:
        return True
    try:
        field = cls.__agent_fields__[name]
        return bool(field.load(json.dumps(had)) == field.load(json.dumps(asked)))
    except Exception:  # what an older class stored may be nothing for this one, and values may refuse to be compared
        return False
