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
    from agentlab.evals.evaluating import evaluate, open_run
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

__all__ = [
    "Run", "Sample", "Score", "at_least", "choice", "evaluate", "exact", "f1", "includes", "json_equal",
    "match", "numeric", "open_run", "pass_at", "pattern", "scorer",
]  # fmt: skip

_HOMES = {
    "evaluating": ("evaluate", "open_run"),
    "reducers": ("at_least", "pass_at"),
    "run": ("Run",),
    "samples": ("Sample",),
    "scorers": ("Score", "choice", "exact", "f1", "includes", "json_equal", "match", "numeric", "pattern", "scorer"),
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
