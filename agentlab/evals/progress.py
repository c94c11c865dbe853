"""How far a run is, live: a bar in a notebook, a line on a terminal, nothing elsewhere."""

from __future__ import annotations

import importlib
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentlab.control.progress import in_notebook

if TYPE_CHECKING:
    from agentlab.evals.driver import Driver

BEAT = 0.5
"""Seconds between two looks."""

WIDTH = 30


@dataclass(frozen=True)
class Standing:
    """How far a run is.

    Attributes:
        done, total: Samples, each epoch counted.
        running: That are worked on; ``waiting`` of them wait for a provider, at a breaker or between two attempts.
        failed: That ended, and were not scored.
        limit: So many may run at once, where that is found while it runs; else None.
        cost_usd: What model calls have cost; None where nobody knows a price.
        left_s: Seconds until all is done, if it goes on like this; None while nobody can say.
    """

    done: int
    total: int
    running: int
    waiting: int
    failed: int
    limit: int | None
    cost_usd: float | None
    left_s: float | None

    @property
    def share(self) -> float:
        """How much is done, 0 to 1."""
        return self.done / max(1, self.total)

    def __str__(self) -> str:
        parts = [f"{self.done:,} of {self.total:,}", f"{self.running} running", f"{self.waiting} waiting"]
        if self.limit is not None:
            parts[1] += f" (at most {self.limit})"
        parts.append(f"{self.failed} failed")
        if self.cost_usd is not None:
            parts.append(f"${self.cost_usd:.4f}")
        if self.left_s is not None:
            parts.append(f"{_span(self.left_s)} left")
        return ", ".join(parts)


class Standings:
    """Looks how far a run is."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def look(self) -> Standing:
        """How far it is now."""
        tally, busy = self._driver.tally, self._driver.place.busy()
        here = tally.done - tally.before
        spent = (time.monotonic() - tally.began) / here if here else None
        return Standing(
            done=tally.done,
            total=tally.total,
            running=busy.running,
            waiting=busy.waiting,
            failed=tally.done - tally.ended["scored"],
            limit=busy.limit,
            cost_usd=busy.cost_usd,
            left_s=None if spent is None else spent * (tally.total - tally.done),
        )


def show(run: Any, driver: Driver) -> None:  # a Run, which imports this
    """Wait for the end of a run, and show how far it is."""
    if in_notebook():
        _show_in_a_notebook(run, driver)
    elif sys.stderr.isatty():
        _show_on_a_terminal(driver)
    else:
        driver.over.wait()


def _show_in_a_notebook(run: Any, driver: Driver) -> None:
    display = importlib.import_module("IPython.display").display
    widget: Any = run.progress()
    display(widget)
    driver.over.wait()
    widget.end()


def _show_on_a_terminal(driver: Driver) -> None:
    standings = Standings(driver)
    while not driver.over.wait(BEAT):
        standing = standings.look()
        full = round(standing.share * WIDTH)
        sys.stderr.write(f"\r\x1b[2K[{'=' * full}{' ' * (WIDTH - full)}] {standing}")
        sys.stderr.flush()
    sys.stderr.write("\r\x1b[2K")
    sys.stderr.flush()


def _span(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3 h``, as a person says it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.0f} h"
