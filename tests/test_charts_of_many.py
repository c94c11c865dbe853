"""Charts of very many rows: what reaches Altair stays small, and says the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from agentlab import charts

pytestmark = pytest.mark.xdist_group("altair")  # it takes seconds to load: one process is enough

MANY = 20_000
MOST_ROWS = 4_500
"""Below the 5,000 at which Altair refuses to draw."""

AT = pd.date_range("2026-11-27", periods=MANY, freq="10ms", tz="UTC")
NUMBERS = pd.Series(range(MANY))
PATHS = NUMBERS.map(lambda n: f"/team{n % 50}/w{n % 5000}")
RESTARTS = pd.DataFrame(
    {
        "path": PATHS, "reason": NUMBERS.map(lambda n: f"Boom: {n % 3000}"),
        "fault": NUMBERS.map(lambda n: f"E{n % 70}"), "downtime_s": NUMBERS / 100,
    }
)  # fmt: skip
MESSAGES = pd.DataFrame(
    {
        "id": NUMBERS.map(lambda n: f"s{n % 5000}"), "epoch": NUMBERS % 100, "path": PATHS, "sender": PATHS,
        "seq": NUMBERS, "method": NUMBERS.map(lambda n: f"m{n % 300}"), "outcome": "ok", "sent_at": AT,
        "started_at": AT, "ended_at": AT + pd.Timedelta(seconds=1), "wait_s": 0.1, "took_s": 0.2,
    }
)  # fmt: skip
STEPS = pd.DataFrame(
    {
        "id": MESSAGES["id"], "epoch": MESSAGES["epoch"], "path": PATHS, "message_seq": NUMBERS, "took_s": 0.1,
        "name": NUMBERS.map(lambda n: f"tool{n % 400}"), "fault": NUMBERS.map(lambda n: f"f{n % 90}"), "started_at": AT,
    }
)  # fmt: skip
LIVES = pd.DataFrame(
    {"kind": (NUMBERS % 2).map({0: "started", 1: "crashed"}), "at": AT, "incarnation": NUMBERS // 2 % 90 + 1}
).assign(path=NUMBERS.map(lambda n: f"/w{n // 2 % 70}"), reason="x")  # fmt: skip
LIMITS = pd.DataFrame({"kind": "restarting", "at": AT, "path": PATHS, "detail": "1 of 3 restarts in 5 s"})
BREAKERS = pd.DataFrame(
    {
        "kind": (NUMBERS % 2).map({0: "breaker_opened", 1: "breaker_closed"}), "at": AT, "detail": "why",
        "reason": NUMBERS.map(lambda n: f"host{n // 2 % 600}"),
    }
)  # fmt: skip
SPENT = pd.DataFrame(
    {"who": PATHS, "calls": 1, "tokens_in": 9, "tokens_out": 9, "tokens_cached": 0, "replayed": 0}
).assign(cost_usd=0.1, wasted_usd=0.0)
SAMPLES = pd.DataFrame(
    {
        "id": NUMBERS.map(lambda n: f"s{n // 1000}"), "epoch": NUMBERS % 1000, "disposition": "scored", "score.f1": 0.5,
        "turns": 1, "tokens_in": 9, "tokens_out": 9, "cost_usd": 0.1, "wasted_usd": 0.0,
    }
)  # fmt: skip
SUMMARY = pd.DataFrame({"metric": NUMBERS.map(str), "n": 9, "mean": 0.5, "ci_low": 0.4, "ci_high": 0.6})


class Source:
    """A lab, or a run, in which very much has happened."""

    name = "many"

    def messages(self) -> pd.DataFrame:
        return MESSAGES

    def steps(self) -> pd.DataFrame:
        return STEPS

    def samples(self) -> pd.DataFrame:
        return SAMPLES


CHARTS: dict[str, Callable[[], Any]] = {
    "restarts": lambda: charts.restarts(RESTARTS), "faults": lambda: charts.faults(STEPS),
    "outcomes": lambda: charts.outcomes(MESSAGES, "method", "seq"), "latency": lambda: charts.latency(MESSAGES),
    "downtime": lambda: charts.downtime(RESTARTS), "lifelines": lambda: charts.lifelines(LIVES),
    "intensity": lambda: charts.intensity(LIMITS), "sequence": lambda: charts.sequence(MESSAGES),
    "flame": lambda: charts.flame(Source()), "spend": lambda: charts.spend(SPENT),
    "breaker": lambda: charts.breaker(BREAKERS), "scores": lambda: charts.scores(SUMMARY),
    "by_sample": lambda: charts.by_sample(SAMPLES), "timeline": lambda: charts.timeline(Source()),
    "cost": lambda: charts.cost(SAMPLES),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(charts.__all__))
def test_what_altair_draws_stays_small_whatever_comes_in(name: str) -> None:
    """20,000 rows of many agents, methods, kinds, dependencies or metrics: some thousand rows at most, and not none."""
    drawn = CHARTS[name]().to_dict()

    assert 0 < sum(len(rows) for rows in drawn["datasets"].values()) <= MOST_ROWS
    assert "message" not in next(iter(drawn["datasets"].values()))[0], "it says that there is nothing to draw"


def test_a_line_of_very_many_restarts_keeps_its_peaks_and_its_end() -> None:
    """Restarts that are no points of the line are in the window all the same; the title counts all."""
    events = pd.DataFrame({"kind": "restarting", "at": AT, "path": "/team/w", "detail": "1 of 3 restarts in 3600 s"})

    chart = charts.intensity(events).to_dict()

    (used, _) = chart["datasets"].values()
    assert max(row["share"] for row in used) == MANY / 3
    assert used[-1]["used"] == "0 of 3"
    assert chart["title"]["text"] == "20,000 restarts"


def test_the_highest_of_many_outcomes_are_drawn_where_they_stood() -> None:
    """A hundred bars, in the order of the rows; the title says how many there are."""
    frame = pd.DataFrame({"prompt": range(1000), "score": [n % 500 for n in range(1000)]}, index=[0] * 1000)

    chart = charts.outcomes(frame, "prompt", "score").to_dict()

    (bars,) = chart["datasets"].values()
    assert [bar["tried"] for bar in bars] == [str(n) for n in [*range(450, 500), *range(950, 1000)]]
    assert chart["title"]["text"] == "score by prompt, the 100 highest of 1,000"
