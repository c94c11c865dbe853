"""What the tree's browsers are told: rows that changed, at most twenty times a second, and restarts for small bars."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from agentlab.events import Change, Event, Row
from agentlab.ground.texts import clean, safe
from agentlab_widgets import breakers
from agentlab_widgets.live import Message, Send, Teller, Watched
from agentlab_widgets.mirror import Mirror
from agentlab_widgets.nodes import AGE, Nodes
from agentlab_widgets.sift import Wanted

ROOT = "/"
ENDS = ("crashed", "killed", "exited", "start_failed", "gave_up", "supervisor_exited")
HISTORY = 300.0  # seconds of restarts that are kept for the small bars


class Pusher(Teller):
    """Tells the browsers what changed.

    Args:
        lab: Whose tree it is.
        send: Sends one message to all browsers; called in this thread only.
        last: The tree as it was before the lab was closed; asked once the lab is closed.
    """

    pause = 0.05
    listens_unseen = True  # restarts of the last minutes are shown

    def __init__(self, lab: Watched, send: Send, last: Callable[[], list[Row]] = list) -> None:
        super().__init__(lab, send)
        self._last = last
        self._mirror = Mirror()
        self._nodes = Nodes(lab)
        self._label, self._labelled = "", 0.0  # what the lab is called, and when it was asked
        self._restarts: deque[tuple[float, str]] = deque()
        self._new_restarts: list[tuple[float, str]] = []
        self._seen_from: float | None = None  # since when events are heard, until the rows told what was before

    def select(self, epoch: int, slot: int) -> None:
        """A browser wants all facts of one slot, from now on. From any thread."""
        self.post(lambda: self._show(epoch, slot))

    def find(self, wanted: Wanted) -> None:
        """A browser searches among many; it gets one page of those that match. From any thread."""
        self.post(lambda: self._send({"t": "found", **self._mirror.find(wanted)}, []))

    def trace(self, epoch: int, slot: int) -> None:
        """A browser wants to read how the last life of a slot ended. From any thread."""
        self.post(lambda: self._trace(epoch, slot))

    def path(self, epoch: int, slot: int) -> str | None:
        """The path behind a slot that a browser named."""
        return self._mirror.path(epoch, slot)

    def run(self) -> None:
        """Push until the lab or the widget is closed."""
        self._seen_from = time.time()
        super().run()

    def last(self) -> Message | None:
        """The tree as it was before the lab was closed."""
        rows = self._last()
        return self._mirror.replace(rows) if rows else None

    def whole(self) -> Message:
        """All rows, or the bytes of all."""
        return self._mirror.snapshot()

    def rest(self) -> Message | None:
        """Restart intensity falls by time alone."""
        spending = self._mirror.spending()
        return self._read(spending) if spending else None

    def look(self, change: Change | None) -> Message | None:
        """Read the rows that changed."""
        if change is None:
            return self._read(None)
        crashed = {event.path for event in change.events if event.kind in ("crashed", "killed")}
        if change.paths is None:
            return self._read(None, crashed)
        told = (event.path for event in change.events if event.path in change.paths)
        paths = list(dict.fromkeys([*told, *change.paths, *crashed]))  # new places in the order of their starts
        return self._read(paths, crashed) if paths else None

    def _read(self, paths: Iterable[str] | None, crashed: Iterable[str] = ()) -> Message | None:
        """Read rows into the mirror. A lab that is being closed takes its tree apart: the last whole one stays."""
        rows = self._lab.rows(None if paths is None else dict.fromkeys([*paths, ROOT]))
        if any(row.path == ROOT and row.status != "running" for row in rows):
            return None
        if paths is None:
            self._look_back(rows)
            return self._mirror.replace(rows, crashed)
        return self._mirror.update(rows, paths, crashed)

    def note(self, events: Iterable[Event]) -> None:
        """Remember restarts for the header and the small bars."""
        fresh = [(event.at / 1e9, event.path) for event in events if is_restart(event)]
        self._restarts.extend(fresh)
        self._new_restarts.extend(fresh)
        while self._restarts and self._restarts[0][0] < time.time() - HISTORY:
            self._restarts.popleft()

    def _look_back(self, rows: Iterable[Row]) -> None:
        """Count what happened before this tree looked, as far as rows tell: when each began its present incarnation."""
        if self._seen_from is None:
            return
        first, self._seen_from = self._seen_from, None
        past = [(row.since / 1e9, row.path) for row in rows if row.kind == "agent" and row.incarnation > 1]
        self._restarts.extendleft(sorted((one for one in past if first - HISTORY < one[0] < first), reverse=True))

    def head(self, *, whole: bool) -> dict[str, Any]:
        """Counts, restarts, breakers and nodes."""
        if whole or time.monotonic() - self._labelled >= AGE or self._lab.closed:
            self._label, self._labelled = clean(repr(self._lab)), time.monotonic()
        head = {
            "label": self._label,
            "counts": self._mirror.counts(),
            "minute": sum(at > time.time() - 60 for at, _ in self._restarts),
            "restarts": self._bars(self._restarts if whole else self._new_restarts),
            "breakers": [breaker.facts() for breaker in breakers.seen(self._lab)],
            "nodes": self._nodes.facts(),
        }
        self._new_restarts.clear()
        return head

    def _bars(self, restarts: Iterable[tuple[float, str]]) -> list[tuple[int, int]]:
        """Slot and time (ms) of the last restarts."""
        slots = ((self._mirror.slot(path), int(at * 1000)) for at, path in list(restarts)[-1000:])
        return [(slot, at) for slot, at in slots if slot is not None]

    def _show(self, epoch: int, slot: int) -> None:
        path = self._mirror.path(epoch, slot)
        if path is not None:
            self._push(self._mirror.tell(path))

    def _trace(self, epoch: int, slot: int) -> None:
        path = self._mirror.path(epoch, slot)
        if path is not None:
            self._send({"t": "trace", "path": clean(path, 200), "text": last_end(self._lab, path)}, [])


def last_end(lab: Any, path: str) -> str:
    """How the last life of a place ended, as the store tells it: the traceback, or the reason and what came with it."""
    kinds = ", ".join(f"'{kind}'" for kind in ENDS)
    found = lab._read().select(
        "SELECT coalesce(reason, ''), coalesce(substr(detail, 1, 20000), '') FROM event"  # noqa: S608  # ours
        f" WHERE path = ? AND kind IN ({kinds}) ORDER BY seq DESC LIMIT 1", (path,),
    )  # fmt: skip
    reason, detail = found[0] if found else ("", "")
    return safe(detail or reason or "nothing more is known", 20_000)


def is_restart(event: Event) -> bool:
    """Whether the fact is that an agent came back to life: what ``lab.restarts()`` lists."""
    return event.kind == "started" and (event.incarnation or 0) > 1
