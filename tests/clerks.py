"""Agents with a task of six tool calls, and the ways in which one of their model calls goes wrong."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from pydantic import BaseModel

from agentlab import Assistant, tool
from agentlab.models.messages import MessagesClient
from agentlab.node.resident import current

QUESTION, ANSWER = "1 + 2 + 3 + 4 + 5 + 6 + 7", "1 + 2 + 3 + 4 + 5 + 6 + 7 = 28"

SIX = [*({"tool": "add", "input": {"a": n, "b": 1}} for n in range(6)), '{"total": 28}']
"""A model that calls a tool six times and then answers with an object."""

HANGS = ("hang_headers", "stall_mid_stream", "ping_forever", "drip")
"""Modes that end by the client's patience."""

OF_THE_ANSWER = ("prose_for_json", "fenced_json", "wrong_json", "garbage_text")
"""Modes that spoil an answer of a type: they strike the last call, the others the fourth."""

FOR_EVER = ("same_tool_for_ever", "tool_cycle")
"""Modes that strike each call from the fourth on."""


@tool
def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


class Clerk(Assistant):
    """Asks for each addition."""

    model = "sim-calculator"
    tools = [add]


CELL = "\n\n".join(["from agentlab import Assistant, tool", inspect.getsource(add.function), inspect.getsource(Clerk)])
"""What a notebook writes to have the clerk."""


class Hasty:
    """The same model, of which an answer may make no progress for five seconds only, and take ten.

    Less, and a busy machine lets a node wait for so long that what was answered whole is asked for again.
    """

    name = "sim-calculator"
    dependency = "sim"
    client: MessagesClient | None = None

    async def create(self, **request: Any) -> dict[str, Any]:
        owner = current.get()
        assert owner is not None
        if Hasty.client is None:  # in a thread, as ours do: it holds the interpreter while it reads the certificates
            where = await owner.agent.lab.simulator()
            made = await asyncio.to_thread(MessagesClient, **where, model=self.name, idle_s=5.0, deadline_s=10.0)
            Hasty.client = Hasty.client or made
        return await Hasty.client.create(**request, metadata={"user_id": owner.agent.path})


class HastyClerk(Clerk):
    """Has little patience."""

    model = Hasty()


class Total(BaseModel):
    """What the filler is asked for."""

    total: int


class Filler(Assistant):
    """Calls six tools, then answers with an object."""

    model = "sim-six"
    tools = [add]


def rule_for(mode: str, path: str) -> dict[str, Any]:
    """The rule by which a mode strikes one agent in the middle of its task."""
    if mode in FOR_EVER:
        return {"mode": mode, "agent": path, "nth": list(range(4, 100))}
    return {"mode": mode, "agent": path, "nth": 7 if mode in OF_THE_ANSWER else 4}
