"""The simulator as a child of the lab: the agent that owns its process."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import ClassVar

from agentlab.agent.server import ServerAgent


class SimulatorServer(ServerAgent):
    """Owns a process of ``python -m agentlab.sim``, which goes on with the log and the profile of the one before.

    They are in the scratch folder of the lab, so they last as long as the kernel.
    """

    token_variable: ClassVar[str] = "AGENTLAB_SIM_TOKEN"  # noqa: S105  # its name
    start_seconds: ClassVar[float] = 60.0

    seed: int = 0

    async def on_start(self) -> None:
        """Find the scratch folder, then start the process."""
        self._notes = Path(await self.lab.scratch()) / f"{self.id}.jsonl"
        await super().on_start()

    def _arguments(self) -> list[str]:
        own = ["--port", "{port}", "--fd", "{fd}", "--seed", str(self.seed), "--notes", str(self._notes)]
        return [sys.executable, "-m", "agentlab.sim", *own]

    def _variables(self) -> dict[str, str]:
        return {**super()._variables(), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
