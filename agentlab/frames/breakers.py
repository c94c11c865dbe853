"""Frames of breakers: what the events tell of them, and how they are now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from agentlab.frames.columns import FLOAT, INT, TEXT, TIME, WORD, frame
from agentlab.store.database import Store

if TYPE_CHECKING:
    import pandas as pd

HISTORY = {"state": WORD, "since": TIME, "took_s": FLOAT, "why": TEXT}
BREAKERS = {
    "name": TEXT, "state": WORD, "since": TIME, "why": TEXT, "waiting": INT, "faults": INT, "agents": INT,
    "opened": INT, "next_probe": TIME,
}  # fmt: skip
STATES = {"breaker_opened": "open", "breaker_half_open": "half_open", "breaker_closed": "closed"}


def breaker_history(store: Store, name: str) -> pd.DataFrame:
    """One row per state that a breaker was in, since it first opened, oldest first; shape (n, 4).

    ``state`` category. ``since`` when it began. ``took_s`` how long it lasted, NaN while it does. ``why`` text.
    """
    facts = _facts(store, name)
    ends: list[Any] = [*(took for *_, took in facts[1:]), None]
    rows = [(STATES[kind], at, end, why) for (_, kind, at, why, _), end in zip(facts, ends, strict=bool(facts))]
    return frame([rows] if rows else [], HISTORY)


def breakers(rows: Iterable[tuple[Any, ...]]) -> pd.DataFrame:
    """One row per breaker as it is now; shape (n, 9).

    ``waiting`` calls that wait. ``faults`` so far. ``agents``: how many failed last, within the window. ``opened``: how
    often. ``next_probe``: when one call may try, missing unless it is open.
    """
    return frame([list(rows)], BREAKERS)


def stored_breakers(store: Store) -> pd.DataFrame:
    """``breakers`` of a lab that may not run, as far as its events tell: who waited is not among them."""
    last: dict[str, tuple[Any, ...]] = {}
    opened: dict[str, int] = {}
    before: dict[str, str] = {}
    for name, kind, at, why, _ in _facts(store):
        opened[name] = opened.get(name, 0) + (kind == "breaker_opened" and before.get(name) != "breaker_half_open")
        before[name] = kind
        last[name] = (name, STATES[kind], at, why, None, None, None, opened[name], None)
    return breakers(last.values())


def _facts(store: Store, name: str | None = None) -> list[tuple[Any, ...]]:
    """Name, kind, time, detail and duration of what came before, of all that happened to breakers."""
    kinds = ", ".join(f"'{kind}'" for kind in STATES)
    also, args = ("", ()) if name is None else (" AND reason = ?", (name,))
    sql = f"SELECT reason, kind, at, detail, took_s FROM event WHERE kind IN ({kinds}){also} ORDER BY seq"  # noqa: S608
    return list(store.select(sql, args))
