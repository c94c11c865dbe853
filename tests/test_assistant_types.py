"""Answers of a type, tools side by side, odd models: in a real lab, against the real simulator."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydantic
import pytest

from agentlab import Assistant, Lab, tool
from agentlab.errors import AgentDown, InvalidAnswer, InvalidArgument
from agentlab.sim import Control, control
from tests.conftest import wait_for


class Invoice(pydantic.BaseModel):
    """What an extractor fills."""

    customer: str
    total: float


class NotThis:
    """Nothing that pydantic knows."""


class Clerk(Assistant):
    """Says what the test wants."""

    model = "sim-clerk"


class Extractor(Assistant):
    """Fills schemas from the text."""

    model = "sim-extractor"


@tool
def price(text: str) -> str:
    """Look up a price."""
    return f"{text} costs 3"


class Planner(Assistant):
    """Asks for several tools at once."""

    model = "sim-planner"
    tools = (price,)


@tool
def fetch(text: str) -> str:
    """Fetch something; the last one waits for a word."""
    with Path(text).open("a") as file:
        file.write("x")
    while text.endswith("last") and not Path(f"{text}.go").exists():
        time.sleep(0.01)
    return "fetched"


class Shopper(Assistant):
    """Asks for several things at once."""

    model = "sim-planner"
    tools = (fetch,)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One lab for all."""
    with Lab(nodes=1, stall_notice=60.0, stall_seconds=120.0) as made:  # a busy machine moves nobody
        yield made


@pytest.fixture
def sim(lab: Lab) -> Iterator[Control]:
    """The lab's simulator, with nothing set and nothing seen."""
    steer = control(lab.simulator())
    steer.clear()
    steer.forget()
    yield steer
    steer.clear()


POINT = """
from dataclasses import dataclass, field

@dataclass
class Point:
    x: int
    y: int = 0
    tags: list[int] = field(default_factory=list)
"""


def class_of_a_cell() -> Any:
    """A class that only the notebook has."""
    cell: dict[str, Any] = {"__name__": "__main__"}
    exec(POINT, cell)
    return cell["Point"]


def test_an_answer_is_of_the_type_that_was_asked_for(lab, sim):
    """The model sees the schema; the value comes back as an instance, of a class of a cell too."""
    extractor, point = lab.start(Extractor, id="extractor"), class_of_a_cell()

    invoice = extractor.call.ask_for(Invoice, "customer: Ann, total: 12.5").result(60)
    place = extractor.call.ask_for(point, "x: 3, y: 4").result(60)

    assert invoice == Invoice(customer="Ann", total=12.5)
    assert (type(place).__name__, place.x, place.y) == ("Point", 3, 4)


@pytest.mark.parametrize("kind", [5, "Invoice", Lab, Callable, NotThis], ids=str)
def test_a_type_that_no_model_can_answer_with_is_refused_where_the_call_is_made(lab, kind):
    """Nothing is sent, and no agent dies of it."""
    clerk = lab.start(Clerk)

    for asks in (clerk.call.ask_for, clerk.cast.ask_for):
        with pytest.raises(InvalidArgument, match=r"has no JSON schema, .* such as list\[int\]\. Nothing was done"):
            asks(kind, "What is it?")

    assert (clerk.incarnation, clerk.info()["handled"], clerk.info()["mailbox"]) == (1, 0, 0)


def test_an_answer_that_does_not_fit_is_repaired_in_place(lab, sim):
    """The model is told what is wrong; nobody dies, and the whole exchange is the conversation."""
    sim.scripts(sim_clerk=["Ann owes 12.", '{"customer": "Ann"}', '```json\n{"customer": "Ann", "total": 12}\n```'])
    clerk = lab.start(Clerk, id="mender")

    invoice = clerk.call.ask_for(Invoice, "Who owes?").result(60)

    assert invoice == Invoice(customer="Ann", total=12)
    assert (clerk.incarnation, len(clerk.state["messages"])) == (1, 6)
    assert "- total: Field required" in clerk.state["messages"][4]["content"]


def test_an_answer_that_never_fits_is_a_crash_with_its_cause(lab, sim):
    """The message is a transaction: nothing of it stays."""
    sim.scripts(sim_clerk=["I do not know."])
    clerk = lab.start(Clerk, id="ignorant")

    with pytest.raises(AgentDown) as caught:
        clerk.call.ask_for(list[int], "Which?").result(60)

    assert isinstance(caught.value.__cause__, InvalidAnswer)
    assert caught.value.__cause__.answer == "I do not know."
    assert clerk.state["messages"] == []


def test_tools_of_one_turn_are_steps_side_by_side(lab, sim):
    """Three calls in one turn, three steps, results in the order of the calls."""
    planner = lab.start(Planner, id="planner")

    answer = planner.call.ask("tea; milk; sugar").result(60)

    steps = lab.steps().query("path == '/planner' and kind == 'tool'")
    assert answer == "- tea: tea costs 3\n- milk: milk costs 3\n- sugar: sugar costs 3"
    assert sorted(steps["output"]) == ["'milk costs 3'", "'sugar costs 3'", "'tea costs 3'"]


def test_a_kill_in_the_middle_of_a_turn_repeats_no_tool_that_has_ended(lab, sim, tmp_path):
    """Two of three side by side are done: the next life finds them in the journal, and runs the third again."""
    names = [str(tmp_path / name) for name in ("tea", "milk", "last")]
    shopper = lab.start(Shopper, id="shopper")
    reply = shopper.call.ask("; ".join(names))
    done = "path == '/shopper' and kind == 'tool' and outcome == 'ok'"
    wait_for(lambda: len(lab.steps().query(done)) == 2 and Path(names[2]).exists() and Path(names[2]).read_text())

    shopper.kill()
    Path(f"{names[2]}.go").touch()

    assert reply.result(60) == "\n".join(f"- {name}: fetched" for name in names)
    assert [Path(name).read_text() for name in names] == ["x", "x", "xx"]
    assert lab.steps().query(done)["replayed"].tolist().count(1) == 2


def test_another_model_in_its_place_is_said_in_the_log(lab):
    """Once a life; names with a date are the same model's."""
    clerk = lab.start(Substituted, id="substituted")

    clerk.call.say("other-model").result(60)
    clerk.call.say("sim-clerk-20261001").result(60)

    assert clerk.log().count("has put it in its place") == 1
    assert "'other-model' answers, not 'sim-clerk'" in clerk.log()


class Substituted(Clerk):
    """Told which model has answered."""

    async def say(self, model: str) -> None:
        """Take note of a model's name."""
        self._note_substitute(model)
        self._note_substitute(model)
