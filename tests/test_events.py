"""The hub and its feeds: committed events reach every watcher, in bounded memory."""

from __future__ import annotations

import threading
from typing import get_args

from agentlab.events import KINDS, Event, EventKind, Feed, Hub, Move
from tests.agents import Counter


def event(seq: int, detail: str | None = None) -> Event:
    """Return an event with a number."""
    return Event(seq, seq, "log", "/a", detail=detail)


def test_a_new_feed_says_that_everything_may_have_changed():
    """A watcher that has seen nothing draws all; after that, only what changed."""
    hub = Hub()
    feed = hub.open()

    first = feed.take()
    hub.publish([event(1)], {"/a"})

    assert first.paths is None
    assert feed.take() == ([event(1)], {"/a"})
    assert feed.take() == ([], set())


def test_every_feed_gets_every_event_in_order():
    """Watchers do not take events from each other."""
    hub = Hub()
    feeds = [hub.open(), hub.open()]

    for seq in range(1, 4):
        hub.publish([event(seq)], {"/a"})

    assert [[e.seq for e in feed.take().events] for feed in feeds] == [[1, 2, 3], [1, 2, 3]]


def test_a_feed_that_nobody_takes_is_bounded_and_says_so():
    """It keeps the newest events, and says that everything may have changed."""
    hub = Hub()
    feed = hub.open()
    feed.take()

    for start in range(0, 3 * Feed.LIMIT, 1000):
        hub.publish([event(seq) for seq in range(start, start + 1000)], {"/a"})
    change = feed.take()

    assert change.paths is None
    assert [change.events[0].seq, change.events[-1].seq] == [2 * Feed.LIMIT, 3 * Feed.LIMIT - 1]


def test_a_feed_is_bounded_in_text_too():
    """Agents that print lines of 10 MB do not fill the kernel's memory through a widget that is busy."""
    hub = Hub()
    feed = hub.open()
    feed.take()
    line = "x" * 10_000_000

    hub.publish([event(seq, line) for seq in range(5)], {"/a"})
    change = feed.take()

    assert [e.seq for e in change.events] == [4]
    assert change.paths is None
    assert feed.take() == ([], set())


def test_many_changed_places_become_everything():
    """More paths than the limit are not remembered one by one."""
    hub = Hub()
    feed = hub.open()
    feed.take()

    hub.publish([], {f"/{n}" for n in range(Feed.LIMIT + 1)})

    assert feed.take().paths is None


def test_a_closed_feed_hears_nothing_more():
    """Closing twice does no harm."""
    hub = Hub()
    feed = hub.open()
    feed.take()

    feed.close()
    feed.close()
    hub.publish([event(1)], {"/a"})

    assert feed.take() == ([], set())


def test_waiting_ends_with_the_next_event_and_not_before():
    """``wait`` says whether there is something to take; another thread wakes it."""
    hub = Hub()
    feed = hub.open()
    feed.take()
    empty = feed.wait(0.0)

    threading.Timer(0.05, hub.publish, ([event(1)], {"/a"})).start()

    assert not empty
    assert feed.wait(20.0)
    assert [e.seq for e in feed.take().events] == [1]


def test_nothing_published_wakes_nobody():
    """A turn without events and without changes is no news."""
    hub = Hub()
    feed = hub.open()
    feed.take()

    hub.publish([], set())

    assert not feed.wait(0.0)


def test_a_feed_of_a_lab_gets_what_was_committed_and_nothing_twice(lab):
    """Events arrive with their numbers, in order, after the commit."""
    counter = lab.start(Counter, id="counter")
    with_feed = lab.feed()
    with_feed.take()

    counter.call.add(2).result()
    counter.crash()
    lab.wait_idle(60)
    events = [e for e in with_feed.take().events if e.seq]
    with_feed.close()

    seqs = [e.seq for e in events]
    assert seqs == sorted(set(seqs))
    assert {"crashed", "started"} <= {e.kind for e in events}
    assert set(seqs) <= set(lab.events()["seq"])


def test_every_kind_of_event_is_explained() -> None:
    """The list that mypy holds the emitters to and the list that people read are one."""
    assert set(KINDS) == set(get_args(EventKind))
    assert set(get_args(Move)) <= set(KINDS)
    assert all(meaning.endswith(".") for meaning in KINDS.values())
