"""One agent as it was at a moment: its state from its checkpoints, the rest from events, messages and steps.

What is written nowhere is not told: who waited for a word, the draft of a message in hand. Ties and budget: spent.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentlab.control.looking import ITEMS, LINES, MOST, Letter, Seen, StepNow
from agentlab.events import Event
from agentlab_widgets.past import BECOMES, NOT_YET, Place, Places, tell

TOLD = 20_000
"""Events of its life that are read, the newest."""

MESSAGES = (
    "SELECT key, method, coalesce(sender, ''), sent_at, started_at, deliveries FROM message"
    " WHERE path = ? AND sent_at <= ? AND ended_at > ? ORDER BY started_at, id LIMIT ?"
)
INBOX = (
    "SELECT key, method, coalesce(sender, ''), sent_at, 0, deliveries FROM inbox"
    " WHERE path = ? AND sent_at <= ? ORDER BY place LIMIT ?"
)
STEPS = (
    "SELECT step, kind, name, started_at, took_s, coalesce(once, 0) FROM step WHERE message_key = ? AND started_at <= ?"
    " ORDER BY started_at, id"
)
PRINTED = "SELECT detail FROM event WHERE path = ? AND kind = 'log' AND at <= ? ORDER BY seq DESC LIMIT ?"
COMMITTED = "SELECT seq, cls FROM checkpoint WHERE path = ? AND at <= ? ORDER BY id DESC LIMIT 1"


class Life:
    """What events tell of one agent, read once: each moment reads on from what is known.

    Args:
        store: Where the events are.
        path: Which agent.
    """

    def __init__(self, store: Any, path: str) -> None:
        self._store = store
        self._path = path
        self._events: list[Event] = []

    def at(self, at: int) -> Place | None:
        """What events had told of it at a moment (ns since 1970); None if it was not there yet, or not any more."""
        self._read()
        places: Places = {}
        tell(places, (event for event in self._events if event.at <= at))
        return places.get(self._path)

    def _read(self) -> None:
        kinds = ", ".join(f"'{kind}'" for kind in BECOMES)
        rows = self._store.select(
            "SELECT seq, at, kind, path, incarnation, node, reason FROM event"  # noqa: S608  # ours
            f" WHERE seq > ? AND path = ? AND kind IN ({kinds}) ORDER BY seq DESC LIMIT {TOLD}",
            (self._events[-1].seq if self._events else 0, self._path),
        )
        self._events = [*self._events, *(Event(*row) for row in reversed(rows))][-TOLD:]


def seen_then(store: Any, life: Life, path: str, at: int) -> Seen:
    """The agent as it was at a moment (ns since 1970); ``status`` is "not yet" before it was there."""
    place = life.at(at) or Place(NOT_YET, 0)
    found = store.select(COMMITTED, (path, at))
    seq, cls = found[0] if found else (0, "")
    image = store.state(path, seq) if found else {}
    lengths = {name: len(saved) for name, saved in image.items() if isinstance(saved, list)}
    newest = {name: saved[-ITEMS:] if isinstance(saved, list) else saved for name, saved in image.items()}
    letters = letters_then(store, path, at)
    busy = place.status == "running" and bool(letters) and bool(letters[0].begun)
    handled = store.select("SELECT count(*) FROM message WHERE path = ? AND ended_at <= ?", (path, at))[0][0]
    lines = store.select(PRINTED, (path, at, LINES))
    return Seen(
        path, cls or "", "busy" if busy else place.status, place.incarnation, max(0, place.incarnation - 1), place.node,
        place.reason or "", place.since, handled, seq, newest, lengths, letters, len(letters),
        [line for (line,) in reversed(lines)], [], [],
    )  # fmt: skip


def letters_then(store: Any, path: str, at: int) -> list[Letter]:
    """What stood in its mailbox, the message in hand first, with the steps that it had begun."""
    rows: Sequence[tuple[Any, ...]] = store.select(MESSAGES, (path, at, at, MOST))
    rows = [*rows, *store.select(INBOX, (path, at, MOST))]
    letters = []
    for key, method, sender, sent_at, started_at, deliveries in rows:
        begun = started_at if started_at and started_at <= at else 0
        steps = _steps_then(store, key, at) if begun else []
        letters.append(Letter(key, method, sender, sent_at, begun, max(0, deliveries - 1), steps, ""))
    return sorted(letters, key=lambda letter: not letter.begun)[:MOST]


def _steps_then(store: Any, key: int, at: int) -> list[StepNow]:
    return [
        StepNow(number, kind, name, began, began + int((took or 0) * 1e9) <= at, bool(once), "")
        for number, kind, name, began, took, once in store.select(STEPS, (key, at))
    ]
