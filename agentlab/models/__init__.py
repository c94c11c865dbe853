"""Models over the Messages API: the client, and the agent that uses it.

May import: the floors below ``node``; it runs inside agents.
Start with: ``assistant``; ``messages`` is the client, ``accumulator`` puts a stream together.
Invariant: a turn is one recorded step, so whatever was paid for once is never asked for again.
To add: another provider is another client with the face of ``MessagesClient``.
"""

from agentlab.models.assistant import Assistant
from agentlab.models.messages import MessagesClient

__all__ = ["Assistant", "MessagesClient"]
