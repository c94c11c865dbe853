"""Steps of one handler side by side, of which several fail: what the agent, its caller and the frames see of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from agentlab import Agent, Assistant, Lab, tool
from agentlab.errors import AgentDown, StepFailed, ToolFailed
from agentlab.faults import fault
from tests.clerks import add
from tests.conftest import wait_for


@tool
async def burn(what: str) -> str:
    """Fail."""
    raise ValueError(f"the {what} burns")


class Cook(Agent):
    """Does several things at once."""

    seen: list[str] = []  # a field's default is copied for each agent

    async def dine(self) -> list[str]:
        """Everything fails, and each of it is looked at."""
        dishes = [self.step(burn, what=what) for what in ("rice", "beans")]
        self.seen = sorted(str(each) for each in await asyncio.gather(*dishes, return_exceptions=True))
        return self.seen

    async def rush(self, kinds: list[str]) -> None:
        """A group of what each of several steps raised, as ``asyncio.TaskGroup`` makes it."""
        found = await asyncio.gather(*(self.step(give_up, kind) for kind in kinds), return_exceptions=True)
        raise ExceptionGroup("dinner", [each for each in found if isinstance(each, Exception)])

    async def fall(self) -> None:
        """A group of its own making."""
        raise ExceptionGroup("x", [KeyError("salt"), StepFailed("no key", fault("unauthorized"))])


async def give_up(kind: str) -> None:
    """Fail of a kind."""
    raise StepFailed(f"no {kind}", fault(kind))


class Clerk(Assistant):
    """Is asked for several tools at once by its model."""

    model = "sim-hands"
    tools = (burn, add)


class Frail(Clerk):
    """Dies of a tool that fails."""

    on_fault = {"tool_failed": "crash"}  # it is read where the class is made


HANDS = [
    {"tool": "burn", "input": {"what": "rice"}},
    {"tool": "add", "input": {"a": 1, "b": 2}},
    {"tool": "burn", "input": {"what": "beans"}},
]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One lab for all."""
    with Lab(nodes=1) as made:
        made.sim.scripts(sim_hands=[HANDS, "I did what I could."])
        yield made


def test_each_of_several_steps_that_fail_at_once_has_its_own_fault(lab):
    """None is lost: neither to the handler nor to the frame."""
    cook: Any = lab.start(Cook, id="cook")

    assert cook.call.dine().result(60) == ["the beans burns", "the rice burns"]

    steps = lab.steps(path="/cook")
    assert sorted(steps["output"]) == ["ValueError: the beans burns", "ValueError: the rice burns"]
    assert list(steps["fault"]) == ["ValueError", "ValueError"]


def test_a_group_says_what_is_in_it_wherever_it_is_told(lab):
    """The caller gets the group itself; events and explanations name each of its exceptions."""
    cook: Any = lab.start(Cook, id="rushed")

    with pytest.raises(AgentDown) as caught:
        cook.call.rush(["stopped_short", "stopped_short"]).result(60)

    group = caught.value.__cause__
    assert isinstance(group, ExceptionGroup)
    assert [str(each) for each in group.exceptions] == ["no stopped_short"] * 2
    told = "dinner (2 sub-exceptions): StepFailed: no stopped_short; StepFailed: no stopped_short"
    crashes = lab.events(path="/rushed").query("kind == 'crashed'")
    assert set(crashes["reason"]) == {f"ExceptionGroup: {told}"}
    assert set(lab.restarts().query("path == '/rushed'")["fault"]) == {"stopped_short"}


def test_a_group_with_something_that_no_restart_mends_parks(lab):
    """As that would by itself."""
    cook: Any = lab.start(Cook, id="keyless")

    with pytest.raises(AgentDown, match="KeyError: 'salt'; StepFailed: no key"):
        cook.call.fall().result(60)

    wait_for(lambda: cook.status == "parked")
    assert lab.events(path="/keyless")["reason"].iloc[-1].startswith("unauthorized: no restart mends it")


def test_a_model_is_told_of_each_tool_that_failed_beside_the_one_that_did_not(lab):
    """One result for each call, in their order; one row with one fault for each."""
    clerk: Any = lab.start(Clerk, id="clerk")

    assert clerk.call.ask("Go.").result(60) == "I did what I could."

    told = [(block.get("is_error", False), block["content"]) for block in clerk.state["messages"][2]["content"]]
    assert told == [
        (True, "burn failed: ValueError: the rice burns"),
        (False, "3.0"),
        (True, "burn failed: ValueError: the beans burns"),
    ]
    steps = lab.steps(path="/clerk").query("kind == 'tool'")
    assert sorted(zip(steps["name"], steps["outcome"], strict=True)) == [
        ("add", "ok"), ("burn", "failed"), ("burn", "failed"),
    ]  # fmt: skip


def test_who_dies_of_one_of_several_tools_dies_of_that_and_no_use_of_a_tool_is_left_open(lab):
    """Its caller gets the tool's failure, whatever the others did."""
    clerk: Any = lab.start(Frail, id="frail")

    with pytest.raises(AgentDown) as caught:
        clerk.call.ask("Go.").result(60)

    assert isinstance(caught.value.__cause__, ToolFailed)
    assert str(caught.value.__cause__) == "burn failed: ValueError: the rice burns"
    assert clerk.state["messages"] == []
