"""The simulator's faults: when they strike, what they do, how they are steered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest

from agentlab.sim import Endpoint, Simulator, control
from agentlab.sim.modes import MODES
from agentlab.sim.rules import Profile
from agentlab.sim.scenarios import Call
from tests.simulated import ADD, library, post, talk, user

ENDLESS = ("hang_headers", "stall_mid_stream", "ping_forever", "drip")
"""Modes that end by the client's patience only."""


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


async def failures(client: anthropic.AsyncAnthropic, n: int, text: str = "hi", model: str = "sim") -> list[int]:
    """Which of n calls, counted from 1, got an error reply."""
    failed = []
    for i in range(1, n + 1):
        try:
            await client.messages.create(model=model, max_tokens=9, messages=[user(f"{text} {i}")])
        except anthropic.APIStatusError:
            failed.append(i)
    return failed


async def test_a_fault_strikes_the_nth_calls_only(sim, client):
    """Counted from 1, from when the rule was set."""
    sim.set_faults([{"mode": "529", "nth": [1, 3]}])

    assert await failures(client, 5) == [1, 3]
    assert sim.engine.struck == [2]


async def test_a_fault_strikes_by_prompt_model_and_number_of_times(sim, client):
    """Conditions of one rule all have to hold."""
    sim.set_faults([{"mode": 500, "prompt": "poison", "model": "sim-echo", "times": 2}])

    assert await failures(client, 2, "poison") == []
    assert await failures(client, 2, "milk", "sim-echo") == []
    assert await failures(client, 3, "poison", "sim-echo") == [1, 2]


async def test_a_rate_strikes_the_same_requests_whoever_comes_first(sim, client):
    """Chance comes from the seed and the request, so a run of many agents in parallel can be repeated."""
    sim.set_faults([{"mode": "529", "rate": 0.4}])
    alone = await failures(client, 40)
    sim.engine.repeats.clear()

    async def one(i: int) -> int | None:
        try:
            await client.messages.create(model="sim", max_tokens=9, messages=[user(f"hi {i}")])
        except anthropic.APIStatusError:
            return i
        return None

    together = await asyncio.gather(*(one(i) for i in reversed(range(1, 41))))

    assert alone == sorted(i for i in together if i is not None)
    assert 6 < len(alone) < 28


async def test_a_time_window_opens_and_closes(sim):
    """Seconds count from when the rules were set."""
    profile = Profile.read([{"mode": "529", "from_s": 10, "until_s": 20}])
    sim.engine.set(profile, now=100.0)
    call = Call("sim", "hi", "key", "req")

    struck = [now for now in (100, 109, 110, 119, 120, 200) if sim.engine.strike(call, 1, float(now))]

    assert struck == [110, 119]


@pytest.mark.parametrize("after", ["1", "89", "3600", "Wed, 21 Oct 2026 07:28:00 GMT", 0.5])
async def test_a_429_says_when_to_come_back(sim, client, after):
    """As a number of seconds or an HTTP date, word for word."""
    sim.set_faults([{"mode": "429", "retry_after": after}])

    with pytest.raises(anthropic.RateLimitError) as caught:
        await client.messages.create(model="sim", max_tokens=9, messages=[user("hi")])

    assert caught.value.response.headers["retry-after"] == str(after)


async def test_the_library_itself_retries_a_529_and_the_log_shows_it(sim):
    """The retry count that the library sends tells its retries from new calls."""
    sim.set_faults([{"mode": "529", "nth": 1}])

    async with library(sim, max_retries=1) as client:
        answer = await client.messages.create(model="sim", max_tokens=9, messages=[user("hi")])

    assert answer.content[0].text == "hi"
    assert [(row["status"], row["retry_count"], row["repeat"]) for row in sim.log] == [(529, 0, 1), (200, 1, 2)]


async def test_one_request_can_ask_for_its_own_fault(client):
    """By a header, which wins over the profile."""
    with pytest.raises(anthropic.OverloadedError):
        await client.messages.create(
            model="sim", max_tokens=9, messages=[user("hi")], extra_headers={"x-sim-fault": "529"}
        )
    with pytest.raises(anthropic.BadRequestError, match="unknown mode 'rain'"):
        await client.messages.create(
            model="sim", max_tokens=9, messages=[user("hi")], extra_headers={"x-sim-fault": "rain"}
        )


@pytest.mark.parametrize(
    ("faults", "says"),
    [
        ([{"mode": "rain"}], "faults.0.mode: Value error, unknown mode 'rain'; allowed: 400"),
        ([{"mode": "529", "rate": 2}], "faults.0.rate: Input should be less than or equal to 1, got 2"),
        ([{"mode": "529", "rte": 0.5}], "faults.0.rte: Extra inputs are not permitted, got 0.5"),
        ({"latency_s": -1}, "latency_s"),
        ("529", "valid dictionary"),
        ([{"mode": "529", "nth": 0}], "faults.0.nth: Value error, it strikes at no call: calls count from 1"),
        ([{"mode": "529", "nth": []}], "faults.0.nth: Value error, it strikes at no call"),
        ([{"mode": "529", "from_s": 5, "until_s": 5}], "it strikes at no time: until_s must be above from_s=5.0"),
        (
            [{"mode": "429", "retry_after": "1\r\nx: y"}],
            "a header's value is one line of printable",
        ),
    ],
)
async def test_a_rule_that_cannot_be_is_refused_by_name(sim, faults, says):
    """Field, value and what is allowed; the profile before stays."""
    sim.set_faults([{"mode": "500"}])

    with pytest.raises(ValueError, match=r"got|allowed") as caught:
        sim.set_faults(faults)

    assert says in str(caught.value)
    assert [rule.mode for rule in sim.engine.profile.faults] == ["500"]


async def served(sim: Simulator, body: Any) -> bytes:
    """What it answers as soon as it takes connections: one mode refuses them for a moment."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await talk(sim, post(sim, body))
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("mode", [m for m in MODES if m not in ENDLESS])
async def test_every_mode_ends_and_leaves_the_simulator_serving(sim, mode, stream):
    """A broken answer breaks that connection at most."""
    body = {"model": "sim", "max_tokens": 99, "stream": stream, "messages": [user("1+1?")], "tools": [ADD]}
    broken = post(sim, body, headers=f"x-sim-fault: {mode}\r\nconnection: close\r\n")

    try:
        await talk(sim, broken)
    except ConnectionResetError:
        assert mode in ("rst", "connect_refused")
    after = await served(sim, body)

    assert after.startswith(b"HTTP/1.1 200 ")
    assert sim.log[0]["mode"] == mode


async def test_the_controls_work_from_a_blocking_program(sim):
    """``control(endpoint)`` sets faults, puts them back as spent as they were, reads the log and clears both."""
    steer = control(Endpoint(sim.base_url, sim.api_key))
    assert sim.api_key not in repr(steer.endpoint)

    await asyncio.to_thread(steer.faults, [{"mode": "529"}], latency_s=0.01)
    refused = await talk(sim, post(sim, {"model": "sim", "max_tokens": 9, "messages": [user("hi")]}))
    struck = await asyncio.to_thread(steer.struck)
    await asyncio.to_thread(steer.faults, [{"mode": "500", "times": 1}])
    spent = await talk(sim, post(sim, {"model": "sim", "max_tokens": 9, "messages": [user("tea?")]}))
    standing = await asyncio.to_thread(steer.standing)
    await asyncio.to_thread(steer.clear)
    await asyncio.to_thread(steer.put_back, standing)
    await asyncio.to_thread(lambda: steer.scripts(sim_greeter=["good day"]))
    greeted = await talk(sim, post(sim, {"model": "sim-greeter", "max_tokens": 9, "messages": [user("hi")]}))
    log = await asyncio.to_thread(steer.log)
    await asyncio.to_thread(steer.forget)

    assert refused.startswith(b"HTTP/1.1 529 ")
    assert spent.startswith(b"HTTP/1.1 500 ")
    assert (struck, [row["status"] for row in log]) == ([1], [529, 500, 200])
    assert b"good day" in greeted
    assert await asyncio.to_thread(steer.requests) == 0
    with pytest.raises(ValueError, match="unknown mode"):
        await asyncio.to_thread(steer.faults, [{"mode": "rain"}])


async def test_an_answer_that_says_how_long_it_is_is_no_longer(sim):
    """Pings for ever are of streams: behind a whole answer they are an error in it for a client that looks."""
    sim.set_faults([{"mode": "ping_forever"}])
    said = await served(sim, {"model": "sim", "max_tokens": 9, "messages": [user("hi")]})

    head, _, body = said.partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}\r\n".encode() in head
    assert json.loads(body)["type"] == "message"
