"""What the Python below must be: one with its global lock, on which the kernel's books and the slices of nodes rest."""

from __future__ import annotations

import sys
import sysconfig

from agentlab.errors import UnsupportedPython


def locked() -> bool:
    """Whether this process's interpreter has its lock; a free-threaded build may run with it or without."""
    enabled = getattr(sys, "_is_gil_enabled", None)
    return enabled is None or bool(enabled())


def require_lock(*, locked: bool) -> None:
    """Refuse a Python that runs threads at once.

    Raises:
        UnsupportedPython: It does; the message says how to start it with its lock.
    """
    if not locked:
        raise UnsupportedPython(
            f"Python {sys.version.split()[0]} runs here without its global lock (a free-threaded build). The lab's "
            "books and the time slices of its nodes rest on that lock. Start this Python with PYTHON_GIL=1 in the "
            "environment, or use the ordinary build."
        )


def inherited() -> dict[str, str]:
    """Variables with which a node's Python has its lock too: a free-threaded build does not hand ``-X gil=1`` on."""
    return {"PYTHON_GIL": "1"} if sysconfig.get_config_var("Py_GIL_DISABLED") else {}
