"""The agent that works on a sample: the solver, with two messages more.

Its class is made from the solver's when a run begins, so that all the solver does is done under the sample's own path
and is in its journal. The answer is committed before it is scored, and each score before the driver hears of it: a run
that is opened again asks the same, and is answered from the state.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any, ClassVar

from agentlab.agent.base import Agent
from agentlab.errors import InvalidSpec
from agentlab.evals.samples import Sample, plain
from agentlab.evals.scorers import Scorer, scored
from agentlab.ground.redaction import redact

WORK, GRADE = "sample_work", "sample_grade"


def attempt_class(solver: type[Agent], message: str, scorers: Mapping[str, Scorer]) -> type[Agent]:
    """The solver's class, with the messages by which a sample is worked on and scored."""
    base: Any = solver

    class Attempt(base):  # type: ignore[misc]  # a class that is known when the run begins
        sample_scorers: ClassVar[Any] = dict(scorers)
        sample_output: str = ""
        sample_scores: str = ""

        async def sample_work(self, given: Any) -> None:
            """Let the solver work on it, unless it has."""
            if not self.sample_output:
                output = getattr(self, message)(given)
                output = await output if inspect.isawaitable(output) else output
                self.sample_output = json.dumps(plain(output))

        async def sample_grade(self, sample: dict[str, Any]) -> dict[str, Any]:
            """Score its answer, unless that is done; gives the answer and the scores."""
            output = json.loads(self.sample_output)
            if not self.sample_scores:
                scores = {}
                for name, each in self.sample_scorers.items():
                    try:
                        scores[name] = await scored(each, output, Sample(**sample))
                    except Exception as error:  # it fails its own sample, visibly, and never the run
                        scores[name] = {"error": f"scorer {name}: {type(error).__name__}: {error}"}
                self.sample_scores = redact(json.dumps(scores))  # what scorers say is for people
            return {"output": output, "scores": json.loads(self.sample_scores)}

    Attempt.__name__ = solver.__name__
    Attempt.__qualname__ = f"{solver.__qualname__}.<locals>.Attempt"  # by which a run that goes on finds it
    Attempt.__module__ = solver.__module__
    return Attempt


def message_of(solver: type[Agent], message: str | None) -> str:
    """The message that gets a sample's input: ``solve``, or an assistant's ``ask``, unless another one is named.

    Raises:
        InvalidSpec: The class has no such message.
    """
    known = solver.__agent_messages__
    found = message or ("solve" if "solve" in known else "ask")
    if found not in known:
        raise InvalidSpec(
            f"evaluate: {solver.__name__} has no message {found!r}, which gets a sample's input; it has: "
            f"{', '.join(sorted(known)) or 'none'}. Name one: evaluate(..., message='...').",
            kind="invalid_message", value=message,
        )  # fmt: skip
    return found
