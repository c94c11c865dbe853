"""The zygote: ``python -m agentlab.node FD STDERR``, with FD one end of a socketpair that the kernel holds.

It has a node's imports done and no threads, so it forks a ready node in milliseconds and shares its memory
with it. The kernel itself is never forked: it has threads. When it is ready it answers its process id; from then
on STDERR is its standard error. Three requests, each a length, a JSON text and, to fork, the node's end of its own
socketpair and its shared word: ``fork`` answers a process id, ``wait`` how that process ended, and ``keep`` names a
folder that is removed when the kernel is gone.

A node ignores the terminal's signals and lives exactly as long as the kernel: it ends at its socket's end of
file, and on Linux also by the parent-death signal, which reaches it inside C code too. A node leads a process group
of its own; what its agents have started and left in that group is ended when the node is, or the kernel.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import json
import os
import resource
import shutil
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from agentlab.agent.base import Agent, Field
from agentlab.ground.preload import load_needed, note_need
from agentlab.node.host import Host
from agentlab.node.loose import serve
from agentlab.wire.packing import pack_class, unpack
from agentlab.wire.word import Word

LENGTH = struct.Struct("!I")

nodes: set[int] = set()
"""The nodes that were forked and not waited for."""

folders: list[str] = []
"""What labs keep on the disk for as long as the kernel lives."""

SLACK = 64 * 1024 * 1024
"""Bytes beside an agent's own that a node may set aside: stacks of threads, what the allocator holds in reserve."""


def main() -> None:
    """Serve until the kernel is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: end())
    die_with_parent(os.getppid(), signal.SIGTERM)
    warm()
    gc.collect()
    gc.freeze()  # what is imported is never garbage: nodes need not look at it, so they share its memory
    kernel = socket.socket(fileno=int(sys.argv[1]))
    kernel.set_inheritable(False)
    os.dup2(int(sys.argv[2]), 2)
    os.close(int(sys.argv[2]))
    answer(kernel, os.getpid())
    while True:
        request, fds = receive(kernel)
        if request is None:
            end()
        for fd in fds:
            os.set_inheritable(fd, False)  # what an agent starts gets none of them
        if request["op"] == "wait":
            answer(kernel, ended(request["pid"]))
            continue
        if request["op"] == "keep":
            folders.append(request["folder"])
            answer(kernel, None)
            continue
        for library in request["needs"]:
            note_need(library)
        load_needed()
        try:
            pid = os.fork()
        except OSError:  # the system has no room for another process: the kernel is told, and asks again
            pid = None
        if pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            kernel.close()
            become_node(request, *fds)
        if pid is not None:
            nodes.add(pid)
        for fd in fds:
            os.close(fd)
        answer(kernel, pid)


def warm() -> None:
    """Have loaded what every node would load for itself: the machinery of types, the loop, a class that travels."""
    Field("Warm", "items", dict[str, list[int]], {}).check()
    unpack(pack_class(type("Warm", (Agent,), {"__annotations__": {"items": list[int]}, "items": []})))
    asyncio.run(asyncio.sleep(0))


def receive(kernel: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """One request and the descriptors that came with it; None at the end of file."""
    head, fds, _, _ = socket.recv_fds(kernel, LENGTH.size, 2)
    if not head:
        return None, []
    head += exactly(kernel, LENGTH.size - len(head))
    body: dict[str, Any] = json.loads(exactly(kernel, LENGTH.unpack(head)[0]))
    return body, list(fds)


def exactly(kernel: socket.socket, size: int) -> bytes:
    """So many bytes; the process ends if the kernel does."""
    data = b""
    while len(data) < size:
        part = kernel.recv(size - len(data))
        if not part:
            end()
        data += part
    return data


def answer(kernel: socket.socket, value: int | None) -> None:
    """One JSON text and a line's end; the process ends if the kernel has."""
    try:
        kernel.sendall(json.dumps(value).encode() + b"\n")
    except OSError:
        end()


def ended(pid: int, patience: float = 1.0) -> int | None:
    """How a node ended: its exit code, or minus the signal; None if it still runs after ``patience`` s."""
    late = time.monotonic() + patience
    while True:
        try:
            if hasattr(os, "waitid") and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                end_group(pid)  # before its number can be anybody else's
            found, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return None
        if found:
            nodes.discard(pid)
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > late:
            return None
        time.sleep(0.001)  # the kernel saw its line cut: it is on its way


def end_group(pid: int) -> None:
    """End a node and what its agents have started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def end() -> NoReturn:
    """The kernel is gone: end what is left of it."""
    for pid in nodes:
        end_group(pid)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def become_node(request: dict[str, Any], line: int, word: int) -> NoReturn:
    """In the fork: a session, a path, a folder and an environment of its own, then the host."""
    try:
        parent = os.getppid()
        os.setsid()
        die_with_parent(parent, signal.SIGKILL)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # one model call, one descriptor
        sys.path[:] = request["path"]
        os.environ.clear()
        os.environ.update(request["env"])
        if request["cwd"] is not None:
            os.chdir(request["cwd"])
        sock = socket.socket(fileno=line)
        if request["kind"] == "low":
            os.nice(19)
        if request["memory"] is not None:
            limit_memory(request["memory"])
        serve(Host(sock, Word(word), request))
    finally:
        os._exit(1)


def limit_memory(size: int) -> None:
    """Let an allocation far past ``size`` bytes fail as a MemoryError; the kernel's watch sees to the rest."""
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text().splitlines()
        used = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
        most = used + size + SLACK
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def die_with_parent(parent: int, number: signal.Signals) -> None:
    """Ask Linux for a signal to this process when the one that started it is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, number)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it died in between
            os._exit(0)


main()
