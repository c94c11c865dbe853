"""``model_graded``: a scorer that asks a model, as an agent of its own.

The judge of an answer stands beside the agent that gave it, ``/evals/<run>/<sample>.<epoch>:<scorer>``: its call is a
step of its own journal, held by its own budget and by the model's breaker. So a judge whose provider is away waits, one
that dies comes back, and what it decided once is never asked again; the solver's figures stay the solver's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

from agentlab.agent.base import Agent
from agentlab.errors import InvalidSpec
from agentlab.evals.samples import Sample
from agentlab.ground.given import shown
from agentlab.models.assistant import Assistant
from agentlab.models.model import Model, choose
from agentlab.supervision.budget import Budget

SYSTEM = "You grade an answer. Judge it by the rubric alone, not by its style."
ASK = """{rubric}

<question>
{input}
</question>

<expected>
{target}
</expected>

<answer>
{output}
</answer>"""


@dataclass(frozen=True)
class Grade:
    """What a judge says.

    Args:
        reason: Why, in a sentence.
        score: How good the answer is by the rubric, 0 (not at all) to 1 (wholly).
    """

    reason: str
    score: float

    def __post_init__(self) -> None:
        """Check it."""
        if not 0 <= self.score <= 1:
            raise ValueError("score must be from 0 to 1")


@dataclass(frozen=True)
class model_graded:  # noqa: N801 - people write model_graded(...), as with the other scorers
    """A scorer that asks a model how good an answer is by a rubric: 0 to 1, and why.

        evaluate(Writer, samples, model_graded("claude-...", "Is every claim of the answer in the question?"))

    Args:
        model: As an ``Assistant``'s ``model``.
        rubric: What makes an answer good; question, target and answer are shown below it.
        budget: What one grade may spend; that of ``evaluate(budget=)`` if left out, once more.
        name: What its column is called.
        base_url: Another server that speaks the Messages API.

    Raises:
        InvalidSpec: There is no such model, or no rubric.
    """

    model: Any
    rubric: str
    budget: Budget | None = None
    name: str = "model_graded"
    base_url: str | None = None

    def __post_init__(self) -> None:
        """Check it."""
        choose(self.model, self.base_url)
        if not isinstance(self.rubric, str) or not self.rubric.strip():
            raise InvalidSpec(
                f"model_graded: rubric must be a text that says what makes an answer good; got {shown(self.rubric)}",
                kind="invalid_scorer", value=self.rubric,
            )  # fmt: skip

    @property
    def scorer_name(self) -> str:
        """What its column is called."""
        return self.name

    def __call__(self, output: Any, sample: Sample) -> Any:
        """Nobody's: it is asked as an agent."""
        raise TypeError("model_graded is asked by evaluate, as an agent of its own; it cannot be called")


def judge_class(scorer: model_graded) -> type[Agent]:
    """The agent that grades for a scorer."""

    class Judge(Assistant):
        """Grades one answer, once."""

        model: ClassVar[str | Model] = scorer.model
        base_url: ClassVar[str | None] = scorer.base_url
        system: ClassVar[str] = SYSTEM
        judged: str = ""

        async def grade(self, sample: dict[str, Any], output: Any) -> dict[str, Any]:
            """Ask the model, unless that is done."""
            if not self.judged:
                asked = Sample(**sample)
                said = output if isinstance(output, str) else json.dumps(output)
                question = asked.input if isinstance(asked.input, str) else json.dumps(asked.input)
                target = "\n".join(asked.targets) or "(nothing is given: judge by the rubric alone)"
                found = await self.ask_for(
                    Grade, ASK.format(rubric=scorer.rubric, input=question, target=target, output=said)
                )
                self.judged = json.dumps({"value": found.score, "answer": said, "explanation": found.reason})
            given: dict[str, Any] = json.loads(self.judged)
            return given

    Judge.__qualname__ = f"model_graded.<locals>.Judge_{scorer.name}"  # by which a run that goes on finds it
    return Judge
