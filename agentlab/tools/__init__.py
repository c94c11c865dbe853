"""What a model may ask an agent to do: typed functions, in its process or in one of their own.

May import: the ground floor, and its neighbours.
Start with: ``function``; ``schema`` is what the model sees, ``threads`` and ``isolated`` are where a function runs.
Invariant: what a model sends is data, checked before the function runs; no tool holds the loop of its agent.
To add: an option of tools is an argument of ``Tool`` and of ``tool``; it travels by ``Tool.options``.
"""

from agentlab.tools.function import MAX_RESULT, Tool, by_name, tool

__all__ = ["MAX_RESULT", "Tool", "by_name", "tool"]
