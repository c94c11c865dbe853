"""The tree as plain rows: what widgets draw and ``lab.agents()`` lists."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agentlab._admin import record_status
from agentlab._books import reason_text
from agentlab._dormant import Dormant
from agentlab._runtime import Runtime
from agentlab._specs import Missing
from agentlab._tree_records import Record, SupervisorRecord
from agentlab.agent import Agent, known_class
from agentlab.events import Row


def rows(runtime: Runtime, paths: Iterable[str] | None = None) -> list[Row]:
    """Rows of all places in start order, depth first; or of those in ``paths`` that still exist."""
    found = runtime.desk.tree.records() if paths is None else map(runtime.desk.tree.find, paths)
    newest: Newest = {}
    return [row(runtime, record, newest) for record in found if record is not None]


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
            outdated=not _is_newest(note.kind.cls, newest),
        )  # fmt: skip
    entry = runtime.desk.entries.get(path)
    if entry is None:
        return Row(path, record.id, "agent", what.__name__, record_status(record), 0, 0, None, 0, above, None, 0, 0)
    return Row(
        path, record.id, "agent", what.__name__, runtime.desk.status(entry), entry.incarnation, entry.restarts,
        entry.node, len(entry.pending), above, _text(entry.reason), entry.since,
        entry.handled, outdated=not _is_newest(entry.kind.cls, newest), letters=runtime.desk.ledger.letters[path],
        spent=runtime.desk.ledger.spent.get(path),
    )  # fmt: skip


def _is_newest(cls: type[Agent], newest: Newest) -> bool:
    """False once the class was defined anew: ``lab.upgrade`` gives the agent the newer one."""
    found = newest.get(cls)
    if found is None:
        known = cls if issubclass(cls, Missing) else known_class(cls.__module__, cls.__qualname__)
        found = newest[cls] = known in (cls, None)
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
        incarnation, record.restarts, None, 0, above, _text(reason), runtime.began, 0,
        what.strategy, None if root else (used, what.max_restarts, what.max_seconds),
        letters=_strays(runtime) if root else 0,
    )  # fmt: skip


def _strays(runtime: Runtime) -> int:
    """Dead letters for agents that are not in the tree."""
    letters = runtime.desk.ledger.letters
    return sum(count for path, count in letters.items() if count and runtime.desk.tree.find(path) is None)


def _text(reason: Any) -> str | None:
    return None if reason is None else reason_text(reason)
