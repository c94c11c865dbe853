"""Where the servers of agents listen, and their tokens: made of the lab's secret, so nobody has to store one.

The lab's own simulator is one of them, ``/servers/sim``; neither is there before somebody asks for it.
"""

from __future__ import annotations

import hashlib
import hmac

from agentlab.control.again import start_again
from agentlab.control.agents import state
from agentlab.errors import NotRunning
from agentlab.ground.given import shown
from agentlab.kernel.runtime import Runtime
from agentlab.supervision.child import Backoff, Child, Limit, Supervisor, child

COMING = ("starting", "restarting", "backing_off")
COMING_SECONDS = 30.0
"""So long one that is down is waited for."""

SIM = "/servers/sim"
"""Where the lab's own simulator stands in the tree."""


def token(runtime: Runtime, path: str) -> str:
    """The token of the server at a path: the same for all its lives, and another in the next kernel."""
    return "lab-" + hmac.new(runtime.secret, path.encode(), hashlib.sha256).hexdigest()[:40]


def endpoint(runtime: Runtime, path: str) -> dict[str, str]:
    """Where the server of an agent listens, and its token: ``base_url`` and ``api_key``.

    Raises:
        NotRunning: There is no agent at the path, or none that has an address.
    """
    address = state(runtime, path).get("address")
    if not isinstance(address, str) or not address:
        raise NotRunning(f"{shown(path)} serves nowhere: it is no ServerAgent, or was never ready. Look: lab.agents().")
    return {"base_url": address, "api_key": token(runtime, path)}


async def simulator(runtime: Runtime) -> dict[str, str]:
    """Where the lab's own simulator listens, and its token; it is started if it is not there, waited for if it comes.

    Who asks before each call so meets one that is down in the call that it ended, and in no other.
    """
    record = runtime.desk.tree.find(SIM)
    if record is None or record.state in ("parked", "undefined", "stopping"):
        await start_again(runtime, Supervisor("servers", max_restarts=100, max_seconds=60.0), None, None, {})
        await start_again(runtime, simulator_child(), None, "/servers", {})
    end = runtime.now() + COMING_SECONDS
    while (record := runtime.desk.tree.find(SIM)) is not None and record.state in COMING and runtime.now() < end:
        await runtime.desk.changes.at(SIM, end - runtime.now())
    return endpoint(runtime, SIM)


def simulator_child() -> Child:
    """How the simulator is kept: on a node of its own, and parked alone if it never comes up."""
    from agentlab.models.simulator import SimulatorServer

    return child(
        SimulatorServer, id="sim", isolation="process", backoff=Backoff(0.05, 2.0, 5.0), own_limit=Limit(20, 60.0)
    )
