"""Table: a DataFrame whose times are shown in milliseconds. Importing this imports pandas."""

from __future__ import annotations

import pandas as pd


class Table(pd.DataFrame):
    """A DataFrame that holds nanoseconds and shows milliseconds: more digits push the other columns off the page."""

    @property
    def _constructor(self) -> type[Table]:
        return Table

    def __repr__(self) -> str:
        return repr(self._shown())

    def _repr_html_(self) -> str | None:
        html: str | None = self._shown()._repr_html_()  # type: ignore[operator]  # what a notebook asks a frame for
        return html

    def _shown(self) -> pd.DataFrame:
        shown = pd.DataFrame(self, copy=False)
        for place, dtype in enumerate(shown.dtypes):
            if isinstance(dtype, pd.DatetimeTZDtype):
                shown.isetitem(place, shown.iloc[:, place].dt.round("ms"))
        if isinstance(shown.index, pd.DatetimeIndex):
            shown.index = shown.index.round("ms")
        return shown
