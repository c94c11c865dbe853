"""The book of a run: what it is, and one row for each sample and epoch that has ended.

It is an agent like the others, ``/evals/<run>/ledger``, so its rows are in the lab's store, and are read from there
when no lab runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from agentlab.agent.base import Agent, Transcript
from agentlab.ground.redaction import redact
from agentlab.store.database import Store
from agentlab.store.schema import whole

T = TypeVar("T")

EVALS = "/evals"
LEDGER = "ledger"
JUDGES = ":"
"""Between the place of a sample's agent and the name of the scorer whose agent grades its answer."""


class Ledger(Agent):
    """Keeps what a run is, and how its samples ended, each as a JSON text: a dict takes five times the memory."""

    identity: str = "{}"
    rows: Transcript = Transcript()

    async def record(self, rows: list[dict[str, Any]]) -> None:
        """Keep rows; of a sample and epoch that has one already the first one stands."""
        known: set[tuple[str, int]] | None = self.__dict__.get("_known")
        if known is None:
            known = self._known = {(row["id"], row["epoch"]) for row in map(_read, self.rows)}
        for row in rows:
            if (row["id"], row["epoch"]) not in known:
                self.rows.append(redact(json.dumps(row)))
                known.add((row["id"], row["epoch"]))


def run_path(name: str) -> str:
    """Where a run stands in the tree."""
    return f"{EVALS}/{name}"


def runs_in(store: Store) -> dict[str, dict[str, Any]]:
    """The runs that a store holds, by name: what each of them is."""
    sql = "SELECT path, spec FROM child WHERE path LIKE ? ORDER BY rowid"
    found = {}
    for path, spec in store.select(sql, (f"{EVALS}/%/{LEDGER}",)):
        name = path.split("/")[2]
        found[name] = json.loads(json.loads(spec)["fields"]["identity"])
    return found


def rows_of(store: Store, name: str) -> list[dict[str, Any]]:
    """How the samples of a run ended, in that order."""
    return of_each_row(store, name, lambda row: row)


def of_each_row(store: Store, name: str, take: Callable[[dict[str, Any]], T]) -> list[T]:
    """What is taken of each row, in the order in which samples ended; a row is 2 kB, so one is there at a time."""
    sql = f"SELECT {whole('value')} FROM item WHERE path = ? AND name = 'rows' ORDER BY rowid"  # noqa: S608  # our names
    return store.read(
        sql, (f"{run_path(name)}/{LEDGER}",),
        lambda pieces: [take(_read(json.loads(text))) for piece in pieces for (text,) in piece if text is not None],
    )  # fmt: skip


def key_of(row: dict[str, Any]) -> tuple[str, int]:
    """Which sample and epoch a row is of."""
    return row["id"], row["epoch"]


def _read(item: Any) -> dict[str, Any]:
    """A row, which an earlier version kept as it is, and not as a text."""
    row: dict[str, Any] = json.loads(item) if isinstance(item, str) else item
    return row
