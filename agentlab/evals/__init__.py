"""Evals: samples, each worked on by an agent of its own, scored, counted and kept.

May import: everything; nothing of agentlab imports it.
Start with: ``evaluating``; ``driver`` is the way of a sample, ``attempt`` the agent that works on it.
Invariant: every sample and epoch ends with one disposition, is recorded once, and is never run again after that.
To add: a scorer is a class in ``scorers``; a column of a result is made in ``results``, a figure in ``figures``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentlab.evals.comparing import compare
    from agentlab.evals.evaluating import evaluate, open_run
    from agentlab.evals.figures import samples_needed
    from agentlab.evals.inspect_logs import samples_from_inspect
    from agentlab.evals.judges import model_graded
    from agentlab.evals.reducers import at_least, pass_at
    from agentlab.evals.run import Run
    from agentlab.evals.samples import Sample
    from agentlab.evals.scorers import (
        Score,
        choice,
        exact,
        f1,
        includes,
        json_equal,
        match,
        numeric,
        pattern,
        scorer,
    )
    from agentlab.evals.trajectories import at_most, called, contains, exactly, in_order, never, subset, trajectory

__all__ = [
    "Run", "Sample", "Score", "at_least", "at_most", "called", "choice", "compare", "contains", "evaluate", "exact",
    "exactly", "f1", "in_order", "includes", "json_equal", "match", "model_graded", "never", "numeric", "open_run",
    "pass_at", "pattern", "samples_from_inspect", "samples_needed", "scorer", "subset", "trajectory",
]  # fmt: skip

_HOMES = {
    "comparing": ("compare",),
    "evaluating": ("evaluate", "open_run"),
    "figures": ("samples_needed",),
    "inspect_logs": ("samples_from_inspect",),
    "judges": ("model_graded",),
    "reducers": ("at_least", "pass_at"),
    "run": ("Run",),
    "samples": ("Sample",),
    "scorers": ("Score", "choice", "exact", "f1", "includes", "json_equal", "match", "numeric", "pattern", "scorer"),
    "trajectories": ("at_most", "called", "contains", "exactly", "in_order", "never", "subset", "trajectory"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:  # the menu's values differ in type
    """Import what is used when it is first used: a scorer in a node needs no driver."""
    if name not in _HOME:
        raise AttributeError(f"module 'agentlab.evals' has no attribute {name!r}; it has: {', '.join(__all__)}")
    value = getattr(importlib.import_module(f"agentlab.evals.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
