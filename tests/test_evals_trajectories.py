"""Trajectories: what was called, in which order and with what; a failed one says what was seen instead."""

from __future__ import annotations

import pytest

from agentlab import Lab
from agentlab.evals import (
    at_most,
    called,
    compare,
    contains,
    evaluate,
    exactly,
    in_order,
    includes,
    never,
    subset,
    trajectory,
)
from tests.evaluated import Clerk, questions


def row(name: str, given: str, kind: str = "tool", outcome: str = "ok") -> dict[str, object]:
    """A step as of ``lab.steps()``."""
    return {"kind": kind, "name": name, "input": given, "outcome": outcome, "replayed": 0}


SEEN = [
    row("sim", "messages", kind="model"),
    row("search", "q='green tea', most=3"),
    row("pay", "amount=2", outcome="failed"),
    row("search", "q='cups'"),
    row("pay", "amount=2"),
]


@pytest.mark.parametrize(
    ("matcher", "holds"),
    [
        (called("search"), True), (called("sim"), False), (called("search").with_args(q=contains("tea")), True),
        (called("search").with_args(q="tea"), False), (called("pay").with_args(amount=2), True),
        (called("search").before(called("pay")), True), (called("pay").before(called("search")), False),
        (never(called("delete")), True), (never(called("pay")), False), (at_most(2, called("search")), True),
        (at_most(1, called("search")), False), (at_most(1, called("pay")), True),
        (in_order(called("search"), called("search"), called("pay")), True),
        (in_order(called("search"), called("pay"), called("search")), False),
        (exactly(called("search"), called("search"), called("pay")), True),
        (exactly(called("search"), called("pay")), False), (subset(called("search"), called("pay")), True),
        (subset(called("search")), False),
    ],
)  # fmt: skip
def test_what_was_called(matcher, holds):
    """Calls that succeeded count, in their order; model calls and failed attempts do not."""
    verdict = matcher.check(SEEN)

    assert bool(verdict) is holds
    assert "search(q='green tea', most=3)" in repr(verdict)
    assert repr(verdict).startswith("yes: " if holds else "no: ")


def test_a_trajectory_is_a_scorer_and_two_runs_are_compared():
    """In a real run: what the clerk's tools were asked for; one that asks otherwise loses on each sample."""
    with Lab(nodes=1) as lab:
        scorers = {
            "right": includes(),
            "once": trajectory(at_most(1, called("add"))),
            "way": trajectory(called("add").before(called("add")), never(called("pay"))),
            "paid": called("pay"),  # a matcher is a scorer by itself
        }
        run = evaluate(Clerk, questions(2), scorers, lab=lab, name="one")
        samples = [{**each, "target": "= nothing"} for each in questions(3)]
        other = evaluate(Clerk, samples, scorers, lab=lab, name="other")
        frame, table = run.samples(), compare(run, other).set_index("metric")

        assert frame[["score.right", "score.once", "score.way"]].values.tolist() == [[1.0, 0.0, 1.0]] * 2
        assert frame["score.paid"].tolist() == [0.0, 0.0]
        assert called("add").check(run.steps())
        assert table.loc["right", ["win", "tie", "loss", "n", "only_a", "only_b"]].tolist() == [2, 0, 0, 2, 0, 1]
        assert table.loc["way", "difference"] == 0.0
        assert table.loc["way", "p_value"] == 1.0
