"""From the events of a stream to a whole message, or to the reason why there is none.

A turn is complete only if its start was seen, every block that opened was closed, the end named a known stop reason
and was followed by ``message_stop``, and the input of each tool call is an object by a strict JSON parser. Everything
else is an ``IncompleteStream`` that says what was billed. A client library's own accumulation hides three of these:
a clean end without ``message_stop``, a tool call cut in two, a delta for a block that never opened.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from agentlab.errors import IncompleteStream, ModelFailed
from agentlab.faults import classify_reply, fault
from agentlab.ground.counts import counts_of
from agentlab.ground.texts import storable

JSON = dict[str, Any]  # a JSON object off the wire: its values are whatever the server sent

STOP_REASONS = frozenset({
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "model_context_window_exceeded",
})  # fmt: skip

# With these the model was stopped, so its last tool call may be half a call: it is left out, never run.
_STOPPED = frozenset({"max_tokens", "refusal", "model_context_window_exceeded"})

# Where the text of a delta goes: delta type -> (its field, the block's field).
_TEXTS: Mapping[str, tuple[str, str]] = {
    "text_delta": ("text", "text"),
    "input_json_delta": ("partial_json", "json"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("signature", "signature"),
}


class Accumulator:
    """Feed it events in their order, then ask it to ``finish``.

    Args:
        on_text: Called with each piece of text as it comes.
    """

    def __init__(self, on_text: Callable[[str], object] | None = None) -> None:
        self._on_text = on_text
        self._message: JSON | None = None
        self._blocks: list[JSON] = []
        self._open: int | None = None
        self._pieces: dict[str, list[str]] = {}  # of the block that is open: to add each to a text copies all of it
        self._usage: dict[str, int] = {}
        self._stopped = False
        self.progress = 0
        self.bytes = 0

    @property
    def text(self) -> str:
        """The text so far."""
        self._join_pieces()
        return "".join(block["text"] for block in self._blocks if block["type"] == "text")

    @property
    def usage(self) -> dict[str, int]:
        """Tokens billed so far, at least."""
        return dict(self._usage)

    def feed(self, event: Any) -> None:  # JSON off the wire
        """Take one event; raises ``IncompleteStream`` for one that cannot be."""
        try:
            self._take(event)
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise self.incomplete("bad_event", f"an event has not its shape: {event!r:.200} ({error!r})") from None

    def finish(self) -> JSON:
        """The message as plain JSON; raises ``IncompleteStream`` if the turn is not complete."""
        if self._message is None:
            raise self.incomplete("no_start", "the stream ended before it began")
        if self._open is not None:
            raise self.incomplete("open_block", f"the stream ended inside block {self._open}")
        reason = self._message.get("stop_reason")
        if reason is None:
            raise self.incomplete("no_stop_reason", "the stream ended without a stop reason")
        if reason not in STOP_REASONS:
            raise self.incomplete("unknown_stop_reason", f"the stop reason is {reason!r:.80}", "garbage")
        if not self._stopped:
            raise self.incomplete("no_stop", "the stream ended without message_stop")
        content = [block for block in map(self._close, self._blocks) if block is not None]  # may note a cut call
        return checked_message({**self._message, "content": content, "usage": self.usage})

    def incomplete(self, kind: str, what: str, fault_kind: str = "cut_stream") -> IncompleteStream:
        """The error for a stream that stops here."""
        return IncompleteStream(
            f"The model's answer is not whole: {what}; {self.bytes} bytes and {len(self.text)} characters of text came "
            "first. Nothing of it was used; the call may be made again.",
            fault(fault_kind),
            kind=kind,
            bytes=self.bytes,
            partial_text=self.text,
            usage_lower_bound=self.usage,
        )

    def _take(self, event: JSON) -> None:
        kind = event["type"]
        if kind == "error":
            raise self._provider_error(event["error"])
        if kind == "ping":
            return
        take = _EVENTS.get(kind)
        if take is None:
            return  # the API may grow events; what they mean for us is nothing
        if kind != "message_start" and self._message is None:
            raise self.incomplete("no_start", f"{kind} came before message_start")
        if self._stopped:
            raise self.incomplete("after_stop", f"{kind} came after message_stop")
        self.progress += 1
        take(self, event)

    def _provider_error(self, error: Any) -> IncompleteStream:  # the error's body, or what came instead
        error = error if isinstance(error, dict) else {"type": "api_error", "message": error}
        code = (error.get("details") or {}).get("error_code")
        kind = classify_reply(200, error.get("type"), code=code)
        what = f"the provider broke it off with {error.get('type')!r:.80}: {str(error.get('message'))[:300]}"
        return self.incomplete(str(error.get("type"))[:80], what, kind)

    def _start(self, event: JSON) -> None:
        if self._message is not None:
            raise self.incomplete("two_starts", "message_start came twice")
        self._message = {**event["message"]}
        self._count(self._message.get("usage"))

    def _open_block(self, event: JSON) -> None:
        index, block = event["index"], {**event["content_block"]}
        if self._open is not None or index != len(self._blocks):
            raise self.incomplete(
                "block_order", f"block {index!r:.20} opened where {len(self._blocks)} was due", "garbage"
            )
        if not isinstance(block["type"], str):
            raise TypeError("content_block.type")
        if block["type"] == "tool_use":
            block["json"] = ""
        elif block["type"] == "text":
            block["text"] = str(block.get("text") or "")
        self._open = index
        self._blocks.append(block)

    def _delta(self, event: JSON) -> None:
        index, delta = event["index"], event["delta"]
        if index != self._open:
            raise self.incomplete("block_order", f"a delta came for block {index!r:.20}, which is not open", "garbage")
        if delta["type"] not in _TEXTS:
            return
        name, into = _TEXTS[delta["type"]]
        piece = delta[name]
        if not isinstance(piece, str):
            raise TypeError(f"delta.{name}")
        self._pieces.setdefault(into, []).append(piece)
        if delta["type"] == "text_delta" and self._on_text is not None:
            self._on_text(storable(piece))

    def _close_block(self, event: JSON) -> None:
        if event["index"] != self._open:
            raise self.incomplete("block_order", f"block {event['index']!r:.20} closed, which is not open", "garbage")
        self._join_pieces()
        self._open = None

    def _join_pieces(self) -> None:
        for into, pieces in self._pieces.items():
            block = self._blocks[-1]
            block[into] = str(block.get(into) or "") + "".join(pieces)
        self._pieces.clear()

    def _end(self, event: JSON) -> None:
        assert self._message is not None
        delta = event["delta"]
        self._message["stop_reason"] = delta.get("stop_reason")
        self._message["stop_sequence"] = delta.get("stop_sequence")
        self._message["stop_details"] = delta.get("stop_details")
        self._count(event.get("usage"))

    def _stop(self, event: JSON) -> None:
        self._stopped = True

    def _count(self, usage: Any) -> None:
        # Providers leave counts out, or send null, or nonsense: keep the largest that makes sense.
        for name, value in counts_of(usage).items():
            self._usage[name] = max(value, self._usage.get(name, 0))

    def _close(self, block: JSON) -> JSON | None:
        if block["type"] != "tool_use":
            return block
        text = block.pop("json")
        assert self._message is not None
        try:
            block["input"] = json.loads(text) if text else {}
        except (ValueError, RecursionError) as error:
            if self._message["stop_reason"] in _STOPPED:
                self._message["cut_tool"] = str(block.get("name"))[:80]
                return None
            what = f"the input of tool {block.get('name')!r:.80} is no JSON ({error}): {text[:200]!r}"
            raise self.incomplete("tool_json", what, "garbage") from None
        return block


_EVENTS: Mapping[str, Callable[[Accumulator, JSON], None]] = {
    "message_start": Accumulator._start,
    "content_block_start": Accumulator._open_block,
    "content_block_delta": Accumulator._delta,
    "content_block_stop": Accumulator._close_block,
    "message_delta": Accumulator._end,
    "message_stop": Accumulator._stop,
}


def checked_message(message: Any) -> JSON:  # whatever the server sent as a message
    """Return a message, cleaned of what no store can hold, or raise ``ModelFailed`` with what is wrong about it."""
    if not isinstance(message, dict):
        raise _garbage(f"it is {type(message).__name__}, not an object: {message!r:.200}")
    if message.get("stop_reason") not in STOP_REASONS:
        raise _garbage(f"stop_reason is {message.get('stop_reason')!r:.80}")
    content = message.get("content")
    if message.get("role") != "assistant" or not isinstance(content, list):
        raise _garbage(f"role is {message.get('role')!r:.80} and content is {type(content).__name__}")
    for index, block in enumerate(content):
        _check_block(index, block)
    content = _with_ids_of_their_own(content)
    kept = {name: message.get(name) for name in ("id", "role", "model", "stop_reason", "stop_sequence")}
    for name, kind in {"stop_details": dict, "cut_tool": str}.items():
        if isinstance(message.get(name), kind):
            kept[name] = message[name]
    clean: JSON = without_surrogates({**kept, "content": content, "usage": counts_of(message.get("usage"))})
    return clean


def _check_block(index: int, block: Any) -> None:
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        raise _garbage(f"content.{index} is no block: {block!r:.200}")
    wanted: dict[str, dict[str, type]] = {"text": {"text": str}, "tool_use": {"id": str, "name": str, "input": dict}}
    for name, kind in wanted.get(block["type"], {}).items():
        if not isinstance(block.get(name), kind):
            raise _garbage(f"content.{index}.{name} is {block.get(name)!r:.80}, not {kind.__name__}")


def _with_ids_of_their_own(content: list[JSON]) -> list[JSON]:
    """Tool calls of one id told apart; the very same call, twice, is one: run twice it might do harm."""
    found: list[JSON] = []
    ids: set[str] = set()
    for block in content:
        if block["type"] != "tool_use":
            found.append(block)
        elif block not in found:
            own = next(i for n in range(1, 1 << 20) if (i := block["id"] + f"_{n}" * (n > 1)) not in ids)
            ids.add(own)
            found.append({**block, "id": own})
    return found


def _garbage(what: str) -> ModelFailed:
    return ModelFailed(f"The model's answer has not the shape of a message: {what}.", fault("garbage"))


def without_surrogates(value: Any) -> Any:
    """A JSON value whose texts are all ``storable``."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {storable(name): without_surrogates(item) for name, item in value.items()}
    return value
