"""Starting agents by the thousand.

An agent without ``on_start`` needs no node to be started: its class and its fields are checked here, the books
count it as running, and a node gets it when somebody reaches for it. The first of them is started on a node all
the same, so that a class which nodes cannot load is refused before the others are there.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from typing import Any

from agentlab.agent.base import START_OPTIONS, Agent, Transcript
from agentlab.control.children import as_child, expect, find
from agentlab.control.crowd import look
from agentlab.kernel.runtime import Runtime
from agentlab.ref.link import links
from agentlab.ref.many import Refs, Siblings
from agentlab.ref.ref import Ref
from agentlab.supervision.checks import check_complete, check_fields
from agentlab.supervision.child import OPTIONS, Child
from agentlab.supervision.records import Record

AT_ONCE = 2_000
"""Agents that are started in one turn of the loop; whatever else happens in the lab goes on in between."""

PLAIN = frozenset({int, float, str, bool, bytes, type(None)})
"""Types whose values nobody can change."""

Fields = Mapping[str, Any]
Progress = Callable[[int], object]
"""Told how many are started."""


async def start_many(  # noqa: PLR0917 - as lab.start_many takes them
    runtime: Runtime, cls: type[Agent], fields: list[dict[str, Any]], under: str | None, progress: Progress,
    names: list[str] | None = None, options: dict[str, Any] | None = None,
) -> Refs[Ref]:  # fmt: skip
    """Start many agents of one class in one go.

    Args:
        runtime: Where.
        cls: Their class.
        fields: What each is given: fields, and perhaps options of ``child``.
        under: Their supervisor's path.
        progress: Is told how many are there.
        names: Their ids; numbers that are free if left out.
        options: What all are given.
    """
    shared = options or {}
    parent = find(runtime, under or "/")
    base, taken, chosen = cls.__name__.lower(), len(parent.children), names is not None
    names = list(names) if names is not None else [f"{base}-{taken + n}" for n in range(1, len(fields) + 1)]
    if any(not START_OPTIONS.isdisjoint(given) for given in fields):
        specs = [
            as_child(runtime, parent, cls, name, {**shared, **given}) for name, given in zip(names, fields, strict=True)
        ]
        for spec in specs:
            check_complete(spec.what, spec.fields, where=f"child {spec.id!r} of {parent.path!r}")
        await _start_each(runtime, parent, names, specs, progress)
    else:
        spec = as_child(runtime, parent, cls, names[0] if names else base, shared)
        own = _own(parent, spec, names, fields)
        rests = spec.isolation == "node" and not hasattr(cls, "on_start")
        placed = 1 if rests else len(names)  # one shows whether nodes can load the class
        items = list(zip(names[:placed], own, itertools.repeat(spec)))
        await _start_each(runtime, parent, names[:placed], items, progress)
        ids = names[placed:] if chosen else None
        names[placed:] = await _start_dormant(runtime, parent, spec, own[placed:], progress, chosen=ids)
    look(runtime.desk, parent)
    return Refs(Siblings(links[runtime.lab_id], parent.path, names, cls.__name__))


def _own(
    parent: Record, spec: Child, names: list[str], fields: list[dict[str, Any]]
) -> list[Fields | None]:  # fmt: skip
    """The fields of each, checked, and its own: what the giver changes later is not seen."""
    cls: Any = spec.what
    found: list[Fields | None] = []
    bare = False  # one without fields has been looked at: the others are like it
    for name, given in zip(names, fields, strict=True):
        if given or not bare:
            check_fields(cls, given, OPTIONS, where=f"child {name!r}")
            check_complete(cls, {**spec.fields, **given}, where=f"child {name!r} of {parent.path!r}")
            bare = bare or not given
        found.append({field: _private(cls, field, value) for field, value in given.items()} or None)
    return found


def _private(cls: type[Agent], name: str, value: Any) -> Any:
    field = cls.__agent_fields__[name]
    if type(value) in PLAIN:
        return value
    items = field.grows and not isinstance(value, Transcript)
    return field.load(field.dump_given(Transcript(value) if items else value))


async def _start_each(
    runtime: Runtime, parent: Record, names: list[str], items: list[Any], progress: Progress
) -> None:  # fmt: skip
    """Start each on a node: a ``Child``, or what ``start_children`` takes for one."""
    ups: list[Any] = []
    for part in parts(items):
        ups += expect(await runtime.machine.ask(parent.path, "start_children", part), parent.path, "start_many", ())
        progress(len(ups))
    for name, up in zip(names, ups, strict=True):
        expect(up, parent.path, "start_many", (name,))


async def _start_dormant(
    runtime: Runtime, parent: Record, spec: Child, fields: list[Fields | None], progress: Progress,
    *, chosen: list[str] | None,
) -> list[str]:  # fmt: skip
    """Start agents that no node need have before somebody reaches for them; their ids."""
    ids: list[str] = []
    base: str = spec.what.__name__.lower()  # type: ignore[attr-defined]  # a class
    for part in parts(fields):
        free = chosen[len(ids) : len(ids) + len(part)] if chosen is not None else None
        names = free if free is not None else _free_names(parent, base, len(part))
        items = list(zip(names, part, itertools.repeat(spec)))
        found = expect(await runtime.machine.ask(parent.path, "add_running", items), parent.path, "start_many", ())
        for name, made in zip(names, found, strict=True):
            expect(made, parent.path, "start_many", (name,))
        ids += names
        progress(1 + len(ids))
        await asyncio.sleep(0)
    return ids


def parts(items: list[Any]) -> list[list[Any]]:
    """The items, as many at once as are started in one turn."""
    return [items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE)]


def _free_names(parent: Record, base: str, count: int) -> list[str]:
    """Ids that no sibling has, numbered on from how many there are."""
    names: list[str] = []
    taken, number = parent.children, len(parent.children)
    while len(names) < count:
        number += 1
        name = f"{base}-{number}"
        if name not in taken:
            names.append(name)
    return names
