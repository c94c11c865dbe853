"""The kernel's end of the zygote: one per process, shared by its labs, started with the first one.

It is started by a thread that lasts as long as the process, because on Linux a child gets its parent-death
signal when the *thread* that started it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

from agentlab._interpreter import inherited
from agentlab.errors import NodeDown
from agentlab.node.word import Word

LENGTH = struct.Struct("!I")
START_SECONDS = 60.0


class Zygote:
    """Forks nodes on request; any thread may ask."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._lock = threading.Lock()
        self._line, theirs = socket.socketpair()
        self._line.settimeout(START_SECONDS)
        self._process: subprocess.Popen[bytes]
        started = threading.Event()
        threading.Thread(target=self._live, args=(theirs, started), name="agentlab-zygote", daemon=True).start()
        started.wait()

    def _live(self, theirs: socket.socket, started: threading.Event) -> None:
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "agentlab.node", str(theirs.fileno())],
                pass_fds=[theirs.fileno()], start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                env={**os.environ, **inherited(), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )  # fmt: skip
        started.set()
        self._process.wait()

    @property
    def alive(self) -> bool:
        """Whether it can be asked: it runs, and it is this process's own."""
        return self._process.poll() is None and self.owner == os.getpid()

    def fork(self, about: dict[str, object], line: socket.socket, word: Word) -> NodeProcess:
        """A new node that holds ``line`` and ``word``; it gets this process's path, folder and environment of now.

        Args:
            about: ``number``, ``lab``, ``durable``, ``kind``, and ``memory``: bytes that it may use, or None.
            line: Its end of the line.
            word: Where it says whose code it runs.

        Raises:
            NodeDown: The zygote does not answer.
        """
        where = {"path": sys.path, "cwd": str(Path.cwd()), "env": dict(os.environ)}
        pid = self._ask({"op": "fork", **about, **where}, line.fileno(), word.fd)
        if pid is None:
            raise NodeDown("the zygote forked no node.")
        return NodeProcess(self, pid)

    def wait(self, pid: int) -> int | None:
        """How a node ended: its exit code, or minus the signal; None if that is not known."""
        with contextlib.suppress(NodeDown):
            return self._ask({"op": "wait", "pid": pid})
        return None

    def _ask(self, request: dict[str, object], *fds: int) -> int | None:
        body = json.dumps(request).encode()
        with self._lock:
            try:
                socket.send_fds(self._line, [LENGTH.pack(len(body))], fds)
                self._line.sendall(body)
                reply = b""
                while not reply.endswith(b"\n"):
                    part = self._line.recv(4096)
                    if not part:
                        raise NodeDown("the zygote, from which nodes are forked, is gone.")
                    reply += part
            except OSError as error:
                raise NodeDown(f"the zygote, from which nodes are forked, does not answer: {error}.") from error
        found: int | None = json.loads(reply)
        return found

    def close(self) -> None:
        """End it, and whatever nodes are left."""
        self._line.close()
        self._process.kill()
        self._process.wait()


class NodeProcess:
    """A forked node: to kill, and to ask how it ended."""

    def __init__(self, zygote: Zygote, pid: int) -> None:
        self.pid = pid
        self._zygote = zygote
        self._code: int | None = None
        self._over = False

    def kill(self) -> None:
        """End it now."""
        if not self._over:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int | None:
        """How it ended; asked once its line is cut or it was killed."""
        if not self._over:
            self._code, self._over = self._zygote.wait(self.pid), True
        return self._code


_shared: Zygote | None = None
_sharing = threading.Lock()


def shared() -> Zygote:
    """This process's zygote; started anew if it is gone, or belongs to the process this one was forked from."""
    global _shared  # noqa: PLW0603  # one per process is the point
    with _sharing:
        if _shared is None or not _shared.alive:
            _shared = Zygote()
        return _shared


def close_shared() -> None:
    """End the zygote, at the end of the process."""
    if _shared is not None and _shared.owner == os.getpid():
        _shared.close()
