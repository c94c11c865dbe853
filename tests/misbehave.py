"""Ways in which an agent's code misbehaves, for the tests of what that costs its neighbours."""

from __future__ import annotations

import collections
import ctypes
import itertools
import operator
import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOCKED = ctypes.PyDLL(None)
"""The C library, called as Python's own C code is: with the interpreter's lock held."""


@contextmanager
def deaf() -> Iterator[None]:
    """No signal arrives: C code that minds none, as far as anybody can tell from outside."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def is_deaf(pid: int | None) -> bool:
    """Whether no signal arrives there: its code is within ``deaf``, and from there on nobody else's runs."""
    if pid is None:
        return False
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    blocked = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigBlk:")), 16)
    return bool(blocked >> (signal.SIGALRM - 1) & 1)


def loop() -> None:
    """Never await, never end."""
    while True:
        pass


def sleep(seconds: float) -> None:
    """Block as code does that was never written for a loop."""
    time.sleep(seconds)


def block_until(gate: str) -> None:
    """The same, until somebody writes into the named pipe ``gate``."""
    with Path(gate).open("rb", buffering=0) as file:
        file.read(1)


def hold(seconds: float) -> None:
    """Be in C code that holds the interpreter's lock."""
    with deaf():
        LOCKED.usleep(int(seconds * 1e6))


def hold_until(gate: str) -> None:
    """The same, until somebody writes into the named pipe ``gate``; ``{gate}-holds`` gets a letter once it holds."""
    file, holds = os.open(gate, os.O_RDWR), os.open(f"{gate}-holds", os.O_WRONLY | os.O_CREAT)
    calls = [(LOCKED.write, holds, b".", 1), (LOCKED.read, file, ctypes.create_string_buffer(1), 1)]
    try:
        with deaf():
            collections.deque(itertools.starmap(operator.call, calls), maxlen=0)  # no line of Python between the two
    finally:
        os.close(file)
        os.close(holds)


def hold_for_ever(first: Iterable[object] = ()) -> None:
    """The same without an end, in one line that anybody might write; it takes what ``first`` yields once it holds."""
    collections.deque(itertools.chain(first, itertools.repeat(0)), maxlen=0)


def leave() -> None:
    """End the process."""
    os._exit(3)


def segfault() -> None:
    """Read where nothing is."""
    ctypes.string_at(0)
