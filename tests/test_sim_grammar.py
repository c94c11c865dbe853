"""What the simulator says, by the grammar of the Messages API, read by the library that people use."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest

from agentlab.sim import Simulator
from agentlab.sim.checks import LONGEST_PROMPT
from agentlab.sim.grammar import REDACTED
from tests.simulated import ADD, library, talk, user


@pytest.fixture
def anyio_backend() -> str:
    """The simulator is asyncio's."""
    return "asyncio"


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    """A running simulator."""
    async with Simulator(seed=7) as simulator:
        yield simulator


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """The library, talking to it."""
    async with library(sim) as made:
        yield made


THINK: dict[str, Any] = {"model": "sim", "max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1024}}


async def test_a_thought_comes_signed_and_is_taken_back(client):
    """Thinking and its signature are streamed; the conversation goes on with them, and not with a forged one."""
    async with client.messages.stream(**THINK, messages=[user("hello")]) as stream:
        kinds = [event.delta.type async for event in stream if event.type == "content_block_delta"]
        message = await stream.get_final_message()
    thought, text = (block.model_dump(exclude_none=True) for block in message.content)
    following = [user("hello"), {"role": "assistant", "content": [thought, text]}, user("and now?")]

    await client.messages.create(**THINK, messages=following)
    thought["signature"] = "forged"
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature` in `thinking` block"):
        await client.messages.create(**THINK, messages=following)

    assert list(dict.fromkeys(kinds)) == ["thinking_delta", "signature_delta", "text_delta"]
    assert message.usage.output_tokens_details.thinking_tokens > 0


async def test_a_thought_may_be_redacted(client):
    """By the prompt that the real API has for it."""
    async with client.messages.stream(**THINK, messages=[user(f"{REDACTED}_46C9")]) as stream:
        message = await stream.get_final_message()

    assert [block.type for block in message.content] == ["redacted_thinking", "text"]


async def test_citations_name_their_places(client):
    """Of each document for which they are wanted; streamed as deltas of their own."""
    source = {"type": "text", "media_type": "text/plain", "data": "Tea is a drink."}
    document = {"type": "document", "title": "Tea", "source": source, "citations": {"enabled": True}}
    request = {"model": "sim", "max_tokens": 99, "messages": [user([document, {"type": "text", "text": "What?"}])]}

    whole = await client.messages.create(**request)
    async with client.messages.stream(**request) as stream:
        streamed = await stream.get_final_message()

    cited = streamed.content[0].citations[0]
    assert (cited.cited_text, cited.document_title, cited.end_char_index) == ("Tea is a drink.", "Tea", 15)
    assert whole.content[0].citations == streamed.content[0].citations


async def test_what_is_left_of_the_minute_decreases(client):
    """Requests and tokens, in the headers of each answer, with the time at which they are full again."""
    replies = [
        await client.messages.with_raw_response.create(model="sim", max_tokens=9, messages=[user("hi")])
        for _ in range(2)
    ]
    first, second = (reply.headers for reply in replies)

    if first["anthropic-ratelimit-requests-reset"] == second["anthropic-ratelimit-requests-reset"]:  # of one minute
        for name in ("requests", "tokens", "input-tokens", "output-tokens"):
            left = [int(headers[f"anthropic-ratelimit-{name}-remaining"]) for headers in (first, second)]
            assert left[0] > left[1]
    assert first["anthropic-ratelimit-requests-reset"].endswith("Z")
    assert first["request-id"] != second["request-id"]


async def test_a_paused_turn_goes_on(client, sim):
    """The conversation may end with what the model said before it paused, and only with that."""
    request = {"model": "sim-echo", "max_tokens": 99}
    sim.set_faults([{"mode": "pause_turn", "times": 1}])
    paused = await client.messages.create(**request, messages=[user("a long story")])
    said = [{"type": "text", "text": paused.content[0].text}]

    whole = await client.messages.create(
        **request, messages=[user("a long story"), {"role": "assistant", "content": said}]
    )
    with pytest.raises(anthropic.BadRequestError, match="prefill"):
        await client.messages.create(**request, messages=[user("x"), {"role": "assistant", "content": "Never said."}])

    assert (paused.stop_reason, whole.stop_reason) == ("pause_turn", "end_turn")
    assert whole.content[0].text == "a long story"


@pytest.mark.parametrize("as_one", [True, False])
async def test_a_turn_that_pauses_twice_goes_on(client, sim, as_one):
    """With all that was said since the question, as one message or as they came."""
    sim.set_faults([{"mode": "pause_turn", "times": 2}])
    conversation, stops = [user("a long story")], []
    for _ in range(3):
        said = await client.messages.create(model="sim-echo", max_tokens=99, messages=conversation)
        stops.append(said.stop_reason)
        block = {"type": "text", "text": said.content[0].text}
        if as_one and len(conversation) > 1:
            conversation = [conversation[0], {"role": "assistant", "content": [*conversation[1]["content"], block]}]
        else:
            conversation = [*conversation, {"role": "assistant", "content": [block]}]

    assert stops == ["pause_turn", "pause_turn", "end_turn"]


async def test_models_are_listed_and_found(client):
    """``GET /v1/models`` and one of them; another is 404."""
    names = [model.id async for model in client.models.list()]

    assert "sim-planner" in names
    assert (await client.models.retrieve("sim-echo")).id == "sim-echo"
    with pytest.raises(anthropic.NotFoundError, match="model: nobody"):
        await client.models.retrieve("nobody")


async def test_a_prompt_that_is_too_long_is_refused_with_its_length(client):
    """In tokens, as the real one says it."""
    long = "tea " * (LONGEST_PROMPT + 10)

    with pytest.raises(anthropic.BadRequestError, match=rf"prompt is too long: \d+ tokens > {LONGEST_PROMPT} maximum"):
        await client.messages.create(model="sim", max_tokens=9, messages=[user(long)])


async def test_a_body_that_was_cut_is_refused_as_such(sim):
    """The words by which a client knows that the same request may work the next time."""
    cut = b'{"model": "sim", "max_tokens": 9, "messages": [{"role": "us'
    head = f"POST /v1/messages HTTP/1.1\r\nx-api-key: {sim.api_key}\r\nconnection: close\r\n"

    answer = await talk(sim, f"{head}content-length: {len(cut)}\r\n\r\n".encode() + cut)

    assert b"not valid JSON: unexpected end of data: line 1" in answer


async def test_the_planner_goes_one_by_one_where_it_must(client):
    """``disable_parallel_tool_use``: k calls in k turns, then a line for each."""
    messages, calls = [user("add 1 + 2; add 3 + 4; add 5 + 6")], 0
    choice = {"type": "auto", "disable_parallel_tool_use": True}

    while True:
        message = await client.messages.create(
            model="sim-planner", max_tokens=99, messages=messages, tools=[ADD], tool_choice=choice
        )
        uses = [block for block in message.content if block.type == "tool_use"]
        if not uses:
            break
        calls += len(uses)
        messages.append(
            {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in message.content]}
        )
        result = {"type": "tool_result", "tool_use_id": uses[0].id, "content": str(sum(uses[0].input.values()))}
        messages.append(user([result]))

    assert len(messages) == 7
    assert calls == 3
    assert message.content[0].text == "- add 1 + 2: 3\n- add 3 + 4: 7\n- add 5 + 6: 11"


async def test_a_script_may_say_whole_turns(sim, client):
    """Blocks as the API words them, several calls at once, a stop reason and tokens of one's own."""
    sim.set_scripts({
        "sim-odd": [
            ["Two at once.", {"tool": "add", "input": {"a": 1, "b": 2}}, {"tool": "add", "input": {"a": 3, "b": 4}}],
            {"content": [{"type": "text", "text": "No."}], "stop_reason": "refusal", "usage": {"output_tokens": 77}},
        ]
    })  # fmt: skip
    first = await client.messages.create(model="sim-odd", max_tokens=99, messages=[user("go")], tools=[ADD])
    answered = [{"type": "tool_result", "tool_use_id": b.id, "content": "3"} for b in first.content[1:]]
    said = {"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in first.content]}

    second = await client.messages.create(
        model="sim-odd", max_tokens=99, messages=[user("go"), said, user(answered)], tools=[ADD]
    )

    assert [block.type for block in first.content] == ["text", "tool_use", "tool_use"]
    assert (second.stop_reason, second.stop_details.type, second.usage.output_tokens) == ("refusal", "refusal", 77)


LETTERS = {
    "message_start": "s", "ping": "p", "content_block_start": "b", "content_block_delta": "d",
    "content_block_stop": "e", "message_delta": "m", "message_stop": "z",
}  # fmt: skip


def streamed(sim: Simulator, body: dict[str, Any]) -> tuple[str, bytes]:
    """A stream as it comes over the wire: what it says it is, and its bytes."""
    request = urllib.request.Request(
        f"{sim.base_url}/v1/messages", json.dumps(body).encode(), {"authorization": f"Bearer {sim.api_key}"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.headers["content-type"], answer.read()


async def test_a_stream_is_of_the_grammar_to_the_byte(sim):
    """Every event by its name, blocks in their order and one at a time, counts that grow; no argument is one ``""``."""
    sim.set_scripts({"sim-all": [["Let me see.", {"tool": "now", "input": {}}, {"tool": "add", "input": {"a": 1}}]]})
    tools = [ADD, {"name": "now", "input_schema": {"type": "object"}}]
    body = {**THINK, "model": "sim-all", "stream": True, "tools": tools, "messages": [user("What time is it?")]}

    kind, sent = await asyncio.to_thread(streamed, sim, body)

    frames = sent.decode().split("\n\n")
    names, said = zip(*(frame.split("\n") for frame in frames[:-1]), strict=True)
    events = [json.loads(line.removeprefix("data: ")) for line in said]
    order = "".join(LETTERS[event["type"]] for event in events)
    assert (kind, frames[-1]) == ("text/event-stream; charset=utf-8", "")
    assert list(names) == [f"event: {event['type']}" for event in events]
    assert re.fullmatch("sp*(b[dp]+ep*){4}mz", order)
    indices = [event["index"] for event in events if "index" in event]
    assert indices == sorted(indices)
    assert sorted(set(indices)) == [0, 1, 2, 3]
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    kinds = [delta["type"] for delta in deltas]
    assert list(dict.fromkeys(kinds)) == ["thinking_delta", "signature_delta", "text_delta", "input_json_delta"]
    assert [delta["partial_json"] for delta in deltas if "partial_json" in delta] == ["", '{"a": 1}']
    begun, ended = events[0]["message"], events[-2]
    assert (begun["content"], begun["stop_reason"], begun["usage"]["output_tokens"]) == ([], None, 1)
    assert (ended["delta"]["stop_reason"], ended["usage"]["output_tokens"] > 1) == ("tool_use", True)
