"""What a provider was asked for nothing, from the log of its simulator, whoever its clients were."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

Requests = Iterable[Mapping[Any, Any]]
"""Rows of the log, oldest first."""


def repeated(log: Requests) -> int:
    """Requests that came again after they had been answered whole."""
    return sum(row["again"] for row in _followed(log))


def wasted(log: Requests, right: Collection[str]) -> int:
    """Tokens of answers that were of no use: cut or spoilt, given before, or for a task that came to nothing.

    Args:
        log: Its rows.
        right: The questions of the tasks that ended well.
    """
    return sum(
        (row.get("tokens_in") or 0) + (row.get("tokens_out") or 0)
        for row in _followed(log)
        if row["again"] or not row["finished"] or row.get("prompt") not in right
    )


def _followed(log: Requests) -> Iterable[dict[str, Any]]:
    """Each row, and whether its request had been answered whole before."""
    finished: set[str] = set()
    for row in log:
        yield {**row, "again": row["key"] in finished}
        if row["finished"]:
            finished.add(row["key"])
