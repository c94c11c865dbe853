"""The ways to fail, by name: ``MODES`` is the table, a new way is a row.

A mode spoils an answer at one of three places: the ``Turn`` before it becomes a message (what a model does wrong), the
message before it is sent (what its provider does wrong), or the ``Reply`` (what the API and the network do wrong).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from agentlab.sim import spoilt
from agentlab.sim.grammar import ERROR_TYPES, Ask, Turn, error_body, frame
from agentlab.sim.schemas import JSON
from agentlab.sim.wire import End, Reply


class Settings(Protocol):
    """What a mode may read of the rule that struck."""

    @property
    def retry_after(self) -> str | None:
        """A header's value."""

    @property
    def after(self) -> int:
        """Deltas that arrive first; -1: not even the start of the message."""

    @property
    def message(self) -> str | None:
        """The error's text."""


@dataclass(frozen=True)
class Mode:
    """A row of the table.

    Args:
        turn: Spoils what the model says.
        message: Spoils the message that is made of it.
        reply: Spoils what is sent; gets the request's id too.
        harmless: A client takes the answer as it was meant, so the call is finished.
    """

    turn: Callable[[Turn, Settings, Ask], Turn] | None = None
    message: Callable[[JSON], JSON] | None = None
    reply: Callable[[Reply, Settings, str], Reply] | None = None
    harmless: bool = False


def api_error(status: int, message: str, *, type_: str | None = None, code: str | None = None) -> Mode:
    """The API's own error reply."""

    def spoil(reply: Reply, rule: Settings, request_id: str) -> Reply:
        kind = type_ or ERROR_TYPES.get(status, "api_error")
        headers = {**reply.limits, "request-id": request_id}
        if rule.retry_after is not None:
            headers["retry-after"] = rule.retry_after
        if status == 429:
            headers["anthropic-ratelimit-requests-remaining"] = "0"
        body = error_body(kind, rule.message or message, request_id, code)
        return replace(Reply.of_json(status, body, headers), wait_s=reply.wait_s)

    return Mode(reply=spoil)


def html(status: int) -> Mode:
    """A page from a proxy in between."""

    def spoil(reply: Reply, rule: Settings, request_id: str) -> Reply:
        page = f"<html><body><h1>{rule.message or status}</h1></body></html>".encode()
        return Reply(status, {"content-type": "text/html"}, (page,), wait_s=reply.wait_s)

    return Mode(reply=spoil)


def body(value: Callable[[JSON], Any], *, streams_only: bool = False) -> Mode:
    """A JSON body of another shape, whatever was asked for."""

    def spoil(reply: Reply, rule: Settings, request_id: str) -> Reply:
        if streams_only and not reply.streams:
            return reply
        made = Reply.of_json(200, value(dict(reply.message)), {"request-id": request_id})
        return replace(made, wait_s=reply.wait_s)

    return Mode(reply=spoil)


def page_for_stream() -> Mode:
    """HTML where a stream was asked for."""
    page = html(200).reply
    assert page is not None

    def spoil(reply: Reply, rule: Settings, request_id: str) -> Reply:
        return page(reply, rule, request_id) if reply.streams else reply

    return Mode(reply=spoil)


def frames(
    change: Callable[[list[bytes], Settings], list[bytes]], end: End = "whole", *, pause_s: float = 0.0,
    harmless: bool = False,
) -> Mode:  # fmt: skip
    """Change the frames of a stream; an answer that is no stream is only ended as ``end`` says."""

    def spoil(reply: Reply, rule: Settings, request_id: str) -> Reply:
        parts = tuple(change(list(reply.parts), rule)) if reply.streams else reply.parts
        return replace(reply, parts=parts, end=end, pause_s=reply.pause_s or pause_s)

    return Mode(reply=spoil, harmless=harmless)


def turn(change: Callable[[Turn, Settings, Ask], Turn]) -> Mode:
    """What a model does wrong, in a reply that is right in form."""
    return Mode(turn=change)


def stop(reason: str) -> Mode:
    """Another stop reason."""
    return turn(lambda said, rule, ask: replace(said, stop_reason=reason))


def says(text: str | Callable[[str], str]) -> Mode:
    """Another text."""
    return turn(lambda said, rule, ask: spoilt.with_text(said, text))


def call(change: Callable[[Turn, Ask], Turn]) -> Mode:
    """Something wrong about its tool calls."""
    return turn(lambda said, rule, ask: change(said, ask))


def first_part(parts: list[bytes], rule: Settings) -> list[bytes]:
    """Up to and with ``after`` deltas."""
    if rule.after < 0:
        return []
    deltas = [i for i, part in enumerate(parts) if part.startswith(b"event: content_block_delta")]
    return parts[: deltas[rule.after] if rule.after < len(deltas) else before_end(parts)]


def before_end(parts: list[bytes]) -> int:
    """Where the end of the message is told."""
    return next((i for i, part in enumerate(parts) if part.startswith(b"event: message_delta")), len(parts))


def then(extra: Callable[[Settings], bytes]) -> Callable[[list[bytes], Settings], list[bytes]]:
    """The first part, and something more."""
    return lambda parts, rule: [*first_part(parts, rule), extra(rule)]


def error_event(type_: str, message: str) -> Callable[[Settings], bytes]:
    """An error inside a stream."""
    return lambda rule: frame({"type": "error", "error": {"type": type_, "message": rule.message or message}})


def ended(status: int, end: End) -> Callable[[Reply, Settings, str], Reply]:
    """Nothing is sent, and the connection ends so."""
    return lambda reply, rule, request_id: replace(reply, status=status, parts=(), streams=False, end=end)


def _dripping(reply: Reply, rule: Settings, request_id: str) -> Reply:
    if not reply.streams:
        return replace(reply, end="hang")
    start = frame({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    return replace(reply, parts=(reply.parts[0], start), end="drip")


def _truncated(reply: Reply, rule: Settings, request_id: str) -> Reply:
    whole = b"".join(reply.parts)
    return replace(reply, parts=(whole[: len(whole) // 2],))


MODES: Mapping[str, Mode] = {
    # the API
    "400": api_error(400, "messages: invalid request"),
    "400_too_long": api_error(400, "prompt is too long: 210000 tokens > 200000 maximum"),
    "400_cut_upload": api_error(400, "The request body is not valid JSON: unexpected end of data"),
    "401": api_error(401, "invalid x-api-key"),
    "402": api_error(402, "Your credit balance is too low."),
    "403": api_error(403, "Your API key does not have permission to use the specified resource."),
    "404": api_error(404, "model: not found"),
    "413": api_error(413, "Request exceeds the maximum size"),
    "429": api_error(429, "This request would exceed your rate limit. Please try again later."),
    "429_spend_limit": api_error(429, "Spend limit reached.", code="enforced_spend_limit_reached"),
    "429_ramp": api_error(429, "Please increase traffic gradually.", code="ramp_limit_exceeded"),
    "500": api_error(500, "Internal server error"),
    "503": api_error(503, "Service unavailable"),
    "504": api_error(504, "Request timed out"),
    "529": api_error(529, "Overloaded"),
    "502_html": html(502),
    "html_200": html(200),
    "wrong_shape_200": body(lambda message: {"ok": True}),
    "truncated_json_200": Mode(reply=_truncated),
    "json_body_for_stream": body(lambda message: message, streams_only=True),
    "html_for_stream": page_for_stream(),
    # the network, before and inside an answer
    "connect_refused": Mode(reply=ended(0, "refuse")),
    "rst": Mode(reply=ended(0, "reset")),
    "hang_headers": Mode(reply=ended(0, "hang")),
    "stall_mid_stream": frames(first_part, "hang"),
    "ping_forever": frames(first_part, "ping"),
    "drip": Mode(reply=_dripping),
    "abort_mid_chunk": frames(first_part, "cut"),
    "clean_eof_no_stop": frames(first_part),
    "clean_eof_after_tool_block": frames(lambda parts, rule: parts[: before_end(parts)]),
    "eof_inside_event": frames(lambda parts, rule: spoilt.inside_event(first_part(parts, rule))),
    "half_frame_then_blank": frames(lambda parts, rule: [*spoilt.inside_event(first_part(parts, rule)), b"\n\n"]),
    "empty_200_stream": frames(lambda parts, rule: []),
    "no_message_start": frames(lambda parts, rule: parts[1:]),
    "crlf": frames(lambda parts, rule: [part.replace(b"\n", b"\r\n") for part in parts], harmless=True),
    "bytes_split_in_utf8": frames(lambda parts, rule: spoilt.split_in_utf8(parts), pause_s=0.002, harmless=True),
    "sse_without_event_lines": frames(lambda parts, rule: [part.partition(b"\n")[2] for part in parts]),
    "unknown_event": frames(lambda parts, rule: spoilt.with_unknown_event(parts), harmless=True),
    "unknown_delta": frames(lambda parts, rule: spoilt.with_unknown_delta(parts), harmless=True),
    "delta_for_unopened_index": frames(lambda parts, rule: spoilt.with_delta_for(7, parts)),
    "duplicate_index": frames(lambda parts, rule: spoilt.with_duplicate_index(parts)),
    "mid_stream_overloaded": frames(then(error_event("overloaded_error", "Overloaded"))),
    "mid_stream_api_error": frames(then(error_event("api_error", "Internal server error"))),
    "mid_stream_error_nonjson": frames(then(lambda rule: b"event: error\ndata: upstream connect error\n\n")),
    # the model
    "null_content": Mode(message=lambda message: {**message, "content": None}),
    "empty_content": turn(lambda said, rule, ask: replace(said, content=())),
    "whitespace_only": says(" \n\t "),
    "refusal": stop("refusal"),
    "pause_turn": turn(lambda said, rule, ask: spoilt.paused(said)),
    "max_tokens": stop("max_tokens"),
    "max_tokens_in_tool": call(spoilt.cut_in_tool),
    "context_window_exceeded": stop("model_context_window_exceeded"),
    "unknown_stop_reason": stop("bored"),
    "malformed_tool_json": call(spoilt.malformed_json),
    "unknown_tool": call(spoilt.unknown_tool),
    "schema_violation": call(spoilt.schema_violation),
    "wrong_types": call(spoilt.wrong_types),
    "extra_keys": call(spoilt.extra_keys),
    "same_tool_for_ever": call(spoilt.same_tool),
    "tool_cycle": call(spoilt.tool_cycle),
    "one_bad_of_two": call(spoilt.one_bad_of_two),
    "duplicate_tool_ids": Mode(turn=lambda said, rule, ask: spoilt.two_calls(said, ask), message=spoilt.same_ids),
    "prose_for_json": says("Of course! I have looked at it closely, and here is what I think about it."),
    "fenced_json": says(lambda text: f"```json\n{text}\n```"),
    "wrong_json": says(json.dumps({"this": "is not what was asked for"})),
    "other_model": Mode(message=lambda message: {**message, "model": "claude-substitute-1"}),
    "usage_missing": Mode(message=lambda message: {n: v for n, v in message.items() if n != "usage"}),
    "usage_negative": Mode(message=spoilt.negative_usage),
    "thinking_without_signature": turn(lambda said, rule, ask: spoilt.unsigned(said)),
    "garbage_text": says(spoilt.GARBAGE),
}
