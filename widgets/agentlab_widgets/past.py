"""The tree as it was at any moment, made of events. Pure: events in, rows out; no lab, no store, no clock.

Events tell when places came, ended, waited and were kept; not whether an agent was busy, nor what stood in its mailbox.
What does not change in the life of a place (its class, its supervisor's strategy) is taken from its present row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from agentlab.events import Event, EventKind, Row

NOT_YET, REMOVED = "not yet", "removed"
"""The status of a place that is there now, and was not then."""

OVER = ("as it was", "This is how it was then: nothing can be done to the past. The button 'now' leads back.")
"""What a view of a moment says of itself, short and long."""

ENDS: tuple[EventKind, ...] = (
    "crashed", "killed", "exited", "start_failed", "ignored", "supervisor_exited", "supervisor_failed", "stopped",
)  # fmt: skip
STARTS: tuple[EventKind, ...] = ("started", "supervisor_started")
BECOMES: Mapping[EventKind, str] = {
    **dict.fromkeys(STARTS, "running"),
    **dict.fromkeys(ENDS, "stopped"),
    "restarting": "starting",
    "backing_off": "backing_off",
    "suspended": "suspended",
    "resumed": "running",
    "removed": REMOVED,
    "parked": "parked",
}
"""The status that a place has after an event of a kind; other kinds change none."""

GOOD_ENDS = ("normal", "shutdown")
"""Reasons after which a place that is kept was stopped, not parked."""


class Place(NamedTuple):
    """What events have told of one place."""

    status: str
    incarnation: int = 1
    reason: str | None = None
    since: int = 0
    node: int | None = None
    supervises: bool = False


Places = dict[str, Place]


def after(place: Place | None, event: Event) -> Place | None:
    """A place as it is after an event; as it was if the event does not change it."""
    status = BECOMES.get(event.kind)
    if status is None:
        return place
    if event.kind in STARTS:
        reason = place.reason if place else None
        supervises = event.kind == "supervisor_started"
        return Place("running", event.incarnation or 1, reason, event.at, event.node, supervises)
    now = place or Place(status, event.incarnation or 1, supervises=event.kind.startswith("supervisor"))
    if event.kind == "parked" and event.reason in GOOD_ENDS:
        status = "stopped"
    if event.kind in ENDS and event.reason:
        now = now._replace(reason=event.reason)
    return now._replace(status=status)


def tell(places: Places, events: Iterable[Event]) -> None:
    """Go on from places as they were to those after some events, oldest first."""
    for event in events:
        place = after(places.get(event.path), event)
        if place is not None:
            places[event.path] = place


def rows_then(places: Mapping[str, Place], known: Sequence[Row], ever: frozenset[str] | set[str]) -> list[Row]:
    """The tree of that moment.

    Args:
        places: What events had told until then.
        known: The rows of the present: who is there now has its place, then as now.
        ever: Paths of which any event tells; of others nothing is known but the present.
    """
    rows = [_then(row, places.get(row.path), row.path in ever) for row in known]
    there = {row.path for row in known}
    gone = sorted(path for path, place in places.items() if path not in there and place.status != REMOVED)
    return rows + [_gone(path, places[path]) for path in gone if path.startswith("/")]


def _then(row: Row, place: Place | None, told: bool) -> Row:
    blank = row._replace(mailbox=0, letters=0, asks=None, intensity=row.intensity and (0, *row.intensity[1:]))
    if row.path == "/" or (place is None and not told):
        return blank
    if place is None:
        return blank._replace(status=NOT_YET, incarnation=0, restarts=0, reason=None, since=0, node=None)
    return blank._replace(
        status=place.status, incarnation=place.incarnation, restarts=max(0, place.incarnation - 1), reason=place.reason,
        since=place.since, node=place.node,
    )  # fmt: skip


def _gone(path: str, place: Place) -> Row:
    parent, _, id = path.rpartition("/")
    kind = "supervisor" if place.supervises else "agent"
    restarts = max(0, place.incarnation - 1)
    return Row(
        path, id, kind, "", place.status, place.incarnation, restarts, place.node, 0, parent or "/", place.reason,
        place.since, 0,
    )  # fmt: skip


def tree_at(at: int, events: Iterable[Event], known: Sequence[Row]) -> list[Row]:
    """The tree at a moment (ns since 1970, UTC), of all events in their order and the rows of the present."""
    told = list(events)
    places: Places = {}
    tell(places, (event for event in told if event.at <= at))
    return rows_then(places, known, {event.path for event in told if event.kind in BECOMES})
