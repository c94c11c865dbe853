"""An effect on the world that tests can count: one more letter in a file."""

from __future__ import annotations

from pathlib import Path


def mark(folder: str, word: str) -> int:
    """Add a letter to the word's file; the how many-th it is, also where others write at that moment."""
    with Path(folder, word).open("ab", buffering=0) as file:
        file.write(b"x")
        return file.tell()


def size(folder: Path, word: str) -> int:
    """How often the effect took place."""
    file = folder / word
    return file.stat().st_size if file.exists() else 0
