"""How a peer is asked: ``by_x.py what name=value ...`` calls the function ``what`` and prints its values as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any


def answer(*functions: Callable[..., dict[str, Any]]) -> None:
    """Call the function that the command line names; say how much it found."""
    what, *given = sys.argv[1:]
    sizes = {name: int(value) if value.isdigit() else value for name, value in (each.split("=", 1) for each in given)}
    values = {each.__name__: each for each in functions}[what](**sizes)
    print(json.dumps(values), flush=True)


def percentiles(took: list[float]) -> dict[str, float]:
    """The middle and the slowest hundredth."""
    ranked = sorted(took)
    return {"p50": ranked[len(ranked) // 2], "p99": ranked[min(len(ranked) - 1, int(len(ranked) * 0.99))]}
