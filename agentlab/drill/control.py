"""A control: round trips through a bare asyncio process, made in turn with the drill's questions.

On a machine that others use too, everything is answered later while they work. What no lab takes part in shows by how
much, in the same seconds.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self


class Control:
    """A process that answers whatever is said to it; it ends with this object's block."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair()
        with theirs:
            theirs.set_inheritable(True)
            command = [sys.executable, "-I", str(Path(__file__).with_name("echo.py")), str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        self._line.settimeout(60.0)
        self.took(1)  # it takes a moment to begin

    def took(self, times: int) -> list[float]:
        """Ask so often at once; the seconds of each answer."""
        began = time.monotonic()
        self._line.sendall(bytes(times))
        answers: list[float] = []
        while len(answers) < times:
            said = len(self._line.recv(times - len(answers)))
            if not said:
                raise ConnectionError(f"the drill's control has ended: {self._process.poll()}")
            answers += [time.monotonic() - began] * said
        return answers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._line.close()
        self._process.wait(60)
