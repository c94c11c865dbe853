"""Scorers that ask a model: agents of their own, whose calls are steps, budgeted, and paid for once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agentlab import Budget, Lab
from agentlab.errors import InvalidSpec
from agentlab.evals import evaluate, exact, model_graded
from tests.evaluated import Worker

SAMPLES = [{"input": "tea", "target": "tea"}, {"input": "wine", "target": "tea"}]
RUBRIC = "score: 0.75; reason: it is warm"  # what the simulator's extractor takes for its answer


@pytest.fixture(scope="module")
def shared() -> Iterator[Lab]:
    """A lab for all runs of this file."""
    with Lab(nodes=1) as made:
        yield made


def test_a_judge_is_an_agent_of_its_own_beside_the_solver(shared):
    """Its score and its reason are in the table, its calls in the run's steps; the solver's figures stay its own."""
    scorers = {"same": exact(), "warm": model_graded("sim-extractor", RUBRIC)}
    run = evaluate(Worker, SAMPLES, scorers, lab=shared, name="judged")
    frame, steps = run.samples(), run.steps().sort_values("path")

    assert frame["score.same"].tolist() == [1.0, 0.0]
    assert frame["score.warm"].tolist() == [0.75, 0.75]
    assert frame["turns"].tolist() == [0, 0]
    assert steps["path"].tolist() == ["/evals/judged/1.1:warm", "/evals/judged/2.1:warm"]
    assert steps[["id", "epoch"]].values.tolist() == [["1", 1], ["2", 1]]
    assert not shared.agents()["path"].str.contains("warm").any()  # they are removed when they have graded
    assert frame["output"].tolist() == ["tea", "wine"]


def test_a_judge_that_fails_fails_its_own_sample(shared):
    """No tokens left, or a provider that refuses it: said where the sample is; the others are scored."""
    poor = evaluate(
        Worker, SAMPLES[:1], model_graded("sim-extractor", RUBRIC, budget=Budget(tokens=5)), lab=shared, name="poor"
    )
    faults = [{"mode": "401", "prompt": "wine"}]
    barred = evaluate(
        Worker, SAMPLES, model_graded("sim-extractor", RUBRIC), lab=shared, name="barred", faults=faults
    )  # fmt: skip
    shared.sim.clear()

    assert poor.samples()["disposition"].tolist() == ["failed"]
    assert "scorer model_graded" in poor.samples()["error"].tolist()[0]
    assert barred.samples()["disposition"].tolist() == ["scored", "failed"]
    assert barred.samples()["fault"].tolist()[1] == "scorer"


def test_a_judge_that_cannot_be_is_refused_where_it_is_written():
    """A model that nobody knows, a rubric that says nothing."""
    with pytest.raises(InvalidSpec, match="names no model"):
        model_graded("gpt", RUBRIC)
    with pytest.raises(InvalidSpec, match="rubric must be a text"):
        model_graded("sim", " ")
