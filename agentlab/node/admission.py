"""When a step may make its next attempt."""

from __future__ import annotations

import asyncio


async def pause(seconds: float) -> None:
    """Wait between two attempts; the node's other agents go on meanwhile."""
    await asyncio.sleep(seconds)
