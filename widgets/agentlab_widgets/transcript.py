"""The conversation of an agent as it goes on: ``ref.transcript()``.

What is committed comes from the books and the store; what is not committed yet from the agent itself, asked at most
when a step of it has ended; tokens that stream in from the lab's hub, which keeps none of them.
"""

from __future__ import annotations

import functools
import html
import inspect
import json
from collections.abc import Iterable
from typing import Any, get_args, get_type_hints

from agentlab.control.looking import Letter, Seen
from agentlab.errors import InvalidArgument
from agentlab.events import Change, Event
from agentlab.ground.texts import clean, safe
from agentlab.looks import LOOKS
from agentlab.ref.ref import Ref
from agentlab_widgets.asks import answer_in, asks_of
from agentlab_widgets.live import LiveWidget, Pane, Send, assets, name_of
from agentlab_widgets.look import AnyLab, Past, effects_of, lab_of, seen
from agentlab_widgets.parts import Parts, PartsTeller
from agentlab_widgets.stored import Elsewhere
from agentlab_widgets.turns import TEXT, Effect, Entry, entries_of, spoken, totals, with_newest_images

TURNS = 50  # messages that are shown; older ones are counted
CUTS = 3  # texts that were cut off, of the message in hand


class Conversation(PartsTeller):
    """Reads one transcript of one agent."""

    def __init__(self, lab: AnyLab, path: str, field: str, send: Any) -> None:
        super().__init__(lab, path, send)
        self._streamed = ""
        self._cuts: list[str] = []
        self._of: int | None = None  # the message that they are of, also while the agent is between two lives
        self._record = Record(lab, path, field)

    def note(self, events: Iterable[Event]) -> None:
        """Text streams in; what a death or another attempt cuts off is kept, and marked."""
        for event in events:
            if event.path != self._path:
                continue
            if event.kind == "emit":
                self._streamed = (self._streamed + (event.detail or ""))[-TEXT:]
            elif event.kind in ("crashed", "killed", "retrying", "waiting", "node_down") and self._streamed.strip():
                self._cuts = [*self._cuts, self._streamed][-CUTS:]
                self._streamed = ""

    def read(self, change: Change | None) -> Parts | None:
        """All parts; where only text streamed in, those of before with that text."""
        if not self.concerns(change):
            streams = change is not None and any(e.path == self._path and e.kind == "emit" for e in change.events)
            return {**self._board.parts, "live": self._live()} if streams and self._board.parts else None
        parts = self._record.read()  # as it is now: it may be further than the events that were heard
        first, over = self._record.first, self._record.first != self._of
        if over:
            self._of, self._cuts = first, self._cuts if self._of is None else []
        # It is an item now, or its message is over. One that still waits was cut off: the event that says so comes.
        if said_in(parts) > said_in(self._board.parts) or (not parts["head"]["busy"] and (over or first is None)):
            self._streamed = ""
        asks = asks_of(self._lab[self._path])["approvals"] if parts["head"]["busy"] else []
        return {**parts, "asks": asks, "live": self._live()}

    def _live(self) -> dict[str, Any]:
        return {"text": safe(self._streamed, TEXT), "cuts": [safe(cut, 2000) for cut in self._cuts]}


def said_in(parts: Parts) -> int:
    """How often the agent has spoken: when that grows, what streamed in is part of it."""
    turns = [part for name, part in parts.items() if name.startswith("turn:")]
    return sum(entry["k"] in ("assistant", "tool", "item") for turn in turns for entry in turn["entries"])


class Record:
    """Reads one transcript of one agent: committed turns from books and store, the one in hand from its agent."""

    def __init__(self, lab: AnyLab, path: str, field: str) -> None:
        self._lab = lab
        self._path = path
        self._field = field
        self._past = Past(lab, path)
        self.first: int | None = None
        """The key of the message that is handled or the next to be, when it was read."""

    def read(self, *, in_hand: bool = True) -> Parts:
        """Head and turns as they are now; ``in_hand``: with what is not committed."""
        now = seen(self._lab, self._path)
        self._past.read()
        self.first = now.waiting[0].key if now is not None and now.waiting else None
        if now is None:
            return {"head": self._head(None, 0)}
        saved = now.image.get(self._field)
        items = [json.loads(text) for text in saved] if isinstance(saved, list) else []
        first = now.lengths.get(self._field, len(items)) - len(items)
        turns = self._over(items, first)
        if (letter := now.in_hand) is not None and in_hand:
            turns["turn:hand"] = self._hand(letter, first + len(items))
        return {"head": self._head(now, first), **with_newest_images(turns)}

    def _head(self, now: Seen | None, earlier: int) -> dict[str, Any]:
        status = now.status if now else "stopped"
        spent = next((row.spent for row in self._lab.rows([self._path]) if row.spent), None)
        about = [now.cls, now.status.replace("_", " ")] if now else ["removed"]
        about += [f"incarnation {now.incarnation}"] if now and now.incarnation > 1 else []
        if spent:
            about.append(f"{spent[0]:,} tokens in, {spent[1]:,} out")
            about += [f"{spent[2]:.4f} $"] if spent[2] is not None else []
        return {
            "status": status, "colour": LOOKS[status].colour, "shape": LOOKS[status].shape,
            "about": clean(" · ".join(about), 200), "earlier": earlier, "asks": talked_to_by(self._lab, self._path),
            "busy": now is not None and now.in_hand is not None,
        }  # fmt: skip

    def _over(self, items: list[Any], first: int) -> dict[str, Any]:
        """The turns of messages that are over, oldest first; ``first``: the place of the first item."""
        rows = self._lab._store.select(
            "SELECT place, max(seq) FROM item WHERE path = ? AND name = ? AND place >= ? AND value IS NOT NULL"
            " GROUP BY place", (self._path, self._field, first),
        )  # fmt: skip
        seqs: dict[int, int] = dict(rows)
        said: dict[int, list[Any]] = {}
        for place, item in enumerate(items, first):
            said.setdefault(seqs.get(place, 0), []).append(item)
        shown = [row for row in self._past.messages if row[0] in said or row[7] != "ok"][-TURNS:]
        known = {row[0] for row in shown}
        turns: dict[str, Any] = {}
        if before := [item for seq in sorted(said.keys() - known) for item in said[seq]]:
            turns["turn:0"] = turn(["", "", 0, 0, 0, 0, "ok", ""], entries_of(before, [], [], 0), [])
        for seq, *told, key in shown:
            steps, sent, began, ended = self._past.effects.get(key, []), told[2], told[3], told[4]
            marks = [fact for fact in self._past.facts if min(sent, began) <= fact.at <= ended]
            turns[f"turn:{seq}"] = turn(told, entries_of(said.get(seq, []), steps, marks, began), steps)
        return turns

    def _hand(self, letter: Letter, committed: int) -> dict[str, Any]:
        """The turn of the message in hand: its items are a draft that the agent still has to itself."""
        draft = self._lab[self._path].draft.get(self._field) if letter.begun else None
        items = draft[committed:] if isinstance(draft, list) else []
        running = [
            Effect(step.kind, step.name, step.began, None, "", "", False, None, None, None, step.said, "")
            for step in letter.steps
            if not step.finished
        ]
        steps = [*effects_of(self._lab, [letter.key]).get(letter.key, []), *running]
        began, tries = letter.begun or letter.sent_at, letter.deliveries + 1
        marks = [fact for fact in self._past.facts if fact.at >= letter.sent_at]
        told = (letter.method, letter.sender, letter.sent_at, began, 0, tries, "in hand", letter.parked)
        return turn(told, entries_of(items, steps, marks, began), steps)


def turn(told: Iterable[Any], entries: list[Any], steps: list[Effect]) -> dict[str, Any]:
    """A message with what came of it, as JSON."""
    method, sender, sent, began, ended, deliveries, outcome, error = told
    return {
        "method": clean(method, 80), "sender": clean(sender or "", 200), "at": (began or sent) // 1_000_000,
        "took": (ended - began) / 1e9 if ended else None, "deliveries": deliveries, "outcome": outcome,
        "error": safe(error or "", 600), "entries": entries, **totals(steps),
    }  # fmt: skip


def fields_of(lab: Any, path: str) -> list[str]:
    """The fields of an agent that are transcripts."""
    if isinstance(lab, Elsewhere):
        return lab.transcripts(path)
    kind = lab._live.desk.entries.kind(path)
    fields = kind.cls.__agent_fields__ if kind is not None else {}
    return [name for name, field in fields.items() if field.grows]


def talked_to_by(lab: Any, path: str) -> str:
    """The message by which a person talks to the agent: ``ask``, or one that takes one text."""
    if isinstance(lab, Elsewhere):
        return ""
    kind = lab._live.desk.entries.kind(path)
    names = sorted(kind.cls.__agent_messages__) if kind is not None else []
    takes = [name for name in names if _takes_a_text(kind.cls, name)]
    return "ask" if "ask" in takes else takes[0] if takes else ""


def _takes_a_text(cls: Any, name: str) -> bool:
    parameters = list(inspect.signature(getattr(cls, name)).parameters.values())[1:]
    needed = [each for each in parameters if each.default is each.empty]
    if len(needed) != 1 or needed[0].kind not in (needed[0].POSITIONAL_ONLY, needed[0].POSITIONAL_OR_KEYWORD):
        return False
    try:
        said = get_type_hints(getattr(cls, name))[needed[0].name]  # a name may stand for a text, as Said does
    except Exception:  # one of the other names is known to a type checker alone
        said = needed[0].annotation
    return said is str or str in get_args(said) or str(said).split(" | ")[0] == "str"


class TranscriptPane(Pane):
    """What the view of a conversation says and hears.

    Args:
        lab: Where the agent is.
        path: Which agent.
        field: Which of its transcripts.
        send: Sends one message to all browsers.
    """

    def __init__(self, lab: AnyLab, path: str, field: str, send: Send) -> None:
        super().__init__(lab, send)
        self._path, self._field = path, field

    def _tell(self) -> Conversation:
        return Conversation(self._lab, self._path, self._field, self.send)

    def _said(self, pusher: Any, content: dict[str, Any]) -> None:
        """A person talks to the agent, or says whether a tool may run: the same call as in code."""
        ref = self._lab[self._path]
        if answer := answer_in(ref, content):
            self._carry_out(f"{name_of(self._lab, self._path)}.{answer[0]}", answer[1])
            return
        text = content.get("text")
        if content.get("t") != "ask" or not isinstance(text, str) or not text.strip() or len(text) > 1_000_000:
            return
        method = talked_to_by(self._lab, self._path)
        if method:
            short = text if len(text) <= 60 else f"{text[:59]}…"
            code = f"{name_of(self._lab, self._path)}.call.{method}({clean(repr(short), 80)})"
            self._carry_out(code, lambda: getattr(ref.call(timeout=86_400), method)(text).result(), "answered")


class TranscriptWidget(LiveWidget):
    """The conversation of an agent, with a box to talk to it.

    Without a live browser it is text and static HTML, the same for the same conversation.

    Args:
        lab: Where the agent is.
        path: Which agent.
        field: Which of its transcripts.
    """

    _esm = assets("live.js", "parts.js", "markdown.js", "asks.js", "transcript.js")
    _css = assets("live.css", "parts.css", "transcript.css")

    def __init__(self, lab: AnyLab, path: str, field: str) -> None:
        super().__init__(functools.partial(TranscriptPane, lab, path, field))
        self._lab, self._path, self._field = lab, path, field

    @classmethod
    def of(cls, ref: Ref, field: str | None = None) -> TranscriptWidget:
        """The view of a transcript of an agent, its first one if ``field`` is left out.

        Raises:
            InvalidArgument: The agent has no such transcript; names those that it has.
        """
        lab = lab_of(ref)
        known = fields_of(lab, ref.path)
        wanted = field if field is not None else next(iter(known), "")
        if wanted not in known:
            raise InvalidArgument(
                f"transcript: {ref.path!r} has no field {clean(repr(field), 80) if field is not None else ''} of type "
                f"Transcript; it has: {', '.join(known) or 'none'}. Its state: ref.state.",
                argument="field",
            )
        return cls(lab, ref.path, wanted)

    def _turns(self) -> list[dict[str, Any]]:
        if self._lab.closed:
            return []
        parts = Record(self._lab, self._path, self._field).read(in_hand=False)
        return [part for name, part in parts.items() if name.startswith("turn:")]

    def __repr__(self) -> str:
        lines = [f"transcript of {self._path}{' (its lab is closed)' if self._lab.closed else ''}"]
        for turn in self._turns():
            for who, text in map(spoken, turn["entries"]):
                lines += [f"{who}: {text}".replace("\n", "\n    ")]
            lines += [f"[{turn['outcome']}: {turn['error']}]"] if turn["outcome"] != "ok" else []
        return "\n".join(lines)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:  # IPython's protocol
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        return data | {"text/plain": repr(self), "text/html": conversation_html(self._path, self._turns())}, metadata


def picture_html(entry: Entry) -> str:
    """An image with its data in it; nothing of another entry."""
    if entry["k"] != "image":
        return ""
    source = html.escape(f"data:{entry['media']};base64,{entry['data']}")
    style = "display:block;max-width:min(320px,100%);max-height:240px"
    return f'<img src="{source}" alt="{html.escape(entry["text"])}" style="{style}">'


def conversation_html(path: str, turns: list[dict[str, Any]]) -> str:
    """The conversation without script and style sheets; every text escaped, tools folded."""
    shown = []
    for entry in (entry for turn in turns for entry in turn["entries"]):
        who, text = spoken(entry)
        body = picture_html(entry) or f'<pre style="white-space:pre-wrap;margin:2px 0">{html.escape(text)}</pre>'
        name = html.escape(who)
        fold = who.startswith("tool ")
        shown.append(
            f"<details><summary>{name}</summary>{body}</details>" if fold else f"<div><b>{name}</b>{body}</div>"
        )
    return f"<div><p>{html.escape(path)}</p>{''.join(shown)}</div>"
