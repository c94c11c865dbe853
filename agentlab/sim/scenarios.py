"""Faults on purpose: a table of modes, and rules that say when a mode strikes.

A mode spoils an answer at one of two places: the ``Turn`` before it becomes a message (what a model does wrong), or
the ``Reply`` before it is sent (what the API and the network do wrong). ``MODES`` is the table; a new mode is a row.

A rule is JSON: ``{"mode": "529", "rate": 0.3}``. It strikes a request if all of its conditions hold:

========== =========================================================================================================
rate       with this probability, 0 to 1 (from the seed, the request and how often that request came)
nth        at these calls, from 1, among the requests that fit its ``model``, ``agent`` and ``prompt``: 2 or [1, 3]
times      at most so often
model      only for this model
agent      only for this agent: its path, which it gives as the request's ``metadata.user_id``
prompt     only if this text occurs in the user's last text
from_s     only so many seconds after the rules were set (``until_s``: only before)
========== =========================================================================================================

The other keys are the mode's: ``retry_after`` (any header value), ``after`` (deltas that arrive first), ``message``.
The first rule that strikes wins.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from agentlab.sim.grammar import ERROR_TYPES, Turn, digest, error_body, frame
from agentlab.sim.schemas import JSON
from agentlab.sim.wire import Reply

_REMEMBERED = 100_000


class Rule(BaseModel):
    """When a mode strikes, and its settings; see the table above."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    mode: str
    rate: float = Field(default=1.0, ge=0, le=1)
    nth: tuple[int, ...] | None = None
    times: int | None = Field(default=None, ge=0)
    model: str | None = None
    agent: str | None = None
    prompt: str | None = None
    from_s: float = Field(default=0.0, ge=0)
    until_s: float | None = Field(default=None, ge=0)
    retry_after: str | None = None
    after: int = Field(default=2, ge=0)
    message: str | None = None

    @field_validator("mode", mode="before")
    @classmethod
    def _known(cls, value: Any) -> str:  # before validation: anything
        if str(value) not in MODES:
            raise ValueError(f"unknown mode {value!r}; allowed: {', '.join(MODES)}")
        return str(value)

    @field_validator("nth", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int) else value

    @field_validator("retry_after", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) else value


class Profile(BaseModel):
    """What the simulator does to its answers from now on.

    Args:
        faults: Rules, first match wins.
        latency_s: Seconds before each answer starts.
        delta_s: Seconds between two pieces of a stream.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    faults: tuple[Rule, ...] = ()
    latency_s: float = Field(default=0.0, ge=0)
    delta_s: float = Field(default=0.0, ge=0)

    @classmethod
    def read(cls, value: Any) -> Profile:  # JSON off the wire
        """Read a profile from a list of rules or an object; raises ``ValueError`` that names field, value and rule."""
        try:
            return cls.model_validate({"faults": value} if isinstance(value, list) else value)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"{where}: {first['msg']}, got {first['input']!r:.80}") from None


@dataclass(frozen=True)
class Call:
    """What a rule may look at, and what a mode's reply needs."""

    model: str
    prompt: str
    key: str
    request_id: str
    agent: str | None = None


@dataclass
class Engine:
    """Decides which rule strikes: the only state between requests, and it counts, no more."""

    seed: int
    profile: Profile = field(default_factory=Profile)
    since: float = 0.0
    seen: list[int] = field(default_factory=list)
    struck: list[int] = field(default_factory=list)
    repeats: OrderedDict[str, int] = field(default_factory=OrderedDict)

    def set(self, profile: Profile, now: float) -> None:
        """Take new rules; their counts and time windows start here."""
        self.profile, self.since = profile, now
        self.seen, self.struck = [0] * len(profile.faults), [0] * len(profile.faults)

    def count(self, counts: Any) -> None:  # off a file
        """Take the counts that another engine with this profile had."""
        if counts and len(counts[0]) == len(self.seen):
            self.seen, self.struck = list(counts[0]), list(counts[1])

    def repeat(self, key: str) -> int:
        """How often this very request has come, this time included."""
        count = self.repeats.pop(key, 0) + 1
        self.repeats[key] = count
        if len(self.repeats) > _REMEMBERED:
            self.repeats.popitem(last=False)
        return count

    def strike(self, call: Call, repeat: int, now: float) -> Rule | None:
        """The rule that strikes this call, if any."""
        for index, rule in enumerate(self.profile.faults):
            if not self._concerns(rule, call):
                continue
            self.seen[index] += 1
            if self._holds(index, rule, call, repeat, now - self.since):
                self.struck[index] += 1
                return rule
        return None

    def _concerns(self, rule: Rule, call: Call) -> bool:
        who = rule.model in (None, call.model) and rule.agent in (None, call.agent)
        return who and (rule.prompt or "") in call.prompt

    def _holds(self, index: int, rule: Rule, call: Call, repeat: int, age: float) -> bool:
        if age < rule.from_s or (rule.until_s is not None and age >= rule.until_s):
            return False
        if rule.nth is not None and self.seen[index] not in rule.nth:
            return False
        if rule.times is not None and self.struck[index] >= rule.times:
            return False
        # Not a running random stream: which of many parallel requests is struck may not depend on their order.
        chance = int(digest(self.seed, index, call.key, repeat)[:12], 16) / 16**12
        return chance < rule.rate


@dataclass(frozen=True)
class Mode:
    """A row of the table: spoils the turn, the reply, or both."""

    turn: Callable[[Turn, Rule], Turn] | None = None
    reply: Callable[[Reply, Rule, Call], Reply] | None = None
    harmless: bool = False  # a client takes the answer as it was meant


def api_error(status: int, message: str, *, type_: str | None = None, code: str | None = None) -> Mode:
    """The API's own error reply."""

    def spoil(reply: Reply, rule: Rule, call: Call) -> Reply:
        kind = type_ or ERROR_TYPES.get(status, "api_error")
        headers = {"request-id": call.request_id}
        if rule.retry_after is not None:
            headers["retry-after"] = rule.retry_after
        body = error_body(kind, rule.message or message, call.request_id, code)
        return replace(Reply.of_json(status, body, headers), wait_s=reply.wait_s)

    return Mode(reply=spoil)


def html(status: int) -> Mode:
    """A page from a proxy in between."""

    def spoil(reply: Reply, rule: Rule, call: Call) -> Reply:
        page = f"<html><body><h1>{rule.message or status}</h1></body></html>".encode()
        return Reply(status, {"content-type": "text/html"}, (page,), wait_s=reply.wait_s)

    return Mode(reply=spoil)


def frames(change: Callable[[list[bytes], Rule], list[bytes]], end: str = "whole") -> Mode:
    """Change the frames of a stream; an answer that is no stream is only ended as ``end`` says."""

    def spoil(reply: Reply, rule: Rule, call: Call) -> Reply:
        parts = tuple(change(list(reply.parts), rule)) if reply.streams else reply.parts
        return replace(reply, parts=parts, end=end)  # type: ignore[arg-type]  # the table holds only End's words

    return Mode(reply=spoil)


def turn(change: Callable[[Turn, Rule], Turn]) -> Mode:
    """What a model does wrong, in a reply that is right in form."""
    return Mode(turn=change)


def _first(parts: list[bytes], rule: Rule) -> list[bytes]:
    """Up to and with ``after`` deltas."""
    deltas = [i for i, part in enumerate(parts) if part.startswith(b"event: content_block_delta")]
    return parts[: deltas[rule.after] if rule.after < len(deltas) else _before_end(parts)]


def _before_end(parts: list[bytes]) -> int:
    return next((i for i, part in enumerate(parts) if part.startswith(b"event: message_delta")), len(parts))


def _then(extra: Callable[[Rule], bytes]) -> Callable[[list[bytes], Rule], list[bytes]]:
    return lambda parts, rule: [*_first(parts, rule), extra(rule)]


def _error_event(type_: str, message: str) -> Callable[[Rule], bytes]:
    event = {"type": "error", "error": {"type": type_, "message": message}}
    return lambda rule: frame(event | {"error": {"type": type_, "message": rule.message or message}})


def _inside_event(parts: list[bytes], rule: Rule) -> list[bytes]:
    kept = _first(parts, rule)
    return [*kept[:-1], kept[-1][: len(kept[-1]) // 2]]


def _nothing(reply: Reply, rule: Rule, call: Call) -> Reply:
    return replace(reply, status=0, parts=(), streams=False, end="reset")


def _hang(reply: Reply, rule: Rule, call: Call) -> Reply:
    return replace(reply, status=0, parts=(), streams=False, end="hang")


def _truncated(reply: Reply, rule: Rule, call: Call) -> Reply:
    whole = b"".join(reply.parts)
    return replace(reply, parts=(whole[: len(whole) // 2],))


def _stop(reason: str) -> Mode:
    return turn(lambda said, rule: replace(said, stop_reason=reason))


def _cut_tool_json(said: Turn, rule: Rule) -> Turn:
    blocks = [dict(b, partial_json=json.dumps(b["input"])[:-1]) if b["type"] == "tool_use" else b for b in said.content]
    return replace(said, content=tuple(blocks))


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
    # the network, before and inside an answer
    "rst": Mode(reply=_nothing),
    "hang_headers": Mode(reply=_hang),
    "stall_mid_stream": frames(_first, "hang"),
    "ping_forever": frames(_first, "ping"),
    "abort_mid_chunk": frames(_first, "cut"),
    "clean_eof_no_stop": frames(_first),
    "clean_eof_after_tool_block": frames(lambda parts, rule: parts[: _before_end(parts)]),
    "eof_inside_event": frames(_inside_event),
    "half_frame_then_blank": frames(lambda parts, rule: [*_inside_event(parts, rule), b"\n\n"]),
    "empty_200_stream": frames(lambda parts, rule: []),
    "no_message_start": frames(lambda parts, rule: parts[1:]),
    "crlf": frames(lambda parts, rule: [part.replace(b"\n", b"\r\n") for part in parts]),
    "unknown_event": frames(lambda parts, rule: [parts[0], frame({"type": "weather", "sky": "blue"}), *parts[1:]]),
    "mid_stream_overloaded": frames(_then(_error_event("overloaded_error", "Overloaded"))),
    "mid_stream_api_error": frames(_then(_error_event("api_error", "Internal server error"))),
    "mid_stream_error_nonjson": frames(_then(lambda rule: b"event: error\ndata: upstream connect error\n\n")),
    "truncated_json_200": Mode(reply=_truncated),
    # the model
    "empty_content": turn(lambda said, rule: replace(said, content=())),
    "refusal": _stop("refusal"),
    "max_tokens": _stop("max_tokens"),
    "unknown_stop_reason": _stop("bored"),
    "malformed_tool_json": turn(_cut_tool_json),
}


def spoiled_turn(said: Turn, rule: Rule | None) -> Turn:
    """The turn, as the rule that struck leaves it."""
    change = MODES[rule.mode].turn if rule else None
    return change(said, rule) if rule and change else said


def spoiled_reply(reply: Reply, rule: Rule | None, call: Call) -> Reply:
    """The reply, as the rule that struck leaves it."""
    change = MODES[rule.mode].reply if rule else None
    return change(reply, rule, call) if rule and change else reply


def read_override(text: str) -> Rule:
    """The per-request header: a mode's name or a rule as JSON."""
    value: JSON = json.loads(text) if text.lstrip().startswith("{") else {"mode": text.strip()}
    return Profile.read([value]).faults[0]
