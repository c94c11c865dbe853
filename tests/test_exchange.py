"""One question with all its turns, without a lab: what follows which stop reason, and what the model is told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from agentlab import tool
from agentlab.agent.base import Transcript
from agentlab.errors import (
    ContextWindowExceeded,
    InvalidAnswer,
    InvalidArgument,
    ModelFailed,
    ModelRefused,
    ToolFailed,
    ToolLoop,
    TurnLimitReached,
)
from agentlab.models.accumulator import checked_message
from agentlab.models.blocks import content_of, without_data
from agentlab.models.exchange import Exchange, Limits
from agentlab.models.loops import Loops
from agentlab.models.prompt import alternating, marked
from agentlab.models.stops import checked
from agentlab.models.structured import Misfit, Shape
from agentlab.tools import by_name

PNG = b"\x89PNG\r\n\x1a\n and so on"


@tool
async def slow(name: str) -> str:
    """Answer, the later the shorter the name."""
    for _ in range(10 - len(name)):
        await asyncio.sleep(0)
    return f"<{name}>"


@tool
def broken(name: str) -> str:
    """Never answer."""
    raise RuntimeError(f"no {name}")


def reply(*content: dict[str, Any], stop: str = "end_turn", **more: Any) -> dict[str, Any]:
    """A message of a model."""
    usage = {"input_tokens": 3, "output_tokens": 4}
    made = {"role": "assistant", "model": "m", "content": list(content), "stop_reason": stop, "usage": usage}
    return checked_message(made | more)


def text(said: str) -> dict[str, Any]:
    """A block of text."""
    return {"type": "text", "text": said}


def use(called: str, id_: str = "t1", /, **given: Any) -> dict[str, Any]:
    """A block that asks for a tool."""
    return {"type": "tool_use", "id": id_, "name": called, "input": given}


def talk(
    *replies: dict[str, Any], shape: Shape | None = None, turns: int = 20, repeats: int | None = 3
) -> tuple[Any, list[Any]]:
    """The outcome of one question to a model that answers so, the last for ever; and the conversation."""
    messages = Transcript([{"role": "user", "content": "go"}])
    said = list(replies)

    async def speak() -> dict[str, Any]:
        assert valid(list(messages))
        return checked(said.pop(0) if len(said) > 1 else said[0])

    async def step(function: Any, given: Any) -> Any:
        assert valid(list(messages))
        return await function(given)

    limits = Limits(max_tokens=100, max_turns=turns, max_repairs=2, max_repeats=repeats, budget=None)
    talked = Exchange(
        messages, speak=speak, step=step, tools=by_name([slow, broken]), shape=shape, limits=limits
    )  # fmt: skip
    try:
        outcome = asyncio.run(talked.answer())
    except ModelFailed as error:
        outcome = error
    except ToolFailed as error:
        outcome = error
    assert valid(list(messages))
    return outcome, list(messages)


def valid(messages: list[Any]) -> bool:
    """Whether the API would take the conversation: each tool use is answered in the very next message."""
    open_: list[str] = []
    for message in messages:
        blocks = message["content"] if isinstance(message["content"], list) else [text(message["content"])]
        if [b["tool_use_id"] for b in blocks if b["type"] == "tool_result"] != open_ or not blocks:
            return False
        open_ = [b["id"] for b in blocks if b["type"] == "tool_use"]
    return not open_


def test_tools_of_one_turn_run_side_by_side_and_are_told_in_the_order_of_the_calls():
    """The second ends first; its result stands second."""
    asked = reply(use("slow", "t1", name="a"), use("slow", "t2", name="long"), stop="tool_use")

    answer, messages = talk(asked, reply(text("done")))

    told = [(block["tool_use_id"], block["content"]) for block in messages[2]["content"]]
    assert (answer, told) == ("done", [("t1", "<a>"), ("t2", "<long>")])


def test_one_bad_call_of_two_leaves_the_others_result_standing():
    """The model is told of the one, and has the other."""
    asked = reply(use("slow", "t1", name="a"), use("broken", "t2", name="b"), use("slow", "t3"), stop="tool_use")

    answer, messages = talk(asked, reply(text("done")))

    fine, raised, unfit = messages[2]["content"]
    assert (answer, fine["content"], fine.get("is_error")) == ("done", "<a>", None)
    assert (raised["content"], raised["is_error"]) == ("broken failed: RuntimeError: no b", True)
    assert unfit["content"].startswith("slow was not run, its input does not fit:\n- name: ")


def test_a_paused_turn_goes_on():
    """What was said stands, and the model is asked again with it."""
    answer, messages = talk(reply(text("one moment"), stop="pause_turn"), reply(text("here")))

    assert answer == "here"
    assert [m["role"] for m in messages] == ["user", "assistant", "assistant"]
    assert alternating(messages)[1]["content"] == [text("one moment"), text("here")]


@pytest.mark.parametrize("said", [(), (text("I will"),)])
def test_a_call_that_was_cut_off_is_never_run(said):
    """The input may read as whole and be half; the model is told, and the conversation stays one the API takes."""
    cut = reply(*said, use("broken", name="x"), stop="max_tokens")

    answer, messages = talk(cut, reply(text("then without")))

    assert answer == "then without"
    assert messages[1]["content"] == (list(said) or [text("[cut off]")])
    assert "cut off after 100 tokens, inside the call of tool 'broken'" in messages[2]["content"]


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        (reply(stop="refusal", stop_details={"category": "bio", "explanation": "no germs"}), ModelRefused, "no germs"),
        (reply(text("no"), use("slow", name="a"), stop="refusal"), ModelRefused, "refused to answer: no"),
        (reply(text("so"), stop="model_context_window_exceeded"), ContextWindowExceeded, "context window of 'm'"),
        (reply(stop="max_tokens"), ModelFailed, "before it had said anything"),
        (reply(text(" ")), ModelFailed, "is empty"),
        (reply(text("hm"), stop="tool_use"), ModelFailed, "named none"),
        (reply(text("hm")) | {"stop_reason": "bored"}, ModelFailed, "unknown reason: 'bored'"),
    ],
)
def test_a_stop_that_is_no_success_is_an_error_of_its_own(said, error, words):
    """Nothing of it enters the conversation; what was billed is known."""
    found, messages = talk(said)

    assert type(found) is error
    assert words in str(found)
    assert found.usage_lower_bound == {"input_tokens": 3, "output_tokens": 4}
    assert messages == [{"role": "user", "content": "go"}]


def test_the_same_call_with_the_same_result_is_told_and_then_given_up():
    """Three times it is run; then the model is told twice, and the third time is a loop."""
    found, messages = talk(reply(use("slow", name="a"), stop="tool_use"))

    results = [m["content"][0] for m in messages[1:] if m["role"] == "user"]
    assert isinstance(found, ToolLoop)
    assert [r.get("is_error", False) for r in results] == [False] * 3 + [True] * 3
    assert "you have made this call 3 times in a row" in results[3]["content"]


def test_a_circle_of_two_calls_is_a_loop_too():
    """A-B-A-B-A-B, and the next A is told so; then the model may answer."""
    a, b = (reply(use("slow", name=name), stop="tool_use") for name in "ab")

    answer, messages = talk(a, b, a, b, a, b, a, reply(text("I stop")))

    assert answer == "I stop"
    assert "these 2 turns 3 times in a row" in messages[-2]["content"][0]["content"]


def test_a_call_that_finds_something_new_is_no_loop():
    """Results count; and with ``max_repeats=None`` nothing is one."""
    loops, call = Loops(3), [use("slow", name="a")]
    for n in range(9):
        loops.add(call, [{"content": f"{n} %"}])

    answer, _ = talk(reply(use("slow", name="a"), stop="tool_use"), repeats=None, turns=9)

    assert loops.closes(call) is None
    assert isinstance(answer, TurnLimitReached)


@dataclass
class Person:
    """Somebody."""

    name: str
    age: int


@pytest.mark.parametrize(
    "said",
    [
        '{"name": "Ann", "age": 41}',
        'Sure! Here it is:\n```json\n{"name": "Ann", "age": 41}\n```\nAnything else?',
        'I found [1] of them: {"name": "Ann", "age": 41}',
    ],
)
def test_a_value_is_found_whole_in_prose_and_behind_a_fence(said):
    """Models say more than they are asked for."""
    assert talk(reply(text(said)), shape=Shape(Person))[0] == Person("Ann", 41)


def test_an_answer_that_does_not_fit_is_repaired_by_the_model():
    """It is told what does not fit, each time, and its answer in the end is the value."""
    answer, messages = talk(
        reply(text("Ann is 41.")),
        reply(text('{"name": "Ann", "age": "old"}')),
        reply(text('{"name": "Ann", "age": 1}')),
        shape=Shape(Person),
    )

    assert answer == Person("Ann", 1)
    assert "no whole JSON value" in messages[2]["content"]
    assert "- age: Input should be a valid integer" in messages[4]["content"]


def test_an_answer_that_never_fits_is_given_up():
    """After ``max_repairs`` tellings in a row; the last answer is on the error."""
    found, _ = talk(reply(text('{"name": 1')), shape=Shape(Person))

    assert isinstance(found, InvalidAnswer)
    assert found.answer == '{"name": 1'
    assert found.fault.kind == "garbage"


def test_types_become_schemas_that_providers_take():
    """Limits go to the description, objects are closed, forms of typing are fine; what has no schema is refused."""

    class Item(BaseModel):
        default: int = Field(3, ge=1, description="how many")
        minimum: list[Literal["a", "b"]] = []

    schema = Shape(Item).schema

    assert schema["additionalProperties"] is False
    assert schema["properties"]["default"] == {
        "type": "integer", "title": "Default", "description": "how many; minimum: 1",
    }  # fmt: skip
    assert schema["properties"]["minimum"]["items"] == {"enum": ["a", "b"], "type": "string"}
    assert Shape(list[int]).read("these: [1, 2]") == [1, 2]
    assert Shape(Literal["yes", "no"]).read('"yes"') == "yes"
    with pytest.raises(InvalidArgument, match="has no JSON schema"):
        Shape(asyncio.Lock)
    with pytest.raises(Misfit, match="less than or equal to 5"):
        Shape(list[Annotated[int, Field(le=5)]]).read("[9]")


def test_ids_of_tool_calls_are_told_apart_and_the_very_same_call_is_one():
    """A provider that repeats an id harms nothing; nor do counts that are none."""
    said = reply(use("slow", name="a"), use("slow", name="a"), use("slow", name="b"), stop="tool_use")
    odd = checked_message(
        {
            "role": "assistant",
            "content": [text("x")],
            "stop_reason": "end_turn",
            "usage": {"output_tokens": -4, "x": "y"},
        }
    )

    assert [(b["id"], b["input"]["name"]) for b in said["content"]] == [("t1", "a"), ("t1_2", "b")]
    assert odd["usage"] == {"output_tokens": 0}


def test_images_and_documents_become_blocks(tmp_path):
    """Bytes, paths and addresses; what they are is read off their first bytes."""
    path = tmp_path / "a.png"
    path.write_bytes(PNG)

    page, note, image, url, said = content_of("What is it?", [str(path), "https://x.org/a.png"], [b"%PDF-1", b"tea"])

    assert image["source"]["media_type"] == "image/png"
    assert url["source"] == {"type": "url", "url": "https://x.org/a.png"}
    assert (page["source"]["media_type"], note["source"]["data"]) == ("application/pdf", "tea")
    assert said == text("What is it?")
    assert "characters of base64" in str(without_data([image]))
    assert image["source"]["data"] not in str(without_data([image]))
    assert content_of("plain") == "plain"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((" ",), "at least one character"),
        (([],), "empty list"),
        (([use("slow")],), "block 0 has type 'tool_use'; a user's message takes text, image, document"),
        (([text("")],), "text without any"),
        (([{"type": "image"}],), "has no source"),
        (("x", [b"BM..."]), "must be PNG, JPEG, GIF or WebP"),
        (("x", ["/no/such.png"]), "No such file"),
        (("x", [], [b"\xff\xfe"]), "must be PDF or UTF-8 text"),
        (("x", [], [b""]), "is empty"),
    ],
)
def test_what_no_model_takes_is_refused_by_name(given, words):
    """Before anything is sent."""
    with pytest.raises(InvalidArgument, match=words):
        content_of(*given)


def test_the_stable_prefix_is_marked_for_the_cache_and_the_original_is_left_alone():
    """Tools, system, and the newest message; a provider that keeps them reads them cheaply."""
    body = {
        "system": "Be kind.",
        "tools": [{"name": "a"}, {"name": "b"}],
        "messages": [{"role": "user", "content": "x"}],
    }

    made = marked(body)

    mark = {"type": "ephemeral"}
    assert made["system"] == [{**text("Be kind."), "cache_control": mark}]
    assert made["tools"] == [{"name": "a"}, {"name": "b", "cache_control": mark}]
    assert made["messages"][0]["content"] == [{**text("x"), "cache_control": mark}]
    assert body["messages"] == [{"role": "user", "content": "x"}]
    assert marked({"messages": []}) == {"messages": []}
