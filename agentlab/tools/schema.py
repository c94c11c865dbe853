"""What a model sees of a function, and what it may send: by the function's annotations and docstring."""

from __future__ import annotations

import inspect
import json
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any

import pydantic

from agentlab.errors import InvalidSpec


def types_of(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    """The types of a function's parameters."""
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception as error:
        raise InvalidSpec(f"tool {name!r}: an annotation cannot be resolved: {error}", value=name) from None
    return {key: hint for key, hint in hints.items() if key != "return"}


def input_model(
    name: str, function: Callable[..., Any], types: Mapping[str, Any], described: Mapping[str, str]
) -> type[pydantic.BaseModel]:
    """A model with a field for each parameter, behind names that cannot clash with pydantic's own."""
    fields: dict[str, Any] = {}
    for i, (key, parameter) in enumerate(inspect.signature(function).parameters.items()):
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise InvalidSpec(f"tool {name!r}: parameter {key!r} is {parameter.kind.description}; a model passes names")
        if key not in types:
            raise InvalidSpec(f"tool {name!r}: parameter {key!r} has no type; write {key}: str, for one", value=key)
        default = ... if parameter.default is parameter.empty else parameter.default
        extra: dict[str, Any] = {"description": described[key]} if key in described else {}
        fields[f"field_{i}"] = (types[key], pydantic.Field(default, alias=key, title=key, **extra))
    config = pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=False)
    try:
        return pydantic.create_model(name, __config__=config, **fields)
    except pydantic.PydanticUserError as error:
        raise InvalidSpec(f"tool {name!r}: a parameter's type cannot come from JSON: {error}", value=name) from None


def schema_of(name: str, model: type[pydantic.BaseModel]) -> dict[str, Any]:
    """The JSON schema of what a model may send."""
    try:
        schema = model.model_json_schema()
    except pydantic.PydanticUserError as error:
        raise InvalidSpec(f"tool {name!r}: a parameter's type cannot come from JSON: {error}", value=name) from None
    properties = {key: {k: v for k, v in p.items() if k != "title"} for key, p in schema["properties"].items()}
    return {**{k: v for k, v in schema.items() if k not in ("title", "description")}, "properties": properties}


def read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """The description, and what the ``Args:`` section says of each parameter."""
    before, _, after = text.partition("\nArgs:\n")
    section, _, rest = after.partition("\n\n")
    described: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        entry = re.fullmatch(r"\s+\*{0,2}(\w+)(?: \(.*?\))?: (.*)", line)
        if entry:
            name = entry[1]
            described[name] = entry[2].strip()
        elif name:
            described[name] += " " + line.strip()
    return "\n\n".join(part.strip() for part in (before, rest) if part.strip()), described


def short(error: Any) -> str:  # one of pydantic's ErrorDetails
    """What was given, cut."""
    shown = "nothing" if error["type"] == "missing" else json.dumps(error["input"], default=repr)
    return shown if len(shown) <= 80 else shown[:77] + "..."
