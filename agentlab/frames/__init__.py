"""DataFrames of what a store has committed.

May import: ``store`` and below.
Start with: ``tables``, one function per frame.
Invariant: only what was committed; times are Unix nanoseconds in the store and timestamps here.
To add: a column is a word in its frame's dict in ``tables``; ``store/rows`` says what it means.
"""

from agentlab.frames.breakers import breaker_history, breakers, stored_breakers
from agentlab.frames.chaos import chaos_log
from agentlab.frames.places import stored_agents, stored_rows
from agentlab.frames.spending import spend
from agentlab.frames.tables import (
    agents,
    approvals,
    checkpoints,
    dead_letters,
    events,
    messages,
    requests,
    restarts,
    steps,
    stored_approvals,
    upgrades,
)

__all__ = [
    "agents", "approvals", "breaker_history", "breakers", "chaos_log", "checkpoints", "dead_letters", "events",
    "messages", "requests", "restarts", "spend", "steps", "stored_agents", "stored_approvals", "stored_breakers",
    "stored_rows",
    "upgrades",
]  # fmt: skip
