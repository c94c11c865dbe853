"""Values as JSON text that comes back as it was: for whatever the store must keep of a message or a step.

Plain JSON stays as it is. What JSON does not know is written as ``{"$": kind, "v": ...}``: tuples, sets,
bytes, times, refs, and instances of dataclasses, pydantic models and enums. Reading never imports anything
and never builds anything but these: a class is looked up among the modules that are loaded already.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import decimal
import enum
import json
import pathlib
import sys
import uuid
from collections.abc import Callable
from typing import Any

import pydantic
from pydantic_core import PydanticSerializationError

from agentlab.ref.link import Link
from agentlab.ref.many import Refs
from agentlab.ref.ref import Ref

_AS_IS = frozenset({str, int, float, bool, type(None)})

_SIMPLE: dict[type, tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = {
    bytes: ("bytes", lambda v: base64.b64encode(v).decode(), base64.b64decode),
    dt.datetime: ("datetime", lambda v: v.isoformat(), dt.datetime.fromisoformat),
    dt.date: ("date", lambda v: v.isoformat(), dt.date.fromisoformat),
    dt.time: ("time", lambda v: v.isoformat(), dt.time.fromisoformat),
    dt.timedelta: (
        "timedelta",
        lambda v: [v.days, v.seconds, v.microseconds],
        lambda v: dt.timedelta(v[0], v[1], v[2]),
    ),
    decimal.Decimal: ("decimal", str, decimal.Decimal),
    uuid.UUID: ("uuid", str, uuid.UUID),
    complex: ("complex", lambda v: [v.real, v.imag], lambda v: complex(*v)),
    pathlib.PosixPath: ("path", str, pathlib.Path),
}
"""Types with one text: their word, the way there, the way back."""

_READ = {word: back for word, _, back in _SIMPLE.values()}


def encode(value: Any, what: str) -> str:
    """A value as JSON text.

    Args:
        value: Plain data, times, refs, dataclasses, pydantic models, enums, and collections of them.
        what: What it is, for the error.

    Raises:
        TypeError: Something in it cannot be kept as JSON; says where and what.
    """
    try:
        return json.dumps(_write(value, "$"))
    except RecursionError:
        raise TypeError(f"{what} cannot be stored: it contains itself, or is nested too deeply.") from None
    except TypeError as error:
        raise TypeError(f"{what} cannot be stored: {error}") from None


def _write(value: Any, where: str) -> Any:
    kind = type(value)
    if kind in _AS_IS:
        return value
    if kind is list:
        return [v if type(v) in _AS_IS else _write(v, f"{where}[{n}]") for n, v in enumerate(value)]
    if kind is dict:
        return _write_dict(value, where)
    if kind is tuple:
        return {"$": "tuple", "v": _write(list(value), where)}
    if kind in (set, frozenset):
        return {"$": kind.__name__, "v": _write(sorted(value, key=repr), where)}
    if kind in _SIMPLE:
        word, there, _ = _SIMPLE[kind]
        return {"$": word, "v": there(value)}
    if isinstance(value, Ref):
        return {"$": "ref", "v": [value.path, value._cls_name]}
    if isinstance(value, Refs):
        return {"$": "refs", "v": [[ref.path, ref._cls_name] for ref in value]}
    return _write_object(value, where)


def _write_dict(value: dict[Any, Any], where: str) -> Any:
    if all(type(key) is str for key in value) and "$" not in value:
        return {key: v if type(v) in _AS_IS else _write(v, f"{where}.{key}") for key, v in value.items()}
    pairs = [[_write(key, where), _write(v, f"{where}[{key!r}]")] for key, v in value.items()]
    return {"$": "dict", "v": pairs}


def _write_object(value: Any, where: str) -> Any:
    cls = type(value)
    named = f"{cls.__module__}:{cls.__qualname__}"
    if isinstance(value, enum.Enum):
        return {"$": "object", "c": named, "v": value.name}
    if isinstance(value, pydantic.BaseModel) or dataclasses.is_dataclass(value):
        try:
            return {"$": "object", "c": named, "v": pydantic.TypeAdapter(cls).dump_python(value, mode="json")}
        except (pydantic.PydanticSchemaGenerationError, PydanticSerializationError) as error:
            raise TypeError(f"{where} is {cls.__module__}.{cls.__qualname__}: {error}") from None
    raise TypeError(
        f"{where} is {cls.__module__}.{cls.__qualname__}. A lab with a file keeps messages and steps as JSON: "
        "pass plain data, a dataclass or a pydantic model."
    )


def decode(text: str, link: Link | None = None, *, objects: bool = True) -> Any:
    """The value back.

    Args:
        text: What ``encode`` wrote.
        link: What its refs hang on.
        objects: False: an instance of somebody's class, which that class would have to make, is refused.

    Raises:
        ValueError: No such text, or a class that this process has not defined.
    """
    if '"$"' not in text:
        return json.loads(text)
    return json.loads(text, object_hook=lambda found: _read(found, link, objects=objects) if "$" in found else found)


def _read(found: dict[str, Any], link: Link | None, *, objects: bool) -> Any:
    kind, value = found["$"], found["v"]
    if kind in _READ:
        return _READ[kind](value)
    if kind == "tuple":
        return tuple(value)
    if kind == "dict":
        return dict(value)
    if kind in ("set", "frozenset"):
        return set(value) if kind == "set" else frozenset(value)
    if kind == "ref" and link is not None:
        return link.ref(*value)
    if kind == "refs" and link is not None:
        return Refs([link.ref(*parts) for parts in value])
    if kind == "object" and not objects:
        raise TypeError(f"an instance of {found['c']} cannot be handed to the lab. Pass plain data.")
    if kind == "object":
        return _read_object(found["c"], value)
    raise ValueError(f"{kind!r} is no kind of stored value")


def _read_object(named: str, value: Any) -> Any:
    module, _, qualname = named.partition(":")
    cls: Any = sys.modules.get(module)
    for part in qualname.split("."):
        cls = getattr(cls, part, None)
    if isinstance(cls, type) and issubclass(cls, enum.Enum):
        return cls[value]
    if isinstance(cls, type) and (issubclass(cls, pydantic.BaseModel) or dataclasses.is_dataclass(cls)):
        return pydantic.TypeAdapter(cls).validate_python(value)
    raise ValueError(f"{named} is not defined in this process: define or import it, then try again")
