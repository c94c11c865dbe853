"""Starting agents by the thousand.

An agent without ``on_start`` needs no node to be started: its class and its fields are checked here, the books
count it as running, and a node gets it when somebody reaches for it. The first of them is started on a node all
the same, so that a class which nodes cannot load is refused before the others are there.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from agentlab._admin import as_child, expect, find, ref_of
from agentlab._checks import check_complete, check_fields
from agentlab._runtime import Runtime
from agentlab._tree_records import Record
from agentlab._tree_words import Up
from agentlab.agent import START_OPTIONS, Agent, Transcript
from agentlab.child import Child
from agentlab.ref import Refs, Siblings, links

AT_ONCE = 2_000
"""Agents that are started in one turn of the loop; whatever else happens in the lab goes on in between."""

PLAIN = frozenset({int, float, str, bool, bytes, type(None)})
"""Types whose values nobody can change."""

Fields = Mapping[str, Any]
Progress = Callable[[int], object]
"""Told how many are started."""


async def start_many(
    runtime: Runtime, cls: type[Agent], fields: list[dict[str, Any]], under: str | None, progress: Progress
) -> Refs:  # fmt: skip
    """Start many agents of one class in one go."""
    parent = find(runtime, under or "/")
    base, taken = cls.__name__.lower(), len(parent.children)
    apart = hasattr(cls, "on_start") or any(not START_OPTIONS.isdisjoint(given) for given in fields)
    if apart or len(fields) < 2:
        specs = [as_child(runtime, parent, cls, f"{base}-{taken + n}", given) for n, given in enumerate(fields, 1)]
        return await _start_each(runtime, parent, specs, progress)
    spec = as_child(runtime, parent, cls, f"{base}-{taken + 1}", fields[0])
    own = [_own(parent, cls, f"{base}-{taken + n}", given) if given else None for n, given in enumerate(fields, 1)]
    if not all(fields):
        check_complete(cls, {}, where=f"child {spec.id!r} of {parent.path!r}")
    await _start_each(runtime, parent, [spec], progress)
    shared = dataclasses.replace(spec, fields={}) if spec.fields else spec
    ids = [spec.id, *await _start_dormant(runtime, parent, shared, own[1:], progress)]
    return Refs(Siblings(links[runtime.lab_id], parent.path, ids, cls.__name__))


def _own(parent: Record, cls: type[Agent], id: str, given: Fields) -> Fields | None:
    """The fields of one agent, checked, and its own: what the giver changes later is not seen."""
    check_fields(cls, given, where=f"child {id!r}")
    check_complete(cls, given, where=f"child {id!r} of {parent.path!r}")
    return {name: _private(cls, name, value) for name, value in given.items()} or None


def _private(cls: type[Agent], name: str, value: Any) -> Any:
    field = cls.__agent_fields__[name]
    if type(value) in PLAIN:
        return value
    return field.load(field.dump(Transcript(value) if field.grows and not isinstance(value, Transcript) else value))


async def _start_each(runtime: Runtime, parent: Record, specs: list[Child], progress: Progress) -> Refs:
    """Start each on a node."""
    for spec in specs:
        check_complete(spec.what, spec.fields, where=f"child {spec.id!r} of {parent.path!r}")
    ups: list[Up] = []
    for part in _parts(specs):
        ups += expect(await runtime.ask_tree(parent.path, "start_children", part), parent.path, "start_many", ())
        progress(len(ups))
    return Refs(
        [
            ref_of(runtime, expect(up, parent.path, "start_many", (spec,)).record)
            for up, spec in zip(ups, specs, strict=True)
        ]
    )


async def _start_dormant(
    runtime: Runtime, parent: Record, spec: Child, fields: list[Fields | None], progress: Progress
) -> list[str]:  # fmt: skip
    """Start agents that no node need have before somebody reaches for them; their ids."""
    ids: list[str] = []
    for part in _parts(fields):
        names = _free_names(parent, spec.what.__name__.lower(), len(part))  # type: ignore[attr-defined]  # a class
        named = list(zip(names, part, strict=True))
        found = expect(await runtime.ask_tree(parent.path, "add_running", named, spec), parent.path, "start_many", ())
        for name, made in zip(names, found, strict=True):
            expect(made, parent.path, "start_many", (name,))
        ids += names
        progress(1 + len(ids))
        await asyncio.sleep(0)
    return ids


def _parts(items: list[Any]) -> list[list[Any]]:
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
