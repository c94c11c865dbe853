"""Tools from functions: what the model sees, what it may send, what it gets back."""

from __future__ import annotations

import pickle
from datetime import date
from typing import Annotated, Any, Literal

import cloudpickle
import pytest
from pydantic import BaseModel, Field

from agentlab.errors import InvalidSpec, ToolFailed
from agentlab.exits import Exit
from agentlab.tools import Tool, by_name, tool


class Place(BaseModel):
    """A value with parts."""

    city: str
    floor: int = 0


@tool
def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


@tool(once=True, max_result=200)
async def book(
    place: Place, day: date, kind: Literal["desk", "room"] = "desk", *, seats: Annotated[int, Field(ge=1)] = 1
) -> dict[str, Any]:
    """Book a place to work.

    Long names are fine.

    Args:
        place: Where,
            and on which floor.
        day (date): When.
        seats: How many.
    """
    return {"place": place, "day": day, "kind": kind, "seats": seats}


@pytest.fixture
def anyio_backend() -> str:
    """Agents run on asyncio."""
    return "asyncio"


def test_the_schema_comes_from_annotations_and_docstring():
    """Types, defaults, limits, descriptions; nothing that the function does not take."""
    spec = book.spec()

    assert (spec["name"], spec["description"]) == ("book", "Book a place to work.\n\nLong names are fine.")
    properties = spec["input_schema"]["properties"]
    assert spec["input_schema"]["required"] == ["place", "day"]
    assert spec["input_schema"]["additionalProperties"] is False
    assert properties["place"]["description"] == "Where, and on which floor."
    assert properties["day"] == {"description": "When.", "format": "date", "type": "string"}
    assert properties["kind"] == {"default": "desk", "enum": ["desk", "room"], "type": "string"}
    assert properties["seats"] == {"default": 1, "description": "How many.", "minimum": 1, "type": "integer"}


async def test_the_function_gets_python_values_and_the_model_json():
    """Parsed on the way in, dumped on the way out; defaults are the function's own."""
    result = await book.run({"place": {"city": "Bern"}, "day": "2026-03-01"})

    assert result == '{"place":{"city":"Bern","floor":0},"day":"2026-03-01","kind":"desk","seats":1}'
    assert await add.run({"a": 1, "b": 2.5}) == "3.5"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"a": 1}, ["- b: Field required"]),
        ({"a": "x", "b": 1}, ["- a: ", 'got "x"']),
        ({"a": 1, "b": 2, "c": 3}, ["- c: Extra inputs are not permitted, got 3"]),
        ({}, ["- a: Field required", "- b: Field required", "Parameters: a, b."]),
        ([], ["- input: "]),
        (None, ["- input: "]),
    ],
)  # fmt: skip
async def test_input_that_does_not_fit_is_refused_in_words_a_model_can_act_on(given, says):
    """Each misfit with its name and value, and what is allowed; the function did not run."""
    with pytest.raises(ToolFailed) as caught:
        await add.run(given)

    assert caught.value.fault.kind == "bad_arguments"
    assert all(part in str(caught.value) for part in ["add was not run", *says])


async def test_parameters_may_have_any_name():
    """Also names that pydantic's models keep for themselves."""

    @tool
    def odd(copy: bool, schema: str, model_config: int, json: list[int], self: int = 0) -> str:
        return f"{copy} {schema} {model_config} {json} {self}"

    assert await odd.run({"copy": True, "schema": "s", "model_config": 1, "json": [2]}) == "True s 1 [2] 0"


async def test_a_tool_that_raises_tells_what_it_raised():
    """As a fault of the tool; an ``Exit`` is the agent's own business and passes."""

    @tool
    def fails(how: str) -> None:
        raise Exit("normal") if how == "exit" else ValueError(f"no {how}")

    with pytest.raises(ToolFailed, match="fails failed: ValueError: no luck") as caught:
        await fails.run({"how": "luck"})
    with pytest.raises(Exit):
        await fails.run({"how": "exit"})

    assert caught.value.fault.kind == "tool_failed"
    assert isinstance(caught.value.__cause__, ValueError)


async def test_a_large_result_is_cut_with_a_note():
    """The model learns that there is more."""

    @tool(max_result=10)
    def flood() -> str:
        return "x" * 1_000_000

    assert await flood.run({}) == "x" * 10 + "\n[cut: these are the first 10 of 1000000 characters]"


@pytest.mark.parametrize(
    ("result", "text"),
    [(None, "null"), ("", ""), ("a\ud800", "a?"), (float("nan"), "NaN"), ({1}, "[1]"), (Place(city="B"), None)],
)
async def test_any_result_becomes_text(result, text):
    """Text as it is, the rest as JSON."""

    @tool
    def give() -> Any:
        return result

    assert await give.run({}) == (text if text is not None else '{"city":"B","floor":0}')


async def test_a_result_that_is_neither_text_nor_json_is_the_tools_failure():
    """Named by its type."""

    @tool
    def give() -> object:
        return object()

    with pytest.raises(ToolFailed, match="give returned object, which is neither text nor JSON"):
        await give.run({})


def untyped(a):
    """No type."""


def many(*values: int) -> None:
    """Any number."""


def positional(a: int, /) -> None:
    """No name."""


def strange(a: object, b: TypeError) -> None:
    """A type that no JSON becomes."""


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (untyped, "parameter 'a' has no type"),
        (many, "parameter 'values' is variadic positional"),
        (positional, "parameter 'a' is positional-only"),
        (strange, "type cannot come from JSON"),
        (lambda: None, "'<lambda>'"),
    ],
)
def test_a_function_that_cannot_be_a_tool_is_refused_when_it_is_made(function, says):
    """With the tool's and the parameter's name."""
    with pytest.raises(InvalidSpec) as caught:
        Tool(function)

    assert says in str(caught.value)


def test_two_tools_of_one_name_are_refused():
    """The model could not tell them apart."""
    with pytest.raises(InvalidSpec, match="two tools are named 'add'"):
        by_name([add, Tool(lambda: None, name="add")])


async def test_a_tool_travels_to_a_node():
    """With its name, its promise and its limit."""
    again = cloudpickle.loads(cloudpickle.dumps(book))

    assert (again.name, again.once, again.max_result, again.spec()) == ("book", True, 200, book.spec())
    assert '"seats":2' in await again({"place": {"city": "B"}, "day": "2026-03-01", "seats": 2})
    assert repr(again) == "Tool(book, once=True)"
    with pytest.raises(ToolFailed) as caught:
        await again({})
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


async def test_a_tool_is_called_as_its_function():
    """By place and by name, checked as a model's input is; it gives what the function gives, not text."""
    assert add(1, b=2.5) == 3.5
    assert (await book(Place(city="B"), day="2026-03-01", seats=2))["day"] == date(2026, 3, 1)
    with pytest.raises(ToolFailed, match="- a: "):
        add("x", 1)
    with pytest.raises(TypeError, match=r"^add\(a: .*\).*: missing a required argument: 'b'"):
        add(1)


async def test_one_mapping_alone_is_what_a_model_sends():
    """Then the result is text, as the model gets it."""
    assert await add({"a": 1, "b": 2.5}) == "3.5"
