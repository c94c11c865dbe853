"""The simulator of a benchmark: a process of its own, whose processor time is nobody's."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys

from agentlab.sim.control import Control, Endpoint


class Sim:
    """A simulator that outlives whoever asks it; the environment has its address, for the sides."""

    def __init__(self) -> None:
        token = secrets.token_hex(16)
        env = {**os.environ, "AGENTLAB_SIM_TOKEN": token}
        command = [sys.executable, "-m", "agentlab.sim"]
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        address = self.process.stdout.readline().strip()
        os.environ.update(ANTHROPIC_BASE_URL=address, ANTHROPIC_API_KEY=token)
        self.control = Control(Endpoint(address, token), patience=60.0)

    def paid(self) -> int:
        """Answers that came whole."""
        return sum(row["finished"] for row in self.control.log())
