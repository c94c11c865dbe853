"""One agent seen closely: ``ref.watch()``. What it has, what it does, its lives and its past, with what can be done."""

from __future__ import annotations

import functools
import html
import json
from typing import Any

from agentlab.control.looking import Seen
from agentlab.errors import InvalidArgument
from agentlab.events import Change
from agentlab.ground.texts import clean, safe
from agentlab.looks import LOOKS
from agentlab.ref.ref import Ref
from agentlab.store.past import LAST
from agentlab_widgets.asks import answer_in, asks_of
from agentlab_widgets.live import LiveWidget, Pane, Send, assets, name_of
from agentlab_widgets.look import AnyLab, effects_of, lab_of, seen
from agentlab_widgets.mirror import ACTIONS, has_message, moves
from agentlab_widgets.parts import Parts, PartsTeller
from agentlab_widgets.past import NOT_YET, OVER
from agentlab_widgets.spent import bare, ties_then
from agentlab_widgets.stored import Elsewhere
from agentlab_widgets.then import Life, seen_then
from agentlab_widgets.values import LARGE, Allowance, Node, difference, field_node, node_of, short

LIVES, CHECKPOINTS, STEPS = 40, 40, 100  # that are shown, the newest
ENDS = ("crashed", "killed", "exited", "start_failed", "node_down")


class Inspector(PartsTeller):
    """Reads one agent, as it is or as it was ``at`` a moment (ns since 1970)."""

    def __init__(self, lab: AnyLab, path: str, send: Send, at: int | None = None) -> None:
        super().__init__(lab, path, send)
        self._store = lab._store
        self._last_event = 0
        self._lives: list[dict[str, Any]] = []
        self._compared: dict[str, Any] = {}
        self._at = at
        self._life = Life(self._store, path)

    def turn_to(self, at: int | None) -> None:
        """Show the agent as it was at a moment (ns since 1970); None: as it is. From any thread."""
        if at != self._at:
            self._at = at
            self.post(lambda: self._turn_to(at))

    def _turn_to(self, at: int | None) -> None:
        if at == self._at and not self._lab.closed:  # else it was played on meanwhile
            self._push(self._board.put(self.read(None) or {}))

    def head(self, *, whole: bool) -> dict[str, Any]:
        """Whose view it is, and whether of the past."""
        return super().head(whole=whole) | ({} if self._at is None else {"closed": True, "over": OVER})

    def compare(self, before: int, after: int) -> None:
        """Show what differs between two checkpoints. From any thread."""
        self.post(lambda: self._compare(before, after))

    def _compare(self, before: int, after: int) -> None:
        state = self._store.state
        fields = difference(state(self._path, before), state(self._path, after))
        self._compared = {"before": before, "after": after, "fields": fields}
        if message := self._board.put({**self._board.parts, "diff": self._compared}):
            self._push(message)

    def read(self, change: Change | None) -> Parts | None:
        """All parts as they are now; None if it does not look different."""
        if self._at is not None:
            return self._read_then(self._at) if change is None else None
        if not self.concerns(change):
            return None
        now, rows = seen(self._lab, self._path), self._lab.rows([self._path])
        can = [*moves(rows[0]), *(["skip"] if has_message(rows[0]) else [])] if rows else []
        parts = {"head": head_of(now, can), "lives": self._read_lives(), "diff": self._compared}
        if now is None:
            return parts
        ref = self._lab[self._path]
        return parts | {
            "state": state_of(self._lab, now, ref), "mailbox": mailbox_of(now), "hand": hand_of(self._lab, now),
            "asks": asks_of(ref), "checkpoints": self._checkpoints(), "log": {"text": safe("\n".join(now.log), 50_000)},
            "ties": ties_of(self._lab, now, ref),
        }  # fmt: skip

    def _read_then(self, at: int) -> Parts:
        """What is known of a moment: nothing of it changes any more."""
        then, ms = seen_then(self._store, self._life, self._path, at), at // 1_000_000
        lives = [life for life in self._read_lives() if life["from"] <= ms and life["n"] <= then.incarnation]
        for place, life in enumerate(lives):
            if life["to"] is not None and life["to"] > ms:
                lives[place] = {**life, "to": None, "how": "", "why": "", "trace": ""}
        ties = {} if then.status == NOT_YET else {"ties": ties_then(self._store, self._path, at)}
        return ties | {
            "head": head_of(then, []), "lives": lives, "diff": {}, "state": state_of(self._lab, then, None),
            "mailbox": mailbox_of(then), "hand": hand_of(self._lab, then, at),
            "checkpoints": self._checkpoints(at), "log": {"text": safe("\n".join(then.log), 50_000)},
        }  # fmt: skip

    def _read_lives(self) -> list[dict[str, Any]]:
        """Each life from its start to its end, oldest first."""
        kinds = ", ".join(f"'{kind}'" for kind in ("started", *ENDS))
        rows = self._store.select(
            "SELECT seq, at, kind, incarnation, coalesce(reason, ''), coalesce(substr(detail, 1, 6000), '') FROM event"  # noqa: S608  # ours
            f" WHERE seq > ? AND path = ? AND kind IN ({kinds}) ORDER BY seq DESC LIMIT {4 * LIVES}",
            (self._last_event, self._path),
        )
        lives = [dict(life) for life in self._lives]
        for seq, at, kind, incarnation, reason, detail in reversed(rows):
            self._last_event = seq
            if kind == "started":
                lives.append({"n": incarnation, "from": at // 1_000_000, "to": None, "how": "", "why": "", "trace": ""})
            elif lives:
                end = {"to": at // 1_000_000, "how": kind, "why": clean(reason, 300), "trace": safe(detail, 6000)}
                lives[-1] |= end
        self._lives = lives[-LIVES:]
        return self._lives

    def _checkpoints(self, until: int = LAST) -> list[dict[str, Any]]:
        rows = self._store.select(
            "SELECT seq, at, incarnation, bytes FROM checkpoint WHERE path = ? AND at <= ?"  # noqa: S608  # ours
            f" ORDER BY seq DESC LIMIT {CHECKPOINTS}",
            (self._path, until),
        )
        return [{"seq": seq, "at": at // 1_000_000, "life": life, "bytes": size} for seq, at, life, size in rows]


def ties_of(lab: AnyLab, now: Seen, ref: Any) -> dict[str, Any]:
    """Its links and monitors, and what it may spend and has spent; of a lab that is only read, what its store tells."""
    if isinstance(lab, Elsewhere):
        return ties_then(lab._store, now.path)
    budget = clean(bare(ref.path, str(ref.budget)), 1000)
    return {"links": now.links, "monitors": now.monitors, "untold": "", "budget": budget}


def head_of(now: Seen | None, can: list[str]) -> dict[str, Any]:
    """Who it is, and what can be done."""
    status = now.status if now else "stopped"
    about = ["removed"]
    if now:
        about = [
            now.cls,
            status.replace("_", " "),
            f"incarnation {now.incarnation}",
            f"{now.restarts} restart{'s' * (now.restarts != 1)}",
        ]
        about += [f"node {now.node}"] if now.node is not None else []
        about += [f"{now.handled:,} messages handled"]
    look = LOOKS.get(status, LOOKS["stopped"])  # the past has words of its own
    return {
        "status": status, "colour": look.colour, "shape": look.shape, "about": clean(" · ".join(about), 300),
        "can": can, "actions": ACTIONS, "reason": clean(now.reason, 300) if now else "",
    }  # fmt: skip


def state_of(lab: AnyLab, now: Seen, ref: Any) -> dict[str, Any]:
    """Its committed fields, those that the last commit changed, and the draft of those that differ now."""
    allowance = Allowance()
    fields = [field_node(name, saved, now.lengths.get(name, 0), allowance) for name, saved in now.image.items()]
    changed = lab._store.select(
        "SELECT name FROM field WHERE path = ? AND seq = ? UNION SELECT name FROM item WHERE path = ? AND seq = ?",
        (now.path, now.seq, now.path, now.seq),
    )
    drafts = _draft(now, ref) if ref is not None and now.in_hand is not None and now.in_hand.begun else []
    return {"fields": fields, "changed": sorted(clean(name, 80) for (name,) in changed), "draft": drafts}


def _draft(now: Seen, ref: Any) -> list[Node]:
    """Fields that the message in hand has changed and not committed; of a transcript what was added."""
    allowance, found = Allowance(200), []
    if sum(len(saved) for saved in now.image.values() if isinstance(saved, str)) > LARGE:
        return []  # its node would have to hand over all of it, at each look
    for name, value in ref.draft.items():
        saved = now.image.get(name)
        if isinstance(saved, list) and isinstance(value, list):
            new = value[now.lengths[name] :]
            found += [node_of(name, new, allowance)] if new else []
        elif not isinstance(saved, str) or json.loads(saved) != value:
            found.append(node_of(name, value, allowance))
    return found


def mailbox_of(now: Seen) -> dict[str, Any]:
    """What waits, oldest first, without the message in hand."""
    waits = now.waiting[1:] if now.in_hand is not None else now.waiting
    letters = [
        {"method": clean(m.method, 80), "sender": clean(m.sender, 200), "at": m.sent_at // 1_000_000} for m in waits
    ]
    return {"count": now.mailbox - (now.in_hand is not None), "letters": letters}


def hand_of(lab: AnyLab, now: Seen, at: int = LAST) -> dict[str, Any] | None:
    """The message in hand with its steps: ended ones (by ``at``) from the store, running ones from the journal."""
    letter = now.in_hand
    if letter is None:
        return None
    steps = [
        {"name": clean(each.name, 80), "kind": each.kind, "at": each.at // 1_000_000, "took": each.took_s,
         "state": "replayed" if each.replayed else each.outcome, "fault": clean(each.fault, 80),
         "given": safe(each.given, 600), "gave": safe(each.gave, 600)}
        for each in effects_of(lab, [letter.key]).get(letter.key, [])
        if each.at + int((each.took_s or 0) * 1e9) <= at
    ]  # fmt: skip
    steps += [
        {"name": clean(each.name, 80), "kind": each.kind, "at": each.began // 1_000_000, "took": None,
         "state": "asks" if each.kind == "approval" else "runs", "fault": "", "given": safe(each.said, 600), "gave": ""}
        for each in letter.steps if not each.finished
    ]  # fmt: skip
    return {
        "method": clean(letter.method, 80), "sender": clean(letter.sender, 200), "tries": letter.deliveries + 1,
        "at": (letter.begun or letter.sent_at) // 1_000_000, "parked": safe(letter.parked, 600),
        "steps": steps[-STEPS:],
    }  # fmt: skip


class InspectorPane(Pane):
    """What the view of one agent says and hears.

    Args:
        lab: Where the agent is.
        path: Which agent.
        send: Sends one message to all browsers.
    """

    def __init__(self, lab: AnyLab, path: str, send: Send) -> None:
        super().__init__(lab, send)
        self._path = path
        self._at: int | None = None

    def turn_to(self, at: int | None) -> None:
        """Show the agent as it was at a moment (ns since 1970); None: as it is. From any thread."""
        self._at = at
        if self._pusher:
            self._pusher.turn_to(at)

    def _tell(self) -> Inspector:
        return Inspector(self._lab, self._path, self.send, self._at)

    def _said(self, pusher: Any, content: dict[str, Any]) -> None:
        """A button was pressed: the same operation as in code."""
        what, number = content.get("what"), content.get("n")
        if content.get("t") == "compare" and all(isinstance(content.get(name), int) for name in ("before", "after")):
            pusher.compare(content["before"], content["after"])
        if content.get("t") != "do":
            return
        if self._at is not None:
            return  # nothing can be done to the past
        ref, name = self._lab[self._path], name_of(self._lab, self._path)
        if what in ACTIONS:
            self._carry_out(f"{name}.{what}()", getattr(ref, what))
        elif answer := answer_in(ref, content):
            self._carry_out(f"{name}.{answer[0]}", answer[1])
        elif isinstance(number, int):
            works: dict[Any, tuple[str, Any]] = {
                "rewind": (f"rewind({number})", lambda: ref.rewind(number)),
                "fork": (f"fork({number})", lambda: ref.fork(number)),
            }
            if what in works:
                code, work = works[what]
                self._carry_out(f"{name}.{code}", work)


class InspectorWidget(LiveWidget):
    """One agent, live, with buttons that do what code does.

    Without a live browser it is text and static HTML.

    Args:
        lab: Where the agent is.
        path: Which agent.
    """

    _esm = assets("live.js", "parts.js", "inspector.js")
    _css = assets("live.css", "parts.css", "inspector.css")

    def __init__(self, lab: AnyLab, path: str) -> None:
        super().__init__(functools.partial(InspectorPane, lab, path))
        self._lab, self._path = lab, path

    @classmethod
    def of(cls, ref: Ref) -> InspectorWidget:
        """The view of an agent.

        Raises:
            InvalidArgument: There is no agent; a supervisor is shown by ``lab.tree()``.
        """
        lab = lab_of(ref)
        if seen(lab, ref.path) is None:
            raise InvalidArgument(
                f"watch: no agent is at {ref.path!r}; got a ref of a supervisor, or of what is gone. The whole tree: "
                "lab.tree()."
            )
        return cls(lab, ref.path)

    def __repr__(self) -> str:
        now = None if self._lab.closed else seen(self._lab, self._path)
        if now is None:
            return f"{self._path}: gone, or its lab is closed"
        lines = [f"{self._path}: {now.cls}, {now.status}, incarnation {now.incarnation}, {now.mailbox} in the mailbox"]
        lines += [f"  {clean(name, 80)} = {short(saved)}" for name, saved in now.image.items()]
        return "\n".join([*lines, *([f"  last exit: {clean(now.reason, 300)}"] if now.reason else [])])

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:  # IPython's protocol
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        text = repr(self)
        return data | {"text/plain": text, "text/html": f"<pre>{html.escape(text)}</pre>"}, metadata
