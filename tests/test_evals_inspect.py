"""Logs of Inspect AI: it reads ours, we read its samples, and nothing is lost on the way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agentlab import Lab
from agentlab.errors import InvalidSpec
from agentlab.evals import evaluate, exact, includes, samples_from_inspect
from tests.evaluated import Clerk, Worker, questions

pytestmark = pytest.mark.xdist_group("inspect")  # it takes seconds to import


@pytest.fixture(scope="module")
def shared() -> Iterator[Lab]:
    """A lab for all runs of this file."""
    with Lab(nodes=1) as made:
        yield made


@pytest.mark.parametrize("suffix", [".eval", ".json"])
def test_inspect_reads_what_a_run_was(shared, tmp_path, suffix):
    """Scores, epochs, messages with their tool calls, the summary's figures, and how each sample ended."""
    from inspect_ai.log import read_eval_log

    samples = [{**each, "level": 2} for each in questions(2)]
    run = evaluate(Clerk, samples, includes(), epochs=2, lab=shared, name=f"out{suffix}", tags=["t"])
    log = read_eval_log(str(run.to_inspect(tmp_path / f"run{suffix}")))
    found = log.samples or []
    first = found[0]

    assert (log.status, log.eval.config.epochs, log.eval.tags) == ("success", 2, ["t"])
    assert [(each.id, each.epoch) for each in found] == [("q0", 1), ("q1", 1), ("q0", 2), ("q1", 2)]
    assert [each.scores["includes"].value for each in found] == [True] * 4
    assert [message.role for message in first.messages] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "tool",
        "assistant",
    ]
    assert first.messages[1].tool_calls[0].function == first.messages[2].function == "add"
    assert first.messages[2].tool_call_id == first.messages[1].tool_calls[0].id
    assert first.output.completion == run.samples()["output"][0]
    assert first.store["agentlab:disposition"] == "scored"
    assert log.results is not None
    assert log.results.scores[0].metrics["mean"].value == run.summary()["mean"][0] == 1.0
    again = samples_from_inspect(str(tmp_path / f"run{suffix}"))
    assert [(each.id, each.input, each.target, each.metadata) for each in again] == [
        (each["id"], each["input"], each["target"], {"level": 2}) for each in samples
    ]


def test_errors_go_out_as_errors(shared, tmp_path):
    """With their words; a sample that nobody scored has no score, and the log still counts it."""
    from inspect_ai.log import read_eval_log

    run = evaluate(Worker, ["raise", "tea"], exact(), lab=shared, name="errors")
    log = read_eval_log(str(run.to_inspect(tmp_path / "errors.eval")))
    one, other = log.samples or []

    assert one.error is not None
    assert "cannot be solved" in one.error.message
    assert one.store["agentlab:disposition"] == "poisoned"
    assert other.error is None
    assert log.results is not None
    assert (log.results.total_samples, log.results.completed_samples) == (2, 1)
    with pytest.raises(InvalidSpec, match=r"must end in \.eval or \.json"):
        run.to_inspect(tmp_path / "errors.txt")


def test_samples_of_a_task_are_samples(shared):
    """Texts and conversations, targets, ids, metadata; choices are kept beside it."""
    from inspect_ai import Task
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import ChatMessageSystem, ChatMessageUser

    chat = [ChatMessageSystem(content="Be brief."), ChatMessageUser(content="tea")]
    theirs = [
        Sample(input=chat, target="tea", id="a", metadata={"level": 1}),
        Sample(input="B", target="B", choices=["x", "y"]),
    ]
    task = Task(dataset=MemoryDataset(theirs))
    run = evaluate(Worker, samples_from_inspect(task), exact(), lab=shared, name="theirs")
    straight = evaluate(Worker, MemoryDataset(theirs), exact(), lab=shared, name="straight")

    assert run.samples()["score.exact"].tolist() == straight.samples()["score.exact"].tolist() == [1.0, 1.0]
    assert samples_from_inspect(task)[0].metadata == {"level": 1}
    assert samples_from_inspect(task)[1].metadata == {"choices": ["x", "y"]}
    with pytest.raises(InvalidSpec, match="give a Task, a Dataset, or a log with samples; got 3"):
        samples_from_inspect(3)
