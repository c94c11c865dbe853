"""The client against the simulator: a whole answer, or an error that says what kind of failure it was."""

from __future__ import annotations

import asyncio
import pickle
import sys
import time
import traceback
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agentlab.errors import IncompleteStream, ModelFailed, StepFailed
from agentlab.faults import KINDS, Fault, fault
from agentlab.models import MessagesClient
from agentlab.models.connections import certificates
from agentlab.models.model import client_for
from agentlab.sim import Simulator
from agentlab.sim.minds import MINDS, script
from agentlab.sim.modes import MODES
from tests.simulated import ADD, user

LONG = "There was once a text that was long enough to be cut in the middle of it. " * 4
SLOW_MODES = ("hang_headers", "stall_mid_stream", "ping_forever", "drip")


@pytest.fixture
def anyio_backend() -> str:
    """The client is asyncio's."""
    return "asyncio"


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    """A running simulator."""
    async with Simulator(minds={"sim-add": script([{"tool": "add", "input": {"a": 1, "b": 2}}])}) as simulator:
        yield simulator


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[MessagesClient]:
    """Our client, talking to it."""
    made = MessagesClient(sim.base_url, sim.api_key)
    yield made
    await made.close()


async def failure(client: MessagesClient, *, stream: bool = True, **options: Any) -> StepFailed:
    """The error that a call ends in."""
    with pytest.raises(StepFailed) as caught:
        await client.create(messages=[user(LONG)], max_tokens=500, stream=stream, **options)
    return caught.value


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_is_plain_json_streamed_or_not(client, stream):
    """Both ways give the same message, ready to be appended to the conversation."""
    heard: list[str] = []

    message = await client.create(messages=[user(LONG)], max_tokens=500, stream=stream, on_text=heard.append)

    assert (message["role"], message["stop_reason"]) == ("assistant", "end_turn")
    assert message["content"] == [{"type": "text", "text": LONG, "citations": None}]
    assert message["usage"]["input_tokens"] > 0
    assert "".join(heard) == (LONG if stream else "")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_tool_call_comes_with_its_input_parsed(client, stream):
    """Strict JSON, an object, an id."""
    message = await client.create(messages=[user("go")], max_tokens=99, model="sim-add", tools=[ADD], stream=stream)

    (block,) = message["content"]
    assert message["stop_reason"] == "tool_use"
    assert (block["type"], block["name"], block["input"]) == ("tool_use", "add", {"a": 1, "b": 2})


async def test_the_stable_prefix_is_marked_for_the_cache_on_the_wire():
    """Tools, system and the newest message; and who wants no marks sends none."""
    heard: list[Any] = []

    def listen(ask: Any) -> Any:
        heard.append(ask.body)
        return MINDS["sim-echo"](ask)

    async with Simulator(minds={"sim-listens": listen}) as sim:
        for caching in (True, False):
            client = MessagesClient(sim.base_url, sim.api_key, model="sim-listens", caching=caching)
            await client.create(messages=[user(LONG)], max_tokens=9, system="Be kind.", tools=[ADD])
            await client.close()

    mark = {"cache_control": {"type": "ephemeral"}}
    marked, plain = heard
    assert [marked["system"][-1], marked["tools"][-1]] == [{"type": "text", "text": "Be kind."} | mark, ADD | mark]
    assert marked["messages"] == [user([{"type": "text", "text": LONG} | mark])]
    assert (plain["system"], plain["tools"], plain["messages"]) == ("Be kind.", [ADD], [user(LONG)])


async def test_tokens_can_be_counted(client):
    """Without a model call."""
    assert await client.count_tokens(messages=[user(LONG)]) > await client.count_tokens(messages=[user("hi")])


CUT = {
    "abort_mid_chunk": ("cut", "cut_stream"),
    "clean_eof_no_stop": ("open_block", "cut_stream"),
    "clean_eof_after_tool_block": ("no_stop_reason", "cut_stream"),
    "eof_inside_event": ("open_block", "cut_stream"),
    "half_frame_then_blank": ("not_json", "garbage"),
    "empty_200_stream": ("no_start", "cut_stream"),
    "no_message_start": ("no_start", "cut_stream"),
    "mid_stream_overloaded": ("overloaded_error", "overloaded"),
    "mid_stream_api_error": ("api_error", "server_error"),
    "mid_stream_error_nonjson": ("api_error", "server_error"),
    "unknown_stop_reason": ("unknown_stop_reason", "garbage"),
}


@pytest.mark.parametrize("mode", CUT)
async def test_a_stream_that_does_not_end_as_it_should_is_no_answer(sim, client, mode):
    """Also where the library sees no error at all; what was billed and said is kept."""
    sim.set_faults([{"mode": mode, "after": 3}])

    error = await failure(client)

    assert isinstance(error, IncompleteStream)
    assert (error.kind, error.fault.kind) == CUT[mode]
    assert error.fault.transient
    if mode not in ("empty_200_stream", "no_message_start"):
        assert LONG.startswith(error.partial_text)
        assert error.partial_text
        assert error.bytes > 0
        assert error.usage_lower_bound["input_tokens"] > 0


@pytest.mark.parametrize("after", [0, 1, 5, 10_000])
async def test_an_overload_in_the_middle_is_known_by_its_type_not_its_status(sim, client, after):
    """The status was 200; the scope is the provider's, as for a 529."""
    sim.set_faults([{"mode": "mid_stream_overloaded", "after": after}])

    error = await failure(client)

    assert error.fault == Fault("overloaded", "provider", transient=True)


REFUSED = {
    "400": "bad_request",
    "400_too_long": "bad_request",
    "400_cut_upload": "cut_upload",
    "401": "unauthorized",
    "402": "billing",
    "403": "forbidden",
    "404": "no_such_model",
    "413": "too_large",
    "429": "rate_limit",
    "429_spend_limit": "spend_limit",
    "429_ramp": "rate_limit",
    "500": "server_error",
    "502_html": "server_error",
    "503": "unavailable",
    "504": "timeout",
    "529": "overloaded",
    "rst": "connection",
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("mode", REFUSED)
async def test_a_refused_call_says_what_kind_of_fault_it_was(sim, client, mode, stream):
    """One request, no retry of the library's own."""
    sim.set_faults([{"mode": mode}])

    error = await failure(client, stream=stream)

    assert isinstance(error, ModelFailed)
    assert error.fault == fault(REFUSED[mode])
    assert sim.requests == 1


@pytest.mark.parametrize(("given_", "seconds"), [("1", 1.0), ("3600", 3600.0), (None, None), ("soon", None)])
async def test_the_wait_a_429_asks_for_reaches_the_fault(sim, client, given_, seconds):
    """Uncapped: how long to wait is the breaker's decision."""
    sim.set_faults([{"mode": "429", "retry_after": given_}])

    assert (await failure(client)).fault.retry_after == seconds


@pytest.mark.parametrize("mode", ["html_200", "truncated_json_200", "abort_mid_chunk", "empty_content"])
async def test_a_whole_reply_is_checked_too(sim, client, mode):
    """A captive portal's page, half a body, no content: no message."""
    sim.set_faults([{"mode": mode}])

    if mode == "empty_content":  # right in form; what it means is the agent's business
        assert (await client.create(messages=[user("hi")], max_tokens=9, stream=False))["content"] == []
    else:
        error = await failure(client, stream=False)
        assert error.fault.kind == ("connection" if mode == "abort_mid_chunk" else "garbage")


@pytest.mark.parametrize("mode", SLOW_MODES)
@pytest.mark.parametrize("limit", ["idle_s", "deadline_s"])
async def test_no_call_waits_for_ever(sim, mode, limit):
    """Silence and pings alike: without progress the call ends, and with progress too, at its deadline."""
    client = MessagesClient(sim.base_url, sim.api_key, **{limit: 0.3})
    sim.set_faults([{"mode": mode}])

    error = await asyncio.wait_for(failure(client), 20)
    await client.close()

    assert isinstance(error, IncompleteStream)
    assert (error.kind, error.fault.kind) == ("stalled" if limit == "idle_s" else "deadline", "stalled")


async def test_a_slow_stream_that_goes_on_is_waited_for(sim):
    """The watch asks for progress, not for speed."""

    async def said_in_pieces(pause: float, patience: float) -> str:
        client = MessagesClient(sim.base_url, sim.api_key, idle_s=patience)
        sim.set_faults({"delta_s": pause})
        began = time.monotonic()
        try:
            message = await client.create(messages=[user(LONG)], max_tokens=500)
        finally:
            await client.close()
        assert time.monotonic() - began > patience
        return str(message["content"][0]["text"])

    try:
        said = await said_in_pieces(0.1, 1.5)
    except IncompleteStream:  # a busy machine makes a longer pause than that
        said = await said_in_pieces(0.8, 15.0)
    assert said == LONG


@pytest.mark.parametrize("mode", ["crlf", "unknown_event"])
async def test_harmless_oddities_are_harmless(sim, client, mode):
    """Other line ends, events nobody knows."""
    sim.set_faults([{"mode": mode}])

    message = await client.create(messages=[user(LONG)], max_tokens=500)

    assert message["content"][0]["text"] == LONG


async def test_a_tool_call_cut_by_max_tokens_is_left_out(client):
    """Half a call may parse to a plausible wrong one."""
    message = await client.create(messages=[user("go")], max_tokens=2, model="sim-add", tools=[ADD])

    assert (message["stop_reason"], message["content"]) == ("max_tokens", [])


async def test_a_tool_call_that_is_no_json_is_garbage(sim, client):
    """Without the limit as an excuse; a lenient parser would make something of it."""
    sim.set_faults([{"mode": "malformed_tool_json"}])

    with pytest.raises(IncompleteStream) as caught:
        await client.create(messages=[user("go")], max_tokens=99, model="sim-add", tools=[ADD])

    assert (caught.value.kind, caught.value.fault.kind) == ("tool_json", "garbage")


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode not in SLOW_MODES])
@pytest.mark.parametrize("stream", [True, False])
async def test_every_mode_ends_in_an_answer_or_a_classified_error(sim, client, mode, stream):
    """Nothing of the library's own comes out, whatever the provider does."""
    sim.set_faults([{"mode": mode}])

    call = client.create(messages=[user(LONG)], max_tokens=500, stream=stream)
    (outcome,) = await asyncio.gather(call, return_exceptions=True)

    if isinstance(outcome, BaseException):
        assert isinstance(outcome, StepFailed)
        assert outcome.fault.kind in set(KINDS) - {"crash"}
    else:
        assert outcome["stop_reason"]


@pytest.mark.parametrize("mode", ["401", "529", "abort_mid_chunk", "rst", "html_200"])
async def test_no_error_shows_the_key(sim, client, mode):
    """Not its text, its traceback, its parts or its pickle, even when the provider sends the key back."""
    sim.set_faults([{"mode": mode, "message": f"bad key {sim.api_key} and sk-ant-api03-secret"}])

    error = await failure(client)

    shown = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error)) + repr(client)
    assert sim.api_key not in shown
    assert "api03-secret" not in shown
    assert sim.api_key.encode() not in pickle.dumps(error)
    assert error.__cause__ is None
    assert error.__context__ is None


async def test_an_error_survives_the_way_to_another_process(sim, client):
    """With all it knows."""
    sim.set_faults([{"mode": "abort_mid_chunk"}])
    error = await failure(client)

    again = pickle.loads(pickle.dumps(error))

    assert isinstance(again, IncompleteStream)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


async def test_without_a_key_the_error_says_what_to_do(monkeypatch, tmp_path):
    """Before anything is sent."""
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_CONFIG_DIR", "ANTHROPIC_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    client = MessagesClient("http://127.0.0.1:9", model="claude-opus-4-1")

    error = await failure(client)

    assert error.fault.kind == "unauthorized"
    assert "ANTHROPIC_API_KEY" in str(error)


async def test_a_server_that_is_not_there_is_a_connection_fault():
    """Refused at once."""
    client = MessagesClient("http://127.0.0.1:9", "key")

    assert (await failure(client)).fault.kind == "connection"


async def test_a_cancelled_call_gives_its_connection_back(sim, client):
    """A killed agent leaves nothing open that the next call would trip over."""
    sim.set_faults([{"mode": "stall_mid_stream", "nth": 1}])
    begun = asyncio.Event()
    request = client.create(messages=[user(LONG)], max_tokens=500, on_text=lambda text: begun.set())
    call = asyncio.ensure_future(request)

    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    message = await client.create(messages=[user("next")], max_tokens=9)

    assert message["content"][0]["text"] == "next"


async def test_a_client_is_made_beside_the_loop():
    """What is imported and read for it would hold the loop in C code, and its agent be taken for stalled."""
    called: set[str] = set()
    sys.setprofile(lambda frame, event, arg: called.add(frame.f_code.co_qualname))
    try:
        made, again = await client_for("http://127.0.0.1:1", "key"), await client_for("http://127.0.0.1:1", "key")
    finally:
        sys.setprofile(None)

    assert made is again
    assert "client_for" in called
    assert not {"Connections.__init__", "create_ssl_context"} & called
    await made.close()


async def test_only_a_server_that_is_spoken_to_in_code_has_certificates_read_for_it():
    """They take 5 MB and 40 ms in each node; the simulator is reached without, and trust nobody."""
    certificates.cache_clear()

    await MessagesClient("http://127.0.0.1:1", "key").close()
    assert certificates.cache_info().currsize == 0

    await MessagesClient("https://127.0.0.1:1", "key").close()
    assert certificates.cache_info().currsize == 1
