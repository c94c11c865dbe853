"""The Messages API as data: what an answer looks like, and how it is cut into a stream; ``checks`` has the requests."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentlab.sim.schemas import JSON

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

REDACTED = "ANTHROPIC_MAGIC_STRING_TRIGGER_REDACTED_THINKING"
"""A prompt with this in it gets redacted thinking, as the real API does for a longer one that begins so."""


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


def said_last(messages: Sequence[JSON]) -> str:
    """What the assistant has said since the user's last message, in however many messages: text blocks by newlines."""
    said: list[str] = []
    for message in reversed(messages):
        if message["role"] != "assistant":
            break
        said.insert(0, text_of(message["content"]))
    return "\n".join(said)


def tokens_in(value: Any) -> int:  # any JSON
    """A deterministic stand-in for a tokenizer: four characters of JSON a token."""
    return max(1, len(json.dumps(value)) // 4)


def digest(*parts: object) -> str:
    """A hash of the parts, as hex."""
    return hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "surrogatepass")).hexdigest()


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
    for index, block in enumerate((*_thoughts(ask), *turn.content)):
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
        "content": [_cited(block, ask) for block in content],
        "stop_reason": stop,
        "stop_sequence": sequence,
        "stop_details": {"type": "refusal", "category": None, "explanation": None} if stop == "refusal" else None,
        "container": None,
        "usage": {**_usage(ask, used, content), **turn.usage},
    }


def billed(message: JSON) -> JSON:
    """Why a message stopped, and the tokens that a provider would bill for, whatever became of it on its way."""
    usage = message.get("usage") or {}
    tokens = {f"tokens_{way}": usage.get(f"{way}put_tokens") for way in ("in", "out")}
    return {"stop_reason": message["stop_reason"], **tokens}


def sign(thinking: str) -> str:
    """The signature of a thinking block; a request that gives the block back must have it."""
    return f"Er{digest('thinking', thinking)[:62]}"


def _thoughts(ask: Ask) -> Sequence[JSON]:
    """What the model thinks first, if the request allows it to; redacted for the prompt that asks for that."""
    if (ask.body.get("thinking") or {}).get("type") not in ("enabled", "adaptive") or ask.results():
        return ()
    if REDACTED in ask.question:
        return ({"type": "redacted_thinking", "data": digest("redacted", ask.question)},)
    thinking = f"The user says: {ask.question[:200]} What is to be answered?"
    return ({"type": "thinking", "thinking": thinking, "signature": sign(thinking)},)


def _cited(block: JSON, ask: Ask) -> JSON:
    """A text with the places of the documents that it is from, if the request wants citations."""
    if block["type"] != "text":
        return block
    found = [
        {
            "type": "char_location",
            "cited_text": text[:100],
            "document_index": index,
            "document_title": document.get("title"),
            "start_char_index": 0,
            "end_char_index": min(len(text), 100),
        }
        for index, document in enumerate(_documents(ask))
        if (document.get("citations") or {}).get("enabled")
        and (text := str((document.get("source") or {}).get("data") or ""))
    ]
    return {"citations": found or None, **block}


def _documents(ask: Ask) -> list[JSON]:
    blocks = [block for m in ask.messages if isinstance(m["content"], list) for block in m["content"]]
    return [block for block in blocks if block["type"] == "document"]


def _cut(block: JSON, ask: Ask, left: int) -> tuple[JSON, int, str | None]:
    """A block as far as ``left`` tokens go, what it costs (more than ``left`` if it was cut), its stop sequence."""
    if block["type"] == "tool_use":
        spent, whole = tokens_in(block["input"]), json.dumps(block["input"])
        # Cut short, a call is sent up to there: half a JSON object.
        return (block if spent <= left else {**block, "partial_json": whole[: 4 * left]}), spent, None
    if block["type"] != "text":
        return block, len(_TOKEN.findall(str(block.get("thinking") or ""))), None
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


def _usage(ask: Ask, output: int, content: Sequence[JSON]) -> JSON:
    body = ask.body
    thought = sum(len(_TOKEN.findall(b["thinking"])) for b in content if b["type"] == "thinking")
    return {
        "input_tokens": tokens_in([body.get("system"), body.get("tools"), body["messages"]]),
        "output_tokens": max(1, output),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens_details": {"thinking_tokens": thought},
        "server_tool_use": None,
        "service_tier": "standard",
        "inference_geo": None,
        "speed": None,
    }


def events(message: JSON) -> Iterator[JSON]:
    """The stream that carries a message, event by event."""
    usage = message.get("usage")
    begun = {**message, "content": [] if message["content"] is not None else None, "stop_reason": None}
    begun |= {"stop_sequence": None, "stop_details": None}
    if usage is not None:
        begun["usage"] = {**usage, "output_tokens": min(1, usage["output_tokens"])}
    yield {"type": "message_start", "message": begun}
    yield {"type": "ping"}
    for index, block in enumerate(message["content"] or ()):
        empty, deltas = _pieces(block)
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    ends = {name: message.get(name) for name in ("stop_reason", "stop_sequence", "stop_details", "container")}
    end: JSON = {"type": "message_delta", "delta": ends}
    yield end if usage is None else {**end, "usage": {"output_tokens": usage.get("output_tokens", 0)}}
    yield {"type": "message_stop"}


def _pieces(block: JSON) -> tuple[JSON, list[JSON]]:
    """A block as it starts, and the deltas that fill it."""
    if block["type"] == "tool_use":
        # A mind that wants broken JSON gives its own text as ``partial_json``.
        whole = block.get("partial_json", json.dumps(block["input"]) if block["input"] else "")
        parts = [whole[i : i + 12] for i in range(0, len(whole), 12)] or [""]
        start = {"type": "tool_use", "id": block["id"], "name": block["name"], "input": {}}
        return start, [{"type": "input_json_delta", "partial_json": part} for part in parts]
    if block["type"] == "thinking":
        deltas: list[JSON] = [{"type": "thinking_delta", "thinking": piece} for piece in _chunks(block["thinking"])]
        if block.get("signature"):
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        return {"type": "thinking", "thinking": "", "signature": ""}, deltas
    if block["type"] != "text":
        return block, []
    cited = [{"type": "citations_delta", "citation": citation} for citation in block.get("citations") or ()]
    start = {**block, "text": ""} | ({"citations": []} if cited else {})
    return start, [*cited, *({"type": "text_delta", "text": chunk} for chunk in _chunks(block["text"]))]


def _chunks(text: str) -> list[str]:
    tokens = _TOKEN.findall(text)
    return ["".join(tokens[i : i + _TOKENS_A_DELTA]) for i in range(0, len(tokens), _TOKENS_A_DELTA)]


def frame(event: JSON) -> bytes:
    """An event as it goes over the wire."""
    return b"event: %s\ndata: %s\n\n" % (event["type"].encode(), json.dumps(event).encode())
