"""Tools and model calls as steps: how they are called, what the frames show of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentlab import Agent, Assistant, Budget, Lab, open_store, tool
from agentlab.errors import AgentDown
from agentlab.store.schema import whole
from tests.conftest import wait_for


@tool
def multiply(a: float, b: float = 2) -> float:
    """Multiply two numbers."""
    return a * b


@tool
async def search(query: str) -> list[str]:
    """Look it up."""
    return [query, query.upper()]


@tool(once=True)
def pay(path: str) -> str:
    """Pay, once."""
    with Path(path).open("a") as file:
        file.write("paid\n")
    return "paid"


def plan(query: str) -> str:
    """A step that calls a tool."""
    return f"{query}: {multiply(2, 3)}"


class Shopper(Agent):
    """Uses tools, well and badly."""

    async def on_start(self) -> None:
        """A step that is not journaled."""
        await self.step(multiply, 1)

    async def well(self) -> list[Any]:
        """As a function, through a step."""
        return [
            await self.step(multiply, 6, 7), await self.step(multiply, a=6), await self.step(search, query="tea"),
            await self.step(multiply, {"a": 6, "b": 7}), await self.step(plan, "two"),
        ]  # fmt: skip

    async def bare(self, times: int) -> list[float]:
        """Without a step."""
        return [multiply(number) for number in range(times)]

    async def pay_bare(self, path: str) -> str:
        """What must happen once, without a step."""
        return str(pay(path))

    async def pay_wrongly(self) -> str:
        """A once tool with an argument that it does not take."""
        return str(await self.step(pay, road=5))


class Clerk(Assistant):
    """Reckons with tools."""

    system = "Use the tools."
    tools = (multiply,)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One lab for all: a simulator takes longer to start than a test."""
    with Lab(nodes=1, stall_notice=60.0, stall_seconds=120.0) as made:  # a busy machine moves nobody
        yield made


def test_a_step_calls_a_tool_as_a_function(lab):
    """By place, by name, or with what a model sent; the journal knows it by its name."""
    shopper = lab.start(Shopper, id="well")

    assert shopper.call.well().result(60) == [42.0, 12.0, ["tea", "TEA"], "42.0", "two: 6.0"]

    steps = lab.steps().query("path == '/well'")
    assert list(zip(steps["kind"], steps["name"], strict=True)) == [
        ("tool", "multiply"), ("tool", "multiply"), ("tool", "search"), ("tool", "multiply"), ("step", "plan"),
    ]  # fmt: skip
    assert steps["input"].iloc[2] == "query='tea'"
    assert shopper.log() == ""


def test_a_tool_without_a_step_says_so_once_a_life(lab):
    """One line in the agent's log; it works all the same."""
    shopper = lab.start(Shopper, id="bare")

    assert shopper.call.bare(3).result(60) == [0, 2, 4]
    assert shopper.call.bare(1).result(60) == [0]

    wait_for(shopper.log)
    (line,) = shopper.log().splitlines()
    assert line.startswith("multiply was called without a step")
    assert "await self.step(multiply, ...)" in line


def test_a_once_tool_without_a_step_is_refused(lab, tmp_path):
    """It would be repeated by the next delivery; nothing was done."""
    shopper = lab.start(Shopper, id="payer")

    with pytest.raises(AgentDown, match=r"pay is once=True, and /payer called it without a step.*self.step\(pay"):
        shopper.call(redeliver=False).pay_bare(str(tmp_path / "paid")).result(60)

    assert not (tmp_path / "paid").exists()


def test_a_once_tool_that_is_called_wrongly_never_began(lab):
    """So nobody is asked whether it happened."""
    shopper = lab.start(Shopper, id="wrong")

    with pytest.raises(AgentDown, match=r"unexpected keyword argument 'road'|missing a required argument: 'path'"):
        shopper.call(redeliver=False).pay_wrongly().result(60)

    assert shopper.doubts() == []


def test_a_model_call_shows_its_prompt_and_its_tokens(lab):
    """What was said last, cut in the frame; tokens as the simulator bills them, in the steps' and the agents' frame."""
    clerk = lab.start(Clerk, id="clerk")

    clerk.call.ask("What is 6 * 7?").result(60)
    clerk.call.ask("Well. " + "x" * 5000).result(60)

    calls = lab.steps().query("path == '/clerk' and kind == 'model'")
    assert calls["input"].iloc[0] == "What is 6 * 7?"
    assert "tool_result" in calls["input"].iloc[1]
    assert (calls["input"].iloc[2][:6], len(calls["input"].iloc[2])) == ("Well. ", 2000)
    assert calls["tokens_in"].is_monotonic_increasing  # each call sends the whole conversation
    assert calls["tokens_in"].iloc[0] > 0
    assert calls["tokens_out"].min() > 0
    row = lab.agents().set_index("path").loc["/clerk"]
    assert (row["tokens_in"], row["tokens_out"]) == (calls["tokens_in"].sum(), calls["tokens_out"].sum())
    assert lab.steps().query("kind == 'tool'")["tokens_in"].isna().all()


class Regular(Assistant):
    """Its model has read most of what it is sent before."""

    model = "sim-regular"


def test_tokens_of_a_cache_are_in_the_frames(lab):
    """As the provider bills them over the wire: all that was read counts, and so much of it came from its cache."""
    usage = {"input_tokens": 10, "cache_creation_input_tokens": 30, "cache_read_input_tokens": 90, "output_tokens": 2}
    lab.sim.scripts(sim_regular=[{"content": [{"type": "text", "text": "as ever"}], "usage": usage}])
    regular = lab.start(Regular, id="regular", budget=Budget(tokens=2000))

    assert regular.call.ask("The usual, please.").result(60) == "as ever"

    assert lab.steps(path="/regular")["tokens_in"].tolist() == [130]
    (spent,) = lab.spend().query("who == '/regular'").to_dict("records")
    assert (spent["tokens_in"], spent["tokens_cached"], spent["tokens_out"]) == (130, 90, 2)
    assert regular.budget.used.tokens == 132


def test_a_store_keeps_prompts_whole_and_tokens(tmp_path):
    """Also for who opens it again, or only reads it."""
    path = tmp_path / "a.lab"
    with Lab(path, nodes=1) as lab:
        lab.start(Clerk, id="clerk").call.ask("x" * 5000).result(60)
        spent = lab.agents().set_index("path").loc["/clerk", ["tokens_in", "tokens_out"]].tolist()
    with open_store(path) as stored:
        assert stored.agents().set_index("path").loc["/clerk", ["tokens_in", "tokens_out"]].tolist() == spent
        assert stored.steps()["input"].str.len().tolist() == [2000]
        assert stored._store.select(f"SELECT length({whole('input')}) FROM step") == [(5000,)]
    with Lab(path, nodes=1) as lab:
        assert lab.agents().set_index("path").loc["/clerk", ["tokens_in", "tokens_out"]].tolist() == spent


def mark(place: str) -> None:
    """Leave a sign."""
    Path(place).touch()


def is_marked(place: str) -> bool:
    """Whether somebody has."""
    return Path(place).exists()


@tool
async def block(place: str) -> str:
    """Hold the loop until somebody else says so, as one does who forgets that a call of it blocks."""
    mark(f"{place}.begun")
    while not is_marked(place):
        time.sleep(0.01)  # noqa: ASYNC251  # what this is about
    return "free"


@tool
async def hang(place: str) -> str:
    """Never answer."""
    mark(place)
    await asyncio.Event().wait()
    return "never"


class Porter(Agent):
    """Opens for others."""

    async def open(self, place: str) -> None:
        """Now."""
        mark(place)


class Busy(Assistant):
    """Its model asks for tools that do not come back by themselves."""

    model = "sim-busy"
    tools = (block, hang)


def test_a_tool_that_blocks_the_loop_holds_nobody(lab, tmp_path):
    """Its neighbour is served on the same node, and sets it free."""
    place = tmp_path / "open"
    lab.sim.scripts(sim_busy=[{"tool": "block", "input": {"place": str(place)}}, "done"])
    busy, porter = lab.start(Busy, id="blocks"), lab.start(Porter, id="porter")
    reply = busy.call.ask("go")
    wait_for(lambda: is_marked(f"{place}.begun"))

    porter.call.open(str(place)).result(60)

    assert reply.result(60) == "done"
    assert lab.steps(path="/blocks").query("kind == 'tool'")["output"].tolist() == ["'free'"]


def test_a_tool_that_is_cancelled_leaves_no_half_of_anything(lab, tmp_path):
    """Its row is closed, the conversation is as before the message, and the next question is answered."""
    place = tmp_path / "begun"
    lab.sim.scripts(sim_busy=[{"tool": "hang", "input": {"place": str(place)}}])
    busy = lab.start(Busy, id="hangs")
    reply = busy.call.ask("go")
    wait_for(place.exists)

    assert reply.cancel()
    wait_for(reply.done)
    lab.wait_idle(60)

    assert busy.state["messages"] == []
    steps = lab.steps(path="/hangs").query("kind == 'tool'")
    assert steps["outcome"].tolist() == ["failed"]
    assert steps["output"].str.startswith("CancelledError").tolist() == [True]
    lab.sim.scripts(sim_busy=["Here I am."])
    assert busy.call.ask("Well?").result(60) == "Here I am."
