"""The simulator in a process of its own, started from an asyncio loop."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys


class SimulatorProcess:
    """The process; it ends when its standard input does, so never after us."""

    START_SECONDS = 20.0

    def __init__(self) -> None:
        self.endpoint: dict[str, str] = {}
        self._read, write = os.pipe()
        try:
            self.process = subprocess.Popen(  # in a thread that outlives it: it dies with the one that made it
                [sys.executable, "-m", "agentlab.sim", "--fd", str(write)],
                pass_fds=[write], start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            )  # fmt: skip
        finally:
            os.close(write)

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    async def ready(self) -> None:
        """Wait for its address and token.

        Raises:
            EOFError: It ended before.
            TimeoutError: It says nothing.
        """
        loop = asyncio.get_running_loop()
        with os.fdopen(self._read, "rb") as pipe:
            async with asyncio.timeout(self.START_SECONDS):
                while not (line := await _line(loop, pipe.fileno())):
                    pass
        self.endpoint = json.loads(line)

    def close(self) -> None:
        """End it now."""
        self.process.kill()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(5)


async def _line(loop: asyncio.AbstractEventLoop, fd: int) -> bytes:
    readable = loop.create_future()
    loop.add_reader(fd, lambda: None if readable.done() else readable.set_result(None))
    try:
        await readable
    finally:
        loop.remove_reader(fd)
    data = os.read(fd, 4096)
    if not data:
        raise EOFError
    return data
