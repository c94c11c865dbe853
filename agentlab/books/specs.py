"""Child specs in the store: JSON that names a class and never holds one.

Reading a spec back looks the class up among those that this process has defined. Nothing is imported and
no code runs because a file says so.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import sys
from collections.abc import Mapping
from typing import Any

from agentlab.agent.base import Agent, Field, Transcript, known_class
from agentlab.agent.code import same_code
from agentlab.books.agents import Entry
from agentlab.errors import UnknownMessage
from agentlab.ground.redaction import redact
from agentlab.store.rows import ChildRow
from agentlab.supervision.budget import Budget
from agentlab.supervision.child import FLAGS, OPTIONS, Backoff, Child, Limit, Supervisor
from agentlab.supervision.records import Record

TABLES = ("backoff", "own_limit", "budget")
"""Options that have parts of their own."""

PLAIN = tuple(name for name in OPTIONS if name != "id" and name not in TABLES)
"""Options that are JSON as they are; one that an older store does not have yet has its default."""


def child_row(record: Record, entry: Entry | None, incarnation: int = 1) -> ChildRow:
    """What the store keeps of a child, so that the lab can be opened again."""
    parent = record.supervisor
    status = {"undefined": "stopped", "parked": "parked"}.get(record.state, "running")
    if entry is not None and entry.is_asked_to_stop and status == "parked":
        status = "stopped"
    spec = entry.spec_text if entry is not None and entry.spec_text else dump(record)
    if entry is not None:
        entry.spec_text = spec
    return ChildRow(
        path=record.path, parent=parent.path if parent else None, spec=spec, dynamic=int(is_dynamic(record)),
        status=status, incarnation=incarnation if entry is None else entry.incarnation,
        restarts=max(0, incarnation - 1) if entry is None else entry.restarts, seq=0 if entry is None else entry.seq,
    )  # fmt: skip


def is_dynamic(record: Record) -> bool:
    """Whether it was added to its supervisor, whose spec does not have it."""
    parent = record.supervisor
    return parent is None or not any(kid.id == record.id for kid in getattr(parent.spec.what, "children", ()))


def dump(record: Record) -> str:
    """A record's spec as JSON text."""
    spec = record.spec
    data: dict[str, Any] = {name: getattr(spec, name) for name in PLAIN}
    data["id"] = record.id
    for name in TABLES:
        parts = getattr(spec, name)
        data[name] = dataclasses.asdict(parts) if parts else None
    if isinstance(spec.what, Supervisor):
        data["supervisor"] = _flags(spec.what)
    else:
        cls: Any = spec.what
        data["agent"] = [cls.__module__, cls.__qualname__]
        data["fields"] = dump_fields(cls, {**spec.fields, **(record.fields or {})})
    return json.dumps(data)


def _flags(spec: Supervisor) -> dict[str, Any]:
    flags: dict[str, Any] = {name: getattr(spec, name) for name in FLAGS}
    flags["budget"] = dataclasses.asdict(spec.budget) if spec.budget else None
    if spec.strategy == "simple_one_for_one":
        flags["template"] = json.loads(dump(Record(None, spec.children[0].id, spec.children[0], None)))
    return flags


def dump_fields(cls: type[Agent], values: Mapping[str, Any]) -> dict[str, Any]:
    """First values of fields as JSON values."""
    return {name: json.loads(_dump_field(cls.__agent_fields__[name], value)) for name, value in values.items()}


def _dump_field(field: Field, value: Any) -> str:
    plain = field.annotation is Transcript and not isinstance(value, Transcript)
    return field.dump_given(Transcript(value) if plain else value)


def load(text: str, children: tuple[Child, ...] = ()) -> Child:
    """A child spec back from its JSON text.

    Args:
        text: What ``dump`` wrote.
        children: For a supervisor: its children, already loaded.
    """
    data = json.loads(text)
    what: Any
    fields: dict[str, Any] = {}
    if "supervisor" in data:
        flags = data["supervisor"]
        template = flags.pop("template", None)
        kids = (load(json.dumps(template)),) if template else children
        flags["budget"] = _budget(flags)
        what = Supervisor.unchecked(data["id"], kids, **flags)
    else:
        module, name = data["agent"]
        what = known(module, name) or missing(module, name, tuple(data["fields"]))
        fields = {name: what.__agent_fields__[name].load(json.dumps(value)) for name, value in data["fields"].items()}
    return Child(
        what=what, id=data["id"], fields=fields, type="supervisor" if "supervisor" in data else "worker",
        backoff=Backoff(**data["backoff"]) if data["backoff"] else None,
        own_limit=Limit(**data["own_limit"]) if data["own_limit"] else None,
        budget=_budget(data),
        **{name: data[name] for name in PLAIN if name in data},
    )  # fmt: skip


def _budget(data: dict[str, Any]) -> Budget | None:
    """The budget of a stored spec; older ones have none."""
    return Budget(**data["budget"]) if data.get("budget") else None


OURS = frozenset({
    ("agentlab.agent.server", "ServerAgent"),
    ("agentlab.drill.people", "Bystander"),
    ("agentlab.drill.people", "Clerk"),
    ("agentlab.drill.people", "Loner"),
    ("agentlab.evals.ledger", "Ledger"),
    ("agentlab.models.assistant", "Assistant"),
    ("agentlab.models.local", "LocalServer"),
    ("agentlab.models.simulator", "SimulatorServer"),
    ("agentlab.tools.mcp", "McpServer"),
})  # fmt: skip
"""Agent classes of this package that a program need not have imported before its lab comes back."""


def known(module: str, qualname: str) -> type[Agent] | None:
    """The class of that name, if this process has defined it, or if it is our own."""
    if (module, qualname) in OURS:
        importlib.import_module(module)
    return known_class(module, qualname)


def class_named(text: str) -> tuple[str, str] | None:
    """Module and name of the class that a stored spec is about; None for a supervisor of several."""
    data = json.loads(text)
    data = (data.get("supervisor") or {}).get("template") or data
    return (str(data["agent"][0]), str(data["agent"][1])) if "agent" in data else None


class Missing(Agent):
    """Stands for an agent class that this process has not defined (yet); it never runs."""

    _undefined = True


@functools.lru_cache(maxsize=1000)
def missing(module: str, qualname: str, fields: tuple[str, ...]) -> type[Missing]:
    """A stand-in that keeps the fields as they are and knows where the class has to come from."""
    body = {name: Field(qualname, name, Any, None) for name in fields}
    return type(
        qualname.rsplit(".", 1)[-1], (Missing,),
        {"__module__": module, "__qualname__": qualname, "__agent_fields__": body, "_stands_in": True},
    )  # fmt: skip


def is_missing(what: object) -> bool:
    """Whether it only stands for a class."""
    return isinstance(what, type) and issubclass(what, Missing)


def is_undefined(cls: type) -> bool:
    """Whether it stands for a class that still is not there: a cell may have defined it meanwhile."""
    return is_missing(cls) and known(cls.__module__, cls.__qualname__) is None


def unknown(path: str, method: str, cls: type[Agent]) -> UnknownMessage:
    """The error of a message that an agent's class does not have, with what helps."""
    name, method = cls.__name__, redact(method)
    if is_missing(cls):
        return UnknownMessage(f"{path!r} takes no message: its class {name} is not defined. {_capital(home(cls))}.")
    have = ", ".join(sorted(cls.__agent_messages__)) or "none"
    newer = newer_of(cls)
    hint = ""
    if newer is not None and method in newer.__agent_messages__:
        hint = f" It runs an older {name}; the one that is defined now has it: lab.upgrade({name})."
    return UnknownMessage(f"{path!r} has no message {method!r}; {name} has: {have}.{hint}")


def newer_of(cls: type[Agent]) -> type[Agent] | None:
    """The class of that name as it is defined now, if its code is another."""
    if is_missing(cls):
        return None
    found = known_class(cls.__module__, cls.__qualname__)
    return found if found is not None and not same_code(found, cls) else None


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def to_run(module: str, qualname: str) -> str:
    """What defines a class that is missing, in words."""
    if module == "__main__":
        return f"run the cell that defines {qualname}"
    return f"define {qualname} in {module}" if module in sys.modules else f"import {module}, which has {qualname}"


def home(cls: type) -> str:
    """The place where a class that is missing has to come from, in words."""
    return f"{to_run(cls.__module__, cls.__qualname__)}, then lab.resume()"
