"""DataFrames from the store: one function per table of facts, the same on a live lab and a stored one.

Every frame has a stable column order, UTC times (``datetime64[ns, UTC]``), ``category`` for repeated words
and nullable integers. Pandas is imported when the first frame is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from agentlab.events import Row
from agentlab.store import Store

if TYPE_CHECKING:
    import pandas as pd

TIME, WORD, INT, FLOAT, TEXT = "time", "category", "Int64", "float64", "object"

EVENTS = {
    "seq": INT, "at": TIME, "kind": WORD, "path": WORD, "incarnation": INT, "node": INT, "reason": WORD,
    "detail": TEXT, "took_s": FLOAT,
}  # fmt: skip
MESSAGES = {
    "path": WORD, "seq": INT, "method": WORD, "sender": WORD, "sent_at": TIME, "started_at": TIME, "ended_at": TIME,
    "wait_s": FLOAT, "took_s": FLOAT, "deliveries": INT, "outcome": WORD, "error": TEXT,
}  # fmt: skip
STEPS = {
    "path": WORD, "message_seq": INT, "step": INT, "attempt": INT, "kind": WORD, "name": WORD, "started_at": TIME,
    "took_s": FLOAT, "outcome": WORD, "fault": WORD, "tokens_in": INT, "tokens_out": INT, "cost_usd": FLOAT,
    "replayed": INT, "input": TEXT, "output": TEXT,
}  # fmt: skip
CHECKPOINTS = {"path": WORD, "seq": INT, "at": TIME, "incarnation": INT, "bytes": INT}
RESTARTS = {
    "path": WORD, "at": TIME, "incarnation": INT, "reason": WORD, "fault": WORD, "supervisor": WORD,
    "strategy": WORD, "backoff_s": FLOAT, "downtime_s": FLOAT, "rewound": INT,
}  # fmt: skip
AGENTS = {
    "path": TEXT, "id": TEXT, "kind": WORD, "status": WORD, "incarnation": INT, "restarts": INT, "node": INT,
    "mailbox": INT, "messages": INT, "tokens_in": INT, "tokens_out": INT, "cost_usd": FLOAT, "since": TIME,
}  # fmt: skip


def events(store: Store, *, path: str | None = None) -> pd.DataFrame:
    """One row per committed event, oldest first; shape (n, 9).

    ``seq`` Int64. ``at`` commit time. ``kind``, ``path``, ``reason`` category. ``incarnation``, ``node``
    Int64. ``detail`` text. ``took_s`` float64, seconds, NaN for instants.
    """
    return _read(store, "event", EVENTS, "seq", path)


def messages(store: Store, *, path: str | None = None) -> pd.DataFrame:
    """One row per handled message, in the order of their outcomes; shape (n, 12). Durations in seconds."""
    columns = (
        "path, seq, method, sender, sent_at, started_at, ended_at, (started_at - sent_at) / 1e9,"
        " (ended_at - started_at) / 1e9, deliveries, outcome, error"
    )
    return _read(store, "message", MESSAGES, "id", path, columns)


def steps(store: Store, *, path: str | None = None) -> pd.DataFrame:
    """One row per attempt at one effect; shape (n, 16)."""
    return _read(store, "step", STEPS, "id", path)


def restarts(store: Store, *, path: str | None = None) -> pd.DataFrame:
    """One row per restart; shape (n, 10). ``downtime_s``: from the end of one life to the start of the next."""
    return _read(store, "restart", RESTARTS, "id", path)


def checkpoints(store: Store, *, path: str | None = None, cls: str | None = None) -> pd.DataFrame:
    """One row per committed state, oldest first; shape (n, 5), or more with ``state.<field>`` columns.

    Args:
        store: Where they are.
        path: Only this agent's; adds its state's fields, as they were then.
        cls: Only agents of the class with this name; adds its state's fields.
    """
    if path is None and cls is None:
        return _read(store, "checkpoint", CHECKPOINTS, "id", None)
    where, arg = ("path = ?", path) if path is not None else ("cls = ?", cls)
    rows = store.select(f"SELECT {', '.join(CHECKPOINTS)} FROM checkpoint WHERE {where} ORDER BY id", (arg,))
    frame = _frame(rows, CHECKPOINTS)
    for name, values in _states(store, rows).items():
        frame[f"state.{name}"] = values
    return frame


def _states(store: Store, rows: Sequence[tuple[Any, ...]]) -> dict[str, list[Any]]:
    """The fields' values at each checkpoint: the last change at or before it."""
    columns: dict[str, list[Any]] = {}
    now: dict[str, dict[str, Any]] = {}
    changes = {path: _changes(store, path) for path in {row[0] for row in rows}}
    for number, (path, seq, *_) in enumerate(rows):
        state = now.setdefault(path, {})
        pending = changes[path]
        while pending and pending[-1][0] <= seq:
            _, name, item, value = pending.pop()
            state[name] = [*state.get(name, []), value] if item else value
        for name in {*columns, *state}:
            column = columns.setdefault(name, [None] * number)
            column.append(state.get(name))
    return columns


def _changes(store: Store, path: str) -> list[tuple[int, str, bool, Any]]:
    """Changes of one agent's fields, newest first, so that the oldest is popped first."""
    fields = store.select("SELECT seq, name, value FROM field WHERE path = ?", (path,))
    items = store.select("SELECT seq, name, value FROM item WHERE path = ? ORDER BY place", (path,))
    found = [(seq, name, False, json.loads(value)) for seq, name, value in fields]
    found += [(seq, name, True, json.loads(value)) for seq, name, value in items]
    found.sort(key=lambda change: change[0])  # stable: the items of one checkpoint keep their places
    return found[::-1]


def agents(rows: Iterable[Row]) -> pd.DataFrame:
    """One row per agent and supervisor as it is now, in start order, depth first; shape (n, 13)."""
    data = [
        (
            row.path, row.id, row.cls if row.kind == "agent" else "supervisor", row.status, row.incarnation,
            row.restarts, row.node, row.mailbox, row.messages, None, None, None, row.since,
        )
        for row in rows
    ]  # fmt: skip
    return _frame(data, AGENTS)


def stored_agents(store: Store) -> pd.DataFrame:
    """``agents`` of a lab that may not run: what the store knows."""
    rows = store.select("SELECT path, spec, status, incarnation, restarts FROM child ORDER BY path")
    counts = dict(store.select("SELECT path, count(*) FROM message GROUP BY path"))
    data = []
    for path, spec, status, incarnation, restarts_ in rows:
        parsed = json.loads(spec)
        kind = "supervisor" if "supervisor" in parsed else parsed["agent"][1].rsplit(".", 1)[-1]
        row = (path, parsed["id"], kind, status, incarnation, restarts_, None, 0, counts.get(path, 0))
        data.append((*row, None, None, None, None))
    return _frame(data, AGENTS)


def _read(
    store: Store, table: str, spec: dict[str, str], order: str, path: str | None, columns: str = ""
) -> pd.DataFrame:
    where, args = ("", ()) if path is None else (" WHERE path = ?", (path,))
    rows = store.select(f"SELECT {columns or ', '.join(spec)} FROM {table}{where} ORDER BY {order}", args)
    return _frame(rows, spec)


def _frame(rows: Sequence[tuple[Any, ...]], spec: dict[str, str]) -> pd.DataFrame:
    import pandas as pd

    columns: Iterable[Sequence[Any]] = zip(*rows, strict=True) if rows else ((),) * len(spec)
    return pd.DataFrame(
        {name: _column(values, kind) for (name, kind), values in zip(spec.items(), columns, strict=True)}
    )


def _column(values: Sequence[Any], kind: str) -> Any:
    import pandas as pd

    if kind == TIME:
        times = pd.array(values, dtype="Int64").to_numpy("int64", na_value=pd.NaT.value) if values else []
        return pd.to_datetime(times, unit="ns", utc=True)
    if kind == WORD:
        return pd.Categorical(values)
    if kind == TEXT:
        return pd.Series(values, dtype="object")
    if kind == FLOAT:
        return pd.array([float("nan") if v is None else v for v in values], dtype="float64")
    return pd.array(values, dtype="Int64")
