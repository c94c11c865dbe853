"""What a model says when it goes wrong, and what a stream looks like that a proxy has been at: pure changes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from agentlab.sim.grammar import Ask, Turn, frame
from agentlab.sim.schemas import JSON, fill

GARBAGE = "\ufffd\ufffd \x00\x1b[31m\ud800 <script>alert('tea')</script> \u0412\u043e\u0442 \u202e\u7b54\u6848 \x07"
"""Replacement characters, NUL, terminal codes, a lone surrogate, HTML, other languages, a change of direction."""

# Turns


def with_text(said: Turn, text: str | Callable[[str], str]) -> Turn:
    """A turn that says this instead of what it says or does; or what is made of it."""
    before = "\n".join(block["text"] for block in said.content if block["type"] == "text")
    return Turn.say(text if isinstance(text, str) else text(before))


def paused(said: Turn) -> Turn:
    """A turn that stops to go on in another: half of the text."""
    text = "".join(block["text"] for block in said.content if block["type"] == "text") or "Let me see."
    return replace(Turn.say(text[: max(1, len(text) // 2)]), stop_reason="pause_turn")


def unsigned(said: Turn) -> Turn:
    """A turn with a thought that nobody has signed."""
    return replace(said, content=({"type": "thinking", "thinking": "Hm.", "signature": ""}, *said.content))


def with_calls(said: Turn, ask: Ask) -> Turn:
    """The turn, with a tool call in it if tools are on offer: a mode for calls needs one."""
    if any(block["type"] == "tool_use" for block in said.content) or not ask.tools:
        return said
    return Turn.use((ask.tools[0]["name"], fill(ask.tools[0].get("input_schema") or {}, ask.question)))


def _each_call(said: Turn, ask: Ask, change: Callable[[JSON], JSON]) -> Turn:
    blocks = [change(b) if b["type"] == "tool_use" else b for b in with_calls(said, ask).content]
    return replace(said, content=tuple(blocks))


def malformed_json(said: Turn, ask: Ask) -> Turn:
    """The input of each call is written as no JSON is."""

    def malform(block: JSON) -> JSON:
        text = json.dumps(block["input"]).replace(":", " =", 1) if block["input"] else "{nothing}"
        return {**block, "partial_json": text}

    return _each_call(said, ask, malform)


def cut_in_tool(said: Turn, ask: Ask) -> Turn:
    """Stopped by ``max_tokens`` inside a call: up to there its JSON reads as a plausible, wrong one."""

    def cut(block: JSON) -> JSON:
        whole = json.dumps(block["input"])
        return {**block, "partial_json": whole[: max(1, len(whole) * 2 // 3)]}

    return replace(_each_call(said, ask, cut), stop_reason="max_tokens")


def unknown_tool(said: Turn, ask: Ask) -> Turn:
    """A call of a tool that is not on offer."""
    return Turn.use(("no_such_tool", {"text": ask.question[:80]}))


def schema_violation(said: Turn, ask: Ask) -> Turn:
    """The right tool, without what it requires."""
    return _each_call(said, ask, lambda block: {**block, "input": {}})


def wrong_types(said: Turn, ask: Ask) -> Turn:
    """The right tool, its values of other types."""
    return _each_call(said, ask, lambda block: {**block, "input": _of_other_types(block["input"])})


def _of_other_types(given: Mapping[str, Any]) -> JSON:
    return {name: {"is": value} if isinstance(value, str) else "seven" for name, value in given.items()}


def extra_keys(said: Turn, ask: Ask) -> Turn:
    """The right tool, and a value that it does not take."""
    return _each_call(said, ask, lambda block: {**block, "input": {**block["input"], "mood": "cheerful"}})


def same_tool(said: Turn, ask: Ask) -> Turn:
    """The same call, whatever came of it."""
    return with_calls(Turn(()), ask) if ask.tools else said


def tool_cycle(said: Turn, ask: Ask) -> Turn:
    """Two calls in turn, for ever."""
    if not ask.tools:
        return said
    said_before = sum(message["role"] == "assistant" for message in ask.messages)
    tool = ask.tools[said_before % 2 % len(ask.tools)]
    text = ask.question if said_before % 2 or len(ask.tools) > 1 else f"{ask.question} 1"
    return Turn.use((tool["name"], fill(tool.get("input_schema") or {}, text)))


def two_calls(said: Turn, ask: Ask) -> Turn:
    """At least two calls."""
    made = with_calls(said, ask)
    calls = [block for block in made.content if block["type"] == "tool_use"]
    return replace(made, content=(*made.content, *calls)) if len(calls) == 1 else made


def one_bad_of_two(said: Turn, ask: Ask) -> Turn:
    """Two calls side by side, the second of a tool that is not there."""
    made = two_calls(said, ask)
    calls = [block for block in made.content if block["type"] == "tool_use"]
    if not calls:
        return made
    return replace(made, content=(*made.content[:-1], {**calls[-1], "name": "no_such_tool"}))


# Messages


def same_ids(message: JSON) -> JSON:
    """All calls have the id of the first."""
    calls = [block for block in message["content"] if block["type"] == "tool_use"]
    for block in calls:
        block["id"] = calls[0]["id"]
    return message


def negative_usage(message: JSON) -> JSON:
    """Tokens below nothing."""
    return {**message, "usage": {**message["usage"], "input_tokens": -12, "output_tokens": -1}}


# Frames


def inside_event(parts: list[bytes]) -> list[bytes]:
    """The last frame is cut in two."""
    return [*parts[:-1], parts[-1][: len(parts[-1]) // 2]] if parts else parts


def with_unknown_event(parts: list[bytes]) -> list[bytes]:
    """An event that nobody knows, after the first."""
    return [*parts[:1], frame({"type": "weather", "sky": "blue"}), *parts[1:]]


def with_unknown_delta(parts: list[bytes]) -> list[bytes]:
    """A delta that nobody knows, in the first block."""
    at = next((i for i, part in enumerate(parts) if part.startswith(b"event: content_block_start")), len(parts) - 1)
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "weather_delta", "sky": "blue"}}
    return [*parts[: at + 1], frame(delta), *parts[at + 1 :]]


def with_delta_for(index: int, parts: list[bytes]) -> list[bytes]:
    """A delta for a block that never opened, before the end."""
    delta = {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": "stray"}}
    at = next((i for i, part in enumerate(parts) if part.startswith(b"event: content_block_stop")), len(parts) - 1)
    return [*parts[:at], frame(delta), *parts[at:]]


def with_duplicate_index(parts: list[bytes]) -> list[bytes]:
    """A second block of index 0, before the end."""
    again = [
        frame({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        frame({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "again"}}),
        frame({"type": "content_block_stop", "index": 0}),
    ]
    at = next((i for i, part in enumerate(parts) if part.startswith(b"event: message_delta")), len(parts))
    return [*parts[:at], *again, *parts[at:]]


def split_in_utf8(parts: list[bytes]) -> list[bytes]:
    """Text as it is, unescaped, in pieces that end inside a character."""
    whole = b"".join(map(_unescaped, parts))
    cuts = [i + 1 for i, byte in enumerate(whole) if byte >= 0xC0][:50]
    edges = [0, *(cuts or [len(whole) // 2]), len(whole)]
    return [whole[a:b] for a, b in itertools.pairwise(edges) if a < b]


def _unescaped(part: bytes) -> bytes:
    head, _, data = part.rstrip(b"\n").partition(b"\ndata: ")
    text = json.dumps(json.loads(data), ensure_ascii=False)
    return head + b"\ndata: " + text.encode("utf-8", "replace") + b"\n\n"
