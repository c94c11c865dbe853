"""For tests of people who use agentlab: fixtures, notebooks as tests, cells whose output is the same in each run.

May import: everything; nothing of agentlab imports it.
Start with: ``plugin``, which pytest finds by itself; ``notebooks`` runs one, ``exercises`` checks what is at its end.
Invariant: to load the plugin imports neither the lab nor pandas: a test that asks for one pays for it.
To add: a fixture is a function in ``plugin``; what may differ between two runs a section of ``sanitize.cfg``.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentlab.testing.exercises import exercise
    from agentlab.testing.notebooks import notebook
    from agentlab.testing.still import deterministic

__all__ = ["SANITIZE", "deterministic", "exercise", "notebook"]

SANITIZE = Path(__file__).parent / "agentlab-nbval-sanitize.cfg"
"""What may differ between two runs of a notebook without being a difference: for ``--nbval-sanitize-with``."""

_HOMES = {"deterministic": "still", "exercise": "exercises", "notebook": "notebooks"}


def __getattr__(name: str) -> Any:  # the menu's values differ in type
    """Import what is used when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'agentlab.testing' has no attribute {name!r}; it has: {', '.join(__all__)}")
    return getattr(importlib.import_module(f"agentlab.testing.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
