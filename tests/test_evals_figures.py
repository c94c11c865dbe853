"""The mathematics of evals: intervals hold what they promise, tests have the right size, reducers are what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from agentlab.evals import at_least, pass_at, samples_needed
from agentlab.evals.figures import bootstrap, difference, estimate, mcnemar, permuted, wilson
from agentlab.evals.reducers import reducer_of

TRIES = 800


def covered(share: float, n: int, epochs: int, *, spread: float = 0.0) -> float:
    """How often the interval holds the truth, where each sample has a share of its own around the one given."""
    chance = np.random.default_rng(11)
    hits = 0
    for _ in range(TRIES):
        own = chance.beta(share / spread, (1 - share) / spread, n) if spread else np.full(n, share)
        values = chance.binomial(epochs, own) / epochs
        found = estimate(values.tolist(), [epochs] * n if epochs > 1 else None)
        hits += found.low <= share <= found.high
    return hits / TRIES


@pytest.mark.parametrize(
    ("share", "n", "epochs", "spread"),
    [
        (0.5, 10, 1, 0.0), (0.5, 100, 1, 0.0), (0.02, 100, 1, 0.0), (0.98, 100, 1, 0.0), (0.02, 1000, 1, 0.0),
        (0.02, 10, 1, 0.0), (0.98, 10, 1, 0.0), (0.5, 10, 4, 0.5), (0.5, 100, 4, 0.5), (0.98, 100, 4, 0.2),
        (0.02, 100, 4, 0.2), (0.02, 10, 3, 0.0),
    ],
)  # fmt: skip
def test_an_interval_holds_the_truth_as_often_as_it_says(share, n, epochs, spread):
    """95 in 100, a little less or more where whole numbers leave no choice: never under 92."""
    assert covered(share, n, epochs, spread=spread) >= 0.92


def test_clustered_scores_that_are_no_shares_have_student_t():
    """Numbers between and beyond; the standard error is that of the samples' means."""
    chance, hits = np.random.default_rng(5), 0
    for _ in range(TRIES):
        values = chance.normal(3.0, 1.0, 12) + chance.normal(0.0, 1.0, (4, 12)).mean(axis=0)
        found = estimate(values.tolist())
        hits += found.low <= 3.0 <= found.high

    assert found.method == "t"
    assert found.stderr == pytest.approx(values.std(ddof=1) / math.sqrt(12))
    assert 0.93 <= hits / TRIES <= 0.97


def test_known_values():
    """Wilson's own example of 1927 and its like, McNemar's, a permutation that can be counted by hand."""
    assert wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert mcnemar(0, 5) == pytest.approx(2 / 32)
    assert mcnemar(0, 0) == 1.0
    assert permuted([1.0, 2.0, 3.0]) == pytest.approx(2 / 8)
    assert estimate([]).method == "none"
    assert estimate([0.4]).low == -math.inf
    assert bootstrap([0.0, 1.0] * 50).stderr == pytest.approx(0.05, abs=0.005)


def test_a_comparison_of_two_alike_runs_is_seldom_significant():
    """Under the null at most one in twenty, exact tests less."""
    chance, passes, graded = np.random.default_rng(3), 0, 0
    for _ in range(300):
        a, b = chance.binomial(1, 0.6, (2, 40)).astype(float)
        passes += difference(a.tolist(), b.tolist()).p < 0.05
        graded += permuted(chance.normal(0.0, 1.0, 10)) < 0.05

    assert passes / 300 <= 0.06
    assert 0.02 <= graded / 300 <= 0.09


def test_a_difference_counts_wins_and_losses():
    """Pairs, not means: many ties and few changes one way."""
    found = difference([1.0] * 30 + [0.0] * 10, [0.0] * 8 + [1.0] * 22 + [0.0] * 10)

    assert (found.win, found.tie, found.loss, found.method) == (8, 32, 0, "mcnemar, exact")
    assert found.mean == pytest.approx(0.2)
    assert found.p == pytest.approx(2 / 2**8)


def test_reducers():
    """By name and with a number; pass@k as Chen et al. 2021 have it."""
    assert [reducer_of(name)([0.0, 1.0, 1.0]) for name in ("mean", "median", "mode", "max")] == [2 / 3, 1.0, 1.0, 1.0]
    assert pass_at(1)([1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)
    assert pass_at(2)([1.0, 0.0, 0.0, 0.0]) == pytest.approx(0.5)
    assert math.isnan(pass_at(3)([1.0]))
    assert [at_least(2)(values) for values in ([1.0, 1.0, 0.0], [1.0, 0.0, 0.0])] == [1.0, 0.0]


def test_how_many_samples_a_comparison_takes():
    """More for smaller effects and more power; fewer with epochs."""
    assert samples_needed(0.1) == math.ceil((1.959964 + 0.841621) ** 2 * 0.25 / 0.01)
    assert samples_needed(0.05) > samples_needed(0.1)
    assert samples_needed(0.1, 0.9) > samples_needed(0.1)
    assert samples_needed(0.1, within=0.4, epochs=4) < samples_needed(0.1, within=0.4)
