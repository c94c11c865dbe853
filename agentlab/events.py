"""Facts about a lab's life, and the hub that hands them to watchers.

The hub gets what was committed, never more. A feed is one watcher's inbox: it can be taken from any
thread, holds a bounded number of events, and says "everything may have changed" when it had to drop some.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

EventKind = Literal[
    "started",
    "start_failed",
    "ignored",
    "exited",
    "crashed",
    "killed",
    "linked_exit",
    "restarting",
    "backing_off",
    "gave_up",
    "parked",
    "stopped",
    "removed",
    "shutdown_error",
    "supervisor_started",
    "supervisor_failed",
    "supervisor_exited",
    "shared_limit",
    "node_started",
    "node_stalled",
    "node_back",
    "node_down",
    "no_node",
    "pool_unstable",
    "isolated",
    "low_priority",
    "fenced",
    "log",
    "budget_raised",
    "emit",
    "message",
    "cancelled",
    "skipped",
    "dead_letter",
    "diverged",
    "retrying",
    "waiting",
    "escalated",
    "rewound",
    "settled",
    "approval_asked",
    "approved",
    "not_approved",
    "suspended",
    "resumed",
    "state_replaced",
    "rewound_to",
    "forked",
    "upgraded",
    "upgrade_refused",
    "breaker_opened",
    "breaker_half_open",
    "breaker_closed",
    "store_full",
    "store_written",
    "struck",
]
"""The kinds of facts; ``KINDS`` says what each of them means."""

Move = Literal["node_down", "node_stalled", "low_priority", "fenced"]
"""Why an agent leaves its node for another one."""

KINDS: Mapping[EventKind, str] = {
    "started": "A life of an agent runs.",
    "start_failed": "A life did not come up.",
    "ignored": '``on_start`` ended with ``Exit("normal")``: kept, not started.',
    "exited": "A life ended in good order.",
    "crashed": "A life ended by what it raised, or with a reason that is no good order.",
    "killed": "A life was ended at once.",
    "linked_exit": "A life got the exit signal of one to which it is linked.",
    "restarting": "A supervisor starts a child again.",
    "backing_off": "A supervisor waits before it does.",
    "gave_up": "A limit of restarts is reached.",
    "parked": "An agent or supervisor is kept without a process; a person decides.",
    "stopped": "It was stopped, for good or by its supervisor.",
    "removed": "Its spec is gone too.",
    "shutdown_error": "A child did not end as its supervisor wanted.",
    "supervisor_started": "A supervisor is up.",
    "supervisor_failed": "A supervisor did not come up.",
    "supervisor_exited": "A supervisor ended.",
    "shared_limit": "Many children share few restarts.",
    "node_started": "A node is there.",
    "node_stalled": "A node makes no progress: C code holds it.",
    "node_back": "It goes on.",
    "node_down": "A node died, or an agent leaves one that did.",
    "no_node": "The system had no room for another process.",
    "pool_unstable": "Nodes die faster than they may.",
    "isolated": "From its next life on an agent has a node of its own.",
    "low_priority": "An agent that keeps using up its slices goes on at low priority.",
    "fenced": "An agent goes on elsewhere: its code did not let go of a skipped message.",
    "budget_raised": "Somebody raised a budget; detail: by how much.",
    "log": "A line that an agent or a node printed.",
    "emit": "Text of the live transcript; never stored.",
    "message": "A message of an agent that is traced.",
    "cancelled": "A message was taken back by its caller.",
    "skipped": "A message was ended for good by ``ref.skip()``.",
    "dead_letter": "A message that nobody will handle.",
    "diverged": "A handler did not ask again for a step that its earlier delivery had made.",
    "retrying": "An attempt at a step failed; it is tried again after a back-off.",
    "waiting": "An attempt at a step failed, for the provider is in trouble; it waits, and is tried again.",
    "escalated": "A step failed of what its agent's supervisor is to hear of at once; its message is given up.",
    "rewound": "Steps were taken back after a crash.",
    "settled": "A person decided a step in doubt.",
    "approval_asked": "A tool waits for a person: ``ref.approvals()``, ``ref.approve(...)``.",
    "approved": "A person allowed a tool to run.",
    "not_approved": "A person refused a tool.",
    "suspended": "An agent takes no more messages.",
    "resumed": "It takes them again.",
    "state_replaced": "A person set fields.",
    "rewound_to": "An agent went back to a checkpoint.",
    "forked": "An agent began from the past of another.",
    "upgraded": "An agent runs newer code.",
    "upgrade_refused": "It keeps its older code.",
    "breaker_opened": "Calls to a dependency wait: too many agents failed there, or a person said so.",
    "breaker_half_open": "One call probes whether it answers again.",
    "breaker_closed": "Calls to it go through.",
    "store_full": "A commit was not stored: the lab goes on in memory.",
    "store_written": "All that waited is stored.",
    "struck": "A plan of chaos struck before a message or a step; reason: with what.",
}
"""Every kind of event, and what it says."""


class Event(NamedTuple):
    """An immutable, numbered fact. ``at`` is nanoseconds since 1970, UTC; ``took_s`` seconds."""

    seq: int
    at: int
    kind: EventKind
    path: str
    incarnation: int | None = None
    node: int | None = None
    reason: str | None = None
    detail: str | None = None
    took_s: float | None = None


class Row(NamedTuple):
    """One place in the tree as it is now: what a widget draws, what ``lab.agents()`` lists.

    ``outdated``: its class was defined again, with other code; ``missing``: its class is not defined here.
    ``restart``: its restart type, where a supervisor keeps it.
    ``spent``: tokens that its model calls took in and gave, and their cost (US dollars), where it is known.
    ``letters``: dead letters of an agent; on the lab's own row those of agents that are not there.
    ``asks``: the call of a tool that waits for a person: the step's number, and how one would write it.
    """

    path: str
    id: str
    kind: str
    cls: str
    status: str
    incarnation: int
    restarts: int
    node: int | None
    mailbox: int
    parent: str
    reason: str | None
    since: int
    messages: int
    strategy: str | None = None
    intensity: tuple[int, int, float] | None = None
    outdated: bool = False
    letters: int = 0
    spent: tuple[int, int, float | None] | None = None
    missing: bool = False
    restart: str = ""
    asks: tuple[int, str] | None = None

    @property
    def mark(self) -> str:
        """What there is to say of its class, or of a person for whom it waits, in two words."""
        if self.asks:
            return "for approval"
        return "not defined" if self.missing else "older code" if self.outdated else ""


class Change(NamedTuple):
    """What a feed holds: events in order, and the paths that changed (None: any of them may have)."""

    events: list[Event]
    paths: set[str] | None


class Feed:
    """One watcher's inbox. ``wait`` blocks, ``take`` empties it; both from any thread."""

    LIMIT = 10_000
    """Events, and paths."""

    TEXT_LIMIT = 16 * 1024 * 1024
    """Characters of what agents printed and emitted; the events that carry them are dropped beyond it."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._events: deque[Event] = deque()
        self._text = 0
        self._paths: set[str] | None = None  # a new watcher has seen nothing

    def put(self, events: Iterable[Event], paths: Iterable[str]) -> None:
        """Called by the hub, in the runtime's thread."""
        with self._lock:
            for event in events:
                self._events.append(event)
                self._text += len(event.detail or "")
            if self._paths is not None:
                self._paths.update(paths)
            while len(self._events) > self.LIMIT or self._text > self.TEXT_LIMIT:
                self._text -= len(self._events.popleft().detail or "")
                self._paths = None
            if len(self._paths or ()) > self.LIMIT:
                self._paths = None
        self._ready.set()

    def take(self) -> Change:
        """Everything since the last take, without waiting."""
        with self._lock:
            change = Change(list(self._events), self._paths)
            self._events, self._paths, self._text = deque(), set(), 0
            self._ready.clear()
        return change

    def wait(self, timeout: float) -> bool:
        """Block until there is something to take, at most ``timeout`` seconds; whether there is."""
        return self._ready.wait(timeout)

    def wake(self) -> None:
        """End a wait, though there may be nothing to take."""
        self._ready.set()

    def close(self) -> None:
        """Stop listening."""
        self._hub.leave(self)


class Hub:
    """Hands committed events to the feeds that are open.

    Args:
        on_change: Called when a feed was opened or closed, in whatever thread that was.
    """

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self._on_change = on_change
        self._feeds: tuple[Feed, ...] = ()
        self._lock = threading.Lock()

    def open(self) -> Feed:
        """A new feed; its first ``take`` says that everything may have changed."""
        feed = Feed(self)
        with self._lock:
            self._feeds = (*self._feeds, feed)
        self._on_change()
        return feed

    def leave(self, feed: Feed) -> None:
        """Forget a feed."""
        with self._lock:
            self._feeds = tuple(f for f in self._feeds if f is not feed)
        self._on_change()

    @property
    def watched(self) -> bool:
        """Whether anybody watches."""
        return bool(self._feeds)

    def publish(self, events: list[Event], paths: set[str]) -> None:
        """Tell every feed; called after the commit."""
        if events or paths:
            for feed in self._feeds:
                feed.put(events, paths)
