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
from agentlab.ground.redaction import leaked, redact
from agentlab.models.prices import cost_of, load_prices
from agentlab.models.providers import usage_of

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
    """A model of pydantic-ai whose requests are steps of the agent: with tokens, cost, attempts and budget.

    Args:
        agent: In whose handler it is asked.
        model: One of pydantic-ai's models, or its name. Its own retries are off unless a setting says otherwise, since
            the fault table decides about attempts.
    """
    from pydantic_ai.messages import ModelMessagesTypeAdapter, ModelResponse
    from pydantic_ai.models.wrapper import WrapperModel

    class Recorded(WrapperModel):
        """Asks through a step."""

        async def request(self, messages: Any, model_settings: Any, model_request_parameters: Any) -> ModelResponse:
            settings = {"max_retries": 0, **(model_settings or {})}
            ask = _Asking(agent, self.wrapped, messages, settings, model_request_parameters)
            gave = await agent.step(ask, _digest(ask.words))
            (response,) = ModelMessagesTypeAdapter.validate_python([gave["response"]])
            assert isinstance(response, ModelResponse)
            return response

        def request_stream(self, *args: Any, **kwargs: Any) -> Any:
            raise InvalidArgument(
                "a recorded model has no streams: a step has its result when it is finished. Use agent.run(...).",
                argument="model",
            )

    return Recorded(model)


class _Asking:
    """One request to somebody's model, as a step: plain JSON as its result, beside what it was billed for."""

    kind = "model"

    def __init__(self, agent: Agent, model: Model, messages: Any, settings: dict[str, Any], parameters: Any) -> None:
        from pydantic_ai.messages import ModelMessagesTypeAdapter

        self.__name__ = model.model_name
        self.dependency = model.system
        self.words = ModelMessagesTypeAdapter.dump_python(list(messages), mode="json")
        self._agent = agent
        self._model = model
        self._request: tuple[Any, Any, Any] = (messages, settings, parameters)

    @property
    def said(self) -> str:
        """What the model is told beside what it knows: the newest parts, whole."""
        parts = self.words[-1]["parts"] if self.words else []
        return "\n".join(part["content"] if isinstance(part["content"], str) else json.dumps(part["content"])
                         for part in parts if part.get("content") is not None)  # fmt: skip

    async def __call__(self, digest: str) -> dict[str, Any]:
        from pydantic_ai.messages import ModelMessagesTypeAdapter

        name = f"{self.dependency}:{self.__name__}"
        await load_prices(self.__name__)
        most = int(self._request[1].get("max_tokens") or 0)
        await self._agent._context.reserve(self.__name__, most, cost_of(name, {"output_tokens": most}))
        response = await self._model.request(*self._request)
        (gave,) = ModelMessagesTypeAdapter.dump_python([response], mode="json")
        said = json.dumps(gave)  # the journal keeps it, so no key may be in it
        usage = usage_of(response)
        gave = gave if leaked(said) is None else json.loads(redact(said))
        return {"response": gave, "usage": usage, "cost_usd": cost_of(name, usage)}


def _digest(said: Any) -> str:
    """A short text that is equal for conversations that say the same."""
    return hashlib.sha256(json.dumps(_same(said)).encode()).hexdigest()[:16]


def _same(said: Any) -> Any:
    if isinstance(said, list):
        return [_same(each) for each in said]
    if isinstance(said, dict):
        return {name: _same(each) for name, each in said.items() if name not in _ITS_OWN}
    return said
