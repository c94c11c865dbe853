"""Columns of a DataFrame from rows of a store, a chunk at a time: a million rows in a few seconds.

A store may come from another person, and SQLite puts any value into any column: what does not fit its column
is a damaged store, not an odd frame.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from agentlab.errors import StoreDamaged

if TYPE_CHECKING:
    import pandas as pd

TIME, WORD, INT, FLOAT, TEXT = "time", "category", "Int64", "float64", "object"

Rows = Sequence[tuple[Any, ...]]


class Column(Protocol):
    """Takes the values of one column, chunk by chunk, and makes what pandas holds of them."""

    def add(self, values: Sequence[Any]) -> None:
        """Take the values of one chunk."""

    def done(self) -> Any:
        """All of them, as pandas holds them."""


class Words:
    """Repeated words: each is kept once. None is no word."""

    def __init__(self) -> None:
        self._index: defaultdict[Any, int] = defaultdict(itertools.count().__next__)
        self._codes: list[Any] = []

    def add(self, values: Sequence[Any]) -> None:
        import numpy as np

        self._codes.append(np.fromiter(map(self._index.__getitem__, values), "int64", len(values)))

    def done(self) -> Any:
        import numpy as np
        import pandas as pd

        words = sorted({str(word) for word in self._index if word is not None})
        places = {word: place for place, word in enumerate(words)}
        place_of = np.array([-1 if word is None else places[str(word)] for word in self._index], "int64")
        codes = place_of[np.concatenate(self._codes)] if self._codes else []
        return pd.Categorical.from_codes(codes, categories=pd.Index(words, dtype=pd.StringDtype("python")))


class Numbers:
    """Whole numbers, some of them missing."""

    def __init__(self) -> None:
        self._values: list[Any] = []
        self._missing: list[Any] = []

    def add(self, values: Sequence[Any]) -> None:
        import numpy as np

        missing = values.count(None)
        if not missing:
            self._values.append(np.array(values, "int64"))
            self._missing.append(np.zeros(len(values), "bool"))
            return
        self._values.append(np.array([0 if value is None else value for value in values], "int64"))
        self._missing.append(np.array([value is None for value in values], "bool"))

    def joined(self) -> tuple[Any, Any]:
        """The values, and where they are missing."""
        import numpy as np

        if not self._values:
            return np.array([], "int64"), np.array([], "bool")
        return np.concatenate(self._values), np.concatenate(self._missing)

    def done(self) -> Any:
        import pandas as pd

        return pd.arrays.IntegerArray(*self.joined())


class Times(Numbers):
    """Nanoseconds since 1970, UTC."""

    def done(self) -> Any:
        import pandas as pd

        values, missing = self.joined()
        values[missing] = pd.NaT.value
        return pd.DatetimeIndex(values.view("datetime64[ns]"), tz="UTC")


class Fractions:
    """Floats; a missing one is NaN."""

    def __init__(self) -> None:
        self._values: list[Any] = []

    def add(self, values: Sequence[Any]) -> None:
        import numpy as np

        self._values.append(np.array(values, "float64"))

    def done(self) -> Any:
        import numpy as np

        return np.concatenate(self._values) if self._values else np.array([], "float64")


class Texts:
    """Texts, most of them different; a missing one is NA, as in the other columns."""

    def __init__(self) -> None:
        self._values: list[Any] = []

    def add(self, values: Sequence[Any]) -> None:
        self._values.extend(values)

    def done(self) -> Any:
        import pandas as pd

        return pd.Series([pd.NA if value is None else value for value in self._values], dtype="object")


KINDS: Mapping[str, type[Column]] = {TIME: Times, WORD: Words, INT: Numbers, FLOAT: Fractions, TEXT: Texts}


def frame(chunks: Iterable[Rows], spec: Mapping[str, str]) -> pd.DataFrame:
    """Rows as a DataFrame whose columns and their dtypes are those of ``spec``, also without rows.

    Raises:
        StoreDamaged: A value is none for its column.
    """
    from agentlab.frames.table import Table

    columns = {name: KINDS[kind]() for name, kind in spec.items()}
    name = ""
    for rows in chunks:
        for name, values in zip(columns, zip(*rows, strict=True), strict=False):
            try:
                columns[name].add(values)
            except (TypeError, ValueError, OverflowError) as error:
                raise StoreDamaged(f"the column {name!r} holds what is none of its values: {error}.") from None
    return Table({name: column.done() for name, column in columns.items()})


def column(values: Sequence[Any]) -> Any:
    """A column of any JSON values; numbers that may be missing keep their kind."""
    import pandas as pd

    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {bool}:
        return pd.array(values, dtype="boolean")
    if (
        kinds
        and kinds <= {int, float}
        and all(value is None or isinstance(value, float) or abs(value) < 2**63 for value in values)
    ):
        if float not in kinds:
            return pd.array(values, dtype="Int64")
        return pd.array([float("nan") if value is None else float(value) for value in values], dtype="float64")
    return pd.Series(values, dtype="object")
