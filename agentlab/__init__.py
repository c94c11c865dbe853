"""agentlab: supervised agents in a notebook.

The supervisor lives in the notebook's kernel, the agents in processes of their own beside it. Start with
``Lab``, ``Agent`` and ``lab.start``; ``Supervisor`` and ``child`` say what to keep alive, and how.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentlab import errors
    from agentlab.agent.base import Agent, Transcript
    from agentlab.exits import Exit
    from agentlab.lab import Lab, open_store
    from agentlab.models.assistant import Assistant
    from agentlab.ref.ref import Ref
    from agentlab.ref.reply import Reply
    from agentlab.store.check import check
    from agentlab.supervision.budget import Budget
    from agentlab.supervision.child import Backoff, Limit, Supervisor, child
    from agentlab.tools import tool
    from agentlab.tools.mcp import mcp, mcp_server

__all__ = [
    "Agent", "Assistant", "Backoff", "Budget", "Exit", "Lab", "Limit", "Ref", "Reply", "Supervisor", "Transcript",
    "check", "child", "errors", "mcp", "mcp_server", "open_store", "tool",
]  # fmt: skip

_WHERE = {
    "Agent": "agent.base",
    "Assistant": "models.assistant",
    "Backoff": "supervision.child",
    "Budget": "supervision.budget",
    "Exit": "exits",
    "Lab": "lab",
    "Limit": "supervision.child",
    "Ref": "ref.ref",
    "Reply": "ref.reply",
    "Supervisor": "supervision.child",
    "Transcript": "agent.base",
    "check": "store.check",
    "child": "supervision.child",
    "mcp": "tools.mcp",
    "mcp_server": "tools.mcp",
    "open_store": "lab",
    "tool": "tools",
}

_MODULES = ("chaos", "charts", "errors", "evals", "faults", "sim", "testing")
"""Modules that are found by TAB."""


def __getattr__(name: str) -> Any:  # the menu's values differ in type
    """Import what is asked for when it is first used: who serves one part of the package does not pay for all."""
    if name in _MODULES:
        return importlib.import_module(f"agentlab.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module 'agentlab' has no attribute {name!r}; it has: {', '.join(__dir__())}")
    if name == "Assistant":  # a lab that is opened next has the client library in its first nodes: each would load it
        importlib.import_module("agentlab.ground.preload").note_need("anthropic")
    value = globals()[name] = getattr(importlib.import_module(f"agentlab.{_WHERE[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES})
