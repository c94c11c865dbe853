"""How much happens in a lab over time: two live charts of the dashboard, counted here, drawn there.

Each look counts only what is new since the last one, so a long night costs what its last second does. A span of time
that is brushed on one chart is marked on both, with what was counted in it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

from agentlab.events import Change
from agentlab.looks import CRASH, LOOKS
from agentlab_widgets.live import Message, Pane, Send, Watched
from agentlab_widgets.parts import Parts, PartsTeller
from agentlab_widgets.stored import Elsewhere

RECENT = 600
"""Seconds of a lab that runs here that are shown; of one that is over or stored its whole life is."""

LEAST = 59
"""Seconds that are shown at least: one bar is no picture."""

BARS = 90
"""Bars of a chart at most."""

WIDTHS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 86_400)
"""Seconds that a bar may stand for."""

CHARTS = {
    "trouble": {
        "title": "ends and restarts",
        "series": [["crashes and kills", CRASH], ["restarts", LOOKS["running"].colour]],
    },
    "messages": {
        "title": "messages handled",
        "series": [["ok", LOOKS["busy"].colour], ["failed or given up", LOOKS["parked"].colour]],
    },
}

EVENTS = (
    "SELECT at / 1000000000, kind = 'started', count(*) FROM event WHERE seq > ? AND seq <= ?"
    " AND (kind IN ('crashed', 'killed') OR kind = 'started' AND incarnation > 1) GROUP BY 1, 2"
)
MESSAGES = "SELECT ended_at / 1000000000, outcome <> 'ok', count(*) FROM message WHERE id > ? AND id <= ? GROUP BY 1, 2"
LASTS = (
    "SELECT (SELECT max(seq) FROM event), (SELECT max(id) FROM message), (SELECT at FROM event ORDER BY seq LIMIT 1)"
)


Brushed = tuple[int, int] | None
"""A span of time, in seconds since 1970; None: the whole of it."""


def brushed_in(content: dict[str, Any]) -> tuple[Brushed] | None:
    """The span that a browser says was brushed, in a tuple; None if it says nothing of the kind. Pure."""
    match content:
        case {"t": "span", "from": int(since), "to": int(until)} if 0 <= since < until < 1e10:
            return ((since, until),)
        case {"t": "span", "from": None}:
            return (None,)
    return None


def width_of(seconds: float) -> int:
    """Seconds of one bar, so that so long a time has at most ``BARS`` of them. Pure."""
    return next((width for width in WIDTHS if seconds / width <= BARS - 1), max(WIDTHS[-1], int(seconds / BARS) + 1))


def bars_of(counts: Counter[tuple[int, int]], since: int, until: int) -> dict[str, Any]:
    """Counts by second and series as bars of equal width from ``since`` to ``until`` (seconds since 1970). Pure."""
    width = width_of(until - since)
    first = since // width
    heights = [[0] * (until // width - first + 1) for _ in range(2)]
    for (second, series), n in counts.items():
        if since <= second <= until:
            heights[series][second // width - first] += n
    return {"from": first * width, "width": width, "heights": heights}


class Rates(PartsTeller):
    """Counts, and tells it once a second."""

    pause: ClassVar[float] = 1.0

    def __init__(self, lab: Watched, send: Send) -> None:
        super().__init__(lab, "/", send)
        self._counts: dict[str, Counter[tuple[int, int]]] = {name: Counter() for name in CHARTS}
        self._seen = (0, 0)
        self._began = int(time.time())
        self._span: Brushed = None

    def brush(self, span: Brushed) -> None:
        """Mark a span of time, or none any more. From any thread."""
        self.post(lambda: self._mark(span))

    def _mark(self, span: Brushed) -> None:
        self._span = span
        self._push(self._board.put(self._parts()))

    def read(self, change: Change | None) -> Parts | None:
        """Both charts as they are now."""
        if change is not None and not change.events and not change.paths and change.paths is not None:
            return None
        store = self._lab._read()  # type: ignore[attr-defined]  # a lab, or a stored one
        ((event, message, began),) = store.select(LASTS)
        now = event or 0, message or 0
        asked = {"trouble": (EVENTS, 0), "messages": (MESSAGES, 1)}
        for name, (sql, place) in asked.items():
            for second, series, n in store.select(sql, (self._seen[place], now[place])):
                self._counts[name][second, series] += n
        self._seen = now
        self._began = (began or time.time_ns()) // 1_000_000_000
        return self._parts()

    def _parts(self) -> Parts:
        last = max((second for counts in self._counts.values() for second, _ in counts), default=self._began)
        over = self._lab.closed or isinstance(self._lab, Elsewhere)
        until = last if over else int(time.time())
        since = self._began if over else max(self._began, until - RECENT)
        since = min(since, until - LEAST)
        charts = {name: {**about, **bars_of(self._counts[name], since, until)} for name, about in CHARTS.items()}
        return {**charts, "span": self._span and list(self._span)}

    def last(self) -> Message | None:
        """The whole life of a lab that is over; of a file that was let go of there is nothing to read."""
        return None if isinstance(self._lab, Elsewhere) else self._board.put(self.read(None) or {})

    def rest(self) -> Message | None:
        """Time goes on though nothing happens."""
        return self._board.put(self._parts())


class RatesPane(Pane):
    """The charts; ``brushed`` hears of each span that somebody brushes on one of them."""

    brushed: Callable[[Brushed], None] = staticmethod(lambda span: None)

    def _tell(self) -> Rates:
        return Rates(self._lab, self.send)

    def _said(self, pusher: Rates, content: dict[str, Any]) -> None:
        if heard := brushed_in(content):
            pusher.brush(heard[0])
            self.brushed(heard[0])
