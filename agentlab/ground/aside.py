"""Work that no signal interrupts: Python runs signal handlers in the main thread, and raises Ctrl-C there.

A handler runs between any two bytecodes. What must be done whole, or holds a lock that the handler may want, is
done by another thread while the main one waits; an interrupt then ends the wait, and the work is done all the same.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def aside(work: Callable[[], T]) -> T:
    """What ``work`` gives or raises; from the main thread, another one does it."""
    if threading.get_ident() != threading.main_thread().ident or sys.is_finalizing():
        return work()
    done: Future[T] = Future()
    try:
        threading.Thread(target=_carry_out, args=(done, work), name="agentlab-aside", daemon=True).start()
    except RuntimeError:  # the interpreter ends, or the process has no thread left
        return work()
    return done.result()


def _carry_out(done: Future[T], work: Callable[[], T]) -> None:
    try:
        done.set_result(work())
    except BaseException as error:
        done.set_exception(error)
