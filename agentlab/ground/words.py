"""Words for people: what a misspelt name probably meant, one agent and two agents, the first few of many."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import ParamSpec, TypeVar

from agentlab.errors import UnknownOption

P = ParamSpec("P")
R = TypeVar("R")


def counted(number: int, what: str, *, sep: str = ",") -> str:
    """``1 agent``, ``2 agents``, ``1,000 agents``; with ``sep=""``, as in a repr, ``1000 agents``."""
    return f"{number:{sep}} {what}{'s' * (number != 1)}"


def few(texts: Sequence[str], most: int = 5) -> str:
    """The first few, and how many more there are."""
    return "; ".join(texts[:most]) + (f"; and {len(texts) - most:,} more" if len(texts) > most else "")


def meant(name: str, known: Iterable[str]) -> str:
    """`` did you mean 'max_restarts'?``, or nothing where no known name is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" did you mean {close[0]!r}?" if close else ""


def spelt(function: Callable[P, R], what: str = "") -> Callable[P, R]:
    """Refuse keywords that the function does not take with the one that was probably meant.

    Args:
        function: It takes no ``**kwargs``.
        what: Its name for the error; its own if left out.
    """
    parameters = inspect.signature(function).parameters.values()
    known = {p.name: None for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    known.pop("self", None)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in known:
                raise UnknownOption(
                    f"{what or function.__name__} has no option {name!r};{meant(name, known)} its options: "
                    f"{', '.join(known)}",
                    kind="unknown_option", value=name,
                )  # fmt: skip
        return function(*args, **kwargs)

    return call
