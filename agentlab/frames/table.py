"""Table: a DataFrame whose times are shown in milliseconds. Importing this imports pandas."""

from __future__ import annotations

from typing import Protocol

import pandas as pd

from agentlab.ground.texts import safe

HIDDEN = "…"

DURATIONS = frozenset({"took_s", "wait_s", "waits_s", "backoff_s", "downtime_s", "latency_s", "message_age_s", "cpu_s"})
"""Columns that a clock fills."""


class Still(Protocol):
    """Who wants frames to look the same in each run.

    Attributes:
        holds: Whether that is still so.
    """

    @property
    def holds(self) -> bool: ...


still: set[Still] = set()
"""While one of them holds, times and durations are shown as ``HIDDEN``."""


class Table(pd.DataFrame):
    """A DataFrame that holds nanoseconds and texts as they came, and shows milliseconds and nothing that could do harm.

    More digits would push the other columns off the page; pandas draws a terminal's codes as they are.
    """

    @property
    def _constructor(self) -> type[Table]:
        return Table

    def __repr__(self) -> str:
        return safe(repr(self._shown()))

    def _repr_html_(self) -> str | None:
        html: str | None = self._shown()._repr_html_()  # type: ignore[operator]  # what a notebook asks a frame for
        return html if html is None else safe(html)

    def _shown(self) -> pd.DataFrame:
        shown = pd.DataFrame(self, copy=False)
        if any(one.holds for one in still):
            return _hidden(shown)
        for place, dtype in enumerate(shown.dtypes):
            if isinstance(dtype, pd.DatetimeTZDtype):
                shown.isetitem(place, shown.iloc[:, place].dt.round("ms"))
        if isinstance(shown.index, pd.DatetimeIndex):
            shown.index = shown.index.round("ms")
        return shown


def _hidden(shown: pd.DataFrame) -> pd.DataFrame:
    """Without what a clock says; what is missing stays missing."""
    for place, (name, dtype) in enumerate(zip(shown.columns, shown.dtypes, strict=True)):
        if isinstance(dtype, pd.DatetimeTZDtype) or name in DURATIONS:
            values = shown.iloc[:, place].astype(object)
            shown.isetitem(place, values.where(values.isna(), HIDDEN).array)
    if isinstance(shown.index, pd.DatetimeIndex):
        shown.index = pd.Index([HIDDEN] * len(shown), name=shown.index.name)
    return shown
