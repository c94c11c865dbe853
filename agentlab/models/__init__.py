"""Models in the words of the Messages API: clients, and the agent that uses them.

May import: the floors below ``node``; it runs inside agents.
Start with: ``assistant``; ``model`` reads names of models, ``messages`` is the client.
Invariant: a turn is one recorded step, so whatever was paid for once is never asked for again.
To add: another provider is another object with the one method of ``model``'s ``Model``, and a name for it there.
"""

from agentlab.models.assistant import Assistant
from agentlab.models.messages import MessagesClient
from agentlab.models.model import Model

__all__ = ["Assistant", "MessagesClient", "Model"]
