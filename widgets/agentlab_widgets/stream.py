"""What happens in a lab, newest first: the events of its tree, in the dashboard.

Of each kind the newest are kept, so that a rare one is found though another came a thousand times since. While a span
of time is brushed on a chart only what happened in it is told, read from the store, however long ago it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from agentlab.events import KINDS, Change, Event
from agentlab.ground.texts import clean, safe
from agentlab.looks import BREAKER, CRASH, LOOKS
from agentlab_widgets.live import Message, Pane, Send, Teller, Watched
from agentlab_widgets.rates import Brushed
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


class Newest:
    """The newest events of each kind, of a span of time or of all. Pure.

    Args:
        span: Which span; None: all of them.
    """

    def __init__(self, span: Brushed = None) -> None:
        self.since, self.until = (0, 2**63 - 1) if span is None else (span[0] * 10**9, span[1] * 10**9)
        self.last = 0
        self._kept: dict[str, deque[Event]] = {}

    def add(self, events: Iterable[Event]) -> list[Event]:
        """Take events in the order of their numbers; those that are new and of the span, oldest first."""
        fresh: dict[str, deque[Event]] = {}
        for event in events:
            if event.seq > self.last and event.kind not in NOT_TOLD and self.since <= event.at < self.until:
                self.last = event.seq
                for kept in (self._kept, fresh):
                    kept.setdefault(event.kind, deque(maxlen=KEPT)).append(event)
        return sorted(event for kept in fresh.values() for event in kept)

    def all(self) -> list[Event]:
        """All that are kept, oldest first."""
        return sorted(event for kept in self._kept.values() for event in kept)


class Events(Teller):
    """Tells what happens."""

    def __init__(self, lab: Watched, send: Send) -> None:
        super().__init__(lab, send)
        self._newest = Newest()
        self._span: Brushed = None

    def brush(self, span: Brushed) -> None:
        """Tell only what happened in a span of time, or everything again. From any thread."""
        self.post(lambda: self._only(span))

    def _only(self, span: Brushed) -> None:
        if isinstance(self._lab, Elsewhere) and self._lab.closed:
            return  # its file was let go of
        self._span, self._newest = span, Newest(span)
        self._read()
        self._push(self.whole())

    def look(self, change: Change | None) -> Message | None:
        """What is new; everything that is kept, if some of it was missed."""
        if change is None or change.paths is None:
            before = self._newest.last
            self._read()
            return self.whole() if self._newest.last != before else None
        fresh = self._newest.add(change.events)
        return ({"t": "difference", "events": [told(event) for event in fresh]}, []) if fresh else None

    def whole(self) -> Message:
        """All that is kept, oldest first, and the span that it is of."""
        return {
            "t": "snapshot", "kinds": dict(KINDS), "colours": COLOURS, "kept": KEPT,
            "span": self._span and list(self._span), "events": [told(event) for event in self._newest.all()],
        }, []  # fmt: skip

    def _read(self) -> None:
        """What the store has of what was not heard."""
        store, newest = self._lab._read(), self._newest  # type: ignore[attr-defined]  # a lab, or a stored one
        rows = store.select(
            f"SELECT * FROM (SELECT {COLUMNS} FROM event WHERE seq > ? AND at >= ? AND at < ?"  # noqa: S608  # ours
            f" ORDER BY seq DESC LIMIT {READ}) ORDER BY seq",
            (newest.last, newest.since, newest.until),
        )
        newest.add(Event(*row) for row in rows)

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

    def brush(self, span: Brushed) -> None:
        """Tell only what happened in a span of time, or everything again. From any thread."""
        self._push().brush(span)
