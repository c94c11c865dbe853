"""A function in a thread of its own, awaited: whatever it blocks on, the loop of its agent goes on.

A thread cannot be killed. One that nobody waits for any more is told to end: an exception is raised in it at its next
line of Python, so it ends a loop, and a call into C code when that returns. Each call has its own thread, for those of
a pool would be used up by functions that never return.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ctypes
import threading
from collections.abc import Callable
from typing import Any


class Interrupted(SystemExit):
    """Raised in a thread for which nobody waits any more; a thread that ends with it says nothing."""


def interrupt(thread: threading.Thread) -> None:
    """Raise ``Interrupted`` in a thread at its next line of Python, if it still runs."""
    if thread.ident is not None and thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Interrupted))


async def in_thread(
    work: Callable[[], Any], name: str, end: Callable[[threading.Thread], object] = interrupt
) -> Any:  # fmt: skip
    """Do some work in a thread of its own, in a copy of this context.

    Args:
        work: What to do.
        name: The thread's name.
        end: Called with the thread when nobody waits for it any more.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()
    context = contextvars.copy_context()

    def settle(value: Any, error: BaseException | None) -> None:
        if not outcome.done():
            outcome.set_result((value, error))

    def run() -> None:
        value, error = None, None
        try:
            value = context.run(work)
        except BaseException as raised:  # of whatever kind: it is raised where it is awaited
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, value, error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        value, error = await outcome
    except BaseException:
        end(thread)
        raise
    if error is not None:
        raise error
    return value
