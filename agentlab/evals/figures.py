"""The mathematics of evals: means with their errors, and the difference of two runs.

Source: E. Miller, "Adding Error Bars to Evals", arXiv 2411.00640: clustered standard errors, paired differences, power.
Intervals of shares: E. B. Wilson, JASA 1927. Quantiles are those of ``scipy.special``, imported when first asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentlab.ground.given import TINY, VAST, number_of, share_of

LEVEL = 0.95

RARE = 0.1
"""Where fewer epochs pass, or fail, their errors lean so far to one side that t misses the truth too often."""


@dataclass(frozen=True)
class Estimate:
    """A mean, and how sure one may be of it.

    Attributes:
        n: Samples (clusters) behind it.
        mean: The mean over samples.
        stderr: Its standard error; that of the samples' own means, so clustered by sample where there are epochs.
        low, high: The interval.
        method: How the interval was made.
    """

    n: int
    mean: float
    stderr: float
    low: float
    high: float
    method: str


def estimate(values: Sequence[float], counts: Sequence[int] | None = None, *, level: float = LEVEL) -> Estimate:
    """The mean of one value per sample.

    Pass or fail (only 0 and 1) without epochs has Wilson's interval; other scores have Student's t. Shares of epochs
    that passed have t with clustered errors too; where passes or failures are ``RARE``, or that interval leaves 0 to 1
    or has no width, Wilson's with the number of independent answers that their variance is worth.

    Args:
        values: One per sample: its score, or the mean over its epochs.
        counts: How many epochs each of them is the mean of, where those passed or failed.
        level: How often the interval shall hold the truth.
    """
    import numpy as np

    found = np.asarray(values, "float64")
    n = len(found)
    if n == 0:
        return Estimate(0, math.nan, math.nan, math.nan, math.nan, "none")
    mean = float(found.mean())
    stderr = float(found.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan
    is_share = bool(((found == 0) | (found == 1)).all())
    if is_share and (counts is None or max(counts) == 1):
        return Estimate(n, mean, stderr, *wilson(mean, n, level=level), "wilson")
    half = student(level, n - 1) * stderr if n > 1 else math.inf
    low, high = mean - half, mean + half
    passes = is_share or counts is not None
    if passes and not (0 <= low < high <= 1 and RARE <= mean <= 1 - RARE):
        worth = _worth(mean, stderr, n, sum(counts) if counts is not None else n)
        z = student(level, n - 1) if n > 1 else None
        return Estimate(n, mean, stderr, *wilson(mean, worth, level=level, z=z), "wilson, clustered")
    return Estimate(n, mean, stderr, low, high, "t, clustered" if counts is not None else "t")


def _worth(mean: float, stderr: float, n: int, answers: int) -> float:
    """How many independent answers clustered ones are worth: between the number of samples and that of answers."""
    if not stderr or not 0 < mean < 1:
        return float(n)
    return min(max(mean * (1 - mean) / stderr**2, n), answers)


def wilson(share: float, n: float, *, level: float = LEVEL, z: float | None = None) -> tuple[float, float]:
    """Wilson's interval of a share of ``n``; with another quantile where the variance was estimated."""
    z = normal((1 + level) / 2) if z is None else z
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def student(level: float, freedom: int) -> float:
    """The quantile of Student's t for a two-sided interval."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))


def normal(share: float) -> float:
    """The quantile of the normal distribution."""
    from scipy.special import ndtri

    return float(ndtri(share))


def bootstrap(values: Sequence[float], *, level: float = LEVEL, seed: int = 0, draws: int = 10_000) -> Estimate:
    """The mean with the percentile interval of means of samples that are drawn again."""
    import numpy as np

    found = np.asarray(values, "float64")
    chance = np.random.default_rng(abs(seed))
    means = np.array([found[chance.integers(0, len(found), len(found))].mean() for _ in range(draws)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(len(found), float(found.mean()), float(means.std(ddof=1)), float(low), float(high), "bootstrap")


@dataclass(frozen=True)
class Difference:
    """What one run is better than another on the samples that both have: mean, interval, p-value, and how it came."""

    n: int
    mean: float
    stderr: float
    low: float
    high: float
    p: float
    method: str
    win: int
    tie: int
    loss: int


def difference(a: Sequence[float], b: Sequence[float], *, level: float = LEVEL, seed: int = 0) -> Difference:
    """``a`` minus ``b``, paired: McNemar's exact test for pass or fail, else a permutation of signs."""
    import numpy as np

    one, other = np.asarray(a, "float64"), np.asarray(b, "float64")
    apart = one - other
    n = len(apart)
    if n == 0:
        return Difference(0, math.nan, math.nan, math.nan, math.nan, math.nan, "none", 0, 0, 0)
    win, loss = int((apart > 0).sum()), int((apart < 0).sum())
    stderr = float(apart.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan
    half = student(level, n - 1) * stderr if n > 1 else math.nan
    both = np.concatenate([one, other])
    if bool(((both == 0) | (both == 1)).all()):
        p, method = mcnemar(win, loss), "mcnemar, exact"
    else:
        p, method = permuted(apart, seed=seed), "permutation"
    mean = float(apart.mean())
    return Difference(n, mean, stderr, mean - half, mean + half, p, method, win, n - win - loss, loss)


def mcnemar(win: int, loss: int) -> float:
    """The exact p-value of so many changes one way and the other."""
    from scipy.special import bdtr

    changed = win + loss
    return 1.0 if not changed else min(1.0, 2.0 * float(bdtr(min(win, loss), changed, 0.5)))


def permuted(apart: Any, *, seed: int = 0, draws: int = 10_000) -> float:
    """The p-value of a mean difference when the sign of each may be either: all ways if they are few, else drawn."""
    import itertools

    import numpy as np

    found = np.asarray(apart, "float64")
    found = found[found != 0]
    n = len(found)
    if n == 0:
        return 1.0
    seen = abs(found.sum()) - 1e-12
    if n <= 12:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=n)))
        return float((abs(signs @ found) >= seen).mean())
    chance = np.random.default_rng(abs(seed))
    hits = sum(int((abs(chance.choice((-1.0, 1.0), (1000, n)) @ found) >= seen).sum()) for _ in range(draws // 1000))
    return (hits + 1) / (draws + 1)


def samples_needed(
    effect: float, power: float = 0.8, *, spread: float = 0.5, within: float = 0.0, epochs: int = 1,
    level: float = LEVEL,
) -> int:  # fmt: skip
    """How many samples a paired comparison takes to see a difference.

    Args:
        effect: The difference of the two means that is to be seen.
        power: How often it shall be seen.
        spread: The standard deviation of the samples' paired differences (0.5: three in four samples agree).
        within: The standard deviation of one sample's epochs, of each run.
        epochs: How often each sample is worked on.
        level: One minus how often a difference may be seen where there is none.

    Raises:
        InvalidArgument: One of them is no such number.
    """
    who = "samples_needed:"
    size = abs(effect) if isinstance(effect, (int, float)) and not isinstance(effect, bool) else effect
    size = number_of(size, f"{who} effect", "a difference, and not 0", TINY, VAST)
    spread, within = (
        number_of(value, f"{who} {name}", "a standard deviation >= 0", 0, VAST)
        for name, value in {"spread": spread, "within": within}.items()
    )
    times = number_of(epochs, f"{who} epochs", "a number >= 1", 1, VAST)
    both = (normal((1 + share_of(level, f"{who} level")) / 2) + normal(share_of(power, f"{who} power"))) ** 2
    return max(2, math.ceil(both * (spread**2 + 2 * within**2 / times) / size**2))
