"""The tree of the dashboard: as it is, or as it was at a moment that somebody chose, played on from there.

Events are read as the moment moves on, and never twice unless it moves back; the browser only says where and how fast.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from agentlab.events import Change, Event, Row
from agentlab_widgets.live import Message
from agentlab_widgets.past import BECOMES, OVER, Places, rows_then, tell
from agentlab_widgets.pusher import Pusher, is_restart
from agentlab_widgets.stored import Elsewhere
from agentlab_widgets.tree import TreePane, last_rows

FASTEST = 100
CHUNK = 500  # events that are read at once
MINUTE = 60_000_000_000  # ns
COLUMNS = "seq, at, kind, path, incarnation, node, reason"


class Tape:
    """The events of a lab, and the tree at the moment to which it was wound.

    Args:
        store: Where the events are.
        known: The rows of the present.
    """

    def __init__(self, store: Any, known: Sequence[Row]) -> None:
        self._store = store
        self._known = known
        kinds = ", ".join(f"'{kind}'" for kind in BECOMES)
        told = store.select(f"SELECT DISTINCT path FROM event WHERE kind IN ({kinds})")  # noqa: S608  # ours
        self._ever = {path for (path,) in told}
        self._begin()

    def _begin(self) -> None:
        self.at = 0
        self._seq = 0
        self._places: Places = {}
        self._ahead: deque[Event] = deque()
        self._restarts: deque[int] = deque()

    def wind(self, at: int) -> list[Event]:
        """Go to a moment (ns since 1970), back or on; the events that were passed on the way."""
        if at < self.at:
            self._begin()
        self.at = at
        passed: list[Event] = []
        while self._has_more() and self._ahead[0].at <= at:
            passed.append(self._ahead.popleft())
        tell(self._places, passed)
        self._restarts.extend(event.at for event in passed if is_restart(event))
        while self._restarts and self._restarts[0] < at - MINUTE:
            self._restarts.popleft()
        return passed

    def rows(self) -> list[Row]:
        """The tree at that moment."""
        return rows_then(self._places, self._known, self._ever)

    @property
    def minute(self) -> int:
        """Restarts in the minute before that moment."""
        return len(self._restarts)

    def _has_more(self) -> bool:
        if not self._ahead:
            read = f"SELECT {COLUMNS} FROM event WHERE seq > ? ORDER BY seq LIMIT {CHUNK}"  # noqa: S608  # ours
            self._ahead.extend(Event(*row) for row in self._store.select(read, (self._seq,)))
            self._seq = self._ahead[-1].seq if self._ahead else self._seq
        return bool(self._ahead)


class Player(Pusher):
    """Tells the tree of the present, or of a moment."""

    _tape: Tape | None = None
    _speed = 0.0
    _moved = 0.0
    _first: int | None = None
    told: Callable[[int | None], None] = staticmethod(lambda at: None)
    """Hears of each moment that is shown (ns since 1970), and of None: the present."""

    def turn_to(self, at: int | None, speed: float) -> None:
        """Show a moment (ms since 1970), and play on from it so many times as fast; None: the present. Any thread."""
        self.post(lambda: self._turn_to(at, speed))

    def _turn_to(self, at: int | None, speed: float) -> None:
        if at is None:
            self._end_past()
            return
        if self._tape is None:
            self._tape = Tape(self._lab._read(), last_rows(self._lab))  # type: ignore[attr-defined,arg-type]  # a lab, or a stored one
        self._speed, self._moved = speed, time.monotonic()
        self._show_then(self._tape, min(at * 1_000_000, self._span()[1]))

    def _end_past(self) -> None:
        if self._tape is not None and not self._lab.closed:
            self._tape = None
            self._push(super().look(None))
            self.told(None)

    def look(self, change: Change | None) -> Message | None:
        """What changed; in the past what has been played since."""
        if self._tape is None:
            return super().look(change)
        if self._speed:
            now = time.monotonic()
            to = self._tape.at + int((now - self._moved) * self._speed * 1e9)
            self._moved = now
            if to >= self._span()[1]:
                self._end_past()
            else:
                self._show_then(self._tape, to)
        return None

    def _show_then(self, tape: Tape, at: int) -> None:
        back = at < tape.at
        passed = tape.wind(at)
        crashed = [] if back else [event.path for event in passed if event.kind in ("crashed", "killed")]
        self._push(self._mirror.replace(tape.rows(), crashed) or ({"t": "beat"}, []))
        self.told(at)

    def last(self) -> Message | None:
        """Of a lab that was closed the end is shown."""
        self._tape = None
        return super().last()

    def head(self, *, whole: bool) -> dict[str, Any]:
        """Where it is in the life of the lab, too."""
        head = super().head(whole=whole)
        head["span"] = [at // 1_000_000 for at in self._span()]
        head["when"] = None
        if self._tape is not None:
            head |= {"when": {"at": self._tape.at // 1_000_000, "speed": self._speed}, "breakers": [], "nodes": []}
            head |= {"minute": self._tape.minute, "closed": True, "over": OVER}
        return head

    def _span(self) -> tuple[int, int]:
        """The first and the last moment (ns since 1970)."""
        if self._lab.closed:
            return self._first or 0, self._first or 0
        if self._first is None:
            self._first = self._at("ASC")
        now = self._at("DESC") if isinstance(self._lab, Elsewhere) else time.time_ns()
        return self._first or now or 0, now or 0

    def _at(self, way: str) -> int | None:
        found = self._lab._store.select(f"SELECT at FROM event ORDER BY seq {way} LIMIT 1")  # type: ignore[attr-defined]  # noqa: S608  # ours
        return found[0][0] if found else None


class PlayerPane(TreePane):
    """What the tree of the dashboard says and hears; ``told`` hears of each moment that it shows."""

    told: Callable[[int | None], None] = staticmethod(lambda at: None)

    def _tell(self) -> Player:
        player = Player(self._lab, self.send, lambda: last_rows(self._lab))
        player.told = self.told
        return player

    def _said(self, pusher: Any, content: dict[str, Any]) -> None:
        """The slider was moved, or something that every tree hears."""
        at, speed = content.get("at"), content.get("speed")
        if content.get("t") != "when":
            super()._said(pusher, content)
        elif at is None:
            pusher.turn_to(None, 0)
        elif isinstance(at, int) and isinstance(speed, int | float) and 0 <= at < 1e14:
            pusher.turn_to(at, float(min(FASTEST, max(0, speed))))
