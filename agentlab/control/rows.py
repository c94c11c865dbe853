"""The tree as plain rows: what widgets draw and ``lab.agents()`` lists."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agentlab.agent.base import Agent
from agentlab.books.dormant import Dormant
from agentlab.books.remembered import Place
from agentlab.books.specs import is_undefined, newer_of
from agentlab.control.approvals import first_asked
from agentlab.control.children import record_status
from agentlab.errors import InvalidArgument
from agentlab.events import Row
from agentlab.exits import reason_text
from agentlab.ground.given import path_of, shown
from agentlab.kernel.runtime import Runtime
from agentlab.supervision.records import Record, SupervisorRecord


def rows(runtime: Runtime, paths: Iterable[str] | None = None) -> list[Row]:
    """Rows of all places in start order, depth first; or of those in ``paths`` that still exist."""
    places = runtime.desk.waiting.places
    newest: Newest = {}
    if paths is not None:
        return [made for path in paths if (made := _at(runtime, path, newest)) is not None]
    found = []
    for record in runtime.desk.tree.records():
        found.append(row(runtime, record, newest))
        top = places.get(record.path) if record.is_supervisor else None
        found += [_waiting(runtime, place) for place in top.walk() if place is not top] if top is not None else []
    return found


def paths_of(given: Any) -> list[str]:
    """The paths that a person wants rows of.

    Raises:
        InvalidArgument: They are not several, or one is no path.
    """
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise InvalidArgument(f"rows: paths must be several paths, or None; got {shown(given)}", argument="paths")
    return [path_of(path, "rows", "each of paths") for path in given]


def _at(runtime: Runtime, path: str, newest: Newest) -> Row | None:
    record = runtime.desk.tree.find(path)
    if record is not None:
        return row(runtime, record, newest)
    place = runtime.desk.waiting.below(path)
    return None if place is None else _waiting(runtime, place)


def _waiting(runtime: Runtime, place: Place) -> Row:
    """What waits below a supervisor that waits: no process has it, the store does."""
    incarnation, restarts, _ = place.past
    agent = place.strategy is None
    return Row(
        place.path, place.id, "agent" if agent else "supervisor", place.cls_name if agent else place.strategy or "",
        "parked", incarnation, restarts, None, len(runtime.desk.waiting.mail.get(place.path, ())), place.parent,
        place.why, runtime.began, 0, place.strategy, letters=runtime.desk.ledger.messages.letters.get(place.path, 0),
        missing=agent and place.is_missing,
    )  # fmt: skip


Newest = dict[type[Agent], bool]
"""Whether a class is the newest of its name; looked up once per list of rows."""


def row(runtime: Runtime, record: Record, newest: Newest) -> Row:
    """One place as it is now."""
    parent = record.supervisor
    above = parent.path if parent is not None else ""
    if record.is_supervisor:
        return _supervisor_row(runtime, record, above)
    path = record.path
    what: Any = record.spec.what
    if record.note is not None:
        note: Dormant = record.note
        return Row(
            path, record.id, "agent", what.__name__, record_status(record), 1, 0, None, 0, above, None, note.at, 0,
            outdated=not _is_newest(note.kind.cls, newest), restart=record.spec.restart,
        )  # fmt: skip
    entry = runtime.desk.entries.get(path)
    if entry is None:
        return Row(path, record.id, "agent", what.__name__, record_status(record), 0, 0, None, 0, above, None, 0, 0)
    return Row(
        path, record.id, "agent", what.__name__, runtime.desk.status(entry), entry.incarnation, entry.restarts,
        entry.node, len(entry.pending), above, _text(entry.reason), entry.since,
        entry.handled, outdated=not _is_newest(entry.kind.cls, newest),
        letters=runtime.desk.ledger.messages.letters[path],
        spent=runtime.desk.ledger.messages.spent.get(path), missing=is_undefined(entry.kind.cls),
        restart=record.spec.restart, asks=first_asked(entry),
    )  # fmt: skip


def _is_newest(cls: type[Agent], newest: Newest) -> bool:
    """False once the class was defined anew with other code: ``lab.upgrade`` gives the agent that."""
    found = newest.get(cls)
    if found is None:
        found = newest[cls] = newer_of(cls) is None
    return found


def _supervisor_row(runtime: Runtime, record: Record, above: str) -> Row:
    what: Any = record.spec.what
    root = record.supervisor is None
    keeper = record.keeper if isinstance(record, SupervisorRecord) else None
    used = keeper.window.used(runtime.now()) if keeper is not None else 0
    incarnation = runtime.desk.supervisors.count(record.path)
    reason = record.trouble.reason if record.trouble is not None else None
    status = "busy" if root and runtime.desk.ledger.closing else record_status(record)
    return Row(
        record.path, record.id if not root else "lab", "supervisor", what.strategy, status,
        incarnation, runtime.desk.supervisors.restarts(record.path), None, 0, above, _text(reason),
        runtime.desk.supervisors.since(record.path) or runtime.began, 0,
        what.strategy, None if root else (used, what.max_restarts, what.max_seconds),
        letters=_strays(runtime) if root else 0, restart="" if root else record.spec.restart,
    )  # fmt: skip


def _strays(runtime: Runtime) -> int:
    """Dead letters for agents that are not in the tree."""
    letters, desk = runtime.desk.ledger.messages.letters, runtime.desk
    gone = [path for path, count in letters.items() if count and desk.tree.find(path) is None]
    return sum(letters[path] for path in gone if desk.waiting.below(path) is None)


def _text(reason: Any) -> str | None:
    return None if reason is None else reason_text(reason)
