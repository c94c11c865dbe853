"""DataFrames from the store: one function per table of facts, the same on a live lab and a stored one.

Every frame has a stable column order, UTC times (``datetime64[ns, UTC]``), ``category`` for repeated words
and nullable integers. What is missing is ``NA`` in words, texts and integers; ``NaN`` and ``NaT`` in floats and times,
which have no other word for it; ``isna()`` finds all three. Times hold nanoseconds and are shown in milliseconds.
Pandas is imported when the first frame is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agentlab.agent.snapshot import plain
from agentlab.errors import StoreDamaged
from agentlab.events import Row
from agentlab.frames.columns import FLOAT, INT, TEXT, TIME, WORD, column, frame
from agentlab.ground.given import path_of, text_of
from agentlab.ref.ref import Ref
from agentlab.store.database import Store
from agentlab.store.schema import LARGE, whole

if TYPE_CHECKING:
    import pandas as pd

EVENTS = {
    "seq": INT, "at": TIME, "kind": WORD, "path": WORD, "incarnation": INT, "node": INT, "reason": WORD,
    "detail": TEXT, "took_s": FLOAT,
}  # fmt: skip
MESSAGES = {
    "path": WORD, "seq": INT, "method": WORD, "sender": WORD, "sent_at": TIME, "started_at": TIME, "ended_at": TIME,
    "wait_s": FLOAT, "took_s": FLOAT, "deliveries": INT, "outcome": WORD, "error": TEXT,
}  # fmt: skip
DURATIONS = {"wait_s": "(started_at - sent_at) / 1e9", "took_s": "(ended_at - started_at) / 1e9"}
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
DEAD_LETTERS = {
    "number": INT, "at": TIME, "path": WORD, "method": WORD, "sender": WORD, "deliveries": INT, "reason": WORD,
}  # fmt: skip
SHOWN = 2000
"""Characters of a step's input and output."""

APPROVALS = {"path": WORD, "step": INT, "tool": WORD, "input": TEXT, "message": WORD, "since": TIME}
UPGRADES = {"path": WORD, "outcome": WORD, "detail": TEXT}
REQUESTS = {
    "n": INT, "at": TIME, "path": WORD, "model": WORD, "key": TEXT, "status": INT, "mode": WORD, "finished": INT,
    "retry_count": INT, "repeat": INT, "messages": INT, "user": WORD, "stop_reason": WORD, "ended": WORD,
    "prompt": TEXT, "request_id": TEXT, "tokens_in": INT, "tokens_out": INT,
}  # fmt: skip
AGENTS = {
    "path": TEXT, "status": WORD, "id": TEXT, "kind": WORD, "incarnation": INT, "restarts": INT, "node": INT,
    "mailbox": INT, "messages": INT, "since": TIME, "tokens_in": INT, "tokens_out": INT, "cost_usd": FLOAT,
}  # fmt: skip


def events(store: Store, *, path: str | Ref | None = None) -> pd.DataFrame:
    """One row per committed event, oldest first; shape (n, 9).

    ``seq`` Int64. ``at`` commit time. ``kind``, ``path``, ``reason`` category; ``agentlab.events.KINDS`` says what each
    kind means. ``incarnation``, ``node`` Int64. ``detail`` text. ``took_s`` float64, seconds, NaN for instants.
    """
    return _read(store, "event", EVENTS, "seq", path)


def messages(store: Store, *, path: str | Ref | None = None) -> pd.DataFrame:
    """One row per handled message, in the order of their outcomes; shape (n, 12). Durations in seconds."""
    return _read(store, "message", MESSAGES, "id", path, made=DURATIONS)


def steps(store: Store, *, path: str | Ref | None = None) -> pd.DataFrame:
    """One row per attempt at one effect; shape (n, 16).

    ``input`` and ``output`` are cut to 2,000 characters; of a model call ``input`` is what was said last, which the
    store has whole. ``tokens_in`` (those that a provider read from its cache count too), ``tokens_out`` Int64: what a
    model call was billed, NA for one that the journal answered. ``cost_usd`` float64, NaN where the price is not known.
    """
    return _read(store, "step", STEPS, "id", path, made={name: _cut(whole(name)) for name in LARGE["step"]})


def _cut(text: str) -> str:
    """The SQL for a text of at most ``SHOWN`` characters."""
    return f"CASE WHEN length({text}) > {SHOWN} THEN substr({text}, 1, {SHOWN - 3}) || '...' ELSE {text} END"


def restarts(store: Store, *, path: str | Ref | None = None) -> pd.DataFrame:
    """One row per restart; shape (n, 10). ``downtime_s``: from the end of one incarnation to the start of the next.

    ``fault``: the kind of fault that ended it (``agentlab.faults.table()``), or the class of an exception that is none
    of them; NA for an end that was no crash. ``reason`` has the class in any case.
    """
    return _read(store, "restart", RESTARTS, "id", path)


def dead_letters(store: Store, *, path: str | Ref | None = None) -> pd.DataFrame:
    """One row per message that could not be handled and was not sent again; shape (n, 7). ``number``: for retry."""
    return _read(store, "dead", DEAD_LETTERS, "id", path, made={"number": "id"})


def approvals(rows: Sequence[tuple[Any, ...]]) -> pd.DataFrame:
    """One row per call of a tool that waits for a person, oldest first; shape (n, 6). ``input``: as one writes it."""
    return frame([list(rows)] if rows else [], APPROVALS)


def stored_approvals(store: Store) -> pd.DataFrame:
    """``approvals`` of a lab that may not run: what the store knows, in the same order."""
    found = store.select(
        "SELECT inbox.path, begun.step, begun.mark, inbox.method, begun.at FROM begun"
        " JOIN inbox ON inbox.key = begun.message_key WHERE NOT EXISTS (SELECT 1 FROM step WHERE"
        " step.message_key = begun.message_key AND step.step = begun.step AND step.outcome = 'ok')"
        " ORDER BY begun.at, begun.step"
    )
    rows = []
    for path, number, text, method, at in found:
        kind, name, digest, _ = json.loads(text)
        if kind == "approval":
            rows.append((path, number, name, digest.rpartition("\n")[2].partition(" ")[2], method, at))
    return approvals(rows)


def upgrades(rows: Sequence[tuple[str, str, str | None]]) -> pd.DataFrame:
    """One row per agent that was to go on with newer code; shape (n, 3). ``outcome``: upgraded, waits or refused."""
    made = frame([rows] if rows else [], UPGRADES)
    return made.assign(detail=made["detail"].where(made["detail"].notna(), None))  # a report: None, where all went well


def requests(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row per request that a simulator saw; shape (n, 18)."""
    made = [tuple({**row, "at": round(row["at"] * 1e9)}.get(name) for name in REQUESTS) for row in rows]
    found = frame([made] if made else [], REQUESTS)
    return found.assign(finished=found["finished"].astype("bool"))


def checkpoints(store: Store, *, path: str | Ref | None = None, cls: str | None = None) -> pd.DataFrame:
    """One row per committed state, oldest first; shape (n, 5), or more with ``state.<field>`` columns.

    Args:
        store: Where they are.
        path: Only this agent's; adds its state's fields, as they were then.
        cls: Only agents of the class with this name; adds its state's fields.
    """
    if path is None and cls is None:
        return _read(store, "checkpoint", CHECKPOINTS, "id")
    if path is None:
        where, arg = "cls = ?", text_of(cls, "checkpoints: cls", "the name of an agent class", "cls")
    else:
        where, arg = "path = ?", path_of(path, "a frame")
    chosen = f"FROM checkpoint WHERE {where}"  # one of the two lines above
    rows = store.select(f"SELECT {', '.join(CHECKPOINTS)} {chosen} ORDER BY id", (arg,))  # our names
    made = frame([rows], CHECKPOINTS)
    paths = f"(SELECT path {chosen})"
    try:
        states = _states(rows, _first(store, paths, arg), _changes(store, paths, arg))
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreDamaged(
            f"{store.path}: a state of {arg!r} is no JSON: {error}. Restore the file from a copy."
        ) from None
    for name, values in states.items():
        made[f"state.{name}"] = column(values)
    return made


State = dict[str, Any]
Changes = dict[str, list[tuple[int, str, int | None, Any]]]
"""Per path, newest first: seq, field, place in a transcript (None for a whole value), JSON text."""


def _states(rows: Sequence[tuple[Any, ...]], now: dict[str, State], changes: Changes) -> dict[str, list[Any]]:
    """The fields' values at each checkpoint: the last change at or before it."""
    columns: dict[str, list[Any]] = {}
    for number, (path, seq, *_) in enumerate(rows):
        state = now[path] = dict(now.get(path, ()))
        pending = changes.get(path, [])
        copied = set()
        while pending and pending[-1][0] <= seq:
            _, name, place, text = pending.pop()
            if place is None:
                state[name] = None if text is None else json.loads(text)
                continue
            if name not in copied:  # each checkpoint has a list of its own
                state[name] = list(state.get(name) or ())
                copied.add(name)
            state[name][place:] = [] if text is None else [json.loads(text)]
        for name in columns.keys() | state.keys():
            columns.setdefault(name, [None] * number).append(state.get(name))
    return columns


def _first(store: Store, paths: str, arg: Any) -> dict[str, State]:
    """What the agents were started with, where the store still knows; a fork was with the state of its base."""
    rows = store.select(f"SELECT path, spec FROM child WHERE path IN {paths}", (arg,))  # noqa: S608  # our names
    found = {path: spec_of(store, path, spec).get("fields", {}) for path, spec in rows}
    forks = store.select(f"SELECT path, base_path, base_seq FROM fork WHERE path IN {paths}", (arg,))  # noqa: S608
    for path, base, seq in forks:
        found[path] = plain(store.state(base, seq))
    return found


def _changes(store: Store, paths: str, arg: Any) -> Changes:
    """Changes of the agents' fields, newest first, so that the oldest is popped first."""
    rows = store.select(
        f"SELECT path, seq, name, NULL, {whole('value')}, rowid FROM field WHERE path IN {paths} UNION ALL"  # noqa: S608
        f" SELECT path, seq, name, place, {whole('value')}, rowid FROM item WHERE path IN {paths}"
        " ORDER BY 2 DESC, 6 DESC",
        (arg, arg),
    )
    found: Changes = {}
    for path, *change, _ in rows:
        found.setdefault(path, []).append((change[0], change[1], change[2], change[3]))
    return found


def spec_of(store: Store, path: str, text: str) -> dict[str, Any]:
    """A child spec as the store has it; StoreDamaged if it is none."""
    try:
        spec = json.loads(text)
        if spec["id"] and ("supervisor" in spec or spec["agent"][1]):
            return dict(spec)
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        pass
    raise StoreDamaged(f"{store.path}: the spec of {path!r} is no child spec. Restore the file from a copy.")


def agents(rows: Iterable[Row]) -> pd.DataFrame:
    """One row per agent and supervisor as it is now, in start order, depth first; shape (n, 13).

    ``kind``: its class, or ``supervisor``. A class that was defined again, or that is not defined here, is marked:
    ``Counter (older code)``, ``Counter (not defined)``.
    """
    data = [
        (
            row.path, row.status, row.id, _kind(row), row.incarnation,
            row.restarts, row.node, row.mailbox, row.messages, row.since or None, *(row.spent or (None, None, None)),
        )
        for row in rows
    ]  # fmt: skip
    return frame([data], AGENTS)


def _kind(row: Row) -> str:
    if row.kind != "agent":
        return "supervisor"
    return f"{row.cls} ({row.mark})" if row.mark else row.cls


def _path(path: str | Ref | None) -> str | None:
    return None if path is None else path_of(path, "a frame")


def _read(
    store: Store, table: str, spec: dict[str, str], order: str, path: str | Ref | None = None,
    *, made: Mapping[str, str] = {},
) -> pd.DataFrame:  # fmt: skip
    """A frame of a table; ``made``: SQL for columns that the table does not have, or has otherwise."""
    where, args = ("", ()) if path is None else (" WHERE path = ?", (_path(path),))
    columns = ", ".join(made.get(name, name) for name in spec)
    sql = f"SELECT {columns} FROM {table}{where} ORDER BY {order}"  # noqa: S608  # our names
    return store.read(sql, args, lambda pieces: frame(pieces, spec))
