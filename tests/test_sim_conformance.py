"""The real library, and our client, against every way to fail that the simulator has: what each of them makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import anthropic
import pytest

from agentlab.faults import classify
from agentlab.models.messages import MessagesClient
from agentlab.sim import Simulator
from agentlab.sim.modes import MODES
from agentlab.sim.rules import Profile
from tests.conftest import wait_for
from tests.simulated import ADD, user


class Row(NamedTuple):
    """What comes out: of the library, whole and streamed, and of ours, streamed and whole.

    Of the library an exception by its class, else the stop reason and the kinds of blocks. Of ours the kind of fault,
    else the same.
    """

    whole: str
    streamed: str
    ours: str
    ours_whole: str


def error(name: str, kind: str) -> Row:
    """The same four times: an error that the API itself words."""
    return Row(name, name, kind, kind)


CALL = "tool_use: tool_use"
"""What is asked for when nothing goes wrong: ``add``."""


def stream(library: str, ours: str) -> Row:
    """Only a stream is spoiled."""
    return Row(CALL, library, ours, CALL)


def same(said: str) -> Row:
    """A model's doing, in a message that is right in form: nobody below the agent objects."""
    return Row(said, said, said, said)


TABLE: dict[str, Row] = {
    "400": error("BadRequestError", "bad_request"),
    "400_too_long": error("BadRequestError", "bad_request"),
    "400_cut_upload": error("BadRequestError", "cut_upload"),
    "401": error("AuthenticationError", "unauthorized"),
    "402": error("PaymentRequiredError", "billing"),
    "403": error("PermissionDeniedError", "forbidden"),
    "404": error("NotFoundError", "no_such_model"),
    "413": error("ContentTooLargeError", "too_large"),
    "429": error("RateLimitError", "rate_limit"),
    "429_spend_limit": error("EnforcedSpendLimitReachedError", "spend_limit"),
    "429_ramp": error("RampLimitExceededError", "rate_limit"),
    "500": error("InternalServerError", "server_error"),
    "503": error("ServiceUnavailableError", "unavailable"),
    "504": error("GatewayTimeoutError", "timeout"),
    "529": error("OverloadedError", "overloaded"),
    "502_html": error("InternalServerError", "server_error"),
    "html_200": Row("str", "AssertionError", "cut_stream", "garbage"),
    "wrong_shape_200": Row("None: None", "AssertionError", "cut_stream", "garbage"),
    "truncated_json_200": Row("JSONDecodeError", "None: ", "cut_stream", "garbage"),
    "json_body_for_stream": stream("AssertionError", "cut_stream"),
    "html_for_stream": stream("AssertionError", "cut_stream"),
    "connect_refused": error("APIConnectionError", "connection"),
    "rst": error("APIConnectionError", "connection"),
    "hang_headers": Row("APITimeoutError", "APITimeoutError", "stalled", "timeout"),
    "stall_mid_stream": Row("APITimeoutError", "ReadTimeout", "stalled", "timeout"),
    "ping_forever": stream("never", "stalled"),
    "drip": Row("APITimeoutError", "never", "stalled", "timeout"),
    "abort_mid_chunk": Row("APIConnectionError", "RemoteProtocolError", "cut_stream", "connection"),
    "clean_eof_no_stop": stream("None: tool_use", "cut_stream"),
    "clean_eof_after_tool_block": stream("None: tool_use", "cut_stream"),
    "eof_inside_event": stream("None: tool_use", "cut_stream"),
    "half_frame_then_blank": stream("JSONDecodeError", "garbage"),
    "empty_200_stream": stream("AssertionError", "cut_stream"),
    "no_message_start": stream("AssertionError", "cut_stream"),
    "crlf": same(CALL),
    "bytes_split_in_utf8": same(CALL),
    "sse_without_event_lines": stream("AssertionError", CALL),
    "unknown_event": same(CALL),
    "unknown_delta": same(CALL),
    "delta_for_unopened_index": stream("IndexError", "garbage"),
    "duplicate_index": stream("tool_use: tool_use text", "garbage"),
    "mid_stream_overloaded": stream("APIStatusError", "overloaded"),
    "mid_stream_api_error": stream("APIStatusError", "server_error"),
    "mid_stream_error_nonjson": stream("APIStatusError", "server_error"),
    "null_content": Row("tool_use: None", "tool_use: None", "tool_use: ", "garbage"),
    "empty_content": same("end_turn: "),
    "whitespace_only": same("end_turn: text"),
    "refusal": same("refusal: tool_use"),
    "pause_turn": same("pause_turn: text"),
    "max_tokens": same("max_tokens: tool_use"),
    # The library's own parser makes a plausible, wrong input of the half; ours leaves the call out.
    "max_tokens_in_tool": same("max_tokens: tool_use")._replace(ours="max_tokens: "),
    "context_window_exceeded": same("model_context_window_exceeded: tool_use"),
    "unknown_stop_reason": Row("bored: tool_use", "bored: tool_use", "garbage", "garbage"),
    "malformed_tool_json": stream("ValueError", "garbage"),
    "unknown_tool": same(CALL),
    "schema_violation": same(CALL),
    "wrong_types": same(CALL),
    "extra_keys": same(CALL),
    "same_tool_for_ever": same(CALL),
    "tool_cycle": same(CALL),
    "one_bad_of_two": same("tool_use: tool_use tool_use"),
    # The very same call, twice, under one id: ours takes it for one.
    "duplicate_tool_ids": Row("tool_use: tool_use tool_use", "tool_use: tool_use tool_use", CALL, CALL),
    "prose_for_json": same("end_turn: text"),
    "fenced_json": same("end_turn: text"),
    "wrong_json": same("end_turn: text"),
    "other_model": same(CALL),
    "usage_missing": same(CALL)._replace(streamed="AttributeError"),
    "usage_negative": same(CALL),
    "thinking_without_signature": same("tool_use: thinking tool_use"),
    "garbage_text": same("end_turn: text"),
}

HANGS = {"hang_headers", "stall_mid_stream", "ping_forever", "drip"}
"""Modes that end by somebody's patience."""

LONG = 60.0
"""Seconds of patience."""

SHORT = (0.4, 3.2, 12.8)
"""The same for modes that hang, one after the other: on a busy machine what does not hang may take longer too."""


class Clients(NamedTuple):
    """The library's, and ours."""

    blocking: anthropic.Anthropic
    library: anthropic.AsyncAnthropic
    ours: MessagesClient


class World:
    """One simulator in a thread, and the clients that talk to it: patient ones, and hasty ones for what hangs."""

    def __init__(self, sim: Simulator) -> None:
        self.sim = sim
        self.runner = asyncio.Runner()
        self._clients: dict[float, Clients] = {}

    def clients(self, seconds: float) -> Clients:
        """Those with so much patience."""
        if seconds not in self._clients:
            own = {"base_url": self.sim.base_url, "api_key": self.sim.api_key}
            options: dict[str, Any] = {**own, "max_retries": 0, "timeout": seconds}
            pool, pools = (
                anthropic.DefaultHttpxClient(trust_env=False),
                anthropic.DefaultAsyncHttpxClient(trust_env=False),
            )
            self._clients[seconds] = Clients(
                anthropic.Anthropic(**options, http_client=pool),
                anthropic.AsyncAnthropic(**options, http_client=pools),
                MessagesClient(**own, idle_s=seconds, deadline_s=seconds * 2),
            )
        return self._clients[seconds]

    def close(self) -> None:
        """Let go of all connections."""
        for blocking, library, ours in self._clients.values():
            blocking.close()
            self.runner.run(library.close())
            self.runner.run(ours.close())
        self.runner.close()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A simulator that serves from another thread, so that blocking clients can be tried too."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    sim = Simulator(seed=7)
    asyncio.run_coroutine_threadsafe(sim.start(), loop).result(60)
    made = World(sim)
    try:
        yield made
    finally:
        made.close()
        asyncio.run_coroutine_threadsafe(sim.close(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def outcome(value: Any) -> str:
    """A message in a word, an exception by its class."""
    if isinstance(value, BaseException):
        return "never" if type(value) is TimeoutError else type(value).__name__
    if isinstance(value, str):
        return "str"
    content = value["content"] if isinstance(value, dict) else value.content
    stop = value["stop_reason"] if isinstance(value, dict) else value.stop_reason
    kinds = [block["type"] if isinstance(block, dict) else block.type for block in content or ()]
    return f"{stop}: {content if content is None else ' '.join(kinds)}"


def kind_of(value: Any) -> str:
    """The kind of a fault; else as ``outcome``."""
    return classify(value).kind if isinstance(value, BaseException) else outcome(value)


def served(world: World) -> None:
    """Wait until it takes connections: one mode refuses them for a moment."""
    at = urlsplit(world.sim.base_url)

    def connects() -> bool:
        with contextlib.suppress(OSError), socket.create_connection((at.hostname, at.port)):
            return True
        return False

    wait_for(connects)


def request_for(mode: str) -> dict[str, Any]:
    """A question for which a tool is asked, spoiled by a mode."""
    return {
        "model": "sim", "max_tokens": 99, "messages": [user("What is 1 + 2? ✓ über")], "tools": [ADD],
        "extra_headers": {"x-sim-fault": mode},
    }  # fmt: skip


def test_every_mode_has_a_row() -> None:
    """A new mode is measured, or it is none."""
    assert TABLE.keys() == MODES.keys()


@pytest.mark.parametrize("mode", MODES)
def test_what_the_library_and_our_client_make_of_it(world: World, mode: str) -> None:
    """Asked whole and as a stream, by blocking and by async clients; ours gives a fault that says what to do."""
    wanted = TABLE[mode]
    blocking = wanted.whole, None if wanted.streamed == "never" else wanted.streamed
    world.sim.set_faults(Profile(delta_s=0.05 if mode == "drip" else 0.0))  # the drops: within the short patience
    for seconds in SHORT if mode in HANGS else (LONG,):
        found = what_comes(world, mode, seconds), what_comes_blocking(world, mode, seconds)
        if found == (wanted, blocking):
            break

    assert found == (wanted, blocking)


def what_comes(world: World, mode: str, seconds: float) -> Row:
    """Of async clients with so much patience."""
    request, (_, library, ours) = request_for(mode), world.clients(seconds)

    async def streamed() -> Any:
        async with asyncio.timeout(4 * seconds), library.messages.stream(**request) as stream:
            return await stream.get_final_message()

    def tried(work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return world.runner.run(_awaited(work))
        except Exception as caught:  # whatever comes out
            return caught
        finally:
            served(world)

    return Row(
        outcome(tried(lambda: library.messages.create(**request))),
        outcome(tried(streamed)),
        kind_of(tried(lambda: ours.create(**request))),
        kind_of(tried(lambda: ours.create(stream=False, **request))),
    )


def what_comes_blocking(world: World, mode: str, seconds: float) -> tuple[str, str | None]:
    """Of blocking clients, whole and streamed; of a stream that never ends nothing."""
    request, client = request_for(mode), world.clients(seconds).blocking
    whole, streamed = blocked(lambda: client.messages.create(**request)), None
    served(world)
    if TABLE[mode].streamed != "never":
        streamed = blocked(lambda: _streamed(client, request))
        served(world)
    return whole, streamed


async def _awaited(work: Callable[[], Awaitable[Any]]) -> Any:
    return await work()


def _streamed(client: anthropic.Anthropic, request: dict[str, Any]) -> Any:
    with client.messages.stream(**request) as stream:
        return stream.get_final_message()


def blocked(work: Callable[[], Any]) -> str:
    """What comes out of a blocking call."""
    try:
        return outcome(work())
    except Exception as caught:
        return outcome(caught)
