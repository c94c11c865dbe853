"""A call of an isolated tool, from the node's side: a process that may be killed, and what it met if it was.

Each call starts a process, sends it the function and the checked arguments, and waits in a thread of its own. What the
function prints goes where it would go without the process, in whole lines: calls print side by side. The process shares
the group of its node, so it cannot outlive that; a call that nobody waits for any more ends with all that it has
started.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle

from agentlab.agent.fields import MAX_MESSAGE
from agentlab.errors import ToolFailed
from agentlab.faults import fault
from agentlab.ground.interpreter import inherited
from agentlab.ground.memory import memory_of
from agentlab.tools import process
from agentlab.tools.process import FAILED, HEAD, READY, TEXT, Job, Untold

START_SECONDS = 60.0
"""So long a process may take until the function is loaded in it; a tool's own timeout begins then."""

LOOK_SECONDS = 0.05
"""So often the memory of a process is looked at."""

END_SECONDS = 1.0
"""So long a process may take to end after its answer."""

MAX_PRINTED = 1 << 20
"""Bytes of what one call prints that are handed on."""

MAX_LINE = 1 << 16
"""Bytes of a line that has not ended: more are handed on as they are."""


class Limits(NamedTuple):
    """What a call may use: seconds, and bytes beside those of an interpreter that has loaded the function."""

    timeout: float | None
    max_memory: int | None


class Call:
    """One call, in a process of its own.

    Args:
        name: The tool's.
        function: What to call.
        arguments: Checked, by name.
        limits: What it may use.
        as_text: The result as the model gets it.
    """

    def __init__(
        self, name: str, function: Callable[..., Any], arguments: dict[str, Any], limits: Limits, *, as_text: bool
    ) -> None:
        self._name = name
        self._limits = limits
        parts = cloudpickle.dumps(function), cloudpickle.dumps(arguments)
        self._job = pickle.dumps(tuple(Job(*parts, as_text, limits.max_memory, list(sys.path))))
        self._lock = threading.Lock()
        self._over = False
        self._process: subprocess.Popen[bytes] | None = None
        self._heard = bytearray()
        self._printed = 0
        self._line = b""  # printed, and not ended yet
        self._born = 0  # bytes that it had when the function was loaded
        self._until = time.monotonic() + START_SECONDS
        self._ready = False

    def run(self) -> Any:
        """Call the function and give its result; blocks.

        Raises:
            ToolFailed: It raised, its process ended, or it met a limit; says which.
        """
        ours, theirs = socket.socketpair()
        out, into = os.pipe()
        with ours, contextlib.closing(os.fdopen(out, "rb", buffering=0)) as printed:
            try:
                self._start(theirs, into)
                return self._answer(ours, printed.fileno())
            finally:
                self.kill()
                if self._process is not None:
                    self._process.wait()
                while self._printed < MAX_PRINTED and self._print(printed.fileno()):
                    pass
                self._hand_on(len(self._line))

    def kill(self, *_: object) -> None:
        """End the process, and what it has started; from any thread, as often as one likes."""
        with self._lock:
            self._over = True
            if self._process is None or self._process.returncode is not None:
                return
            for pid in reversed(_below(self._process.pid)):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            self._process.kill()

    def _start(self, line: socket.socket, printed: int) -> None:
        command = [sys.executable, "-u", "-P", process.__file__, str(line.fileno()), str(os.getpid())]
        environment = {**os.environ, **inherited(), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with line, os.fdopen(printed, "wb", buffering=0) as into, self._lock:
            if self._over:
                raise self._failed("it was ended before it began")
            self._process = subprocess.Popen(
                command, pass_fds=(line.fileno(),), stdin=subprocess.DEVNULL, stdout=into, stderr=into,
                env=environment,
            )  # fmt: skip

    def _answer(self, line: socket.socket, printed: int) -> Any:
        line.settimeout(START_SECONDS)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it is gone: its end says why
            line.sendall(HEAD.pack(b"j", len(self._job)) + self._job)
        with selectors.DefaultSelector() as selector:
            selector.register(line, selectors.EVENT_READ)
            selector.register(printed, selectors.EVENT_READ)
            while True:
                self._check_limits()
                gone = self._has_ended()  # before the last look: what it said is there by then
                ready = {key.fd for key, _ in selector.select(0 if gone else self._patience())}
                if printed in ready and self._print(printed) == b"":
                    selector.unregister(printed)
                part = self._hear(line) if line.fileno() in ready else None
                while (said := self._said()) is not None:
                    if said[0] != READY:
                        self._leave()
                        return self._result(*said)
                    self._loaded()
                if part == b"" or (gone and not ready):
                    raise self._failed(self._how_it_ended())

    def _patience(self) -> float:
        left = self._until - time.monotonic()
        return max(0.0, min(left, 0.25 if self._limits.max_memory is None else LOOK_SECONDS))

    def _loaded(self) -> None:
        self._ready = True
        assert self._process is not None
        self._born = memory_of(self._process.pid, shared=True) or 0
        self._until = float("inf") if self._limits.timeout is None else time.monotonic() + self._limits.timeout

    def _check_limits(self) -> None:
        if time.monotonic() > self._until:
            if self._ready:
                raise self._failed(f"its process was killed at its timeout of {self._limits.timeout:g} s")
            raise self._failed(f"its process was not ready after {START_SECONDS:g} s, and was killed")
        most = self._limits.max_memory
        if most is None or not self._ready or self._process is None:
            return
        used = memory_of(self._process.pid, shared=True)
        if used is not None and used - self._born > most:
            raise self._failed(f"its process was killed at its max_memory of {most:,} bytes")

    def _has_ended(self) -> bool:
        assert self._process is not None
        with self._lock:
            return self._process.poll() is not None

    def _hear(self, line: socket.socket) -> bytes:
        try:
            part = line.recv(1 << 20)
        except OSError:
            part = b""
        self._heard += part
        return part

    def _said(self) -> tuple[bytes, bytes] | None:
        """The next whole part of the answer, taken out of what was heard."""
        if len(self._heard) < HEAD.size:
            return None
        letter, size = HEAD.unpack_from(self._heard)
        if size > MAX_MESSAGE:
            raise self._failed(f"it returned {size:,} bytes; a result holds up to {MAX_MESSAGE:,}")
        if len(self._heard) < HEAD.size + size:
            return None
        said = bytes(self._heard[HEAD.size : HEAD.size + size])
        del self._heard[: HEAD.size + size]
        return letter, said

    def _result(self, letter: bytes, said: bytes) -> Any:
        if letter == TEXT:
            return said.decode()
        if letter != FAILED:
            return pickle.loads(said)  # noqa: S301  # from the process that was just started for this call
        found = json.loads(said)
        if found["memory"] and self._limits.max_memory is not None:
            raise self._failed(f"it met its max_memory of {self._limits.max_memory:,} bytes")
        if found["type"] == Untold.__name__:
            raise ToolFailed(f"{self._name} {found['text']}", fault("tool_failed"))
        error = self._failed(f"{found['type']}: {found['text']}")
        error.add_note(f"In its process:\n{found['trace'].rstrip()}")
        raise error

    def _failed(self, why: str) -> ToolFailed:
        return ToolFailed(f"{self._name} failed: {why}", fault("tool_failed"))

    def _how_it_ended(self) -> str:
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired), self._lock:
            self._process.wait(END_SECONDS)
        code = self._process.returncode
        if self._over or code is None:
            return "its process was ended"
        if code >= 0:
            return f"its process ended with exit code {code} and gave no result"
        with contextlib.suppress(ValueError):
            return f"its process was killed by {signal.Signals(-code).name} and gave no result"
        return f"its process was killed by signal {-code} and gave no result"

    def _leave(self) -> None:
        """It has answered: it may clean up."""
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)

    def _print(self, printed: int) -> bytes | None:
        """Hand on the lines that were printed; what came: None for nothing yet, b"" for nothing more."""
        os.set_blocking(printed, False)
        try:
            came = os.read(printed, 1 << 16)
        except BlockingIOError:
            return None
        if self._printed < MAX_PRINTED:
            self._line += came
        self._printed += len(came)
        whole = max(self._line.rfind(b"\n"), self._line.rfind(b"\r")) + 1
        self._hand_on(whole if len(self._line) - whole <= MAX_LINE else len(self._line))
        return came

    def _hand_on(self, size: int) -> None:
        if size:
            sys.stdout.write(self._line[:size].decode("utf-8", "replace"))
            self._line = self._line[size:]


def _below(pid: int) -> list[int]:
    """The processes that a process has started, and those that these have; known on Linux only."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, path.read_text().split()):
                found += [child, *_below(child)]
    return found
