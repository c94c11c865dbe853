"""Agents of other frameworks inside a handler: model calls and tools are steps, so a crash repeats nothing finished.

    class Planner(Agent):
        async def plan(self, goal: str) -> str:
            theirs = pydantic_ai.Agent(recorded_model(self, "openai:gpt-5"), tools=[recorded(self, search)])
            return (await theirs.run(goal)).output

A LangGraph graph is built the same way: ``graph.add_node("search", recorded(self, search))``. The framework's own loop
runs again when a message is delivered again; what it asks for that was finished is answered by the journal.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agentlab.agent.base import Agent
from agentlab.errors import InvalidArgument

if TYPE_CHECKING:
    from pydantic_ai.models import Model

_ITS_OWN = frozenset({"timestamp", "run_id", "conversation_id"})
"""Fields of pydantic-ai's messages that differ between two runs which say the same."""


def recorded(agent: Agent, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, a tool or a node of a graph, whose calls are steps of the agent.

    Args:
        agent: In whose handler it is called.
        function: Sync or async. What it is given decides whether a step is the same; what it returns is journaled.
    """

    @functools.wraps(function)  # frameworks read name, docstring and annotations
    async def step(*args: Any, **kwargs: Any) -> Any:
        return await agent.step(function, *args, **kwargs)

    return step


def recorded_model(agent: Agent, model: Model | str) -> Model:
    """A model of pydantic-ai whose requests are steps of the agent.

    Args:
        agent: In whose handler it is asked.
        model: One of pydantic-ai's models, or its name.
    """
    from pydantic_ai.messages import ModelMessagesTypeAdapter, ModelResponse
    from pydantic_ai.models.wrapper import WrapperModel

    class Recorded(WrapperModel):
        """Asks through a step."""

        async def request(self, messages: Any, model_settings: Any, model_request_parameters: Any) -> ModelResponse:
            async def ask(said: str) -> Any:
                response = await self.wrapped.request(messages, model_settings, model_request_parameters)
                return ModelMessagesTypeAdapter.dump_python([response], mode="json")

            ask.__name__ = self.wrapped.model_name
            said = ModelMessagesTypeAdapter.dump_python(list(messages), mode="json")
            (response,) = ModelMessagesTypeAdapter.validate_python(await agent.step(ask, _digest(said)))
            assert isinstance(response, ModelResponse)
            return response

        def request_stream(self, *args: Any, **kwargs: Any) -> Any:
            raise InvalidArgument(
                "a recorded model has no streams: a step has its result when it is finished. Use agent.run(...).",
                argument="model",
            )

    return Recorded(model)


def _digest(said: Any) -> str:
    """A short text that is equal for conversations that say the same."""
    return hashlib.sha256(json.dumps(_same(said)).encode()).hexdigest()[:16]


def _same(said: Any) -> Any:
    if isinstance(said, list):
        return [_same(each) for each in said]
    if isinstance(said, dict):
        return {name: _same(each) for name, each in said.items() if name not in _ITS_OWN}
    return said
