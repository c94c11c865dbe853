"""What an agent asks of its lab, as data: the kernel carries it out and loads nothing that the agent made.

Arguments of control operations are JSON. A class is named, by the number under which the kernel sent it or by the
mark that it got when it travelled; one that only nodes have goes along as a description, from which the kernel
makes a stand-in, and as bytes, which nodes load and the kernel does not.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

import cloudpickle
import pydantic
from pydantic_core import PydanticSerializationError

from agentlab.agent.base import HOOKS, Agent, known_class
from agentlab.agent.fields import CONFIG, MISSING, Field
from agentlab.agent.snapshot import load
from agentlab.agent.transcript import Transcript
from agentlab.errors import InvalidSpec, InvalidState
from agentlab.exits import Crash
from agentlab.ref.link import Link
from agentlab.ref.ref import Ref
from agentlab.supervision.budget import Budget
from agentlab.supervision.child import Backoff, Child, Limit, Supervisor
from agentlab.wire.exceptions import as_reason, decode_reason, describe, encode_reason
from agentlab.wire.operations import OPERATIONS
from agentlab.wire.packing import pack_class
from agentlab.wire.plain import plain_number
from agentlab.wire.values import decode, encode

Numbers = Callable[[type], int | None]
"""Under which number the kernel has sent a class to this node."""


def reasons(op: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of a control operation, a reason among them as one; whatever text it has is asked for here."""
    if op == "crash":
        return tuple(None if arg is None else Crash(*describe(arg)) for arg in args)
    default = OPERATIONS[op].reason if op in OPERATIONS else None  # a cell may ask for some things more
    return args if default is None else tuple(as_reason(arg, default) for arg in args)


# in the node


def write_start(what: Any, id: str | None, under: str | None, options: dict[str, Any], numbers: Numbers) -> str:
    """What ``lab.start`` was given, as JSON."""
    cls = what if isinstance(what, type) and issubclass(what, Agent) else None
    fields = {} if cls is None else {name: options[name] for name in options if name in cls.__agent_fields__}
    others = {name: _limits(value) for name, value in options.items() if name not in fields}
    given = {
        "what": _spec(what, numbers), "id": id, "under": under, "options": others,
        "fields": {} if cls is None else _fields(cls, fields),
    }  # fmt: skip
    return encode(given, "what lab.start was given")


def write_control(op: str, args: tuple[Any, ...], numbers: Numbers) -> str:
    """The arguments of a control operation, as JSON."""
    if OPERATIONS[op].reason is not None:
        args = tuple(None if arg is None else encode_reason(arg) for arg in reasons(op, args))
    elif op == "start_child":
        args = (_spec(args[0], numbers), *args[1:])
    elif OPERATIONS[op].fields:
        *rest, fields = args
        args = (*rest, {name: _text(op, name, value) for name, value in fields.items()})
    return encode(tuple(map(plain_number, args)), f"the arguments of {op}")


def _text(op: str, name: str, value: Any) -> str:
    """A value for a field whose type only the kernel knows: what JSON makes of it, or would in such a field."""
    try:
        return json.dumps(_ANYTHING.dump_python(value, mode="json", warnings="error", fallback=_bare))
    except (PydanticSerializationError, TypeError, ValueError, RecursionError) as error:
        raise InvalidState(f"{op}: {name} cannot be kept as JSON: {error}") from None


_ANYTHING: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(Any, config=CONFIG)


def _bare(value: Any) -> Any:
    if isinstance(value, Ref):
        return {"path": value.path, "agent": value._cls_name}
    if isinstance(value, Transcript):
        return list(value)
    raise TypeError(f"{type(value).__name__} is no plain data")


def _spec(what: Any, numbers: Numbers) -> Any:
    if isinstance(what, type) and issubclass(what, Agent):
        return {"class": _class(what, numbers)}
    if isinstance(what, Child):
        plain = {f.name: _limits(getattr(what, f.name)) for f in dataclasses.fields(Child) if f.name not in _OWN}
        cls: Any = what.what
        fields = _fields(cls, dict(what.fields)) if isinstance(cls, type) and issubclass(cls, Agent) else {}
        return {"child": plain, "of": _spec(what.what, numbers), "fields": fields, "checked": what.checked}
    if isinstance(what, Supervisor):
        flags = {f.name: _limits(getattr(what, f.name)) for f in dataclasses.fields(Supervisor) if f.name not in _OWN}
        return {"supervisor": flags, "name": what.name, "of": [_spec(kid, numbers) for kid in what.children]}
    raise InvalidSpec(
        f"there is nothing to start; give an agent class, a child(...) or a Supervisor(...). Got {what!r}",
        kind="missing_start", value=what,
    )  # fmt: skip


_OWN = frozenset({"what", "fields", "checked", "name", "children"})


_LIMITS: dict[str, type[Any]] = {"Backoff": Backoff, "Limit": Limit, "Budget": Budget}
"""Options that are values of their own."""


def _limits(value: Any) -> Any:
    if isinstance(value, (Backoff, Limit, Budget)):
        return {"is": type(value).__name__, "v": dataclasses.asdict(value)}
    return value


def _fields(cls: type[Agent], values: dict[str, Any]) -> dict[str, Any]:
    """Values for fields of a class that is known here: JSON texts, or bare where they do not fit, which is refused."""
    return {name: _field(cls.__agent_fields__.get(name), value) for name, value in values.items()}


def _field(field: Field | None, value: Any) -> Any:
    try:
        if field is not None and field.grows:
            return {"texts": (value if isinstance(value, Transcript) else Transcript(value)).dump()}
        if field is not None:
            return {"texts": field.dump(value)}
    except InvalidState:
        pass
    return {"bare": value}


def _class(cls: type[Agent], numbers: Numbers) -> Any:
    number = numbers(cls)
    if number is not None:
        return number
    data = pack_class(cls)
    mark = cloudpickle.cloudpickle._DYNAMIC_CLASS_TRACKER_BY_CLASS.get(cls)  # none if it is found by its name
    return {"module": cls.__module__, "name": cls.__qualname__, "mark": mark, "about": _about(cls), "data": data}


def _about(cls: type[Agent]) -> dict[str, Any]:
    """What the kernel must know of a class."""
    fields = [
        [field.name, field.grows, None if field.required else _field(field, field.default)["texts"]]
        for field in cls.__agent_fields__.values()
    ]
    hooks = [name for name in HOOKS if hasattr(cls, name)]
    methods = {name: _parameters(getattr(cls, name)) for name in (*sorted(cls.__agent_messages__), *hooks)}
    return {"fields": fields, "methods": methods, "trap_exit": cls.trap_exit}


def _parameters(function: Callable[..., Any]) -> list[Any]:
    parameters = inspect.signature(function).parameters.values()
    return [[p.name, int(p.kind), p.default is not p.empty] for p in parameters]


# in the kernel


Classes = Callable[[int], type[Agent]]
"""The class of a number."""


def read_start(text: str, classes: Classes, link: Link) -> tuple[Any, str | None, str | None, dict[str, Any]]:
    """What ``lab.start`` was given: what, id, under, options."""
    given = decode(text, link, objects=False)
    what = _read_spec(given["what"], classes)
    options = {name: _read_limits(value) for name, value in given["options"].items()}
    return what, given["id"], given["under"], {**options, **_read_fields(what, given["fields"])}


def read_control(
    op: str, text: str, classes: Classes, link: Link, kind: Callable[[], type[Agent]]
) -> tuple[Any, ...]:  # fmt: skip
    """The arguments of a control operation; ``kind``: the class of the agent that it is about."""
    args: tuple[Any, ...] = decode(text, link, objects=False)
    if OPERATIONS[op].reason is not None:
        return tuple(decode_reason(arg) for arg in args)
    if op == "start_child":
        return (_read_spec(args[0], classes), *args[1:])
    if OPERATIONS[op].fields:
        *rest, texts = args
        known = kind().__agent_fields__
        return (*rest, {name: known[name].read(text) if name in known else None for name, text in texts.items()})
    return args


def _read_spec(data: Any, classes: Classes) -> Any:
    if "class" in data:
        return _read_class(data["class"], classes)
    if "supervisor" in data:
        kids = tuple(_read_spec(kid, classes) for kid in data["of"])
        flags = {name: _read_limits(value) for name, value in data["supervisor"].items()}
        return Supervisor.unchecked(data["name"], kids, **flags)
    what = _read_spec(data["of"], classes)
    plain = {name: _read_limits(value) for name, value in data["child"].items()}
    return Child(what=what, fields=_read_fields(what, data["fields"]), checked=data["checked"], **plain)


def _read_limits(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"is", "v"}:
        return _LIMITS[value["is"]](**value["v"])
    return value


def _read_fields(what: Any, fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: load(what.__agent_fields__[name], value["texts"]) if "texts" in value else value["bare"]
        for name, value in fields.items()
    }


def _read_class(data: Any, classes: Classes) -> type[Agent]:
    """The class: the kernel's own where it has it, of the very version that the agent knows; else a stand-in."""
    if isinstance(data, int):
        return classes(data)
    mark = data["mark"]
    if mark is None:
        found: Any = known_class(data["module"], data["name"])
    else:
        found = cloudpickle.cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(mark)
    if isinstance(found, type) and issubclass(found, Agent):
        return found
    name = mark or f"{data['module']}:{data['name']}"
    made = _stand_ins.get(name)
    if made is None:
        made = _stand_ins[name] = _stand_in(data)
    return made


class StandIn(Agent):
    """Stands in the kernel for an agent class that only nodes have; nodes run the class itself."""


_stand_ins: WeakValueDictionary[str, type[StandIn]] = WeakValueDictionary()


def _stand_in(data: dict[str, Any]) -> type[StandIn]:
    about, name = data["about"], data["name"]
    fields = {}
    for field, grows, texts in about["fields"]:
        made = fields[field] = Field(name, field, Transcript if grows else Any, MISSING)
        if texts is not None:
            made.default = load(made, texts)
    body = {
        "__module__": data["module"], "__qualname__": name, "__agent_fields__": fields, "_stands_in": True,
        "_travels_as": data["data"], "trap_exit": about["trap_exit"],
        **{method: _stub(method, parameters) for method, parameters in about["methods"].items()},
    }  # fmt: skip
    return type(name.rsplit(".", 1)[-1], (StandIn,), body)


def _stub(name: str, parameters: list[Any]) -> Callable[..., Any]:
    """A method with that signature; it is never called."""

    def stub(self: Any, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError

    made = [
        inspect.Parameter(word, inspect._ParameterKind(kind), default=None if has else inspect.Parameter.empty)
        for word, kind, has in parameters
    ]
    stub.__name__ = name
    stub.__signature__ = inspect.Signature(made)  # type: ignore[attr-defined]  # inspect looks for it
    return stub
