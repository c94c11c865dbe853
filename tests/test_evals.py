"""Evals in a real lab: every sample ends with one disposition, is scored once, and a run goes on where it stood."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

from agentlab import Budget, Lab, Supervisor
from agentlab.errors import InvalidArgument, InvalidSpec, RunDiffers, SamplesFailed
from agentlab.evals import Sample, Score, evaluate, exact, includes, open_run
from agentlab.evals.ledger import EVALS, LEDGER, Ledger, rows_of, run_path
from tests.conftest import wait_for
from tests.evaluated import Clerk, Echo, Stubborn, Worker, questions


@pytest.fixture(scope="module")
def shared() -> Iterator[Lab]:
    """A lab for all runs of this file."""
    with Lab(nodes=1) as made:
        yield made


def outcome(run: Any) -> list[tuple[Any, ...]]:
    """Who got which score for what, whatever happened on the way."""
    return list(run.samples()[["id", "epoch", "output", "score.includes", "disposition"]].itertuples(index=False))


def test_each_sample_and_epoch_is_a_row_with_its_score_and_its_price(shared):
    """Scores, turns, tool calls and tokens; a summary with an interval; agents that are removed when they are done."""
    run = evaluate(Clerk, questions(3), includes(), epochs=2, lab=shared, name="rows", concurrency=4)
    frame, summary = run.samples(), run.summary().iloc[0]

    assert frame[["id", "epoch"]].values.tolist() == [[f"q{n}", e] for n in range(3) for e in (1, 2)]
    assert frame["score.includes"].tolist() == [1.0] * 6
    assert (frame["disposition"] == "scored").all()
    assert frame["turns"].tolist() == [3] * 6
    assert frame["tool_calls"].tolist() == [2] * 6
    assert (frame["tokens_in"] > 0).all()
    assert not frame["rerolled"].any()
    assert (summary["n"], summary["mean"], summary["ci_high"]) == (3, 1.0, 1.0)
    assert run.counts()["scored"] == 6
    assert shared.agents()["path"].str.startswith("/evals/rows/").sum() == 1  # the ledger
    assert set(run.steps()["id"]) == {"q0", "q1", "q2"}


def test_a_conversation_is_read_when_its_agent_is_gone(shared):
    """Question, calls of the tool with their names, results, answer; also from the file; another sample is refused."""
    run = evaluate(Clerk, questions(2), includes(), epochs=2, lab=shared, name="said")
    said = run.transcript("q1", epoch=2)
    answer = run.samples().query("id == 'q1' and epoch == 2")["output"].item()

    assert said["kind"].tolist() == ["text", *["tool_use", "tool_result"] * 2, "text"]
    assert said["role"].tolist() == ["user", "assistant"] * 3
    assert said["name"].dropna().tolist() == ["add"] * 4
    assert said["text"].iloc[0] == questions(2)[1]["input"]
    assert said["text"].iloc[-1] == answer
    for id_, epoch in (("q2", 1), ("q1", 3), (None, 1)):
        with pytest.raises(InvalidArgument, match="has no sample"):
            run.transcript(id_, epoch)


def test_faults_on_the_way_change_no_score(shared):
    """One request in ten fails: the same table as without, and the retries are in it. Then all is as it was before."""
    calm = evaluate(Clerk, questions(20), includes(), lab=shared, name="calm")
    shared.sim.profile([{"mode": "529", "prompt": "nobody asks this"}], seed=3)
    before = shared.sim._control.standing()
    shared.sim.forget()
    rules = [{"mode": "500", "rate": 0.05}, {"mode": "abort_mid_chunk", "rate": 0.05}]
    rough = evaluate(Clerk, questions(20), includes(), lab=shared, name="rough", faults=rules)
    struck = shared.sim.log()["mode"].notna().sum()
    after = shared.sim._control.standing()
    shared.sim.clear()

    assert after == before
    assert outcome(rough) == outcome(calm)
    assert struck > 0
    assert (rough.steps()["outcome"] == "failed").sum() >= struck
    assert rough.samples()["waits_s"].sum() > 0 == calm.samples()["waits_s"].sum()


def test_rows_of_an_earlier_version_are_read_and_stand(shared):
    """They were kept as dicts; one that is there already is not recorded again."""
    old = {"id": "one", "epoch": 1, "disposition": "scored"}
    shared.start(Supervisor(EVALS[1:], max_restarts=100, max_seconds=60.0), exist_ok=True)
    shared.start(Supervisor("before"), under=EVALS)
    ledger = shared.start(Ledger, id=LEDGER, under=run_path("before"), rows=[old])

    new = {**old, "id": "two"}
    ledger.call.record([{**old, "disposition": "failed"}, new]).result(60)

    assert rows_of(shared._read(), "before") == [old, new]


def test_a_sample_that_cannot_pass_ends_and_so_does_the_run(shared):
    """Always a 500, always an exception, an endless loop, no tokens left: each ends with its word, the others pass."""
    shared.sim.profile([{"mode": "500", "prompt": "poison"}])
    asked = evaluate(Echo, ["poison", "bread"], {"same": lambda output, sample: output == sample.input}, lab=shared)
    shared.sim.clear()
    poor = evaluate(Echo, ["bread"], exact(), lab=shared, name="poor", budget=Budget(tokens=10))
    looping = evaluate(Worker, ["loop"], exact(), lab=shared, name="loop", timeout=1.0, wait=False)
    told = evaluate(Worker, ["raise", "tea"], exact(), lab=shared)
    endless = looping.result(60)

    assert asked.samples()["disposition"].tolist() == ["poisoned", "scored"]
    assert asked.samples()["fault"].tolist()[0] == "server_error"
    assert asked.samples()["score.same"].tolist() == [0.0, 1.0]
    assert poor.samples()["disposition"].tolist() == ["over_budget"]
    assert told.samples()["disposition"].tolist() == ["poisoned", "scored"]
    assert told.samples()["error"].str.contains("cannot be solved").tolist()[0]
    assert told.counts() == {
        "scored": 1, "failed": 0, "over_budget": 0, "timed_out": 0, "poisoned": 1, "stopped": 0,
    }  # fmt: skip
    assert endless.samples()["disposition"].tolist() == ["timed_out"]
    assert endless.counts()["timed_out"] == 1


@pytest.mark.parametrize(
    ("asked", "words", "fault"),
    [
        ({"tool": "add", "input": {"a": 1, "b": 1}}, "turns in circles", "garbage"),
        ({"tool": "search", "input": {"q": "tea"}}, "no answer for tea", "tool_failed"),
    ],
    ids=["a model that loops", "a tool that always raises"],
)
def test_a_model_that_never_answers_ends_its_sample(shared, asked, words, fault):
    """It asks for the same tool for ever, which works or raises: after three deliveries, five calls each at most."""
    shared.sim.scripts(sim_stubborn=[asked])
    before = shared.sim._control.requests()
    run = evaluate(Stubborn, ["tea"], exact(), lab=shared, name=f"stubborn-{asked['tool']}")
    row, requests = run.samples().iloc[0], shared.sim._control.requests() - before

    assert (row["disposition"], row["fault"], row["score.exact"]) == ("poisoned", fault, 0.0)
    assert words in row["error"]
    assert "after 3 deliveries" in row["error"]
    assert 3 <= requests <= 15


def test_a_scorer_that_raises_fails_its_own_sample(shared):
    """Visibly, and never the run; what it says otherwise is a number or a Score."""

    async def picky(output: str, sample: Sample) -> Score:
        if output == "bad":
            raise LookupError("not this one")
        return Score(0.5, answer=output, explanation="half of it")

    samples = [{"input": "bad"}, {"input": "good"}]
    run = evaluate(Worker, samples, picky, lab=shared, name="picky", on_failure="drop")
    frame = run.samples()

    assert frame["disposition"].tolist() == ["failed", "scored"]
    assert "scorer picky: LookupError: not this one" in frame["error"][0]
    assert frame["fault"].tolist()[0] == "scorer"
    assert frame["explanation"].tolist()[1] == "half of it"
    assert run.summary()["n"].tolist() == [1]
    with pytest.raises(SamplesFailed, match=r"1 sample not scored.* the same call with on_failure='zero'\.samples\(\)"):
        evaluate(Worker, samples, picky, lab=shared, name="picky", on_failure="raise")


def test_a_run_that_is_finished_is_not_run_again_and_another_one_is_refused(shared, tmp_path):
    """The same samples, solver, scorer and seed: its rows. More epochs: only those. Other data: what differs."""
    path = tmp_path / "runs" / "tea.lab"
    first = evaluate(Worker, ["tea", "bread"], exact(), path=path, nodes=1)
    again = evaluate(Worker, ["tea", "bread"], exact(), path=path, nodes=1)
    more = evaluate(Worker, ["tea", "bread"], exact(), path=path, nodes=1, epochs=2)

    pd.testing.assert_frame_equal(first.samples(), again.samples())
    assert more.samples().query("epoch == 1")["latency_s"].tolist() == first.samples()["latency_s"].tolist()
    assert len(more.samples()) == 4
    assert open_run(path).samples()["id"].tolist() == ["1", "1", "2", "2"]
    assert (open_run(path).messages()["method"] == "sample_work").sum() == 4
    with pytest.raises(RunDiffers, match=r"samples\.count was 2, and is 1"):
        evaluate(Worker, ["tea"], exact(), path=path)
    with pytest.raises(RunDiffers, match=r"solver\.name was 'Worker', and is 'Echo'"):
        evaluate(Echo, ["tea", "bread"], exact(), path=path)
    with pytest.raises(RunDiffers, match="seed was 0, and is 1"):
        evaluate(Worker, ["tea", "bread"], exact(), path=path, seed=1)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"samples": []}, "at least one"),
        ({"samples": [{"question": "?"}]}, "no 'input'; it has: question"),
        ({"samples": [{"input": "a", "id": 1}, {"input": "b", "id": 1}]}, "two samples have the id 1"),
        ({"samples": "tea.txt"}, "no .jsonl"),
        ({"scorer": exact}, r"write exact\(\)"),
        ({"scorer": 3}, "a scorer is a function"),
        ({"epochs": 0}, "epochs must be an int >= 1"),
        ({"reducer": "best"}, "one of mean, median"),
        ({"message": "answer"}, "no message 'answer'.*it has: solve"),
        ({"on_failure": "ignore"}, "zero, drop, raise"),
        ({"path": "x.lab"}, "not both"),
        ({"solver": "sim"}, "an Agent class"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(shared, wrong, words):
    """Each with what is wrong and what is allowed."""
    given = {"solver": Worker, "samples": ["tea"], "scorer": exact(), "lab": shared, "name": "wrong", **wrong}

    with pytest.raises(InvalidSpec, match=words):
        evaluate(given.pop("solver"), given.pop("samples"), given.pop("scorer"), **given)
    assert shared.whereis("/evals/wrong") is None


def test_a_run_that_is_stopped_goes_on_by_the_same_call(shared):
    """Nobody waits for it; what is left is stopped, and counted; the next call does that, and nothing twice."""
    shared.sim.profile([{"mode": "hang_headers", "prompt": "What is 3 "}])  # it does not get past this one
    given: dict[str, Any] = {"lab": shared, "name": "halted", "concurrency": 1}
    run = evaluate(Clerk, questions(6), includes(), wait=False, **given)
    wait_for(lambda: run.samples()["disposition"].eq("scored").any())
    run.stop()
    halted = run.counts()
    shared.sim.clear()
    whole = evaluate(Clerk, questions(6), includes(), **given)

    assert run.done()
    assert halted["scored"] + halted["stopped"] == 6
    assert halted["stopped"] > 0
    assert whole.counts()["scored"] == 6
    assert whole.samples()["turns"].tolist() == [3] * 6
