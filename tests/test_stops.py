"""Each reason for which a model may stop, met by an assistant over the real client at the real simulator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agentlab import Lab
from agentlab.errors import AgentDown, ContextWindowExceeded, InvalidAnswer, ModelRefused, TurnLimitReached
from agentlab.sim.checks import check_request
from tests.clerks import ANSWER, QUESTION, Clerk, add
from tests.conftest import wait_for


class Brief(Clerk):
    """Gives up early."""

    max_turns = 3
    on_fault = {"stopped_short": "escalate"}  # so that nothing is asked again


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One lab for all."""
    with Lab(nodes=1, stall_notice=60.0, stall_seconds=120.0) as made:  # a busy machine moves nobody
        yield made


def meets(lab: Lab, cls: type, name: str, *modes: dict[str, Any]) -> Any:
    """An agent whose model calls meet these modes in the middle of its task."""
    ref = lab.start(cls, id=name)
    lab.sim.profile([{"agent": ref.path, **mode} for mode in modes])
    return ref


def tools_run(lab: Lab, ref: Any) -> int:
    """How many tools ran for an agent."""
    return len(lab.steps(path=ref.path).query("kind == 'tool'"))


def sent(lab: Lab, ref: Any) -> list[tuple[Any, ...]]:
    """Of each request of an agent at the simulator: how many messages it had, and why the answer stopped."""
    log = lab.sim.log().query(f"user == '{ref.path}'")
    return list(zip(log["messages"], log["stop_reason"], strict=True))


def test_a_paused_turn_goes_on_with_what_was_said(lab):
    """The model gets its own words back as the last message, and goes on from there; tools run as if nothing was."""
    clerk = meets(lab, Clerk, "paused", {"mode": "pause_turn", "nth": [2, 3]})

    assert clerk.call.ask(QUESTION).result(60) == ANSWER

    stops = sent(lab, clerk)
    assert [stop for _, stop in stops] == ["tool_use", "pause_turn", "pause_turn", *["tool_use"] * 5, "end_turn"]
    assert (clerk.incarnation, tools_run(lab, clerk)) == (1, 6)
    check_request({
        "model": "sim", "max_tokens": 9, "tools": [add.spec()],
        "messages": [*clerk.state["messages"], {"role": "user", "content": "Go on."}],
    })  # fmt: skip


def test_a_model_that_only_pauses_is_given_up(lab):
    """After ``max_turns`` calls: pauses count."""
    clerk = meets(lab, Brief, "pausing", {"mode": "pause_turn"})

    with pytest.raises(AgentDown) as caught:
        clerk.call.ask(QUESTION).result(60)

    assert isinstance(caught.value.__cause__, TurnLimitReached)
    assert [stop for _, stop in sent(lab, clerk)] == ["pause_turn"] * 3
    assert clerk.state["messages"] == []


def test_a_tool_use_that_was_cut_off_never_runs(lab):
    """The model is told each time; when it does not better itself, the last error says so."""
    clerk = meets(lab, Clerk, "cut", {"mode": "max_tokens_in_tool", "nth": [2, 3]})
    hopeless = lab.start(Brief, id="hopeless")

    assert clerk.call.ask(QUESTION).result(60) == ANSWER
    assert tools_run(lab, clerk) == 6
    lab.sim.profile([{"mode": "max_tokens_in_tool", "agent": hopeless.path}])
    with pytest.raises(AgentDown) as caught:
        hopeless.call.ask(QUESTION).result(60)

    assert isinstance(caught.value.__cause__, InvalidAnswer)
    assert "inside the call of tool 'add'" in str(caught.value.__cause__)
    assert tools_run(lab, hopeless) == 0


def test_a_refusal_is_an_error_of_its_own_and_nothing_of_it_stays(lab):
    """Not even the tool use that came with it; what it cost is known."""
    clerk = meets(lab, Brief, "refused", {"mode": "refusal"})

    with pytest.raises(AgentDown) as caught:
        clerk.call.ask(QUESTION).result(60)

    refused = caught.value.__cause__
    assert isinstance(refused, ModelRefused)
    assert refused.usage_lower_bound["output_tokens"] > 0
    assert (tools_run(lab, clerk), clerk.state["messages"]) == (0, [])
    assert [stop for _, stop in sent(lab, clerk)] == ["refusal"]
    assert lab.steps(path=clerk.path)["tokens_out"].sum() == refused.usage_lower_bound["output_tokens"]


def test_a_conversation_that_outgrew_its_model_parks_and_goes_on_by_a_restart(lab):
    """No restart mends it by itself: the agent keeps its message, and what was done is not done again."""
    clerk = meets(lab, Clerk, "full", {"mode": "context_window_exceeded", "nth": 4, "times": 1})

    with pytest.raises(AgentDown) as caught:
        clerk.call.ask(QUESTION).result(60)

    assert isinstance(caught.value.__cause__, ContextWindowExceeded)
    assert (clerk.status, clerk.state["messages"]) == ("parked", [])
    clerk.restart()
    wait_for(lambda: ANSWER in str(clerk.state["messages"][-1:]))
    stops = [stop for _, stop in sent(lab, clerk)]
    assert stops == [*["tool_use"] * 3, "model_context_window_exceeded", *["tool_use"] * 3, "end_turn"]
