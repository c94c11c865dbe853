"""The agents of the drill: clerks, whose work needs a model, and bystanders, whose work needs none."""

from __future__ import annotations

from agentlab.agent.base import Agent
from agentlab.models.assistant import Assistant
from agentlab.tools.function import tool


@tool
def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


class Clerk(Assistant):
    """Adds seven numbers by six tool calls, each of which a model asks for."""

    model = "sim-calculator"
    tools = [add]  # noqa: RUF012  # a class's own: none of its agents changes it


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
