"""A Messages API without a provider: a real server on loopback, deterministic, with faults on demand."""

from agentlab.sim.control import Control, Endpoint, control
from agentlab.sim.server import Simulator

__all__ = ["Control", "Endpoint", "Simulator", "control"]
