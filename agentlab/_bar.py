"""A progress bar in a notebook, for what takes longer than a moment."""

from __future__ import annotations

import concurrent.futures
import importlib
import sys
from collections.abc import Callable
from typing import Any

from agentlab._doors import answer_of

PATIENCE = 2.0
"""Seconds before there is a bar."""

BEAT = 0.2
"""Seconds between two looks at how far it is."""


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    shell = sys.modules.get("IPython")
    return shell is not None and getattr(shell.get_ipython(), "kernel", None) is not None


def result(future: concurrent.futures.Future[Any], done: Callable[[], int], total: int) -> Any:
    """Wait for a future; in a notebook with a bar, once that takes long.

    Args:
        future: What to wait for.
        done: How much is done.
        total: Out of how much.
    """
    if not in_notebook() or concurrent.futures.wait([future], PATIENCE).done:
        return answer_of(future)
    bar = importlib.import_module("IPython.display").ProgressBar(total)
    bar.display()
    while not concurrent.futures.wait([future], BEAT).done:
        bar.progress = done()
    bar.progress = total if future.exception() is None else done()
    return answer_of(future)
