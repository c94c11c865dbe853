"""Where the servers of agents listen, and their tokens: made of the lab's secret, so nobody has to store one."""

from __future__ import annotations

import hashlib
import hmac

from agentlab.control.agents import state
from agentlab.errors import NotRunning
from agentlab.ground.given import shown
from agentlab.kernel.runtime import Runtime


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
