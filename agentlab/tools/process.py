"""The process in which one call of an isolated tool runs: ``python -P process.py FD PARENT``.

FD is one end of a socketpair. The job comes by it, then the answer goes: first ``READY`` when the function is loaded,
then one part more. Each part is a letter, a length and so many bytes. It runs by its path and imports nothing of
agentlab, which takes ten times as long as all else here; what the function needs, it imports itself.
"""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import json
import os
import pickle
import signal
import socket
import struct
import sys
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
from pydantic_core import to_json

HEAD = struct.Struct("!cI")

READY, TEXT, VALUE, FAILED = b"r", b"t", b"v", b"f"
"""The letters: loaded; a result as text, or as a pickle; why there is none, as JSON."""


class Job(NamedTuple):
    """One call."""

    function: bytes  # as cloudpickle packs it
    arguments: bytes
    as_text: bool
    max_memory: int | None
    path: list[str]


def main() -> None:
    """Do the job and say how it went."""
    line = socket.socket(fileno=int(sys.argv[1]))
    line.set_inheritable(False)
    die_with_parent(int(sys.argv[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        letter, said = carried_out(line, receive(line))
    except BaseException as error:  # whatever a tool raises is its failure
        letter, said = FAILED, failure(error)
    send(line, letter, said)


def carried_out(line: socket.socket, data: bytes) -> tuple[bytes, bytes]:
    """Load the function and call it; its result."""
    job = Job(*pickle.loads(data))  # noqa: S301  # from the node that started this process
    sys.path[:] = job.path
    function = pickle.loads(job.function)  # noqa: S301  # as above
    arguments = pickle.loads(job.arguments)  # noqa: S301  # as above
    send(line, READY, b"")
    if job.max_memory is not None:
        limit_memory(job.max_memory)
    result = function(**arguments)
    if inspect.isawaitable(result):
        result = asyncio.run(_awaited(result))
    if job.as_text:
        return TEXT, as_text(result).encode()
    try:
        return VALUE, cloudpickle.dumps(result)
    except Exception as error:  # any object's __reduce__ may raise anything
        raise TypeError(f"the result, {type(result).__name__}, cannot leave its process: {error}") from None


async def _awaited(result: Any) -> Any:
    return await result


class Untold(ValueError):
    """A result of which a model can be told nothing."""


def as_text(result: Any) -> str:
    """A result as a model gets it: text as it is, all else as JSON.

    Raises:
        Untold: It is neither.
    """
    if isinstance(result, str):
        return result.encode("utf-8", "replace").decode()
    try:
        return to_json(result, inf_nan_mode="constants").decode()
    except ValueError as error:
        raise Untold(f"returned {type(result).__name__}, which is neither text nor JSON: {str(error)[:200]}") from None


def failure(error: BaseException) -> bytes:
    """What was raised, as JSON: its type, its text, its traceback, and whether memory was short."""
    try:
        text = str(error)
        trace = "".join(traceback.format_exception(error))
    except BaseException as second:  # an exception's own methods may raise
        text = trace = f"(its text cannot be shown: {type(second).__name__})"
    said = {"type": type(error).__name__, "text": text[:100_000], "trace": trace[-100_000:]}
    return json.dumps({**said, "memory": isinstance(error, MemoryError)}).encode()


def receive(line: socket.socket) -> bytes:
    """The job; the process ends if the node does."""
    head = _exactly(line, HEAD.size)
    return _exactly(line, HEAD.unpack(head)[1])


def _exactly(line: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = line.recv(min(size, 1 << 20))
        if not part:
            os._exit(1)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def send(line: socket.socket, letter: bytes, said: bytes) -> None:
    """One part of the answer."""
    line.sendall(HEAD.pack(letter, len(said)) + said)


def limit_memory(size: int) -> None:
    """Let an allocation past ``size`` bytes beside what is there fail as a MemoryError; the node looks too."""
    if sys.platform == "linux":
        import resource

        lines = Path("/proc/self/status").read_text().splitlines()
        used = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
        resource.setrlimit(resource.RLIMIT_DATA, (used + size, used + size))


def die_with_parent(parent: int) -> None:
    """Ask Linux to end this process with the thread that started it; elsewhere the end of its line does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it died in between
        os._exit(0)


if __name__ == "__main__":
    main()
