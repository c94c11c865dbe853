"""What a person is told by the way: lines beside a result, and a progress bar for what takes longer than a moment."""

from __future__ import annotations

import concurrent.futures
import importlib
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from agentlab.control.cells import answer_of

PATIENCE = 2.0
"""Seconds before there is a bar."""

BEAT = 0.2
"""Seconds between two looks at how far it is."""


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    found = getattr(sys.modules.get("IPython"), "get_ipython", None)  # None too while another thread imports it
    return found is not None and getattr(found(), "kernel", None) is not None


def tell(lines: Iterable[str], *, depth: int = 3, asked: bool = False) -> None:
    """Say something by the way.

    Args:
        lines: What to say.
        depth: The call of the user's, as ``warnings.warn`` counts them.
        asked: Whether a person is known to read it; else it is printed below a cell, and a warning elsewhere.
    """
    for line in lines:
        if asked or in_notebook():
            print(line)  # noqa: T201 - a person must read it
        else:
            warnings.warn(line, UserWarning, stacklevel=depth)


def remark(lines: deque[str]) -> None:
    """Say in a notebook what else is worth knowing; elsewhere it is an event, and no more. The lines are used up."""
    while lines:
        line = lines.popleft()
        if in_notebook():
            print(line)  # noqa: T201 - a person must read it


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
