"""The settings of an assistant's class: one that no call could be made with is refused where it is written."""

from __future__ import annotations

from typing import Any

import pytest

from agentlab import Assistant, mcp, tool
from agentlab.errors import InvalidSpec


@tool
def search(text: str) -> str:
    """Search."""
    return text


def count(text: str) -> int:
    """A plain function, with types."""
    return len(text)


def written(**settings: Any) -> type[Assistant]:
    """A class with these settings."""
    return type("Clerk", (Assistant,), {"__module__": __name__, **settings})


@pytest.mark.parametrize(
    ("setting", "value"),
    [("max_tokens", 0), ("max_tokens", "many"), ("max_tokens", 1.5), ("max_tokens", None), ("max_tokens", 10**30),
     ("max_turns", 0), ("max_turns", True), ("max_repairs", -1), ("max_repeats", 0), ("budget", -1),
     ("budget", float("nan")), ("base_url", "localhost:80"), ("base_url", 80), ("system", 5), ("tools", None),
     ("tools", search), ("tools", "search"), ("tools", [5]), ("tools", mcp("files")),
     pytest.param("tools", iter([search]), id="tools-iterator")],
    ids=str,
)  # fmt: skip
def test_a_setting_that_cannot_be_is_refused_by_name(setting, value):
    """Class, setting, value, and what it may be."""
    with pytest.raises(InvalidSpec, match=f"Clerk: {setting} must be .*; got ") as refused:
        written(**{setting: value})

    assert refused.value.kind == "invalid_setting"


@pytest.mark.parametrize(
    ("tools", "why"),
    [([search, count, tool(name="search")(count)], "two tools are named 'search'"), ([search, search], "'search'"),
     ([len], "tool 'len': parameter 'obj' is positional-only"), ([lambda: None], "'<lambda>'")],
    ids=["of one name", "the same twice", "by place only", "without a name"],
)  # fmt: skip
def test_tools_that_no_model_could_be_told_of_are_refused_where_the_class_is_written(tools, why):
    """A message would find it out, and its agent die of it at each delivery."""
    with pytest.raises(InvalidSpec, match=f"Clerk: tools: .*{why}") as refused:
        written(tools=tools)

    assert refused.value.kind == "invalid_setting"


@pytest.mark.parametrize("model", [5, None, object(), dict])
def test_an_object_that_is_no_model_is_refused_where_the_class_is_written(model):
    """As a misspelt name is."""
    with pytest.raises(InvalidSpec, match="which has no method create"):
        written(model=model)


def test_what_can_be_is_taken():
    """Also what is worked out when it is asked for, and what only an address makes a model's name."""
    written(max_repeats=None, budget=0, max_repairs=0, tools=[search, count, mcp("files")], system="Be kind.")
    written(system=property(lambda self: f"You are {self.id}."))
    named = written(model="some-weights", base_url="http://127.0.0.1:9")

    assert type("Child", (named,), {"__module__": __name__}).model == "some-weights"
