"""A run on a cluster whose samples wait for a sign, and what must be true of it at its end."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from typing import Any

from agentlab.errors import StoreError
from agentlab.evals import evaluate, exact
from agentlab.evals.ledger import rows_of
from agentlab.lab import open_store
from tests.evaluated import Patient, waiting
from tests.marks import size
from tests.patience import wait_for

SAMPLES = 6


def begin(path: Path, cluster: Any, **options: Any) -> Any:
    """A run of which all samples wait for a sign, unless told otherwise."""
    samples = waiting(path.parent, SAMPLES)
    return evaluate(Patient, samples, exact(), path=path, cluster=cluster, nodes=1, wait=False, **options)


def wait_until_begun(path: Path, count: int = SAMPLES) -> None:
    """Wait until so many marks are journaled."""
    wait_for(lambda: marked(path.with_name(f"{path.name}.workers")) >= count, 120)


def marked(folder: Path) -> int:
    """Samples whose mark is committed in the labs of a run's workers.

    Rows are not counted: on a busy machine a node may be taken for stalled, and the next life has rows of what the
    journal answered.
    """
    found: set[str] = set()
    for path in folder.glob("*.lab"):
        with contextlib.suppress(StoreError), open_store(path) as store:  # one is just being made
            found |= set(store.steps().query("outcome == 'ok'")["path"])
    return len(found)


def go(path: Path) -> None:
    """Let all samples end."""
    (path.parent / "go").touch()


def check(path: Path, run: Any) -> None:
    """Every sample was scored once, and marked once."""
    with open_store(path) as store:
        recorded = Counter((row["id"], row["epoch"]) for row in rows_of(store._read(), run.name))
    frame = run.samples()
    assert frame["output"].tolist() == [f"n{n}" for n in range(SAMPLES)]
    assert frame["score.exact"].tolist() == [1.0] * SAMPLES
    assert set(recorded.values()) == {1}
    assert [size(path.parent, f"n{n}") for n in range(SAMPLES)] == [1] * SAMPLES
