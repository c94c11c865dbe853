"""Exercises at the end of a notebook, and the cells that check them."""

from __future__ import annotations

from types import TracebackType
from typing import ClassVar


class exercise:  # noqa: N801  # a word that stands in a cell, as pytest.raises does
    """Check an exercise: ``with exercise(1): assert total == 6, "count the last one too"``.

    One that is solved is said to be so, and one that is not gets the message of the ``assert`` as a hint. Neither
    raises, so that a notebook whose exercises nobody has solved yet runs through. With ``exercise.strict = True`` what
    is not solved raises as well: for graders (nbgrader) and tests, which look for a cell that failed.

    Args:
        number: What it is called in the text.
    """

    strict: ClassVar[bool] = False

    def __init__(self, number: int) -> None:
        self.number = number

    def __enter__(self) -> None:
        """Nothing is checked yet."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Say what came of it; who stops a cell, or leaves Python, is let through."""
        if error is not None and not isinstance(error, Exception):
            return False
        print(f"Exercise {self.number}: {'solved.' if error is None else f'not yet. {_hint(error)}'}")  # noqa: T201
        return not self.strict

    def __repr__(self) -> str:
        return f"exercise({self.number})"


def _hint(error: Exception) -> str:
    """What an assertion says; of any other error, what it is."""
    if isinstance(error, AssertionError) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}"
