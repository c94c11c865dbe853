"""A Messages API without a provider: a real server on loopback, deterministic, with faults on demand.

May import: nothing of agentlab.
Start with: ``server``; ``minds`` is how it answers, ``modes`` how it fails, ``scenarios`` when.
Invariant: what it says follows from the request and the seed alone, to the byte.
To add: a mind is a function in ``minds``, a way to fail a row in ``modes`` (and in its conformance test).
"""

from agentlab.sim.control import Control, Endpoint, control
from agentlab.sim.server import Simulator

__all__ = ["Control", "Endpoint", "Simulator", "control"]
