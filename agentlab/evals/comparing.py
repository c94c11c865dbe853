"""``compare``: two runs on the samples that both have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentlab.errors import InvalidArgument
from agentlab.evals import figures
from agentlab.evals.run import Run
from agentlab.ground.given import share_of, shown

if TYPE_CHECKING:
    import pandas as pd


def compare(a: Run, b: Run, *, level: float = figures.LEVEL, seed: int = 0) -> pd.DataFrame:
    """One row per metric that both runs have: ``a`` minus ``b``, paired by sample; shape (m, 13).

    ``p_value`` is exact McNemar's where each sample passed or failed, else of a permutation of signs. ``n`` samples are
    in both runs; ``only_a`` and ``only_b`` are in one, and are left out.

    Args:
        a: A run.
        b: The one that it is compared with.
        level: How often the interval shall hold the truth.
        seed: Of the permutations that are drawn, where there are too many for all.

    Raises:
        InvalidArgument: They are no runs, or the others no such numbers.
    """
    import pandas as pd

    for each in (a, b):
        if not isinstance(each, Run):
            raise InvalidArgument(
                f"compare: give two runs, of evaluate or open_run; got {shown(each)}",
                argument="a" if each is a else "b",
            )
    level = share_of(level, "compare: level")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise InvalidArgument(f"compare: seed must be an int; got {shown(seed)}", argument="seed")
    one, other = a.by_sample().set_index("id"), b.by_sample().set_index("id")
    rows = []
    for column in [name for name in one if str(name).startswith("score.") and name in other]:
        both = pd.DataFrame({"a": one[column], "b": other[column]}).dropna()
        found = figures.difference(both["a"].tolist(), both["b"].tolist(), level=level, seed=seed)
        rows.append({
            "metric": str(column).removeprefix("score."), "difference": found.mean, "stderr": found.stderr,
            "ci_low": found.low, "ci_high": found.high, "p_value": found.p, "method": found.method, "win": found.win,
            "tie": found.tie, "loss": found.loss, "n": found.n, "only_a": len(one.index.difference(both.index)),
            "only_b": len(other.index.difference(both.index)),
        })  # fmt: skip
    return pd.DataFrame(rows)
