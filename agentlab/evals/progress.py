"""How far a run is, live: a bar in a notebook, a line on a terminal, nothing elsewhere."""

from __future__ import annotations

import importlib
import sys
import time
from typing import TYPE_CHECKING, Any

from agentlab.control.progress import in_notebook

if TYPE_CHECKING:
    from agentlab.evals.driver import Driver

BEAT = 0.5
"""Seconds between two looks."""

WIDTH = 30


def shown(driver: Driver) -> None:
    """Wait for the end of a run, and show how far it is."""
    show = _in_a_notebook() if in_notebook() else _on_a_terminal() if sys.stderr.isatty() else None
    while not driver.over.wait(BEAT):
        if show is not None:
            show(line(driver), done=driver.tally.done / max(1, driver.tally.total))
    if show is not None:
        show("", done=1.0)


def line(driver: Driver) -> str:
    """How far it is, in a line: done, running, waiting, failed, what it has cost, and how long it will take."""
    tally = driver.tally
    failed = tally.done - tally.ended["scored"]
    rows = () if driver.lab.closed else driver.lab.rows(f"/evals/{driver.plan.name}/{place}" for place in tally.running)
    waiting = sum(row.status == "waiting" for row in rows)
    parts = [
        f"{tally.done} of {tally.total}",
        f"{len(tally.running)} running",
        f"{waiting} waiting",
        f"{failed} failed",
    ]
    here = tally.done - tally.before
    if here:
        left = (time.monotonic() - tally.began) / here * (tally.total - tally.done)
        parts.append(f"{left:.0f} s left")
    return ", ".join(parts)


def _in_a_notebook() -> Any:
    display = importlib.import_module("IPython.display")
    handle = display.display(display.HTML(""), display_id=True)

    def show(text: str, *, done: float) -> None:
        bar = f"<progress value='{done:.3f}' max='1' style='width: 20em'></progress> {text}" if text else ""
        handle.update(display.HTML(bar))

    return show


def _on_a_terminal() -> Any:
    def show(text: str, *, done: float) -> None:
        full = round(done * WIDTH)
        bar = f"[{'=' * full}{' ' * (WIDTH - full)}] {text}" if text else ""
        sys.stderr.write(f"\r\x1b[2K{bar}")
        sys.stderr.flush()

    return show
