"""What evals are tried on: a clerk that adds with a tool, its questions, and a run that is killed."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, ClassVar

from agentlab import Agent, Assistant, tool
from agentlab.evals import evaluate, exact, includes
from agentlab.faults import Action
from tests.marks import mark
from tests.patience import sign_of


@tool
def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


SOON = {
    "server_error": Action("retry_step", first=0.01),
    "overloaded": Action("wait", first=0.01, maximum=0.05),
    "cut_stream": Action("retry_step", first=0.01),
}
"""Retries that do not wait long."""


class Clerk(Assistant):
    """Asks for each addition."""

    model = "sim-calculator"
    tools = [add]
    on_fault = SOON


@tool
def search(q: str) -> str:
    """Search."""
    raise ConnectionError(f"no answer for {q}")


class Stubborn(Assistant):
    """Its model asks for the same tool for ever; which, the test says."""

    model = "sim-stubborn"
    tools = [add, search]
    on_fault = SOON


class Echo(Assistant):
    """Says what is said to it."""

    model = "sim-echo"
    max_tokens = 64
    on_fault = SOON


class Worker(Agent):
    """Does what a sample says: answers, raises, loops."""

    lives: ClassVar[int] = 0

    async def solve(self, what: str) -> str:
        """Do it."""
        if what == "raise":
            raise ValueError("this one cannot be solved")
        while what == "loop":
            pass
        return what


class Patient(Agent):
    """Makes a mark, waits for a sign, and answers with its word."""

    async def solve(self, what: str) -> str:
        """Work in the folder, and for the word, that ``what`` names."""
        folder, _, word = what.rpartition("/")
        await self.step(mark, folder, word)
        await sign_of(f"{folder}/go")
        return word


def waiting(folder: Any, count: int) -> list[dict[str, Any]]:
    """Samples for the patient."""
    return [{"input": f"{folder}/n{n}", "target": f"n{n}", "id": f"n{n}"} for n in range(count)]


def questions(count: int) -> list[dict[str, Any]]:
    """Sums of three numbers, so that two tools are called."""
    return [{"input": f"What is {n} + {n} + 1?", "target": f"= {2 * n + 1}", "id": f"q{n}"} for n in range(count)]


class Afar(Clerk):
    """Asks a simulator that outlives the kernel."""

    base_url = os.environ.get("EVAL_SIM_URL")
    model = "sim-calculator"


if __name__ == "__main__":
    path, count, epochs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if len(sys.argv) > 4:
        evaluate(Patient, waiting(Path(path).parent, count), exact(), path=path, cluster=sys.argv[4], nodes=1)
        sys.exit()
    evaluate(Afar, questions(count), includes(), epochs=epochs, path=path, nodes=1, concurrency=4)
