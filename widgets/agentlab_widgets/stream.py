"""What happens in a lab, newest first: the events of its tree, in the dashboard.

Of each kind the newest are kept, so that a rare one is found though another came a thousand times since.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from agentlab.events import KINDS, Change, Event
from agentlab.ground.texts import clean, safe
from agentlab.looks import BREAKER, CRASH, LOOKS
from agentlab_widgets.live import Message, Pane, Send, Teller, Watched
from agentlab_widgets.stored import COLUMNS, Elsewhere

KEPT = 100
"""Events of one kind that are kept, the newest."""

READ = 20_000
"""Events of the past that are looked through, the newest."""

TEXT = 1_000
"""Characters of one event's detail."""

NOT_TOLD = ("emit",)
"""Text that streams in belongs to a transcript."""

BAD = ("crashed", "killed", "start_failed", "gave_up", "node_down", "supervisor_failed", "dead_letter")
COLOURS = {
    **dict.fromkeys(BAD, CRASH),
    **dict.fromkeys(("escalated", "parked", "budget_raised"), LOOKS["parked"].colour),
    **dict.fromkeys(("started", "supervisor_started", "node_started", "resumed", "node_back"), LOOKS["running"].colour),
    **dict.fromkeys(("restarting", "backing_off", "retrying", "rewound", "struck"), LOOKS["backing_off"].colour),
    **dict.fromkeys(("waiting", "approval_asked"), LOOKS["waiting"].colour),
    **{kind: state.colour for kind, state in BREAKER.items()},
}
"""What a kind of event has to do with, as its status is drawn."""


def told(event: Event) -> dict[str, Any]:
    """What a browser shows of an event, as JSON."""
    reason = event.reason or ""
    detail = safe(event.detail, TEXT) if event.detail else ""
    return {
        "seq": event.seq, "at": event.at // 1_000_000, "kind": event.kind, "path": clean(event.path or "", 200),
        "life": event.incarnation, "reason": clean(reason, 300), "detail": "" if detail == reason else detail,
    }  # fmt: skip


class Events(Teller):
    """Tells what happens."""

    def __init__(self, lab: Watched, send: Send) -> None:
        super().__init__(lab, send)
        self._kept: dict[str, deque[Event]] = {}
        self._last = 0

    def look(self, change: Change | None) -> Message | None:
        """What is new; everything that is kept, if some of it was missed."""
        if change is None or change.paths is None:
            before = self._last
            self._read()
            return self.whole() if self._last != before else None
        fresh = self._keep(change.events)
        return ({"t": "difference", "events": [told(event) for event in fresh]}, []) if fresh else None

    def whole(self) -> Message:
        """All that is kept, oldest first."""
        events = sorted(event for kept in self._kept.values() for event in kept)
        return {
            "t": "snapshot", "kinds": dict(KINDS), "colours": COLOURS, "kept": KEPT,
            "events": [told(event) for event in events],
        }, []  # fmt: skip

    def _keep(self, events: Iterable[Event]) -> list[Event]:
        fresh: dict[str, deque[Event]] = {}
        for event in events:
            if event.seq > self._last and event.kind not in NOT_TOLD:
                self._last = event.seq
                for kept in (self._kept, fresh):
                    kept.setdefault(event.kind, deque(maxlen=KEPT)).append(event)
        return sorted(event for kept in fresh.values() for event in kept)

    def _read(self) -> None:
        """What the store has of what was not heard."""
        store = self._lab._read()  # type: ignore[attr-defined]  # a lab, or a stored one
        rows = store.select(
            f"SELECT * FROM (SELECT {COLUMNS} FROM event WHERE seq > ? ORDER BY seq DESC LIMIT {READ}) ORDER BY seq",  # noqa: S608  # ours
            (self._last,),
        )
        self._keep(Event(*row) for row in rows)

    def last(self) -> Message | None:
        """How it ended is told too; of a file that was let go of there is nothing to read."""
        if isinstance(self._lab, Elsewhere):
            return None
        self._read()
        return self.whole()


class EventsPane(Pane):
    """The events of a lab."""

    def _tell(self) -> Events:
        return Events(self._lab, self.send)
