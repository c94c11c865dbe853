"""A conversation as a request carries it: from side to side, and with marks for the provider's cache. Pure.

What goes before a mark is kept by the provider and read again at a tenth of the price. Tools and system prompt never
change, and a message never does once it was said, so the marks stand behind those: at most three of the four allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

JSON = dict[str, Any]  # a JSON object

_MARK = {"type": "ephemeral"}


def alternating(messages: Sequence[JSON]) -> list[JSON]:
    """The conversation with neighbours of one side made one: a question without an answer stands before the next."""
    found: list[JSON] = []
    for message in messages:
        if found and found[-1]["role"] == message["role"]:
            both = [*_blocks(found[-1]["content"]), *_blocks(message["content"])]
            # An answer to a tool call is only taken before anything else.
            found[-1] = {**message, "content": sorted(both, key=lambda block: block["type"] != "tool_result")}
        else:
            found.append(message)
    return found


def marked(body: JSON) -> JSON:
    """The request with its stable prefix marked."""
    made = dict(body)
    if made.get("tools"):
        made["tools"] = [*made["tools"][:-1], {**made["tools"][-1], "cache_control": _MARK}]
    if made.get("system"):
        made["system"] = _marked_last(made["system"])
    *before, last = made["messages"] or [None]
    if last is not None and last.get("content"):
        made["messages"] = [*before, {**last, "content": _marked_last(last["content"])}]
    return made


def _marked_last(content: Any) -> Any:
    if not isinstance(content, (str, list)) or not all(isinstance(block, dict) for block in _blocks(content)):
        return content  # what is no content the server shall refuse, not we
    *before, last = _blocks(content)
    if last.get("type") in ("thinking", "redacted_thinking"):
        return content
    return [*before, {**last, "cache_control": _MARK}]


def _blocks(content: Any) -> list[JSON]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
