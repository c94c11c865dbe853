"""agentlab: supervised agents in a notebook.

The supervisor lives in the notebook's kernel, the agents in processes of their own beside it. Start with
``Lab``, ``Agent`` and ``lab.start``; ``Supervisor`` and ``child`` say what to keep alive, and how.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentlab import errors
from agentlab.agent.base import Agent, Transcript
from agentlab.exits import Exit
from agentlab.ref.ref import Ref
from agentlab.ref.reply import Reply
from agentlab.supervision.budget import Budget
from agentlab.supervision.child import Backoff, Limit, Supervisor, child

if TYPE_CHECKING:
    from agentlab.lab import Lab, open_store
    from agentlab.models.assistant import Assistant
    from agentlab.store.check import check
    from agentlab.tools import tool
    from agentlab.tools.mcp import mcp, mcp_server

__all__ = [
    "Agent", "Assistant", "Backoff", "Budget", "Exit", "Lab", "Limit", "Ref", "Reply", "Supervisor", "Transcript",
    "check", "child", "errors", "mcp", "mcp_server", "open_store", "tool",
]  # fmt: skip

_LATER = {
    "Assistant": "agentlab.models.assistant",
    "Lab": "agentlab.lab",
    "check": "agentlab.store.check",
    "open_store": "agentlab.lab",
    "mcp": "agentlab.tools.mcp",
    "mcp_server": "agentlab.tools.mcp",
    "tool": "agentlab.tools",
}

_MODULES = ("chaos", "charts", "evals", "faults", "sim", "testing")
"""Modules that are found by TAB; who draws nothing and simulates nothing does not pay for it."""


def __getattr__(name: str) -> Any:  # the menu's values differ in type
    """Import what only the kernel or only some agents need when it is first used."""
    import importlib

    if name in _MODULES:
        return importlib.import_module(f"agentlab.{name}")
    if name not in _LATER:
        raise AttributeError(f"module 'agentlab' has no attribute {name!r}; it has: {', '.join(__dir__())}")
    value = getattr(importlib.import_module(_LATER[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, *_MODULES]
