"""The simulator, over real sockets: with the library that people use, and with raw bytes that no library sends."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentlab.sim import Simulator, control
from agentlab.sim.arithmetic import find_expression
from agentlab.sim.minds import MINDS, script
from agentlab.sim.wire import MAX_BODY, MAX_HEAD
from tests.simulated import ADD, CALCULATE, MULTIPLY, library, post, talk, user


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


async def test_the_answer_is_the_same_streamed_and_whole(client):
    """A stream is another way to the same message, id and all."""
    request: dict[str, Any] = {"model": "sim-echo", "max_tokens": 100, "messages": [user("so it is, über alles: ✓")]}

    whole = await client.messages.create(**request)
    async with client.messages.stream(**request) as stream:
        streamed = await stream.get_final_message()

    assert whole.content[0].text == streamed.content[0].text == "so it is, über alles: ✓"
    assert (whole.stop_reason, whole.usage.output_tokens) == (streamed.stop_reason, streamed.usage.output_tokens)


async def test_text_comes_in_small_pieces(client):
    """A long text is many deltas, which join to the text."""
    text = "one two three four five six seven eight nine ten. " * 5

    async with client.messages.stream(model="sim", max_tokens=500, messages=[user(text)]) as stream:
        pieces = [piece async for piece in stream.text_stream]

    assert "".join(pieces) == text
    assert len(pieces) > 10


async def test_the_same_request_gets_the_same_answer_in_another_simulator():
    """Ids depend on the seed and the request, on nothing else."""

    async def ask(seed: int) -> str:
        async with Simulator(seed=seed) as sim, library(sim) as client:
            await client.messages.create(model="sim", max_tokens=5, messages=[user("something else first")])
            return (await client.messages.create(model="sim", max_tokens=5, messages=[user("hi")])).id

    ids = [await ask(1), await ask(1), await ask(2)]

    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("tools", "calls"), [([ADD, MULTIPLY], ["multiply", "add"]), ([CALCULATE], ["calculate"]), ([], [])]
)
async def test_the_calculator_works_it_out_with_the_tools_it_is_given(client, tools, calls, stream):
    """One operation a turn, or the whole expression at once, or by itself."""
    reckon = {"add": lambda i: i["a"] + i["b"], "multiply": lambda i: i["a"] * i["b"], "calculate": lambda i: 14}
    messages, used = [user("What is 2 + 3*4?")], []

    while True:
        kwargs = {"tools": tools} if tools else {}
        async with client.messages.stream(model="sim-calculator", max_tokens=99, messages=messages, **kwargs) as turn:
            message = await turn.get_final_message()
        if message.stop_reason != "tool_use":
            break
        use = message.content[-1]
        used.append(use.name)
        result = {"type": "tool_result", "tool_use_id": use.id, "content": str(reckon[use.name](use.input))}
        messages += [{"role": "assistant", "content": [use.model_dump(include={"type", "id", "name", "input"})]}]
        messages += [user([result])]

    assert used == calls
    assert message.content[0].text == "2 + 3*4 = 14"


async def test_the_default_model_reckons_only_with_a_tool_that_fits(client):
    """``sim`` echoes when no tool fits, so nobody is surprised by a tool call."""
    request: dict[str, Any] = {"model": "sim", "max_tokens": 50, "messages": [user("2+2?")]}

    without = await client.messages.create(**request)
    with_tool = await client.messages.create(**request, tools=[ADD])

    assert without.content[0].text == "2+2?"
    assert (with_tool.stop_reason, with_tool.content[0].input) == ("tool_use", {"a": 2, "b": 2})


async def test_the_planner_asks_for_all_parts_at_once_and_sums_up(client):
    """One tool call a part, in one turn; then a line for each."""
    messages = [user("add 1 + 2; multiply 3 * 4")]

    plan = await client.messages.create(model="sim-planner", max_tokens=99, messages=messages, tools=[ADD, MULTIPLY])
    uses = [block for block in plan.content if block.type == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": u.id, "content": str(i)} for i, u in enumerate(uses)]
    content = [block.model_dump(include={"type", "id", "name", "input", "text"}) for block in plan.content]
    messages += [{"role": "assistant", "content": content}, user(results)]
    done = await client.messages.create(model="sim-planner", max_tokens=99, messages=messages, tools=[ADD, MULTIPLY])

    assert [(u.name, u.input) for u in uses] == [("add", {"a": 1, "b": 2}), ("multiply", {"a": 3, "b": 4})]
    assert done.content[0].text == "- add 1 + 2: 0\n- multiply 3 * 4: 1"


async def test_the_extractor_fills_the_schema_that_was_asked_for(client):
    """Labels go to their fields, numbers to numeric ones."""
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "tags": {"type": "array"}},
        "required": ["name", "age", "tags"],
    }

    answer = await client.messages.create(
        model="sim-extractor",
        max_tokens=200,
        messages=[user("name: Ada; age: 36; tags: maths, poetry")],
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )

    assert json.loads(answer.content[0].text) == {"name": "Ada", "age": 36, "tags": ["maths", "poetry"]}


async def test_a_script_says_its_turns_in_order():
    """The n-th answer of a conversation is the n-th turn, however often it is asked for."""
    parrot = script(["one", {"tool": "add", "input": {"a": 1}}])
    so_far = [user("a"), {"role": "assistant", "content": "one"}, user("b")]

    async with Simulator(minds={"sim-parrot": parrot}) as sim, library(sim) as client:
        first = await client.messages.create(model="sim-parrot", max_tokens=9, messages=[user("a")])
        second = await client.messages.create(model="sim-parrot", max_tokens=9, messages=so_far)

    assert first.content[0].text == "one"
    assert (second.content[0].name, second.content[0].input) == ("add", {"a": 1})


async def test_max_tokens_and_stop_sequences_cut_the_answer(client):
    """Both say so in stop_reason."""
    cut = await client.messages.create(model="sim", max_tokens=2, messages=[user("one two three four")])
    stopped = await client.messages.create(
        model="sim", max_tokens=9, messages=[user("one two three")], stop_sequences=["three"]
    )

    assert (cut.content[0].text, cut.stop_reason, cut.usage.output_tokens) == ("one two", "max_tokens", 2)
    assert (stopped.content[0].text, stopped.stop_reason, stopped.stop_sequence) == (
        "one two ",
        "stop_sequence",
        "three",
    )


USE = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "add", "input": {}}]}
RESULT = user([{"type": "tool_result", "tool_use_id": "t1", "content": "3"}])


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"messages": []}, 400, "at least one message"),
        ({"messages": [{"role": "assistant", "content": "hi"}]}, 400, "first message"),
        ({"messages": [user("")]}, 400, "non-empty"),
        ({"messages": [user([{"type": "text", "text": " "}])]}, 400, "non-whitespace"),
        ({"messages": [user("a"), USE, user("no result")]}, 400, "without `tool_result` blocks"),
        ({"messages": [user("a"), USE]}, 400, "without `tool_result` blocks"),
        ({"messages": [user("a"), RESULT]}, 400, "unexpected `tool_use_id`"),
        ({"messages": [user("a"), {"role": "assistant", "content": "x"}]}, 400, "prefill"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"max_tokens": "many"}, 400, "max_tokens"),
        ({"model": "gpt"}, 404, "model: gpt"),
        ({"model": "sim-unheard-of"}, 404, "sim-unheard-of"),
        ({"tools": [{"name": "a b", "input_schema": {"type": "object"}}]}, 400, "tools.0.name"),
        ({"tools": [{"name": "a", "input_schema": {}}]}, 400, "input_schema"),
    ],
)
async def test_it_refuses_what_the_real_api_refuses(client, change, status, says):
    """Agents learn here, not in production, what a conversation has to be."""
    request: dict[str, Any] = {"model": "sim", "max_tokens": 9, "messages": [user("hi")], **change}

    with pytest.raises(anthropic.APIStatusError) as caught:
        await client.messages.create(**request, stream=True)

    assert caught.value.status_code == status
    assert says in str(caught.value)


async def test_claude_names_are_answered_and_tokens_counted(client):
    """Programs written for the real API run unchanged."""
    answer = await client.messages.create(model="claude-opus-4-1", max_tokens=9, messages=[user("hi")])
    counted = await client.messages.count_tokens(model="claude-opus-4-1", messages=[user("hi")])

    assert (answer.model, answer.content[0].text) == ("claude-opus-4-1", "hi")
    assert counted.input_tokens > 0


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "wrong"}, {"authorization": "Bearer wrong"}])
async def test_without_the_token_nothing_is_served(sim, headers):
    """Not even the controls: every process of this machine can reach the port."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())

    for path in ("/v1/messages", "/__sim/log", "/__sim/faults"):
        answer = await talk(sim, f"GET {path} HTTP/1.1\r\n{lines}connection: close\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 401 ")
        assert sim.api_key.encode() not in answer


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x16\x03\x01\x02\x00 not http\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nx: " + b"a" * (2 * MAX_HEAD) + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (MAX_BODY + 1), 413),
        (b"POST / HTTP/1.1\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 411),
    ],
)
async def test_bytes_that_are_no_request_are_refused_and_the_connection_closed(sim, request_bytes, status):
    """It answers, closes, and goes on serving others."""
    answer = await talk(sim, request_bytes)
    after = await talk(sim, post(sim, {"model": "sim", "max_tokens": 9, "messages": [user("still there?")]}))

    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert after.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"model": 1}'])
async def test_a_body_that_is_no_request_gets_400(sim, body):
    """Broken JSON, other JSON, JSON too deep to read."""
    assert (await talk(sim, post(sim, body))).startswith(b"HTTP/1.1 400 ")


@settings(max_examples=30)
@given(
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["model", "messages", "max_tokens", "tools", "role", "content", "type", "text", "id", "name", "input",
                 "tool_choice", "output_config", "stop_sequences", "metadata", "input_schema", "tool_use_id", "system",
                 "stream", "format", "schema"]
            ),
            inner | st.sampled_from(["user", "assistant", "sim", "text", "tool_use", "tool_result", 5]),
            max_size=6,
        ),
        max_leaves=20,
    )
)  # fmt: skip
def test_no_body_can_break_it(body):
    """Whatever JSON comes, the reply is an answer or a refusal, never the simulator's own failure."""

    async def status() -> int:
        async with Simulator() as sim:
            wrapped = {
                "model": "sim",
                "max_tokens": 5,
                "messages": [user("1+1?")],
                **(body if isinstance(body, dict) else {}),
            }
            for each in (body, wrapped):
                answer = await talk(sim, post(sim, each))
            return int(answer.split(b" ")[1])

    assert asyncio.run(status()) in (200, 400, 404)


async def test_one_connection_serves_many_requests(sim):
    """Keep-alive, with pipelining."""
    request = post(sim, {"model": "sim", "max_tokens": 9, "messages": [user("hi")]})

    answer = await talk(sim, request * 3)

    assert answer.count(b"HTTP/1.1 200 OK") == 3


async def test_many_connections_at_once_are_all_answered(sim):
    """No request waits for another's answer."""
    sim.set_faults({"latency_s": 0.2})
    request = post(sim, {"model": "sim", "max_tokens": 9, "messages": [user("hi")]}, headers="connection: close\r\n")

    answers = await asyncio.gather(*(talk(sim, request) for _ in range(300)))

    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)
    assert sim.requests == 300


async def test_the_log_keeps_the_newest_and_counts_all():
    """A simulator that runs for days does not grow."""
    async with Simulator(log_size=5) as sim:
        request = post(sim, {"model": "sim", "max_tokens": 9, "messages": [user("hi")]})
        await talk(sim, request * 8)

    assert [row["n"] for row in sim.log] == [4, 5, 6, 7, 8]
    assert [row["repeat"] for row in sim.log] == [4, 5, 6, 7, 8]
    assert sim.requests == 8


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2+2?", "2+2"),
        ("What is 17 times (3 - 5), please?", "17 * (3 - 5)"),
        ("12 ÷ 4", "12 / 4"),
        ("2^10", "2**10"),
        ("the year 2026", None),
        ("call me at 5 or so", None),
        ("__import__('os')", None),
        ("1+" * 10_000 + "1", None),
        ("", None),
    ],
)
def test_arithmetic_is_found_in_questions(text, found):
    """Signs or words; nothing that is not arithmetic."""
    assert find_expression(text) == found


def test_every_mind_has_a_model_name():
    """A request chooses its mind by the model's name."""
    assert set(MINDS) == {"sim", "sim-echo", "sim-calculator", "sim-planner", "sim-extractor"}


# A process of its own


def serve() -> tuple[subprocess.Popen[bytes], dict[str, str]]:
    """Start ``python -m agentlab.sim``; returns the process and what it wrote when ready."""
    read, write = os.pipe()
    command = [sys.executable, "-m", "agentlab.sim", "--fd", str(write)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[write])
    os.close(write)
    with os.fdopen(read) as ready:
        return process, json.loads(ready.readline())


def test_it_serves_from_a_process_until_its_owner_lets_go():
    """Ctrl-C does not end it; the end of its standard input does."""
    process, endpoint = serve()
    try:
        process.send_signal(signal.SIGINT)
        requests = control(endpoint).requests()
        assert process.stdin is not None
        process.stdin.close()
        code = process.wait(60)
    finally:
        process.kill()
        process.wait()

    assert (requests, code) == (0, 0)
    assert endpoint["base_url"].startswith("http://127.0.0.1:")


def test_it_dies_with_an_owner_that_was_killed():
    """``kill -9`` of the owner leaves no server behind."""
    program = (
        "import os, subprocess, sys, time\n"
        "sim = subprocess.Popen([sys.executable, '-m', 'agentlab.sim', '--fd', '1'], stdin=subprocess.PIPE)\n"
        "time.sleep(60)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    endpoint = json.loads(owner.stdout.readline())

    owner.kill()
    owner.wait()
    rest = owner.stdout.read()  # ends when the last holder of the pipe is gone
    owner.stdout.close()

    assert rest == b""
    with pytest.raises(OSError, match=r"refused|reset"):
        control(endpoint).log()


@pytest.mark.parametrize("turns", range(5))
def test_who_is_accepted_while_it_closes_leaves_no_open_connection(turns):
    """A connection is some turns of the loop in coming; in none of them is it lost."""
    clients = [socket.socket() for _ in range(20)]

    async def come_and_close() -> list[Any]:
        wrong: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))
        async with Simulator() as sim:
            for client in clients:
                client.connect(("127.0.0.1", int(sim.base_url.rsplit(":", 1)[1])))
            for _ in range(turns):
                await asyncio.sleep(0)
        return wrong

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", ResourceWarning)
        assert asyncio.run(come_and_close()) == []
        gc.collect()
    assert [str(warning.message) for warning in warned] == []
    for client in clients:
        client.close()
