"""The lab's own simulator: started when somebody first asks where it listens, ended with the lab."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from agentlab.errors import NodeDown

if TYPE_CHECKING:  # most labs ask for none
    from agentlab.sim.process import SimulatorProcess


class LabSimulator:
    """At most one process; another is started where one has died."""

    def __init__(self) -> None:
        self.running: SimulatorProcess | None = None
        self._lock = asyncio.Lock()

    async def endpoint(self) -> dict[str, str]:
        """Where it listens: ``base_url`` and ``api_key``.

        Raises:
            NodeDown: It ended before it was ready.
        """
        from agentlab.sim.process import SimulatorProcess

        async with self._lock:
            if self.running is None or not self.running.runs:
                self.running = SimulatorProcess()
                try:
                    await self.running.ready()
                except EOFError:
                    raise NodeDown(
                        "the simulator ended before it was ready. Try it: python -m agentlab.sim --fd 1"
                    ) from None
        return self.running.endpoint

    def close(self) -> None:
        """End it."""
        if self.running is not None:
            self.running.close()
