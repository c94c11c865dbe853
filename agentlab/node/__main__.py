"""The zygote: ``python -m agentlab.node FD STDERR``, with FD one end of a socketpair that the kernel holds.

It has a node's imports done and no threads, so it forks a ready node in milliseconds and shares its memory
with it. The kernel itself is never forked: it has threads. When it is ready it answers its process id; from then
on STDERR is its standard error. Two requests, each a length, a JSON text and, to fork, the node's end of its own
socketpair and its shared word: ``fork`` answers a process id, ``wait`` how that process ended.

A node ignores the terminal's signals and lives exactly as long as the kernel: it ends at its socket's end of
file, and on Linux also by the parent-death signal, which reaches it inside C code too.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import resource
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from agentlab._wire import pack_class, unpack
from agentlab.agent import Agent, Field
from agentlab.node.host import Host
from agentlab.node.loose import serve
from agentlab.node.word import Word

LENGTH = struct.Struct("!I")

SLACK = 64 * 1024 * 1024
"""Bytes beside an agent's own that a node may set aside: stacks of threads, what the allocator holds in reserve."""


def main() -> None:
    """Serve until the kernel is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent(os.getppid())
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
            os._exit(0)
        if request["op"] == "wait":
            answer(kernel, ended(request["pid"]))
            continue
        try:
            pid = os.fork()
        except OSError:  # the system has no room for another process: the kernel is told, and asks again
            pid = None
        if pid == 0:
            kernel.close()
            become_node(request, *fds)
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
            os._exit(0)
        data += part
    return data


def answer(kernel: socket.socket, value: int | None) -> None:
    """One JSON text and a line's end; the process ends if the kernel has."""
    try:
        kernel.sendall(json.dumps(value).encode() + b"\n")
    except OSError:
        os._exit(0)


def ended(pid: int, patience: float = 1.0) -> int | None:
    """How a node ended: its exit code, or minus the signal; None if it still runs after ``patience`` s."""
    end = time.monotonic() + patience
    while True:
        try:
            found, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return None
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            return None
        time.sleep(0.001)  # the kernel saw its line cut: it is on its way


def become_node(request: dict[str, Any], line: int, word: int) -> NoReturn:
    """In the fork: a session, a path, a folder and an environment of its own, then the host."""
    try:
        parent = os.getppid()
        os.setsid()
        die_with_parent(parent)
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


def die_with_parent(parent: int) -> None:
    """Ask Linux to kill this process when the one that started it is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it died in between
            os._exit(0)


main()
