"""Chaos on purpose: what is to go wrong, as data, and what must be true afterwards all the same.

May import: the floors below; evals and tests use it.
Start with: ``plan``, which is pure; ``kernel/strikes`` carries out what it decides.
Invariant: what a plan strikes follows from its seed, the agent's path, the message and the step alone, never a clock.
To add: a strike is a function in ``strikes``, a word in ``wire/blows``, and what it does in ``kernel/strikes``.
"""

from agentlab.chaos.checks import Report, invariants
from agentlab.chaos.plan import Plan
from agentlab.chaos.strikes import Strike, corrupt, cut_stream, kill, kill_node, slow_disk, stall

__all__ = [
    "Plan", "Report", "Strike", "corrupt", "cut_stream", "invariants", "kill", "kill_node", "slow_disk", "stall",
]  # fmt: skip
