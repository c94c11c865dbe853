"""The tree of a lab that may not run, from its store: as rows that views draw, and as the frame ``agents``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentlab.events import Row
from agentlab.frames.tables import agents, spec_of
from agentlab.store.database import Store
from agentlab.store.rows import ChildRow
from agentlab.store.schema import SPENT

if TYPE_CHECKING:
    import pandas as pd

ENDS = ("exited", "crashed", "killed", "start_failed", "supervisor_exited")


def stored_agents(store: Store) -> pd.DataFrame:
    """``agents`` of a lab that may not run: what the store knows, in the same order."""
    return agents(stored_rows(store))


def stored_rows(store: Store) -> list[Row]:
    """Every place as last committed, in start order, depth first: what ``lab.rows()`` gives while it runs."""
    children = store.select_rows(ChildRow, "ORDER BY rowid")
    order = {row.path: number for number, row in enumerate(children, 1)}
    children.sort(key=lambda row: [order.get(above, 0) for above in _above(row.path)])
    began = store.select("SELECT min(at) FROM event")[0][0] or 0
    root = Row("/", "lab", "supervisor", "one_for_one", "running", 1, 0, None, 0, "", None, began, 0, "one_for_one")
    known = Known(store)
    return [root, *(known.row(store, child) for child in children)]


class Known:
    """What the other tables tell of every path, each read once."""

    def __init__(self, store: Store) -> None:
        counted = "SELECT path, count(*) FROM {} GROUP BY path"
        ends = ", ".join(f"'{kind}'" for kind in ENDS)
        self._handled = dict(store.select(counted.format("message WHERE outcome = 'ok'")))
        self._letters = dict(store.select(counted.format("dead")))
        self._since = dict(store.select("SELECT path, max(at) FROM event WHERE kind = 'started' GROUP BY path"))
        last = f"SELECT path, reason, max(seq) FROM event WHERE kind IN ({ends}) AND reason <> 'shutdown' GROUP BY path"  # noqa: S608  # ours; the lab's own end tells nothing
        self._reasons = {path: reason for path, reason, _ in store.select(last)}
        self._spent = {path: (took, gave, cost) for path, took, gave, cost in store.select(SPENT)}

    def row(self, store: Store, child: ChildRow) -> Row:
        """One place."""
        spec = spec_of(store, child.path, child.spec)
        flags: dict[str, Any] | None = spec.get("supervisor")
        path, since = child.path, self._since.get(child.path, 0)
        status = "stopped" if child.status == "undefined" else child.status
        lives = max(child.incarnation, 1) if flags else child.incarnation
        cls = flags["strategy"] if flags else spec["agent"][1].rsplit(".", 1)[-1]
        limit = (0, flags["max_restarts"], flags["max_seconds"]) if flags else None
        return Row(
            path, spec["id"], "supervisor" if flags else "agent", cls, status, lives, child.restarts, None, 0,
            child.parent or "/", self._reasons.get(path), since, self._handled.get(path, 0),
            strategy=flags["strategy"] if flags else None, intensity=limit, letters=self._letters.get(path, 0),
            spent=self._spent.get(path), restart=spec.get("restart", ""),
        )  # fmt: skip


def _above(path: str) -> list[str]:
    """The path of each place on the way down, its own at the end."""
    parts = path.strip("/").split("/")
    return ["/" + "/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
