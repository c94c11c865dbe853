"""The kernel's end of the zygote: one per process, shared by its labs, started with the first one.

It is started by a thread that lasts as long as the process, because on Linux a child gets its parent-death
signal when the *thread* that started it ends. Another thread asks it: whoever wants a node does not wait while it
does not answer, for nodes are of no use to a loop that stands still.
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
from collections.abc import Callable
from typing import IO, Any, TypeVar

from agentlab.errors import NodeDown
from agentlab.ground import interrupts
from agentlab.ground.interpreter import inherited
from agentlab.ground.preload import needs
from agentlab.pool.aside import Aside
from agentlab.wire.word import Word

T = TypeVar("T")

LENGTH = struct.Struct("!I")

START_SECONDS = 60.0
"""So long a zygote may take until it is ready: the imports of a node, on a busy machine."""

ANSWER_SECONDS = 60.0
"""So long it may take to fork a node, once with an import before it (``ground/preload``), on a busy machine."""

READY_SECONDS = 60.0
"""So long a node may take from its fork to its first word: it has no imports to do, but the machine may be busy."""

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

    def __init__(self, *, answer_seconds: float = ANSWER_SECONDS, ready_seconds: float = READY_SECONDS) -> None:
        """Start it.

        Args:
            answer_seconds: So long it may leave a request unanswered; then it is given up.
            ready_seconds: So long a node that it forked may say nothing.
        """
        self.owner = os.getpid()
        self.ready_seconds = ready_seconds
        self._answer_seconds = answer_seconds
        self._aside = Aside("agentlab-zygote")
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

    def later(self, work: Callable[..., T], *args: Any) -> concurrent.futures.Future[T]:
        """Have its asking thread do what waits for an answer, in the order in which it was wanted."""
        return self._aside.do(work, *args)

    def fork(self, about: dict[str, object], line: socket.socket, word: Word) -> NodeProcess:
        """A node to come that holds ``line`` and ``word``; it gets this process's path, folder and environment of now.

        Args:
            about: ``number``, ``lab``, ``durable``, ``kind``, and ``memory``: bytes that it may use, or None.
            line: Its end of the line; whoever made it closes it when the node is born.
            word: Where it says whose code it runs.

        Raises:
            RuntimeError: The system has no room for the thread that asks.
        """
        where = {"path": list(sys.path), "cwd": _folder(), "env": dict(os.environ), "needs": needs()}
        own = os.dup(word.fd)  # the word may be closed before the zygote answers
        try:
            return NodeProcess(self, self.later(self._fork, {"op": "fork", **about, **where}, line, own))
        except RuntimeError:
            os.close(own)
            raise

    def _fork(self, request: dict[str, object], line: socket.socket, word: int) -> int:
        try:
            pid = self._ask(request, line.fileno(), word)
        finally:
            os.close(word)
        if pid is None:
            raise NodeDown(
                f"the zygote forked no node: the system has no room for another process. {ADVICE[errno.EAGAIN]}"
            )
        return pid

    def wait(self, pid: int) -> int | None:
        """How a node ended: its exit code, or minus the signal; None if that is not known."""
        with contextlib.suppress(NodeDown):
            return self._ask({"op": "wait", "pid": pid})
        return None

    def keep(self, folder: str) -> None:
        """Have a folder removed when this process is gone, however it ends."""

        def ask() -> None:
            with contextlib.suppress(NodeDown):  # then it stays
                self._ask({"op": "keep", "folder": folder})

        self.later(ask)

    def _ask(self, request: dict[str, object], *fds: int) -> int | None:
        body = json.dumps(request).encode()
        self.wait_ready()
        line = self._line
        assert line is not None
        with self._lock:
            if self._broken:
                raise NodeDown("the zygote, from which nodes are forked, has left a request unanswered before.")
            line.settimeout(self._answer_seconds)
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
                raise self._silent(error) from error
        found: int | None = json.loads(reply)
        return found

    def _silent(self, error: OSError) -> NodeDown:
        if not isinstance(error, TimeoutError):
            return NodeDown(
                f"the zygote, from which nodes are forked, does not answer: {error}. Try again: another is started."
            )
        pid = self._process.pid if self._process is not None else "?"
        return NodeDown(
            f"the zygote, from which nodes are forked, gave no answer within {self._answer_seconds:g} s "
            f"(process {pid}): it is stopped, or the machine is overloaded. Another is started; if that one is silent "
            "too, see what holds it (ps, top)."
        )

    def close(self) -> None:
        """End it, and whatever nodes are left, with what they have started."""
        self._aside.end()
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
    """A node that is forked, or about to be: to kill, and to ask how it ended.

    Attributes:
        born: Its process id, or why there is none.
    """

    def __init__(self, zygote: Zygote, born: concurrent.futures.Future[int]) -> None:
        self.born = born
        self._zygote = zygote
        self._code: int | None = None
        self._over = False

    @property
    def pid(self) -> int | None:
        """Its process id; None if it has none (yet)."""
        return self.born.result() if self.born.done() and self.born.exception() is None else None

    @property
    def ready_seconds(self) -> float:
        """So long it may say nothing once it was forked."""
        return self._zygote.ready_seconds

    def kill(self) -> None:
        """End it, now or as soon as it is there; the zygote, asked how it ended, ends what its agents have started."""
        self.born.add_done_callback(self._kill)

    def _kill(self, _: object) -> None:
        if not self._over and self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int | None:
        """Wait for the word how it ended; asked once its line is cut or it was killed."""
        concurrent.futures.wait([self.born])
        if not self._over and self.pid is not None:
            self._code, self._over = self._zygote.wait(self.pid), True
            if not self._zygote.alive:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.pid, signal.SIGKILL)
        return self._code

    def over(self) -> concurrent.futures.Future[int | None]:
        """The same for a loop, which does not wait."""
        return self._zygote.later(self.wait)


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
