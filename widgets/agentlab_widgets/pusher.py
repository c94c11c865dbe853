"""The thread that keeps the browsers' picture true: what changed, at most twenty times a second.

A lab may change 30,000 times a second; a server drops messages, a user's own prints among them, past 1,000. So changes
are gathered and sent as one difference, at once when it was quiet, else when the pause is over. The pause is five
times what the last turn took, so a large lab never costs more than a sixth of a core. Twice a second a heartbeat says
that the picture is still true. While nobody looks nothing is sent.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import Any, Protocol

from agentlab.events import Change, Event, Feed, Row
from agentlab.looks import clean
from agentlab_widgets.mirror import Message, Mirror

PAUSE, LONGEST_PAUSE = 0.05, 1.0  # seconds between two differences
BEAT = 0.5  # seconds between two messages when nothing changes
POLL = 0.1  # seconds until a browser's word is heard when nothing changes
ROOT = "/"
HISTORY = 300.0  # seconds of restarts that are kept for the small bars
log = logging.getLogger("agentlab.widgets")


class Watched(Protocol):
    """What the tree needs of a lab."""

    @property
    def closed(self) -> bool:
        """Whether it was closed."""

    def rows(self, paths: Iterable[str] | None = None) -> list[Row]:
        """The tree, or the rows of some paths; from any thread."""

    def feed(self) -> Feed:
        """What changes from now on."""

    def __getitem__(self, path: str) -> Any:  # a Ref; a stand-in in tests of the protocol
        """The ref of a path."""


class Pusher(threading.Thread):
    """Tells the browsers what changed.

    Args:
        lab: Whose tree it is.
        send: Sends one message to all browsers; called in this thread only.
        last: The tree as it was before the lab was closed; asked once the lab is closed.
    """

    def __init__(
        self,
        lab: Watched,
        send: Callable[[dict[str, Any], Sequence[bytes]], None],
        last: Callable[[], list[Row]] = list,
    ) -> None:
        super().__init__(name="agentlab-tree", daemon=True)
        self._lab = lab
        self._send = send
        self._last = last
        self._mirror = Mirror()
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._seq = 0
        self._sent_at = 0.0
        self._lookers: dict[str, bool] = {}
        self._newcomers = False
        self._behind = True  # nobody looked, so changes were not read
        self._restarts: deque[tuple[float, str]] = deque()
        self._new_restarts: list[tuple[float, str]] = []
        self._seen_from: float | None = None  # since when events are heard, until the rows told what was before

    def hello(self, looker: str) -> None:
        """A browser knows nothing, or lost count: it gets everything. From any thread."""
        self._inbox.put(lambda: self._meet(looker))

    def hidden(self, looker: str) -> None:
        """A browser does not show the tree now. From any thread."""
        self._inbox.put(lambda: self._lookers.__setitem__(looker, False))

    def select(self, epoch: int, slot: int) -> None:
        """A browser wants all facts of one slot, from now on. From any thread."""
        self._inbox.put(lambda: self._show(epoch, slot))

    def say(self, content: dict[str, Any]) -> None:
        """Send a message that is no part of the picture. From any thread."""
        self._inbox.put(lambda: self._send(content, []))

    def path(self, epoch: int, slot: int) -> str | None:
        """The path behind a slot that a browser named."""
        return self._mirror.path(epoch, slot)

    def end(self) -> None:
        """Stop soon. From any thread."""
        self._ended.set()
        self._inbox.put(lambda: None)  # wakes a thread that only waits for browsers

    def run(self) -> None:
        """Push until the lab or the widget is closed."""
        be_no_cells_child()
        try:
            self._seen_from = time.time()
            with closing(self._lab.feed()) as feed:
                while not self._ended.is_set() and not self._lab.closed:
                    feed.wait(POLL)
                    began = time.monotonic()
                    self._turn(feed.take())
                    self._ended.wait(min(LONGEST_PAUSE, max(PAUSE, 5 * (time.monotonic() - began))))
        except Exception:  # the picture turns grey in the browser; the reason must be found somewhere
            if not self._lab.closed:
                log.exception("the live tree stopped; show it anew with lab.tree()")
                return
        self._stay_closed()

    def _stay_closed(self) -> None:
        """The lab is closed: its last picture stays, also for who looks for the first time now."""
        rows = self._last()
        self._push(self._mirror.replace(rows) if rows else None)
        while not self._ended.is_set():
            self._inbox.get()()
            self._welcome()

    def _turn(self, change: Change) -> None:
        self._note(change.events)
        while not self._inbox.empty():
            self._inbox.get()()
        self._welcome()
        if not any(self._lookers.values()):
            self._behind = self._behind or change.paths is None or bool(change.paths)
            return
        message = self._take(change)
        beat = time.monotonic() - self._sent_at >= BEAT
        if message is None and beat and (spending := self._mirror.spending()):
            message = self._read(spending)
        if message or beat:
            self._push(message)

    def _take(self, change: Change) -> Message | None:
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

    def _note(self, events: Iterable[Event]) -> None:
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

    def _push(self, message: Message | None) -> None:
        content, buffers = message or ({"t": "beat"}, [])
        whole = content["t"] == "snapshot"
        self._seq += content["t"] != "beat"
        self._sent_at = time.monotonic()
        head = {
            "seq": self._seq,
            "now": time.time_ns() // 1_000_000,
            "label": clean(repr(self._lab)),
            "counts": self._mirror.counts(),
            "minute": sum(at > time.time() - 60 for at, _ in self._restarts),
            "restarts": self._bars(self._restarts if whole else self._new_restarts),
            "closed": self._lab.closed,
        }
        self._new_restarts.clear()
        self._send(content | head, buffers)

    def _bars(self, restarts: Iterable[tuple[float, str]]) -> list[tuple[int, int]]:
        """Slot and time (ms) of the last restarts."""
        slots = ((self._mirror.slot(path), int(at * 1000)) for at, path in list(restarts)[-1000:])
        return [(slot, at) for slot, at in slots if slot is not None]

    def _meet(self, looker: str) -> None:
        self._lookers[looker] = self._newcomers = True

    def _welcome(self) -> None:
        """Tell everything, once for all that asked meanwhile."""
        if not self._newcomers:
            return
        self._newcomers = False
        if self._behind and not self._lab.closed:
            self._read(None)
            self._behind = False
        self._push(self._mirror.snapshot())

    def _show(self, epoch: int, slot: int) -> None:
        path = self._mirror.path(epoch, slot)
        if path is not None:
            self._push(self._mirror.tell(path))


def is_restart(event: Event) -> bool:
    """Whether the fact is that an agent came back to life: what ``lab.restarts()`` lists."""
    return event.kind == "started" and (event.incarnation or 0) > 1


def be_no_cells_child() -> None:
    """Send as nobody's child in this context, else a click waits for the busy cell.

    ipykernel 7.4 routes a browser's message to whichever shell owned the last message sent on the same comm, and a
    plain thread inherits the header of the latest cell. The name is private: a browser test clicks during a busy cell.
    """
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    try:
        shell.kernel._shell_parent.set({})  # type: ignore[union-attr]  # shell is None in a script
    except AttributeError:  # no notebook, or ipykernel before 7
        return
