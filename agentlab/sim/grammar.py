"""The Messages API as data: which requests are refused, what an answer looks like, how it is cut into a stream."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import Any

from agentlab.sim.schemas import JSON, misfit

ERROR_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "api_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}

_TOKEN = re.compile(r"\s*\w{1,6}|\s*[^\w\s]|\s+")
_TOKENS_A_DELTA = 4


class Refused(Exception):
    """The request breaks a rule of the API: ``status`` and the message of the error reply."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Ask:
    """What a mind sees of a request.

    Args:
        body: The request's JSON, already validated.
        seed: A number that depends on the simulator's seed and the request only.
    """

    body: JSON
    seed: int

    @property
    def messages(self) -> list[JSON]:
        return list(self.body["messages"])

    @property
    def tools(self) -> list[JSON]:
        """The tools on offer; none when ``tool_choice`` forbids them."""
        if (self.body.get("tool_choice") or {}).get("type") == "none":
            return []
        return list(self.body.get("tools") or [])

    @property
    def question(self) -> str:
        """The last text a user wrote."""
        for message in reversed(self.messages):
            text = text_of(message["content"])
            if message["role"] == "user" and text:
                return text
        return ""

    @property
    def schema(self) -> JSON | None:
        """The JSON schema the answer has to follow, if one was asked for."""
        shape = (self.body.get("output_config") or {}).get("format") or {}
        return shape.get("schema") if shape.get("type") == "json_schema" else None

    def results(self) -> list[JSON]:
        """The tool results since the last text of the user, oldest first."""
        found: list[JSON] = []
        for message in reversed(self.messages):
            if message["role"] != "user":
                continue
            if text_of(message["content"]):
                break
            found[:0] = [b for b in message["content"] if b["type"] == "tool_result"]
        return found


@dataclass(frozen=True)
class Turn:
    """What a mind answers: content blocks without ids, and why it stopped (``None``: by what the content says)."""

    content: Sequence[JSON]
    stop_reason: str | None = None
    usage: JSON = field(default_factory=dict)

    @classmethod
    def say(cls, text: str) -> Turn:
        return cls(({"type": "text", "text": text},))

    @classmethod
    def use(cls, *calls: tuple[str, JSON], text: str = "") -> Turn:
        """Ask for tools: ``(name, input)`` each, after an optional sentence."""
        said = [{"type": "text", "text": text}] if text else []
        return cls((*said, *({"type": "tool_use", "name": name, "input": given} for name, given in calls)))


def text_of(content: Any) -> str:  # a string or a list of blocks
    """The text of a message's content, blocks joined by newlines."""
    if isinstance(content, str):
        return content
    return "\n".join(str(b.get("text", "")) for b in content if b.get("type") == "text")


def tokens_in(value: Any) -> int:  # any JSON
    """A deterministic stand-in for a tokenizer: four characters of JSON a token."""
    return max(1, len(json.dumps(value)) // 4)


def digest(*parts: object) -> str:
    """A hash of the parts, as hex."""
    return hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "surrogatepass")).hexdigest()


# What requests must obey

_OPTIONAL: Mapping[str, UnionType | type] = {
    "system": str | list,
    "stream": bool,
    "tool_choice": dict,
    "stop_sequences": list,
    "metadata": dict,
    "output_config": dict,
    "thinking": dict,
}


def check_request(body: Any, *, counting: bool = False) -> JSON:  # whatever the client sent
    """Return the body, or raise ``Refused`` with the rule it breaks, as the real API would."""
    if not isinstance(body, dict):
        raise Refused(400, f"body: expected an object, got {type(body).__name__}")
    for name in ("model", "messages") if counting else ("model", "messages", "max_tokens"):
        if name not in body:
            raise Refused(400, f"{name}: Field required")
    if not isinstance(body["model"], str):
        raise Refused(400, "model: Input should be a valid string")
    if not counting:
        limit = body["max_tokens"]
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise Refused(400, f"max_tokens: must be an integer greater than or equal to 1, got {limit!r}")
    for name, kind in _OPTIONAL.items():
        if not isinstance(body.get(name), kind | None):
            raise Refused(400, f"{name}: wrong type: {type(body[name]).__name__}")
    _check_tools(body.get("tools"))
    _check_messages(body["messages"])
    _check_choices(body)
    return body


def _check_choices(body: JSON) -> None:
    if any(not isinstance(stop, str) for stop in body.get("stop_sequences") or []):
        raise Refused(400, "stop_sequences: Input should be a list of strings")
    kind = (body.get("tool_choice") or {"type": "auto"}).get("type")
    if kind not in ("auto", "any", "tool", "none"):
        raise Refused(400, f"tool_choice.type: must be one of auto, any, tool, none; got {kind!r:.80}")
    shape = (body.get("output_config") or {}).get("format")
    if shape is not None and not (isinstance(shape, dict) and isinstance(shape.get("schema"), dict)):
        raise Refused(400, "output_config.format.schema: Field required")
    _check_schema("output_config.format.schema", (shape or {}).get("schema") or {})


def _check_schema(where: str, schema: Any) -> None:
    wrong = misfit(schema, where) if isinstance(schema, dict) else f"{where}: must be an object"
    if wrong:
        raise Refused(400, f"JSON schema is invalid: {wrong}")


def _check_tools(tools: Any) -> None:
    if tools is None:
        return
    if not isinstance(tools, list):
        raise Refused(400, "tools: Input should be a valid list")
    names: set[str] = set()
    for i, tool in enumerate(tools):
        if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
            raise Refused(400, f"tools.{i}.name: Field required")
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", tool["name"]):
            raise Refused(400, f"tools.{i}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        if tool["name"] in names:
            raise Refused(400, "tools: Tool names must be unique.")
        names.add(tool["name"])
        schema = tool.get("input_schema")
        if tool.get("type", "custom") == "custom" and (not isinstance(schema, dict) or schema.get("type") != "object"):
            raise Refused(400, f"tools.{i}.input_schema.type: Field required, must be 'object'")
        _check_schema(f"tools.{i}.input_schema", schema or {})


def _check_messages(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise Refused(400, "messages: at least one message is required")
    pending: list[str] = []
    for i, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            raise Refused(400, f"messages.{i}.role: Input should be 'user' or 'assistant'")
        if i == 0 and message["role"] != "user":
            raise Refused(400, 'messages: first message must use the "user" role')
        _check_content(i, message.get("content"))
        pending = _check_pairing(i, message, pending)
    if pending:
        raise Refused(400, _dangling(len(messages) - 1, pending))
    if messages[-1]["role"] == "assistant":
        raise Refused(400, "This model does not support assistant message prefill.")


def _check_content(i: int, content: Any) -> None:
    if isinstance(content, str):
        if not content.strip():
            raise Refused(400, f"messages.{i}: all messages must have non-empty content")
        return
    if not isinstance(content, list) or not content:
        raise Refused(400, f"messages.{i}: all messages must have non-empty content")
    for j, block in enumerate(content):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise Refused(400, f"messages.{i}.content.{j}.type: Field required")
        wanted: dict[str, dict[str, type]] = {
            "text": {"text": str},
            "tool_use": {"id": str, "name": str, "input": dict},
            "tool_result": {"tool_use_id": str},
        }
        for name, kind in wanted.get(block["type"], {}).items():
            if not isinstance(block.get(name), kind):
                raise Refused(400, f"messages.{i}.content.{j}.{block['type']}.{name}: Field required")
        if block["type"] == "tool_result" and not _is_told(block.get("content")):
            raise Refused(400, f"messages.{i}.content.{j}.tool_result.content: Input should be a string or blocks")
        if block["type"] == "text" and not block["text"].strip():
            raise Refused(400, "messages: text content blocks must contain non-whitespace text")


def _is_told(content: Any) -> bool:
    return (
        content is None
        or isinstance(content, str)
        or (isinstance(content, list) and all(isinstance(block, dict) for block in content))
    )


def _check_pairing(i: int, message: JSON, pending: list[str]) -> list[str]:
    """Every tool_use is answered in the very next message; returns the ids this message leaves open."""
    blocks = message["content"] if isinstance(message["content"], list) else []
    answered = [b["tool_use_id"] for b in blocks if b["type"] == "tool_result"]
    asked = [b["id"] for b in blocks if b["type"] == "tool_use"]
    if unknown := [id_ for id_ in answered if id_ not in pending]:
        raise Refused(
            400,
            f"messages.{i}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: {unknown[0]}. Each "
            "`tool_result` block must have a corresponding `tool_use` block in the previous message.",
        )
    if missing := [id_ for id_ in pending if id_ not in answered]:
        raise Refused(400, _dangling(i - 1, missing))
    if len(set(asked)) < len(asked) or len(set(answered)) < len(answered):
        raise Refused(400, f"messages.{i}: `tool_use` ids must be unique")
    if asked and message["role"] != "assistant":
        raise Refused(400, f"messages.{i}: `tool_use` blocks can only be in `assistant` messages")
    return asked


def _dangling(i: int, ids: list[str]) -> str:
    return (
        f"messages.{i}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(ids)}. "
        "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
    )


# What answers look like


def error_body(type_: str, message: str, request_id: str, code: str | None = None) -> JSON:
    """The body of an error reply."""
    error: JSON = {"type": type_, "message": message}
    if code:
        error["details"] = {"error_code": code}
    return {"type": "error", "error": error, "request_id": request_id}


def answer(ask: Ask, turn: Turn, key: str) -> JSON:
    """The whole message for a mind's turn; ``key`` names the request, so ids depend on nothing else."""
    limit = int(ask.body["max_tokens"])
    content: list[JSON] = []
    stop, sequence, used = turn.stop_reason, None, 0
    for index, block in enumerate(turn.content):
        kept, spent, sequence = _cut(block, ask, limit - used)
        content.append({"id": f"toolu_01{digest(key, index)[:22]}", **kept} if kept["type"] == "tool_use" else kept)
        used += spent
        if used > limit:
            stop, sequence, used = "max_tokens", None, limit
        elif sequence:
            stop = "stop_sequence"
        if used >= limit or sequence:
            break
    if stop is None:
        stop = "tool_use" if any(b["type"] == "tool_use" for b in content) else "end_turn"
    return {
        "id": f"msg_01{digest(key, 'message')[:22]}",
        "type": "message",
        "role": "assistant",
        "model": ask.body["model"],
        "content": content,
        "stop_reason": stop,
        "stop_sequence": sequence,
        "usage": {**_usage(ask, used), **turn.usage},
    }


def _cut(block: JSON, ask: Ask, left: int) -> tuple[JSON, int, str | None]:
    """A block as far as ``left`` tokens go, what it costs (more than ``left`` if it was cut), its stop sequence."""
    if block["type"] == "tool_use":
        spent, whole = tokens_in(block["input"]), json.dumps(block["input"])
        # Cut short, a call is sent up to there: half a JSON object.
        return (block if spent <= left else {**block, "partial_json": whole[: 4 * left]}), spent, None
    text, found = _until_stop(str(block.get("text", "")), ask.body.get("stop_sequences") or [])
    pieces = _TOKEN.findall(text)
    if len(pieces) > left:
        return {**block, "text": "".join(pieces[:left])}, left + 1, None
    return {**block, "text": text}, len(pieces), found


def _until_stop(text: str, stops: Sequence[str]) -> tuple[str, str | None]:
    hits = [(text.find(stop), stop) for stop in stops if stop and stop in text]
    if not hits:
        return text, None
    at, stop = min(hits)
    return text[:at], stop


def _usage(ask: Ask, output: int) -> JSON:
    body = ask.body
    return {
        "input_tokens": tokens_in([body.get("system"), body.get("tools"), body["messages"]]),
        "output_tokens": max(1, output),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "service_tier": "standard",
    }


def events(message: JSON) -> Iterator[JSON]:
    """The stream that carries a message, event by event."""
    usage = message["usage"]
    begun = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    yield {"type": "message_start", "message": {**begun, "usage": {**usage, "output_tokens": 1}}}
    yield {"type": "ping"}
    for index, block in enumerate(message["content"]):
        empty, deltas = _pieces(block)
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    ends = {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"]}
    yield {"type": "message_delta", "delta": ends, "usage": {"output_tokens": usage.get("output_tokens", 0)}}
    yield {"type": "message_stop"}


def _pieces(block: JSON) -> tuple[JSON, list[JSON]]:
    """A block as it starts, and the deltas that fill it."""
    if block["type"] == "tool_use":
        # A mind that wants broken JSON gives its own text as ``partial_json``.
        whole = block.get("partial_json", json.dumps(block["input"]) if block["input"] else "")
        parts = [whole[i : i + 12] for i in range(0, len(whole), 12)] or [""]
        start = {"type": "tool_use", "id": block["id"], "name": block["name"], "input": {}}
        return start, [{"type": "input_json_delta", "partial_json": part} for part in parts]
    tokens = _TOKEN.findall(block["text"])
    chunks = ["".join(tokens[i : i + _TOKENS_A_DELTA]) for i in range(0, len(tokens), _TOKENS_A_DELTA)]
    return {**block, "text": ""}, [{"type": "text_delta", "text": chunk} for chunk in chunks]


def frame(event: JSON) -> bytes:
    """An event as it goes over the wire."""
    return b"event: %s\ndata: %s\n\n" % (event["type"].encode(), json.dumps(event).encode())
