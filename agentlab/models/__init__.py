"""Models over the Messages API: the client, and the agent that uses it."""

from agentlab.models.assistant import Assistant
from agentlab.models.messages import MessagesClient

__all__ = ["Assistant", "MessagesClient"]
