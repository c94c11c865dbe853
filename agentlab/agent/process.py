"""A program that an agent owns: its lines are heard, its end is noticed, and it is ended with its owner."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence

LAST_LINES = 20
"""Lines that are kept to tell what a program said before it ended."""

LONGEST_LINE = 10_000
"""Characters; what is longer is cut into lines."""


class OwnedProcess:
    """Starts a program in the group of this process, so that it ends with it; what it says goes to ``hear``.

    Its standard input is a pipe that nobody writes to: it ends when this process does.

    Args:
        command: The program and its arguments.
        environment: All of its environment.
        hear: Called in the loop with each line of its output and its errors.
        fds: Descriptors that it gets.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], hear: Callable[[str], None],
        fds: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self.last: deque[str] = deque(maxlen=LAST_LINES)
        self._hear = hear
        self._rest = b""
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = self._loop.create_future()
        self._popen = subprocess.Popen(
            command, env=dict(environment), pass_fds=fds, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, bufsize=0,
        )  # fmt: skip
        assert self._popen.stdout is not None
        self._output = self._popen.stdout.fileno()
        os.set_blocking(self._output, False)
        self._loop.add_reader(self._output, self._read)
        threading.Thread(target=self._wait, name=f"agentlab-wait-{self.pid}", daemon=True).start()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._popen.pid

    def terminate(self) -> None:
        """Ask it to end."""
        self._popen.terminate()

    def kill(self) -> None:
        """End it now, and hear no more of it."""
        self._popen.kill()
        self.let_go()

    def let_go(self) -> None:
        """Close what leads to it."""
        self._loop.remove_reader(self._output)
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def last_words(self) -> str:
        """What it said last, for an error."""
        return "\n".join(self.last)[-2000:] or "nothing"

    def _wait(self) -> None:
        code = self._popen.wait()
        with contextlib.suppress(RuntimeError):  # the loop has ended before it
            self._loop.call_soon_threadsafe(self._note_end, code)

    def _note_end(self, code: int) -> None:
        if self._popen.stdout is not None and not self._popen.stdout.closed:
            self._read()
            if self._rest:
                self._take(b"\n")
        if not self.ended.done():
            self.ended.set_result(code)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._output, 65536)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._loop.remove_reader(self._output)
                return
            self._take(data)

    def _take(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        while len(rest) > LONGEST_LINE:
            lines.append(rest[:LONGEST_LINE])
            rest = rest[LONGEST_LINE:]
        self._rest = rest
        for line in lines:
            text = line.decode(errors="replace").rstrip("\r")
            self.last.append(text)
            self._hear(text)


def how_it_ended(code: int) -> str:
    """An exit code in words: ``exit code 3``, ``SIGKILL``."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
