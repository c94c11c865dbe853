"""Which requests are refused, with the words and the status of the real API."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any

from agentlab.sim.grammar import said_last, sign, tokens_in
from agentlab.sim.schemas import JSON, misfit

LONGEST_PROMPT = 200_000
"""Tokens of a request's system prompt, tools and messages."""


class Refused(Exception):
    """The request breaks a rule of the API: ``status`` and the message of the error reply."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


_OPTIONAL: Mapping[str, UnionType | type] = {
    "system": str | list,
    "stream": bool,
    "tool_choice": dict,
    "stop_sequences": list,
    "metadata": dict,
    "output_config": dict,
    "thinking": dict,
}


def check_request(
    body: Any, *, counting: bool = False, size: int = 0, paused: Callable[[str], bool] = lambda text: False
) -> JSON:  # whatever the client sent
    """Return the body, or raise ``Refused`` with the rule it breaks, as the real API would.

    Args:
        body: The request's JSON.
        counting: Whether its tokens are only to be counted.
        size: Its bytes; a short one is not counted.
        paused: Whether the model has paused after it had said this, so that it may be the last of the conversation.
    """
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
            raise Refused(400, f"max_tokens: Input should be an integer greater than or equal to 1, got {limit!r:.80}")
    for name, kind in _OPTIONAL.items():
        if not isinstance(body.get(name), kind | None):
            raise Refused(400, f"{name}: wrong type: {type(body[name]).__name__}")
    _check_tools(body.get("tools"))
    _check_messages(body["messages"], paused)
    _check_choices(body)
    long = tokens_in([body.get("system"), body.get("tools"), body["messages"]]) if size > LONGEST_PROMPT else 0
    if long > LONGEST_PROMPT:
        raise Refused(400, f"prompt is too long: {long} tokens > {LONGEST_PROMPT} maximum")
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


def _check_messages(messages: Any, paused: Callable[[str], bool]) -> None:
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
    if messages[-1]["role"] == "assistant" and not paused(said_last(messages)):
        raise Refused(400, "This model does not support assistant message prefill.")


_BLOCKS: Mapping[str, Mapping[str, type]] = {
    "text": {"text": str},
    "tool_use": {"id": str, "name": str, "input": dict},
    "tool_result": {"tool_use_id": str},
    "thinking": {"thinking": str, "signature": str},
    "redacted_thinking": {"data": str},
    "image": {"source": dict},
    "document": {"source": dict},
}


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
        for name, kind in _BLOCKS.get(block["type"], {}).items():
            if not isinstance(block.get(name), kind):
                raise Refused(400, f"messages.{i}.content.{j}.{block['type']}.{name}: Field required")
        if block["type"] == "thinking" and block["signature"] != sign(block["thinking"]):
            raise Refused(400, f"messages.{i}.content.{j}: Invalid `signature` in `thinking` block")
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
