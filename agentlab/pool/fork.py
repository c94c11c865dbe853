"""The kernel's end of the zygote: one per process, shared by its labs, started with the first one.

It is started by a thread that lasts as long as the process, because on Linux a child gets its parent-death
signal when the *thread* that started it ends.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from typing import IO

from agentlab.errors import NodeDown
from agentlab.ground import interrupts
from agentlab.ground.interpreter import inherited
from agentlab.wire.word import Word

LENGTH = struct.Struct("!I")

START_SECONDS = 60.0
"""So long a zygote may take until it is ready: the imports of a node, on a busy machine."""

ANSWER_SECONDS = 20.0
"""So long it may take to fork a node."""

END_SECONDS = 5.0
"""So long it may take to end the nodes that are left."""

ADVICE = {
    errno.ENOENT: "The interpreter is gone: restart the kernel with one that is there.",
    errno.EACCES: "The interpreter may not be run: restart the kernel with one that may.",
    errno.EMFILE: "Close what this process has open, or allow it more (ulimit -n), then open the lab again.",
    errno.ENFILE: "Close what is open on this machine, then open the lab again.",
    errno.ENOMEM: "Free some memory, then open the lab again.",
    errno.EAGAIN: "End some processes, or allow more (ulimit -u), then open the lab again.",
}
"""What to do about why a process could not be started."""


def advice(error: Exception) -> str:
    """What to do, when the system starts no process or no thread."""
    code = errno.EAGAIN if isinstance(error, RuntimeError) else getattr(error, "errno", None)
    return ADVICE.get(code or 0, "Try it in a terminal.")


class Zygote:
    """Forks nodes on request; any thread may ask. It is started at once, and ready when ``wait_ready`` returns."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._lock = threading.Lock()
        self._line: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._began = time.monotonic()
        self._broken = False  # it left a request unanswered: what it says next may be the answer to that one
        self._command = [sys.executable, "-m", "agentlab.node"]
        self.ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        try:
            threading.Thread(target=self._live, name="agentlab-zygote", daemon=True).start()
        except RuntimeError as error:
            self.ready.set_exception(self._failed(f"{error}. {advice(error)}"))

    def _live(self) -> None:
        try:
            with contextlib.ExitStack() as stack:
                process = self._start(stack)
        except NodeDown as error:
            self.ready.set_exception(error)
        except Exception as error:  # no descriptors, no memory, no interpreter, ...
            self.ready.set_exception(self._failed(f"{type(error).__name__}: {error}. {advice(error)}"))
        else:
            self.ready.set_result(None)
            process.wait()

    def _start(self, stack: contextlib.ExitStack) -> subprocess.Popen[bytes]:
        """Start its process and wait for its first word; what it says on stderr until then tells why there is none."""
        line, theirs = socket.socketpair()
        stack.enter_context(line)
        complaints = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  # the stack closes it
        with theirs, _stderr() as stderr:
            fds = theirs.fileno(), stderr.fileno()
            process = self._process = subprocess.Popen(
                [*self._command, *map(str, fds)],
                pass_fds=fds, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=complaints,
                env={**os.environ, **inherited(), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )  # fmt: skip
        stack.callback(_end, process)
        line.settimeout(START_SECONDS)
        try:
            hello = line.recv(64)
        except TimeoutError:
            raise self._failed(f"it was not ready after {START_SECONDS:g} s. Try it in a terminal.") from None
        if not hello:
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip()[-2000:]
            raise self._failed(f"it ended with {_code(process.wait())} and said: {said or 'nothing'}")
        line.settimeout(ANSWER_SECONDS)
        stack.pop_all()  # it lives: they stay open
        complaints.close()
        self._line = line
        return process

    def _failed(self, why: str) -> NodeDown:
        return NodeDown(f"no node can be started, since the process they are forked from ({self._shown}) failed: {why}")

    @property
    def _shown(self) -> str:
        return " ".join(self._command)

    def wait_ready(self) -> None:
        """Return when it can be asked.

        Raises:
            NodeDown: It could not be started; says why, and what to do.
        """
        left = self._began + START_SECONDS + 5 - time.monotonic()
        try:
            interrupts.wait(self.ready, max(0.0, left))
        except TimeoutError:
            self._broken = True
            raise self._failed(f"it was not started after {START_SECONDS:g} s. Try it in a terminal.") from None

    @property
    def alive(self) -> bool:
        """Whether it can be asked, now or soon: it is this process's own, and starts or runs."""
        if self._broken or self.owner != os.getpid():
            return False
        if not self.ready.done():
            return True
        return self.ready.exception() is None and self._process is not None and self._process.poll() is None

    def fork(self, about: dict[str, object], line: socket.socket, word: Word) -> NodeProcess:
        """A new node that holds ``line`` and ``word``; it gets this process's path, folder and environment of now.

        Args:
            about: ``number``, ``lab``, ``durable``, ``kind``, ``on_fault``, and ``memory``: bytes that it may use, or
                None.
            line: Its end of the line.
            word: Where it says whose code it runs.

        Raises:
            NodeDown: The zygote does not answer.
        """
        where = {"path": sys.path, "cwd": _folder(), "env": dict(os.environ)}
        pid = self._ask({"op": "fork", **about, **where}, line.fileno(), word.fd)
        if pid is None:
            raise NodeDown(
                f"the zygote forked no node: the system has no room for another process. {ADVICE[errno.EAGAIN]}"
            )
        return NodeProcess(self, pid)

    def wait(self, pid: int) -> int | None:
        """How a node ended: its exit code, or minus the signal; None if that is not known."""
        with contextlib.suppress(NodeDown):
            return self._ask({"op": "wait", "pid": pid})
        return None

    def _ask(self, request: dict[str, object], *fds: int) -> int | None:
        body = json.dumps(request).encode()
        self.wait_ready()
        line = self._line
        assert line is not None
        with self._lock:
            try:
                socket.send_fds(line, [LENGTH.pack(len(body))], fds)
                line.sendall(body)
                reply = b""
                while not reply.endswith(b"\n"):
                    part = line.recv(4096)
                    if not part:
                        raise NodeDown(
                            "the zygote, from which nodes are forked, is gone. Try again: another is started."
                        )
                    reply += part
            except OSError as error:
                self._broken = True
                raise NodeDown(
                    f"the zygote, from which nodes are forked, does not answer: {error}. Try again: another is started."
                ) from error
        found: int | None = json.loads(reply)
        return found

    def close(self) -> None:
        """End it, and whatever nodes are left, with what they have started."""
        if self._line is not None:
            self._line.close()  # it ends at that
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
            _end(self._process)


def _stderr() -> IO[bytes]:
    """This process's own, for the zygote when it is ready."""
    try:
        return os.fdopen(os.dup(2), "wb", buffering=0)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
        return open(os.devnull, "wb", buffering=0)  # noqa: PTH123  # it is closed here


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109  # Path.cwd is the same
    except FileNotFoundError:  # it was removed
        return None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _code(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


class NodeProcess:
    """A forked node: to kill, and to ask how it ended."""

    def __init__(self, zygote: Zygote, pid: int) -> None:
        self.pid = pid
        self._zygote = zygote
        self._code: int | None = None
        self._over = False

    def kill(self) -> None:
        """End it now; the zygote, which is asked how it ended, ends what its agents have started."""
        if not self._over:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int | None:
        """How it ended; asked once its line is cut or it was killed."""
        if not self._over:
            self._code, self._over = self._zygote.wait(self.pid), True
            if not self._zygote.alive:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.pid, signal.SIGKILL)
        return self._code


_shared: Zygote | None = None
_past: list[Zygote] = []
"""Those that do not answer any more; their nodes live on."""
_sharing = threading.Lock()


def shared() -> Zygote:
    """This process's zygote; started anew if it is gone, or belongs to the process this one was forked from."""
    global _shared  # noqa: PLW0603  # one per process is the point
    with _sharing:
        if _shared is None or not _shared.alive:
            if _shared is not None and _shared.owner == os.getpid():
                _past.append(_shared)
            _shared = Zygote()
        return _shared


def _forked() -> None:
    """A forked child has none yet; what its parent's were in the middle of is not its business."""
    global _shared, _sharing  # as above
    for zygote in (_shared, *_past):
        if zygote is not None and zygote._line is not None:
            zygote._line.close()
    _shared, _sharing = None, threading.Lock()
    _past.clear()


os.register_at_fork(after_in_child=_forked)


def close_shared() -> None:
    """End the zygote, at the end of the process."""
    for zygote in (_shared, *_past):
        if zygote is not None and zygote.owner == os.getpid():
            zygote.close()
