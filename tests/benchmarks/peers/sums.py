"""The eval that both sides run: sums, of which each plus sign behind the first turn costs a tool call and a turn."""

from __future__ import annotations

from pathlib import Path

MIND = "sim-calculator"
AT_ONCE = 64
STORE = "run.lab"
POISON = "poison"
"""A word that only the sample has for which the provider fails for ever, or the solver raises."""


def question(number: int, turns: int) -> tuple[str, str]:
    """What is asked, and what occurs in a right answer; without tools one turn answers it, whatever it is."""
    ones = max(1, turns - 1)
    return f"What is {number}{' + 1' * ones}?", f"= {number + ones}"


def questions(samples: int, turns: int, poison: int = 0) -> list[tuple[str, str, str]]:
    """Ids, inputs and targets; that many of the first say that they are poisoned."""
    found = []
    for number in range(samples):
        text, target = question(number, turns)
        found.append((f"q{number}", f"{text} {POISON}" if number < poison else text, target))
    return found


def folder_of(name: str) -> Path:
    """Where a run is kept."""
    folder = Path(name)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
