"""Answers of a given type: the schema that a model is shown, and the value in what it says. Pure.

The value is found in prose and behind a Markdown fence too, as long as the JSON itself is whole; what does not fit is
said in words that a model can act on.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import pydantic
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from agentlab.errors import InvalidArgument

JSON = dict[str, Any]  # a JSON object

# Keywords that providers refuse in the schema of an answer: the description tells the model, pydantic checks.
_TOLD = (
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern",
    "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties",
)  # fmt: skip
_SHOWN_ERRORS = 8


class Misfit(Exception):
    """An answer that is no value of the type; its text is for the model."""


class Shape:
    """A type, as a model is asked for it.

    Args:
        type_: Whatever pydantic reads from JSON: a model, a dataclass, ``list[int]``, ``Literal["a", "b"]`` ...

    Raises:
        InvalidArgument: pydantic cannot make a schema of it.
    """

    def __init__(self, type_: Any) -> None:  # a class, or a form of typing
        try:
            self._adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(type_)
            self.schema: JSON = _strict(self._adapter.json_schema())
        except (pydantic.PydanticUserError, TypeError, NameError) as error:
            raise InvalidArgument(
                f"ask_for: {type_!r:.200} has no JSON schema, so no model can answer with it: {_first(error)}. "
                "Give a pydantic model, a dataclass, or a type such as list[int].",
                argument="type",
            ) from None

    @property
    def output_config(self) -> JSON:
        """What the request says of it."""
        return {"format": {"type": "json_schema", "schema": self.schema}}

    def read(self, text: str) -> Any:
        """The value in an answer.

        Raises:
            Misfit: There is no JSON in it, or none that fits; says why.
        """
        found: list[Any] = _values(text)
        wrong: pydantic.ValidationError | None = None
        for value in found:
            try:
                return self._adapter.validate_json(json.dumps(value))
            except pydantic.ValidationError as error:
                wrong = wrong or error
        if wrong is None:
            raise Misfit(
                f"There is no whole JSON value in it. It must be JSON of this schema: {json.dumps(self.schema)}"
            )
        lines = [
            f"- {'.'.join(map(str, e['loc'])) or 'the value'}: {e['msg']}, got {e['input']!r:.80}"
            for e in wrong.errors()
        ]
        raise Misfit("The JSON does not fit the schema:\n" + "\n".join(lines[:_SHOWN_ERRORS]))


def _first(error: Exception) -> str:
    """What pydantic says first: what follows is about its settings and its manual."""
    return str(error).partition("\n\n")[0].rstrip(".")[:300]


class _Answerable:
    """Has pydantic refuse a type that no model can answer with."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, type_: Any) -> Any:
        try:
            Shape(type_)
        except InvalidArgument as error:
            why = str(error).removeprefix("ask_for: ").removesuffix(".")
            raise PydanticCustomError("no_schema", "{why}", {"why": why}) from None
        return type_

    def __repr__(self) -> str:
        return "of which there is a JSON schema"


Answerable = Annotated[Any, _Answerable()]
"""A type to answer with: refused where the call is made if it has no schema, so that no agent dies of it."""


def _values(text: str) -> list[Any]:
    """The JSON values in a text that may be its answer, the likeliest first: all of it, else the largest inside."""
    try:
        return [json.loads(text)]
    except (ValueError, RecursionError):
        pass
    decoder, found, at = json.JSONDecoder(), [], 0
    while (at := _next_start(text, at)) >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at += 1
            continue
        found.append((end - at, value))
        at = end
    return [value for _, value in sorted(found, key=lambda each: -each[0])]


def _next_start(text: str, at: int) -> int:
    starts = [place for place in (text.find("{", at), text.find("[", at)) if place >= 0]
    return min(starts, default=-1)


def _strict(schema: Any) -> Any:
    """The schema as providers take it: no property that is not named, and limits told in words."""
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    named = {"properties", "$defs"}  # below these, keys are names
    made = {
        key: {name: _strict(each) for name, each in value.items()} if key in named else _strict(value)
        for key, value in schema.items()
        if key not in _TOLD and key != "default"
    }
    limits = ", ".join(f"{key}: {schema[key]}" for key in _TOLD if key in schema)
    if limits:
        made["description"] = "; ".join(part for part in (schema.get("description"), limits) if part)
    if schema.get("type") == "object" and "properties" in schema:
        made.setdefault("additionalProperties", False)
    return made
