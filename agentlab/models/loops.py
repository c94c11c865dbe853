"""Whether a model turns in circles: the same tool calls with the same results, again and again. Pure.

A call that is made again and finds something else is no loop (it waits for something), so results count too. A circle
may have up to four turns (A-B-A-B ...).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

JSON = dict[str, Any]  # a JSON object off the wire

LONGEST = 4
"""Turns that a circle may have."""


class Loops:
    """Remembers the turns of one question.

    Args:
        most: So often in a row the same calls may find the same; None: for ever.
    """

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._turns: list[tuple[str, str]] = []

    def add(self, calls: Sequence[JSON], results: Sequence[JSON]) -> None:
        """Note calls that were made, and what they found."""
        self._turns.append((_said(calls), json.dumps([result.get("content") for result in results])))

    def closes(self, calls: Sequence[JSON]) -> int | None:
        """The length (turns) of the circle that these calls would go through once more; None if there is none."""
        if self._most is None:
            return None
        said = _said(calls)
        for length in range(1, LONGEST + 1):
            tail = self._turns[-length * self._most :]
            if len(tail) == length * self._most and tail[0][0] == said and tail == tail[:length] * self._most:
                return length
        return None


def _said(calls: Sequence[JSON]) -> str:
    return json.dumps([[call["name"], call["input"]] for call in calls], sort_keys=True)
