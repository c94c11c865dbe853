"""The mathematics of evals: intervals hold what they promise, tests have the right size, reducers are what they say."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import gammaln

from agentlab.evals import at_least, pass_at, samples_needed
from agentlab.evals.figures import bootstrap, difference, estimate, mcnemar, permuted, wilson
from agentlab.evals.reducers import reducer_of
from agentlab.evals.results import reduced_frame

TRIES = 800
COUNTS = (10, 20, 50, 100, 300, 1000)


def chances(n: int, share: float) -> np.ndarray:
    """How likely each count of passes is among ``n``, from none to all."""
    passed = np.arange(n + 1)
    ways = gammaln(n + 1) - gammaln(passed + 1) - gammaln(n - passed + 1)
    return np.exp(ways + passed * math.log(share) + (n - passed) * math.log1p(-share))


def covered(share: float, n: int, epochs: int, *, spread: float) -> float:
    """How often the interval holds the truth, where each sample has a share of its own around the one given."""
    chance = np.random.default_rng(11)
    own = chance.beta(share / spread, (1 - share) / spread, (TRIES, n)) if spread else share
    drawn = chance.binomial(epochs, own, (TRIES, n)) / epochs
    found = [estimate(values, [epochs] * n) for values in drawn]
    return float(np.mean([each.low <= share <= each.high for each in found]))


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_an_interval_of_independent_samples_holds_the_truth_as_often_as_it_says(share):
    """95 in 100, a little less or more where whole numbers leave no choice: exact, over all counts that may pass."""
    for n in COUNTS:
        likely = np.flatnonzero(chances(n, share) > 1e-9)
        found = [estimate(np.repeat([1.0, 0.0], [passed, n - passed])) for passed in likely]
        holds = np.array([each.low <= share <= each.high for each in found])
        assert {each.method for each in found} == {"wilson"}
        assert 0.92 <= chances(n, share)[likely][holds].sum() <= 0.985, n


@pytest.mark.parametrize(
    ("share", "n", "epochs", "spread"),
    [
        (0.5, 10, 4, 0.5), (0.5, 100, 4, 0.5), (0.98, 10, 3, 0.5), (0.02, 30, 3, 0.5), (0.98, 100, 4, 0.2),
        (0.02, 300, 3, 0.5), (0.98, 300, 3, 0.5), (0.02, 1000, 3, 0.5), (0.02, 10, 3, 0.0), (0.98, 300, 3, 0.0),
    ],
)  # fmt: skip
def test_an_interval_of_clustered_epochs_holds_the_truth_as_often_as_it_says(share, n, epochs, spread):
    """A third of what epochs say they say again; or nothing, where each of them is as good as a sample."""
    assert covered(share, n, epochs, spread=spread) >= 0.925


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


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("n", [10, 100, 1000])
def test_passes_of_two_alike_runs_differ_in_at_most_one_of_twenty_comparisons(share, n):
    """McNemar's test is exact, so its size is a sum over how the samples may change, some to the good, some not."""
    likely = np.flatnonzero(chances(n, 2 * share * (1 - share)) > 1e-4)
    sizes = []
    for changed in likely[:: max(1, len(likely) // 5)]:
        significant = [mcnemar(win, changed - win) < 0.05 for win in range(changed + 1)]
        sizes.append(chances(int(changed), 0.5)[significant].sum())

    assert max(sizes) <= 0.05


def test_scores_of_two_alike_runs_differ_in_one_of_twenty_comparisons():
    """By permutation, all of them where samples are few, else drawn; also where the differences are far from normal."""
    chance, refused = np.random.default_rng(3), []
    for n, tries in ((10, 300), (30, 120)):
        apart = chance.exponential(1.0, (tries, n)) - chance.exponential(1.0, (tries, n))
        refused.append(np.mean([permuted(row, draws=2_000) < 0.05 for row in apart]))

    assert 0.02 <= refused[0] <= 0.08
    assert 0.01 <= refused[1] <= 0.09


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


def test_the_epochs_of_a_sample_are_one_row():
    """In the order of the samples: reduced and spread over epochs that have a score, marked where one was redrawn."""
    frame = pd.DataFrame({
        "id": ["b", "b", "a", "a", "c"], "score.x": [1.0, 0.0, 1.0, math.nan, math.nan],
        "rerolled": pd.array([False, True, False, None, None], "boolean"),
    })  # fmt: skip
    found = reduced_frame(frame, ["x"], reducer_of("mean"))

    assert found[["id", "epochs", "rerolled"]].values.tolist() == [["b", 2, True], ["a", 2, False], ["c", 1, False]]
    assert found["score.x"].tolist()[:2] == [0.5, 1.0]
    assert found["spread.x"].tolist()[:2] == [0.5, 0.0]
    assert found[["score.x", "spread.x"]].isna().values.tolist()[2] == [True, True]


def test_how_many_samples_a_comparison_takes():
    """More for smaller effects and more power; fewer with epochs."""
    assert samples_needed(0.1) == math.ceil((1.959964 + 0.841621) ** 2 * 0.25 / 0.01)
    assert samples_needed(0.05) > samples_needed(0.1)
    assert samples_needed(0.1, 0.9) > samples_needed(0.1)
    assert samples_needed(0.1, within=0.4, epochs=4) < samples_needed(0.1, within=0.4)
