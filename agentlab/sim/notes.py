"""What a simulator remembers in a file, so that the next one, after a crash, goes on counting where it stood.

A file of JSON lines: each request when it came and again when it was answered, each profile, each script. Times in it
are of the wall, for the next process has another clock. A line that a crash has cut is left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from agentlab.sim.schemas import JSON


class Notes:
    """Appends to a file what is to be remembered, and reads it back.

    Args:
        path: The file; ``None``: nothing is remembered.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = path
        self._file = -1

    def recall(self, hear: Callable[[str, JSON], None]) -> None:
        """Hear everything that was noted, oldest first; what is noted from now on comes behind it."""
        if self.path is None:
            return
        self._file = os.open(self.path, os.O_APPEND | os.O_CREAT | os.O_RDWR, 0o600)
        with Path(self.path).open("rb") as lines:
            last = b"\n"
            for last in lines:
                try:
                    what, value = json.loads(last)
                except ValueError:
                    continue
                hear(what, value)
        if not last.endswith(b"\n"):
            os.write(self._file, b"\n")

    def note(self, what: str, value: JSON) -> None:
        """Remember something, at once: a process that is killed next has told it."""
        if self._file >= 0:
            os.write(self._file, json.dumps([what, value]).encode() + b"\n")

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
