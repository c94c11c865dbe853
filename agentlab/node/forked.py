"""A process that an agent forked: a copy of the node that must never speak for it.

``os.fork()`` in a handler gives two processes that both believe to be the node. The child may run the agent's own
code for as long as it likes: it has ``sys.stdout``, signals and event loops as a plain process has them, and what
``multiprocessing`` forks works. Its end of the line to the kernel is closed, and when its code comes back to the
node's (it returns, raises, calls ``sys.exit`` or awaits something of the node) the process ends, with the status
that a script would have.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
import weakref
from types import CodeType
from typing import Any, NoReturn, Protocol

from agentlab.exits import Exit
from agentlab.node.resident import Died
from agentlab.slicing.sliced import Raised
from agentlab.slicing.slices import Slicer


class Serving(Protocol):
    """Who speaks for a process."""

    def disown(self) -> None:
        """This is a forked child of it: serve nobody any more."""


_hosts: weakref.WeakSet[Serving] = weakref.WeakSet()
"""The hosts of this process: one in a node, in the kernel's process those that stand in for one."""


def watch(host: Serving) -> None:
    """From here on no child of this process speaks for the host."""
    _hosts.add(host)


AWAITED = "A forked child of an agent awaited something of the node, which does not serve it; it ends here."


class Orphan(Slicer):
    """The slicer of a forked child: a step that comes back to the node ends the process."""

    @property
    def result(self) -> Any:
        """Nothing; what a step gives is left here, and there is no other way out of one."""
        return None

    @result.setter
    def result(self, result: Any) -> None:
        if isinstance(result, Raised):
            leave(result.error)
        leave(SystemExit(AWAITED))


def leave(error: BaseException | None = None) -> NoReturn:
    """End this process as a script ends that comes to its end, or raises."""
    code: Any = 0
    if isinstance(error, SystemExit):
        code = error.code
        if isinstance(code, str):
            print(code, file=sys.stderr)  # noqa: T201  # as Python does
    elif error is not None and not isinstance(error, (Died, Exit, StopIteration)):
        traceback.print_exception(error)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code & 0xFF if isinstance(code, int) else 0 if code is None else 1)


def leave_with_the_code(handler: CodeType) -> NoReturn:
    """The agent's code has come to its end in a child; ``handler``: where the host calls it."""
    error = sys.exc_info()[1]
    trace = error.__traceback__ if isinstance(error, Died) else None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    asked = trace is not None and trace.tb_frame.f_code is not handler
    leave(SystemExit(AWAITED) if asked else error)


def have_the_process() -> None:
    """A child has signals as a plain process has them."""
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _forked() -> None:
    for host in list(_hosts):
        host.disown()


os.register_at_fork(after_in_child=_forked)
