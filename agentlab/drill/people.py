"""The agents of the drill: clerks, whose work needs a model, and bystanders, whose work needs none."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, ClassVar

from agentlab.agent.base import Agent
from agentlab.models.assistant import Assistant
from agentlab.models.model import Model, choose
from agentlab.tools.function import tool


@tool
def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


MIND = "sim-calculator"
"""The model of everybody's who has a task."""


class Clerk(Assistant):
    """Adds seven numbers by six tool calls, each of which a model asks for."""

    model: ClassVar[str | Model] = MIND
    tools = [add]  # noqa: RUF012  # a class's own: none of its agents changes it

    async def add_up(self, text: str) -> str:
        """Ask the model."""
        return await self.ask(text)


class Unguarded:
    """The model of clerks, through no breaker, so that nobody hears of what others meet."""

    name = MIND
    dependency = None

    async def create(self, **request: Any) -> Any:
        """Ask the simulator of the lab, as a clerk does."""
        model = await choose(MIND).open(_lab.get())
        return await model.create(**request)


class Loner(Clerk):
    """A clerk who has to do with the faults that it meets by itself."""

    model = Unguarded()

    async def add_up(self, text: str) -> str:
        """As ``ask``."""
        _lab.set(self.lab)
        return await self.ask(text)


_lab: ContextVar[Any] = ContextVar("agentlab-drill")
"""The lab of the agent that asks: a model of one's own is one for all agents of a process."""


class Bystander(Agent):
    """Counts, and asks nobody."""

    count: int = 0

    def ping(self) -> int:
        """How often it was asked."""
        self.count += 1
        return self.count


def question(number: int) -> str:
    """A sum of a clerk's own."""
    return f"{number} + 1 + 2 + 3 + 4 + 5 + 6"


def answer(number: int) -> str:
    """What is right."""
    return f"{question(number)} = {number + 21}"
