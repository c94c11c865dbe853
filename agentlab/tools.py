"""Tools from functions: what a model may ask an agent to do.

    @tool
    def add(a: float, b: float) -> float:
        "Add two numbers."
        return a + b

The schema that the model sees comes from the annotations and the docstring; what the model sends is checked against
it before the function runs. Everything a model sends is data: a name, a JSON object, never code.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, overload

import pydantic
from pydantic_core import to_json

from agentlab.errors import InvalidSpec, ToolFailed
from agentlab.exits import Exit
from agentlab.faults import fault
from agentlab.ground.redaction import redact
from agentlab.ground.words import spelt

MAX_RESULT = 50_000
"""Characters of a result that a model gets to see, unless a tool says otherwise."""

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class Tool:
    """A function that a model may call.

    Args:
        function: Typed, sync or async. Each parameter needs an annotation that pydantic can read from JSON.
        name: What the model calls it; the function's name if left out.
        once: It must never run twice for one journal entry.
        max_result: Characters of a result, the rest is cut off with a note.
        types: The parameters' types; the function's annotations if left out.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        once: bool = False,
        max_result: int = MAX_RESULT,
        types: Mapping[str, Any] | None = None,
    ) -> None:
        self.function = function
        self.name: str = name or str(getattr(function, "__name__", ""))
        self.__name__ = self.name
        self.kind = "tool"
        self.once = once
        self.max_result = max_result
        if not _NAME.fullmatch(self.name):
            raise InvalidSpec(
                f"tool {self.name!r}: a name is 1 to 64 letters, digits, _ or -. Use @tool(name=...).", value=self.name
            )
        if max_result < 1:
            raise InvalidSpec(f"tool {self.name!r}: max_result must be at least 1; got {max_result}", value=max_result)
        text, described = _read_docstring(inspect.getdoc(function) or "")
        self.description = text
        self._types = dict(_types(self.name, function) if types is None else types)
        self._input = _input_model(self.name, function, self._types, described)
        self.schema: dict[str, Any] = _schema(self.name, self._input)

    def __repr__(self) -> str:
        return f"Tool({self.name}{', once=True' if self.once else ''})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Rebuilt where it arrives: the model made from the types does not travel. The types do, for annotations that
        # are text can only be read beside the function's own module.
        return _rebuild, (self.function, self.name, self.once, self.max_result, self._types)

    def spec(self) -> dict[str, Any]:
        """The tool as the Messages API wants it."""
        return {"name": self.name, "description": self.description, "input_schema": self.schema}

    async def run(self, input: Mapping[str, Any]) -> str:  # noqa: A002 - the API's word
        """Check the input, call the function, return its result as text.

        Raises:
            ToolFailed: The input does not fit the schema, or the function raised; the message is for the model.
        """
        outside(self)
        arguments = self._arguments(input)
        try:
            result = self.function(**arguments)
            if inspect.isawaitable(result):
                result = await result
        except Exit:
            raise
        except Exception as error:
            raise ToolFailed(f"{self.name} failed: {type(error).__name__}: {error}", fault("tool_failed")) from error
        return self._cut(redact(self._text(result)))

    def check(self, *args: Any, **kwargs: Any) -> None:
        """Refuse arguments that do not fit, without running anything; they are as in a call.

        Raises:
            TypeError: The function has no such parameter, or lacks one.
            ToolFailed: Says what does not fit, and what would.
        """
        self._arguments(args[0] if _is_input(args, kwargs) else self._named(args, kwargs))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function, with checked arguments: ``multiply(6, 7)``, ``await self.step(search, query="tea")``.

        One mapping alone is what a model sends: then it is as ``run``, and the result is text.

        Raises:
            TypeError, ToolFailed: As ``check``.
        """
        if _is_input(args, kwargs):
            return self.run(args[0])
        outside(self)
        return self.function(**self._arguments(self._named(args, kwargs)))

    def _named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            return inspect.signature(self.function).bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{self.name}{inspect.signature(self.function)}: {error}") from None

    def _arguments(self, given: Any) -> dict[str, Any]:
        try:
            checked = self._input.model_validate(given)
        except pydantic.ValidationError as error:
            lines = [
                f"- {'.'.join(map(str, e['loc'])) or 'input'}: {e['msg']}, got {_short(e)}" for e in error.errors()
            ]
            allowed = ", ".join(self.schema["properties"]) or "none"
            raise ToolFailed(
                f"{self.name} was not run, its input does not fit:\n" + "\n".join(lines) + f"\nParameters: {allowed}.",
                fault("bad_arguments"),
            ) from None
        return {
            field.alias or name: getattr(checked, name)
            for name, field in type(checked).model_fields.items()
            if name in checked.model_fields_set
        }

    def _text(self, result: Any) -> str:
        if isinstance(result, str):
            return result.encode("utf-8", "replace").decode()
        try:
            return to_json(result, inf_nan_mode="constants").decode()
        except ValueError as error:
            raise ToolFailed(
                f"{self.name} returned {type(result).__name__}, which is neither text nor JSON: {str(error)[:200]}",
                fault("tool_failed"),
            ) from None

    def _cut(self, text: str) -> str:
        if len(text) <= self.max_result:
            return text
        return f"{text[: self.max_result]}\n[cut: these are the first {self.max_result} of {len(text)} characters]"


def _nobody(tool: Tool) -> None:
    """Outside an agent a tool is a function like any other."""


outside: Callable[[Tool], None] = _nobody
"""Told of each call of a tool: a node puts its own here, which looks whether an agent's code made it in a step."""


def _is_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return len(args) == 1 and not kwargs and isinstance(args[0], Mapping)


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *, name: str | None = None, once: bool = False, max_result: int = MAX_RESULT
) -> Callable[[Callable[..., Any]], Tool]: ...
@spelt
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    once: bool = False,
    max_result: int = MAX_RESULT,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a typed function a tool: ``@tool``, or ``@tool(once=True)`` if it must never run twice."""

    def make(function: Callable[..., Any]) -> Tool:
        return Tool(function, name=name, once=once, max_result=max_result)

    return make if function is None else make(function)


def by_name(tools: Iterable[Tool | Callable[..., Any]]) -> dict[str, Tool]:
    """The tools under their names; plain functions become tools, two of one name are refused."""
    found: dict[str, Tool] = {}
    for each in tools:
        made = each if isinstance(each, Tool) else _made(each)
        if made.name in found:
            raise InvalidSpec(f"two tools are named {made.name!r}: names must be unique", value=made.name)
        found[made.name] = made
    return found


@functools.lru_cache(maxsize=1024)
def _made(function: Callable[..., Any]) -> Tool:
    return Tool(function)


def _rebuild(function: Callable[..., Any], name: str, once: bool, max_result: int, types: Mapping[str, Any]) -> Tool:
    return Tool(function, name=name, once=once, max_result=max_result, types=types)


def _types(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception as error:
        raise InvalidSpec(f"tool {name!r}: an annotation cannot be resolved: {error}", value=name) from None
    return {key: hint for key, hint in hints.items() if key != "return"}


def _input_model(
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


def _schema(name: str, model: type[pydantic.BaseModel]) -> dict[str, Any]:
    try:
        schema = model.model_json_schema()
    except pydantic.PydanticUserError as error:
        raise InvalidSpec(f"tool {name!r}: a parameter's type cannot come from JSON: {error}", value=name) from None
    properties = {key: {k: v for k, v in p.items() if k != "title"} for key, p in schema["properties"].items()}
    return {**{k: v for k, v in schema.items() if k not in ("title", "description")}, "properties": properties}


def _read_docstring(text: str) -> tuple[str, dict[str, str]]:
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


def _short(error: Any) -> str:  # one of pydantic's ErrorDetails
    shown = "nothing" if error["type"] == "missing" else json.dumps(error["input"], default=repr)
    return shown if len(shown) <= 80 else shown[:77] + "..."
