"""What every live view stands on: a thread that tells browsers what changed, and a widget that hears them.

A lab may change 30,000 times a second; a server drops messages, a user's own prints among them, past 1,000. So changes
are gathered and sent as one difference, at once when it was quiet, else when the pause is over. The pause is five
times what the last turn took, so a large lab never costs more than a sixth of a core. Twice a second a heartbeat says
that the picture is still true. While nobody looks nothing is sent, and nothing is read.

To add a view: one file of Python with a ``Teller``, which reads the lab and says what changed, a ``Pane``, which says
what clicks do, and a ``LiveWidget``, which shows it; one file of JavaScript that hands what it draws to ``live`` in
``live.js``.
"""

from __future__ import annotations

import contextvars
import logging
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, Protocol

import anywidget

from agentlab.events import Change, Event, Feed, Row
from agentlab.ground.texts import clean
from agentlab_widgets.stored import Elsewhere

HERE = Path(__file__).parent
CALM = 0.1  # seconds between two differences where much changes: what changes twice meanwhile is told once
LONGEST_PAUSE = 1.0  # seconds between two differences, however long it takes to read the lab
BEAT = 0.5  # seconds between two messages when nothing changes
log = logging.getLogger("agentlab.widgets")

Message = tuple[dict[str, Any], list[bytes]]  # content is JSON, buffers are binary
Send = Callable[[dict[str, Any], Sequence[bytes]], None]


class Watched(Protocol):
    """What a view needs of a lab."""

    @property
    def closed(self) -> bool:
        """Whether it was closed."""

    def rows(self, paths: Iterable[str] | None = None) -> list[Row]:
        """The tree, or the rows of some paths; from any thread."""

    def feed(self) -> Feed:
        """What changes from now on."""

    def __getitem__(self, path: str) -> Any:  # a Ref; a stand-in in tests of the protocol
        """The ref of a path."""


class Teller(threading.Thread):
    """Tells the browsers of one view what changed.

    Args:
        lab: What the view is of.
        send: Sends one message to all browsers; called in this thread only.
    """

    pause: ClassVar[float] = 0.1
    """Seconds between two differences, at least."""

    listens_unseen: ClassVar[bool] = False
    """Whether events are heard (``note``) also while nobody looks; else an unseen view costs nothing at all."""

    def __init__(self, lab: Watched, send: Send) -> None:
        super().__init__(name=f"agentlab-{type(self).__name__.lower()}", daemon=True)
        self._lab = lab
        self._send = send
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._words: list[dict[str, Any]] = []
        self._feed: Feed | None = None
        self._ended = threading.Event()
        self._seq = 0
        self._sent_at = 0.0
        self._lookers: dict[str, bool] = {}
        self._newcomers = False
        self._behind = True  # nobody looked, so changes were not read

    # what a view says; all in this thread

    def look(self, change: Change | None) -> Message | None:
        """Read what changed (None: everything may have); what the browsers have to be told of it."""
        raise NotImplementedError

    def whole(self) -> Message:
        """All that a browser needs that knows nothing, as it was last read; ``t`` is ``snapshot``."""
        raise NotImplementedError

    def rest(self) -> Message | None:
        """What has changed by time alone; asked at each beat."""

    def last(self) -> Message | None:
        """What stays when the lab is closed."""

    def note(self, events: Iterable[Event]) -> None:
        """Hear of events, before they are looked at."""

    def head(self, *, whole: bool) -> dict[str, Any]:
        """What each message says on top, beats too."""
        return {}

    # from any thread

    def hello(self, looker: str) -> None:
        """A browser knows nothing, or lost count: it gets everything. From any thread."""
        self.post(lambda: self._meet(looker))

    def hidden(self, looker: str) -> None:
        """A browser does not show the view now. From any thread."""
        self.post(lambda: self._lookers.__setitem__(looker, False))

    def say(self, content: dict[str, Any]) -> None:
        """Send a message that is no part of the picture, after what has changed before it. From any thread."""
        self.post(lambda: self._words.append(content))

    def post(self, work: Callable[[], None]) -> None:
        """Have something done in this view's thread. From any thread."""
        self._inbox.put(work)
        feed = self._feed
        if feed is not None:  # this thread waits for what happens in the lab
            feed.wake()

    def end(self) -> None:
        """Stop soon. From any thread."""
        self._ended.set()
        self.post(lambda: None)  # wakes a thread that only waits for browsers

    # the thread

    def run(self) -> None:
        """Tell until the lab or the widget is closed."""
        be_no_cells_child()
        try:
            while self._goes_on():
                while not (self.listens_unseen or self._is_seen or self._ended.is_set()):
                    self._inbox.get()()
                    self._speak()
                if self._goes_on():
                    with closing(self._lab.feed()) as self._feed:
                        self._follow(self._feed)
        except Exception:  # the picture turns grey in the browser; the reason must be found somewhere
            if not self._lab.closed:
                log.exception("a live view stopped; show it anew by running its cell")
                return
        self._stay_closed()

    def _follow(self, feed: Feed) -> None:
        while self._goes_on() and (self.listens_unseen or self._is_seen):
            feed.wait(self._until_beat())
            began = time.monotonic()
            while not self._inbox.empty():
                self._inbox.get()()
            self._turn(feed.take())
            self._speak()
            took = time.monotonic() - began
            self._ended.wait(min(LONGEST_PAUSE, max(self.pause, min(CALM, 30 * took), 5 * took)))

    def _until_beat(self) -> float:
        """Seconds; nobody hears a beat of a view that nobody sees."""
        return max(0.0, self._sent_at + BEAT - time.monotonic()) if self._is_seen else BEAT

    def _goes_on(self) -> bool:
        return not self._ended.is_set() and not self._lab.closed

    @property
    def _is_seen(self) -> bool:
        return any(self._lookers.values())

    def _stay_closed(self) -> None:
        """The lab is closed: its last picture stays, also for who looks for the first time now."""
        self._push(self.last())
        self._welcome()  # who asked while nobody else looked
        self._speak()
        while not self._ended.is_set():
            self._inbox.get()()
            self._welcome()
            self._speak()

    def _speak(self) -> None:
        """Say what came of clicks, now that the picture shows it."""
        for content in self._words:
            self._send(content, [])
        self._words.clear()

    def _turn(self, change: Change) -> None:
        self.note(change.events)
        self._welcome()
        if not self._is_seen:
            self._behind = self._behind or not self.listens_unseen or change.paths is None or bool(change.paths)
            return
        message = self.look(change)
        beat = time.monotonic() - self._sent_at >= BEAT
        if message is None and beat:
            message = self.rest()
        if message or beat:
            self._push(message)

    def _push(self, message: Message | None) -> None:
        content, buffers = message or ({"t": "beat"}, [])
        self._seq += content["t"] != "beat"
        self._sent_at = time.monotonic()
        head = {"seq": self._seq, "now": time.time_ns() // 1_000_000, "closed": self._lab.closed}
        over = {"closed": True, "over": self._lab.over} if isinstance(self._lab, Elsewhere) else {}
        self._send(content | head | over | self.head(whole=content["t"] == "snapshot"), buffers)

    def _meet(self, looker: str) -> None:
        self._lookers[looker] = self._newcomers = True

    def _welcome(self) -> None:
        """Tell everything, once for all that asked meanwhile."""
        if not self._newcomers:
            return
        self._newcomers = False
        if self._behind and not self._lab.closed:
            self.look(None)
            self._behind = False
        self._push(self.whole())


class Pane:
    """What one view says to its browsers and hears of them: alone in a widget, or beside others in one.

    A subclass makes its teller (``_tell``) and says what clicks do (``_said``). Words are heard on any thread, so they
    are only handed over.

    Args:
        lab: What the view is of.
        send: Sends one message to all browsers.
    """

    def __init__(self, lab: Any, send: Send) -> None:
        self._lab = lab
        self.send = send
        self._starting = threading.Lock()
        self._pusher: Any = None

    def _tell(self) -> Teller:
        """The teller of this view, not started."""
        raise NotImplementedError

    def _said(self, pusher: Any, content: dict[str, Any]) -> None:
        """A browser said something of this view's own."""

    def end(self) -> None:
        """Tell nobody anything more."""
        if self._pusher:
            self._pusher.end()

    def hear(self, content: dict[str, Any]) -> None:
        """A browser said something; on any thread, so nothing is done here."""
        pusher = self._push()
        match content.get("t"):
            case "hello":
                pusher.hello(str(content.get("looker")))
            case "hidden":
                pusher.hidden(str(content.get("looker")))
            case "do" | "answer" | "ask" | "breaker" if isinstance(self._lab, Elsewhere):
                return  # nothing can be done to what is only read
            case _:
                self._said(pusher, content)

    def _push(self) -> Any:
        """The teller; it starts when the first browser asks, so a view that nobody sees costs nothing."""
        with self._starting:
            if self._pusher is None:
                self._pusher = self._tell()
                self._pusher.start()
            return self._pusher

    def _carry_out(self, code: str, work: Callable[[], object], done: str = "done") -> None:
        """Carry out a click in a thread of its own, since it may wait; its code and what came of it are shown."""
        threading.Thread(target=self._work, args=(self._push(), code, work, done), daemon=True).start()

    def _work(self, pusher: Teller, code: str, work: Callable[[], object], done: str = "done") -> None:
        be_no_cells_child()
        pusher.say({"t": "doing", "code": code})
        try:
            work()
        except Exception as error:  # whatever it is, the person who clicked must read it
            pusher.say({"t": "did", "code": code, "ok": False, "text": clean(f"{type(error).__name__}: {error}", 400)})
        else:
            pusher.say({"t": "did", "code": code, "ok": True, "text": done})


class LiveWidget(anywidget.AnyWidget):
    """A view in a cell. A subclass names its JavaScript and its style sheet (``assets``).

    Args:
        make: Makes what it says and hears, from what sends to its browsers.
    """

    _pane: Pane | None = None

    def __init__(self, make: Callable[[Send], Pane]) -> None:
        # A comm is answered where its last message came from. Were that this cell, its clicks would wait for cells.
        contextvars.copy_context().run(self._open)
        self._pane = make(self._speak)
        self.on_msg(self._hear)

    def _open(self) -> None:
        be_no_cells_child()
        super().__init__()

    def close(self) -> None:
        """End the view; the lab goes on."""
        if self._pane is not None:  # what was refused as it was made ends, too
            self._pane.end()
        super().close()

    def _speak(self, content: dict[str, Any], buffers: Sequence[bytes]) -> None:
        self.send(content, buffers)

    def _hear(self, _widget: object, content: dict[str, Any], _buffers: object) -> None:
        if self._pane is not None:
            self._pane.hear(content)


def assets(*names: str) -> str:
    """The text of some files beside this one, joined: all that a browser gets, so nothing is loaded from elsewhere."""
    return "\n".join((HERE / name).read_text("utf-8") for name in names)


def module(name: str, *files: str) -> str:
    """A view's JavaScript as a value of that name, for a widget of several views, whose files use the same words."""
    text = re.sub(r"export default live\((.*)\);", r"return \1;", assets(*files))
    return f"const {name} = (() => {{\n{text}\n}})();"


def name_of(lab: Watched, path: str) -> str:
    """How code in this notebook would write the ref: by its variable if there is one, else by its path."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    names = dict(shell.user_ns) if shell else {}
    ref = lab[path]
    for name, value in names.items():
        if not name.startswith("_") and type(value) is type(ref) and value == ref:
            return str(name)
    labs = [name for name, value in names.items() if value is lab and not name.startswith("_")]
    return f"{labs[0] if labs else 'lab'}[{path!r}]"


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
