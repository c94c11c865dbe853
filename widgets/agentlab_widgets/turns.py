"""A conversation as it is shown: what was said in each message of the agent, with the tools and what went wrong. Pure.

A *turn* is one message that the agent handled (a question, say) with all that came of it. Its *entries*, in order, are
what was said, tools with their results, and *marks*: where it was cut off, delivered again, tried again, taken back.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from agentlab.ground.texts import clean, safe
from agentlab.models.blocks import kind_of, without_data

TEXT, VALUE = 20_000, 4_000  # characters of what is said, of what tools are given and find
IMAGE, ALL_IMAGES = 1_500_000, 4_000_000  # characters (base64) of an image, and of all that one view shows, the newest
Entry = dict[str, Any]  # JSON


class Effect(NamedTuple):
    """One attempt at a step, as the store or the journal has it. ``at``: ns since 1970; ``outcome`` empty: it runs."""

    kind: str
    name: str
    at: int
    took_s: float | None
    outcome: str
    fault: str
    replayed: bool
    tokens_in: int | None
    tokens_out: int | None
    cost_usd: float | None
    given: str
    gave: str


class Fact(NamedTuple):
    """An event that is marked where it happened."""

    at: int
    kind: str
    text: str


MARKS = {
    "crashed": "crashed", "killed": "killed", "rewound": "taken back", "retrying": "tried again", "waiting": "waits",
    "escalated": "given up", "diverged": "took another way", "parked": "parked", "approval_asked": "asks a person",
    "approved": "allowed by a person", "not_approved": "refused by a person", "settled": "settled by a person",
    "skipped": "skipped", "cancelled": "cancelled", "rewound_to": "set back to a checkpoint", "node_down": "node lost",
    "state_replaced": "state replaced by a person",
}  # fmt: skip
"""Events that are shown in a conversation, and the words for them."""


def entries_of(items: Iterable[Any], effects: Sequence[Effect], facts: Iterable[Fact], began: int) -> list[Entry]:
    """What is shown of one message, in the order in which it happened.

    Args:
        items: What it added to the transcript.
        effects: Its steps.
        facts: What happened meanwhile.
        began: When its handler began, ns since 1970.
    """
    reader = _Reader(effects, began)
    for item in items:
        reader.take(item)
    marks = [
        {"k": "mark", "what": MARKS[fact.kind], "kind": fact.kind, "text": safe(fact.text, 600), "at": fact.at}
        for fact in facts
        if fact.kind in MARKS
    ]
    shown = sorted([*reader.entries, *reader.running(), *marks], key=lambda entry: entry["at"])
    return [{**entry, "at": entry["at"] // 1_000_000} for entry in shown]


class _Reader:
    """Reads items in the form of the Messages API, and others as they are; finds the step that each came from."""

    def __init__(self, effects: Sequence[Effect], began: int) -> None:
        self.entries: list[Entry] = []
        self._spoken = [each for each in effects if each.kind == "model" and each.outcome == "ok" and not each.replayed]
        self._used = [each for each in effects if each.kind == "tool" and each.outcome and not each.replayed]
        self._runs = [each for each in effects if not each.outcome and each.kind != "model"]
        self._tools: dict[str, Entry] = {}
        self._at = began

    def take(self, item: Any) -> None:
        """One item of the transcript."""
        role, content = (item.get("role"), item.get("content")) if isinstance(item, dict) else (None, None)
        if role not in ("user", "assistant") or not isinstance(content, (str, list)):
            self._add("item", safe(item if isinstance(item, str) else _json(item), VALUE))
            return
        if role == "assistant" and self._spoken:
            step = self._spoken.pop(0)
            self._at = max(self._at, step.at + int((step.took_s or 0) * 1e9))
        if isinstance(content, str):
            again = role == "user" and any(entry["k"] != "user" for entry in self.entries)
            self._add("repair" if again else role, safe(content, TEXT))
            return
        for block in content:
            self._block(role, block if isinstance(block, dict) else {"type": "text", "text": str(block)})

    def running(self) -> list[Entry]:
        """Steps that have begun and not ended."""
        return [
            {"k": "tool", "name": clean(each.name, 80), "input": safe(each.given, VALUE), "result": "", "at": each.at,
             "state": "asks" if each.kind == "approval" else "runs", "took": None}
            for each in self._runs
        ]  # fmt: skip

    def _add(self, kind: str, text: str, **more: Any) -> Entry:
        entry = {"k": kind, "text": text, "at": self._at, **more}
        self.entries.append(entry)
        return entry

    def _block(self, role: str, block: dict[str, Any]) -> None:
        match block.get("type"):
            case "text":
                self._add(role, safe(block.get("text", ""), TEXT))
            case "thinking" | "redacted_thinking":
                self._add("thinking", safe(block.get("thinking", "[redacted]"), VALUE))
            case "tool_use" | "server_tool_use":
                self._call(block)
            case "tool_result":
                self._result(block)
            case "image":
                self._image(block.get("source"))
            case _:
                self._add("item", safe(_json(block), VALUE))

    def _call(self, block: dict[str, Any]) -> None:
        entry = self._add(
            "tool", "", name=clean(block.get("name", "?"), 80), input=safe(_json(block.get("input")), VALUE)
        )
        entry |= {"result": "", "state": "runs", "took": None}
        self._tools[str(block.get("id"))] = entry
        steps = [each for each in self._used if each.name == block.get("name")]
        done = next((n for n, each in enumerate(steps) if each.outcome == "ok" or not _again(steps, n)), None)
        if done is not None:
            step = steps[done]
            entry |= {"took": step.took_s, "at": max(self._at, step.at), "attempts": done + 1}
            for each in steps[: done + 1]:
                self._used.remove(each)

    def _result(self, block: dict[str, Any]) -> None:
        content = block.get("content")
        parts = content if isinstance(content, list) else [content if isinstance(content, str) else _json(content)]
        images = [part.get("source") for part in parts if isinstance(part, dict) and part.get("type") == "image"]
        texts = [part.get("text", _json(part)) if isinstance(part, dict) else str(part) for part in parts
                 if not (isinstance(part, dict) and part.get("type") == "image")]  # fmt: skip
        entry = self._tools.get(str(block.get("tool_use_id")))
        if entry is None:
            entry = self._add("tool", "", name="?", input="", took=None)
        failed = bool(block.get("is_error"))
        entry |= {"result": safe("\n".join(texts), VALUE), "state": "failed" if failed else "done"}
        self._at = max(self._at, entry["at"])
        for source in images:
            self._image(source)

    def _image(self, source: Any) -> None:
        """An image that travels with its conversation; of another one, its address say, nothing is ever loaded."""
        source = source if isinstance(source, dict) else {}
        data = source.get("data")
        kind = _kind_in(data) if isinstance(data, str) and len(data) <= IMAGE else None
        if kind is not None:
            self._add("image", f"{kind}, {_size(data)}", media=kind, data=data)
            return
        said = clean(source.get("url") or source.get("media_type") or "?", 200)
        self._add("note", f"[an image: {said}{f', {_size(data)}: not shown' if isinstance(data, str) else ''}]")


def _again(steps: list[Effect], n: int) -> bool:
    """Whether a failed attempt was followed by another at the same call."""
    return n + 1 < len(steps) and steps[n + 1].given == steps[n].given


def _kind_in(data: str) -> str | None:
    """What kind of image it is by its own first bytes, whatever it says it is; None if it is none that is known."""
    try:
        kind = kind_of(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):
        return None
    return kind if kind is not None and kind.startswith("image/") else None


def _size(data: str) -> str:
    """How large base64 is that was decoded."""
    size = len(data) * 3 // 4 - data[-2:].count("=")
    return f"{size} bytes" if size < 1000 else f"{size / 1000:,.0f} kB"


def with_newest_images(turns: dict[str, Any], limit: int = ALL_IMAGES) -> dict[str, Any]:
    """The same turns with as many images as a view has room for, the newest; of the others there is a note."""
    left, shown = limit, {}
    for name, turn in reversed(turns.items()):
        entries = []
        for entry in reversed(turn["entries"]):
            left -= len(entry["data"]) if entry["k"] == "image" else 0
            fits = entry["k"] != "image" or left >= 0
            entries.append(entry if fits else {"k": "note", "text": f"[an image: {entry['text']}]", "at": entry["at"]})
        shown[name] = {**turn, "entries": entries[::-1]}
    return dict(reversed(shown.items()))


def _json(value: Any) -> str:
    value = without_data(value)
    return json.dumps(value, ensure_ascii=False, indent=1, default=str)


def totals(effects: Iterable[Effect]) -> dict[str, Any]:
    """What the model calls of a message took, and what was not run again."""
    calls = [each for each in effects if each.kind == "model"]
    paid = [each for each in calls if each.tokens_in is not None]
    costs = [each.cost_usd for each in paid if each.cost_usd is not None]
    return {
        "calls": sum(not each.replayed for each in calls),
        "in": sum(each.tokens_in or 0 for each in paid),
        "out": sum(each.tokens_out or 0 for each in paid),
        "cost": sum(costs) if costs else None,
        "replayed": sum(each.replayed for each in effects),
    }


def spoken(entry: Entry) -> tuple[str, str]:
    """Who or what an entry is, and its text: for terminals and static pages."""
    if entry["k"] == "tool":
        return f"tool {entry['name']}({' '.join(entry['input'].split())})", entry["result"] or entry["state"]
    if entry["k"] == "mark":
        return entry["what"], entry["text"]
    who = "told" if entry["k"] == "repair" else str(entry["k"])
    return who, f"[{entry['text']}]" if entry["k"] == "image" else str(entry.get("text") or "")
