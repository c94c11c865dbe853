"""Table and Column: a DataFrame and a Series whose times are shown in milliseconds. Importing this imports pandas."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

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

    @property
    def _constructor_sliced(self) -> type[Column]:
        return Column

    def __repr__(self) -> str:
        return safe(repr(self._shown()))

    def _repr_html_(self) -> str | None:
        html: str | None = self._shown()._repr_html_()  # type: ignore[operator]  # what a notebook asks a frame for
        return html if html is None else safe(html)

    def _shown(self) -> pd.DataFrame:
        return _as_shown(pd.DataFrame(self, copy=False))


class Column(pd.Series):
    """A Series that is shown as the ``Table`` is which it was taken out of; it holds texts and times as they came."""

    @property
    def _constructor(self) -> type[Column]:
        return Column

    @property
    def _constructor_expanddim(self) -> type[Table]:
        return Table

    def __repr__(self) -> str:
        shown = _as_shown(pd.DataFrame({0: pd.Series(self, copy=False)}, copy=False), self.name).iloc[:, 0]
        shown.name = self.name
        return safe(repr(shown))

    def value_counts(self, *args: Any, **options: Any) -> Column:
        """As of any Series; what was counted is its index, and may be any text too."""
        return Column(super().value_counts(*args, **options))


def _as_shown(shown: pd.DataFrame, name: object = None) -> pd.DataFrame:
    """With times in milliseconds, or hidden; ``name`` is the one of the only column."""
    if any(one.holds for one in still):
        return _hidden(shown, shown.columns if name is None else [name])
    for place, dtype in enumerate(shown.dtypes):
        if isinstance(dtype, pd.DatetimeTZDtype):
            shown.isetitem(place, shown.iloc[:, place].dt.round("ms"))
    if isinstance(shown.index, pd.DatetimeIndex):
        shown.index = shown.index.round("ms")
    return shown


def _hidden(shown: pd.DataFrame, names: Iterable[object]) -> pd.DataFrame:
    """Without what a clock says; what is missing stays missing."""
    for place, (name, dtype) in enumerate(zip(names, shown.dtypes, strict=True)):
        if isinstance(dtype, pd.DatetimeTZDtype) or name in DURATIONS:
            values = shown.iloc[:, place].astype(object)
            shown.isetitem(place, values.where(values.isna(), HIDDEN).array)
    if isinstance(shown.index, pd.DatetimeIndex):
        shown.index = pd.Index([HIDDEN] * len(shown), name=shown.index.name)
    return shown
