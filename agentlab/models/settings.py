"""The settings of an ``Assistant`` class, checked where the class is written: no agent dies of a misspelt one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from agentlab.errors import InvalidSpec
from agentlab.ground.given import shown
from agentlab.models.model import choose
from agentlab.tools import Tool, by_name
from agentlab.tools.mcp import McpTools

Check = Callable[[Any], bool]


def _count(least: int, *, none: bool = False) -> Check:
    def check(value: Any) -> bool:
        return (none and value is None) or (type(value) is int and least <= value < 10**12)

    return check


def _is_prompt(value: Any) -> bool:
    return value is None or isinstance(value, (str, list, tuple))


def _is_address(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.startswith(("http://", "https://")))


def _are_tools(value: Any) -> bool:
    if isinstance(value, (str, bytes)) or not isinstance(value, (Sequence, AbstractSet)):
        return False  # an iterator among them: it would have them for one question only
    return all(isinstance(each, (Tool, McpTools)) or callable(each) for each in value)


SETTINGS: Mapping[str, tuple[Check, str]] = {
    "base_url": (_is_address, "an address that begins with http:// or https://, or None"),
    "system": (_is_prompt, "a text"),
    "tools": (_are_tools, "a tuple or list of tools, typed functions and mcp(...): tools = (search,)"),
    "max_tokens": (_count(1), "an int >= 1"),
    "max_turns": (_count(1), "an int >= 1"),
    "max_repairs": (_count(0), "an int >= 0"),
    "max_repeats": (_count(1, none=True), "an int >= 1, or None"),
    "budget": (_count(0, none=True), "an int >= 0 (tokens), or None"),
}
"""What each may be, and how a person is told so."""


def check_settings(cls: type) -> None:
    """Refuse a class whose own settings no call could be made with; a property is asked when it is used.

    Raises:
        InvalidSpec: Names class, setting, value, and what it may be; or the tool.
    """
    own = {name: value for name, value in vars(cls).items() if not isinstance(value, property)}
    for name, (fits, words) in SETTINGS.items():
        if name in own and not fits(own[name]):
            raise InvalidSpec(
                f"{cls.__name__}: {name} must be {words}; got {shown(own[name])}",
                kind="invalid_setting", value=own[name],
            )  # fmt: skip
    if "tools" in own:
        _check_tools(cls, own["tools"])
    if own.keys() & {"model", "base_url"}:
        model: Any = getattr(cls, "model")  # noqa: B009  # of any class: Assistant is above this file
        if not isinstance(model, property):
            choose(model, getattr(cls, "base_url", None))


def _check_tools(cls: type, tools: Sequence[Any]) -> None:
    """Refuse functions that cannot be tools, and two of one name; what a server offers is known when it is asked.

    Raises:
        InvalidSpec: Names the class and the tool.
    """
    try:
        by_name(each for each in tools if not isinstance(each, McpTools))
    except InvalidSpec as error:
        raise InvalidSpec(f"{cls.__name__}: tools: {error}", kind="invalid_setting", value=error.value) from None
