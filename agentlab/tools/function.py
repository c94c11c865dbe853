"""Tools from functions: what a model may ask an agent to do.

    @tool
    def add(a: float, b: float) -> float:
        "Add two numbers."
        return a + b

The schema that the model sees comes from the annotations and the docstring; what the model sends is checked against
it before the function runs. Everything a model sends is data: a name, a JSON object, never code.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, overload

import pydantic

from agentlab.errors import InvalidSpec, StepFailed, ToolFailed
from agentlab.exits import Exit
from agentlab.faults import fault
from agentlab.ground.redaction import redact
from agentlab.ground.words import spelt
from agentlab.tools.isolated import Call, Limits
from agentlab.tools.process import Untold, as_text
from agentlab.tools.schema import input_model, read_docstring, schema_of, short, types_of
from agentlab.tools.threads import in_thread

MAX_RESULT = 50_000
"""Characters of a result that a model gets to see, unless a tool says otherwise."""

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class Tool:
    """A function that a model may call.

    Where a model or a step calls it, a plain ``def`` runs in a thread of its own, so that the agent's loop goes on.

    Args:
        function: Typed, sync or async. Each parameter needs an annotation that pydantic can read from JSON.
        name: What the model calls it; the function's name if left out.
        once: It must never run twice for one journal entry.
        max_result: Characters of a result, the rest is cut off with a note.
        approve: Each call waits until a person says yes: ``ref.approvals()``, ``ref.approve(...)``.
        isolated: Each call runs in a process of its own, which may be killed and which dies with its node.
        timeout: Seconds for one call (> 0); at its end an async function is cancelled and a process killed. A thread
            cannot be killed: it is told to end, and one that blocks in C code runs on, unheard.
        max_memory: Bytes beside those of an interpreter that has loaded the function, with ``isolated`` only.
        types: The parameters' types; the function's annotations if left out.
    """

    def __init__(  # as a tool has options
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        once: bool = False,
        max_result: int = MAX_RESULT,
        approve: bool = False,
        isolated: bool = False,
        timeout: float | None = None,
        max_memory: int | None = None,
        types: Mapping[str, Any] | None = None,
    ) -> None:
        self.function = function
        self.name: str = name or str(getattr(function, "__name__", ""))
        self.__name__ = self.name
        self.kind = "tool"
        self.once = once
        self.max_result = max_result
        self.approve = approve
        self.isolated = isolated
        self.timeout = timeout
        self.max_memory = max_memory
        self._check_options()
        text, described = read_docstring(inspect.getdoc(function) or "")
        self.description = text
        self._types = dict(types_of(self.name, function) if types is None else types)
        self._input = input_model(self.name, function, self._types, described)
        self.schema: dict[str, Any] = schema_of(self.name, self._input)

    def _check_options(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidSpec(
                f"tool {self.name!r}: a name is 1 to 64 letters, digits, _ or -. Use @tool(name=...).", value=self.name
            )
        if self.max_result < 1:
            raise self._invalid(f"max_result must be at least 1; got {self.max_result}", self.max_result)
        if self.timeout is not None and not (0 < self.timeout < math.inf):
            raise self._invalid(f"timeout must be seconds above 0; got {self.timeout!r}", self.timeout)
        if self.max_memory is not None and not self.isolated:
            raise self._invalid(
                "max_memory needs isolated=True: in a process that others share nobody's memory can be limited",
                self.max_memory,
            )
        if self.max_memory is not None and self.max_memory < 1:
            raise self._invalid(f"max_memory must be at least 1 byte; got {self.max_memory!r}", self.max_memory)

    def _invalid(self, why: str, value: Any) -> InvalidSpec:
        return InvalidSpec(f"tool {self.name!r}: {why}", value=value)

    @property
    def options(self) -> dict[str, Any]:
        """What it was made with beside its function, where that is not the default."""
        names = ("once", "approve", "isolated", "timeout", "max_memory")
        given = {name: getattr(self, name) for name in names}
        return {name: value for name, value in given.items() if value}

    def __repr__(self) -> str:
        return f"Tool({', '.join([self.name, *(f'{name}={value}' for name, value in self.options.items())])})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Rebuilt where it arrives: the model made from the types does not travel. The types do, for annotations that
        # are text can only be read beside the function's own module.
        given = {**self.options, "name": self.name, "max_result": self.max_result, "types": self._types}
        return _rebuild, (self.function, given)

    def spec(self) -> dict[str, Any]:
        """The tool as the Messages API wants it."""
        return {"name": self.name, "description": self.description, "input_schema": self.schema}

    async def run(self, input: Mapping[str, Any]) -> str:  # noqa: A002 - the API's word
        """Check the input, call the function, return its result as text.

        Raises:
            ToolFailed: The input does not fit the schema, the function raised, or it met a limit; the message is for
                the model.
            StepFailed: The same of a tool that runs once, when it had begun: nobody knows what it did.
        """
        outside(self)
        arguments = self._arguments(input)
        try:
            text = await self._outcome(arguments, text=True)
        except Exit:
            raise
        except (ToolFailed, Untold) as error:
            text = str(error) if isinstance(error, ToolFailed) else f"{self.name} {error}"
            raise self._failure(text, error) from error
        except Exception as error:
            raise self._failure(f"{self.name} failed: {type(error).__name__}: {error}", error) from error
        return self._cut(redact(text))

    async def _outcome(self, arguments: dict[str, Any], *, text: bool) -> Any:
        """Call the function where it belongs and keep its limits; its result, perhaps as text."""
        if self.isolated:
            call = self._call(arguments, text=text)
            return await in_thread(call.run, f"agentlab-tool-{self.name}", call.kill)
        try:
            async with asyncio.timeout(self.timeout) as limit:
                result = await self._result(arguments)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise ToolFailed(f"{self.name} failed: {self._late()}", fault("tool_failed")) from error
        return as_text(result) if text else result

    async def _result(self, arguments: dict[str, Any]) -> Any:
        if inspect.iscoroutinefunction(self.function):
            return await self.function(**arguments)
        call = functools.partial(self.function, **arguments)
        result = await in_thread(call, f"agentlab-tool-{self.name}")
        return await result if inspect.isawaitable(result) else result

    def _call(self, arguments: dict[str, Any], *, text: bool) -> Call:
        return Call(self.name, self.function, arguments, Limits(self.timeout, self.max_memory), as_text=text)

    def _late(self) -> str:
        late = f"it was not done at its timeout of {self.timeout:g} s"
        if inspect.iscoroutinefunction(self.function):
            return f"{late}, and was cancelled"
        return f"{late}; its thread was told to end, and what it does until then is not heard (isolated=True kills it)"

    def _failure(self, text: str, error: Exception) -> StepFailed:
        """Why a call gave nothing: of a tool that runs once this is no answer for the model, who would try again."""
        kind = error.fault if isinstance(error, StepFailed) else fault("tool_failed")
        if not self.once:
            return ToolFailed(text, kind)
        return StepFailed(
            f"{text}. It runs once and had begun, so it is in doubt whether it happened: ref.doubts() shows it, "
            "ref.settle(...) decides.",
            fault("in_doubt"),
        )

    def check(self, *args: Any, **kwargs: Any) -> None:
        """Refuse arguments that do not fit, without running anything; they are as in a call.

        Raises:
            TypeError: The function has no such parameter, or lacks one.
            ToolFailed: Says what does not fit, and what would.
        """
        self._arguments(args[0] if _is_input(args, kwargs) else self._named(args, kwargs))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function, with checked arguments, here and now: ``multiply(6, 7)``; a ``timeout`` is not kept.

        One mapping alone is what a model sends: then it is as ``run``, and the result is text.

        Raises:
            TypeError, ToolFailed: As ``check``.
        """
        if _is_input(args, kwargs):
            return self.run(args[0])
        outside(self)
        arguments = self._arguments(self._named(args, kwargs))
        if not self.isolated:
            return self.function(**arguments)
        if inspect.iscoroutinefunction(self.function):
            return self._outcome(arguments, text=False)
        return self._call(arguments, text=False).run()

    def in_step(self, *args: Any, **kwargs: Any) -> Any:
        """The same where a step calls it, to be awaited: off the agent's loop, with all its limits."""
        if _is_input(args, kwargs):
            return self.run(args[0])
        outside(self)
        return self._outcome(self._arguments(self._named(args, kwargs)), text=False)

    def _named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            return inspect.signature(self.function).bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{self.name}{inspect.signature(self.function)}: {error}") from None

    def _arguments(self, given: Any) -> dict[str, Any]:
        try:
            checked = self._input.model_validate(given)
        except pydantic.ValidationError as error:
            lines = [f"- {'.'.join(map(str, e['loc'])) or 'input'}: {e['msg']}, got {short(e)}" for e in error.errors()]
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
    *,
    name: str | None = None,
    once: bool = False,
    max_result: int = MAX_RESULT,
    approve: bool = False,
    isolated: bool = False,
    timeout: float | None = None,
    max_memory: int | None = None,
) -> Callable[[Callable[..., Any]], Tool]: ...
@spelt
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    once: bool = False,
    max_result: int = MAX_RESULT,
    approve: bool = False,
    isolated: bool = False,
    timeout: float | None = None,
    max_memory: int | None = None,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a typed function a tool: ``@tool``, or with options, which are those of ``Tool``.

    ``@tool(once=True)``: it must never run twice. ``@tool(approve=True)``: a person is asked before.
    ``@tool(isolated=True, timeout=30, max_memory=1 << 30)``: each call in a process of its own, killed at its limits.
    """

    def make(function: Callable[..., Any]) -> Tool:
        return Tool(
            function, name=name, once=once, max_result=max_result, approve=approve, isolated=isolated, timeout=timeout,
            max_memory=max_memory,
        )  # fmt: skip

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


def _rebuild(function: Callable[..., Any], given: Mapping[str, Any]) -> Tool:
    return Tool(function, **given)
