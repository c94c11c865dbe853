"""What a call of ``evaluate`` takes and what a run gives: paces, faults, files, a bar, joined frames."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

from agentlab import Lab
from agentlab.chaos import Plan, kill
from agentlab.errors import InvalidSpec
from agentlab.evals import evaluate, exact, includes
from agentlab.evals.pace import FIRST, PATIENCE, Pace
from tests.conftest import wait_for
from tests.evaluated import Clerk, Worker, questions


@pytest.fixture(scope="module")
def shared() -> Iterator[Lab]:
    """A lab for all runs of this file."""
    with Lab(nodes=1) as made:
        yield made


def test_a_pace_that_is_found_grows_until_it_is_refused_and_then_slowly():
    """Doubling by rounds, halved once for refusals of a moment, then one more a round; a number stays what it is."""
    pace, fixed = Pace("auto"), Pace(5)
    for _ in range(FIRST):
        pace.ended()
    grown = pace.limit
    pace.refused(10.0)
    pace.refused(10.0 + PATIENCE / 2)
    halved = pace.limit
    for _ in range(halved + 1):
        pace.ended()
    slowly = pace.limit
    for n in range(20):
        pace.refused(20.0 + PATIENCE * n)
    fixed.ended()
    fixed.refused(1.0)

    assert (grown, halved, slowly) == (2 * FIRST, FIRST, FIRST + 1)
    assert pace.limit == 1
    assert fixed.limit == 5


def test_a_run_finds_its_pace(shared):
    """Refusals while it runs make it slower than it would have been; all is scored all the same."""
    shared.sim.profile([{"mode": "429", "rate": 0.5, "times": 12, "retry_after": 0}], latency_s=0.05)
    run = evaluate(Clerk, questions(30), includes(), lab=shared, name="paced", concurrency="auto")
    shared.sim.clear()

    assert run.counts()["scored"] == 30
    assert run._driver is not None
    assert run._driver.place.pace.limit < FIRST + 30  # what it would be if nobody had refused


def test_faults_are_rules_or_a_profile_and_the_seed_chooses_whom_they_strike(shared):
    """The same seed strikes the same requests, another seed others; a rule that cannot be starts nothing."""

    def struck(name: str, faults: Any, seed: int) -> set[tuple[str, int]]:
        run = evaluate(Clerk, questions(12), includes(), lab=shared, name=name, faults=faults, seed=seed)
        failed = run.steps().query("outcome == 'failed'")
        shared.sim.forget()
        shared.sim.clear()
        return set(zip(failed["id"], failed["step"], strict=True))

    rules = [{"mode": "500", "rate": 0.2}]
    one, other = struck("one", rules, 1), struck("other", {"faults": rules, "latency_s": 0.001}, 2)

    assert one
    assert one != other
    with pytest.raises(InvalidSpec, match=r"faults: faults\.0\.mode: .*unknown mode 'tea'"):
        evaluate(Clerk, ["1 + 1"], includes(), lab=shared, name="wrong", faults=[{"mode": "tea"}])
    with pytest.raises(InvalidSpec, match="seed must be an int; got 'x'"):
        evaluate(Clerk, ["1 + 1"], includes(), lab=shared, name="wrong", seed="x")
    assert shared.whereis("/evals/wrong") is None


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json", ".parquet"])
def test_samples_come_from_files(tmp_path, shared, suffix):
    """With ids, targets and whatever else as metadata."""
    path = tmp_path / f"samples{suffix}"
    frame = pd.DataFrame({"input": ["tea", "bread"], "target": ["tea", "wine"], "id": ["a", "b"], "level": [1, 2]})
    write = {
        ".csv": lambda: frame.to_csv(path, index=False),
        ".jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        ".json": lambda: frame.to_json(path, orient="records"),
        ".parquet": lambda: frame.to_parquet(path),
    }
    write[suffix]()

    run = evaluate(Worker, path, {"level": lambda output, sample: sample.metadata["level"]}, lab=shared, name=suffix)

    assert run.samples()[["id", "input", "target", "score.level"]].values.tolist() == [
        ["a", "tea", "tea", 1.0], ["b", "bread", "wine", 2.0],
    ]  # fmt: skip


def test_results_go_out_as_parquet(tmp_path, shared):
    """All of them, those that are objects as JSON."""
    run = evaluate(Worker, [{"input": "tea", "target": ["tea", "chai"]}], exact(), lab=shared, name="kept")

    found = pd.read_parquet(run.to_parquet(tmp_path / "kept.parquet"))

    assert list(found.columns) == list(run.samples().columns)
    assert found["target"].tolist() == ['["tea", "chai"]']
    assert found["score.exact"].tolist() == [1.0]


def test_a_run_that_was_answered_in_part_goes_out_as_parquet(tmp_path, shared):
    """What is missing is missing there too, whatever sample came first."""
    run = evaluate(Worker, ["raise", "tea"], exact(), lab=shared, name="in part")

    found = pd.read_parquet(run.to_parquet(tmp_path / "part.parquet"))

    assert found["output"].isna().tolist() == [True, False]
    assert found["target"].isna().all()
    assert "cannot be solved" in found["error"].iloc[0]


def test_a_bar_follows_a_run_to_its_end(shared):
    """Done, running, failed, spent; the widget reads the same everywhere, and says at the end how it ended."""
    shared.sim.profile(latency_s=2.0)
    run = evaluate(Clerk, questions(4), includes(), lab=shared, name="watched", concurrency=2, wait=False)
    bar = run.progress()
    wait_for(lambda: "2 running" in run.standing()[1])
    shared.sim.clear()
    run.result(60)
    bar.end()

    assert (bar.share, bar.over, bar.text) == (1.0, True, "Run('watched': 4 scored)")
    assert repr(bar) == "the progress of run 'watched'"
    assert set(run.events()["id"]) == {f"q{n}" for n in range(4)}


def test_a_run_without_a_path_leaves_nothing_behind():
    """Its file is there as long as the run."""
    run = evaluate(Worker, [{"input": "tea", "target": "tea"}], exact(), nodes=1)
    path, there = run.path, run.path is not None and run.path.exists()
    again = run.samples()["score.exact"].tolist()
    del run

    assert there
    assert path is not None
    assert again == [1.0]
    wait_for(lambda: gc.collect() >= 0 and not path.parent.exists())  # its thread ends a moment after it


def test_the_summary_has_both_figures(shared):
    """With all samples, and without those of which a model's answer was drawn again for its content."""
    faults = [{"mode": "wrong_types", "prompt": "What is 1 ", "times": 1}]
    run = evaluate(Clerk, questions(4), includes(), lab=shared, name="both", faults=faults)
    shared.sim.clear()
    row = run.summary().iloc[0]

    assert run.samples()["rerolled"].tolist() == [False, True, False, False]
    assert (row["n"], row["n_not_rerolled"]) == (4, 3)
    assert row["method"] == row["method_not_rerolled"] == "wilson"
    assert row["ci_low_not_rerolled"] < row["ci_low"]


def test_chaos_changes_no_score(shared):
    """Agents are killed in the middle of their work; the table is the same, and what was done can be read beside it."""
    plan = Plan(kill(rate=0.2), seed=7)
    run = evaluate(Clerk, questions(8), includes(), lab=shared, name="struck", chaos=plan)

    assert run.counts()["scored"] == 8
    assert run.samples()["score.includes"].tolist() == [1.0] * 8
    frame, strikes = run.samples().set_index("path"), shared.chaos_log()["path"].value_counts()
    assert strikes.loc[strikes.index.isin(frame.index)].sum() > 0
    assert frame["restarts"].tolist() == [strikes.get(path, 0) for path in frame.index]
    assert (frame["attempts"] == frame["restarts"] + 1).all()
    with pytest.raises(InvalidSpec, match="chaos"):
        evaluate(Clerk, ["1 + 1"], includes(), lab=shared, name="wrong", chaos="kill")
