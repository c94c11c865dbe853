"""Waiting for a condition, for tests and for the scripts that they start: whoever imports it loads no pytest."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

LONG = bool(os.environ.get("AGENTLAB_LONG"))
"""Whether every case runs of which the suite has a sample: ``make long``."""


def wait_for(condition: Callable[[], object], timeout: float = 60.0) -> None:
    """Return when the condition holds; fail after ``timeout`` seconds."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {condition}")
        time.sleep(0.01)  # between two looks, with a deadline


async def sign_of(path: str) -> None:
    """Wait until somebody makes this file."""
    while not await asyncio.to_thread(os.path.exists, path):  # noqa: ASYNC110  # it comes from another process
        await asyncio.sleep(0.01)
