"""Where the servers of agents listen, and their tokens: made of the lab's secret, so nobody has to store one.

The lab's own ones stand below ``/servers``: its simulator, and those of local models (``local``). None is there
before somebody asks for it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agentlab.control.again import start_again
from agentlab.control.agents import state
from agentlab.control.children import join
from agentlab.errors import NotRunning
from agentlab.ground.given import shown
from agentlab.kernel.runtime import Runtime
from agentlab.supervision.child import Backoff, Child, Limit, Supervisor, child

if TYPE_CHECKING:
    from agentlab.sim.control import Endpoint

COMING = ("starting", "restarting", "backing_off")
COMING_SECONDS = 120.0
"""So long one that is down is waited for."""

SERVERS = "/servers"
"""Where the lab's own servers stand in the tree."""

SIM = "/servers/sim"


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


async def own_server(runtime: Runtime, id: str, describe: Callable[[], tuple[type, dict[str, Any]]]) -> dict[str, str]:
    """Where one of the lab's own servers listens, and its token; it is started if it is not there.

    One that comes back is waited for. Who asks before each call so meets one that is down in the call that it ended,
    and in no other.

    Args:
        runtime: Where.
        id: Its name below ``/servers``.
        describe: Gives its class and fields, if it is to be started.
    """
    path = join(SERVERS, id)
    record = runtime.desk.tree.find(path)
    if record is None or record.state in ("parked", "undefined", "stopping"):
        await start_again(runtime, Supervisor("servers", max_restarts=100, max_seconds=60.0), None, None, {})
        await start_again(runtime, _kept(id, *describe()), None, SERVERS, {})
    return await coming_endpoint(runtime, path)


async def coming_endpoint(runtime: Runtime, path: str) -> dict[str, str]:
    """As ``endpoint``, of a server that is up or has had the time to come back."""
    end = runtime.now() + COMING_SECONDS
    while (record := runtime.desk.tree.find(path)) is not None and record.state in COMING and runtime.now() < end:
        await runtime.desk.changes.at(path, end - runtime.now())
    return endpoint(runtime, path)


def _kept(id: str, cls: type, fields: dict[str, Any]) -> Child:
    """How a server is kept: on a node of its own, and parked alone if it never comes up."""
    return child(
        cls, id=id, isolation="process", backoff=Backoff(0.05, 2.0, 5.0), own_limit=Limit(20, 60.0), **fields
    )  # fmt: skip


async def simulator(runtime: Runtime) -> dict[str, str]:
    """Where the lab's own simulator listens, and its token."""
    return await own_server(runtime, "sim", _simulator)


def endpoint_for(runtime: Runtime, path: str) -> Endpoint:
    """``endpoint`` for a person in a cell."""
    from agentlab.sim.control import Endpoint

    return Endpoint(**runtime.run(endpoint, runtime, path))


def simulator_for(runtime: Runtime) -> Endpoint:
    """``simulator`` for a person in a cell, who waits until it serves."""
    from agentlab.sim.control import Endpoint

    return Endpoint(**runtime.submit(simulator, runtime).result())


def _simulator() -> tuple[type, dict[str, Any]]:
    from agentlab.models.simulator import SimulatorServer

    return SimulatorServer, {}
