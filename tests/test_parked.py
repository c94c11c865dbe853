"""Faults that no restart mends, in a real lab: the agent is parked with its message, and a person decides."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agentlab import Lab
from agentlab.errors import AgentDown, NotRunning
from agentlab.sim import Control, control
from tests.conftest import wait_for
from tests.failing import SOON, Asker, Clerk, Echo, Patient, Proud, Spender, rows


@pytest.fixture(scope="module")
def soon() -> Iterator[Lab]:
    """A lab that does not wait long; one for all, with one simulator."""
    with Lab(nodes=1, on_fault=SOON, stall_notice=60.0, stall_seconds=120.0) as made:  # a busy machine moves nobody
        yield made


@pytest.fixture
def sim(soon: Lab) -> Iterator[Control]:
    """Its simulator, with nothing set and nothing seen."""
    steer = control(soon.simulator())
    steer.clear()
    steer.forget()
    yield steer
    steer.clear()


PARKS = {
    "400": "bad_request", "400_too_long": "bad_request", "401": "unauthorized", "402": "billing", "403": "forbidden",
    "404": "no_such_model", "413": "too_large", "429_spend_limit": "spend_limit",
}  # fmt: skip


@pytest.mark.parametrize(("mode", "kind"), PARKS.items())
def test_what_no_restart_mends_parks_the_agent_with_its_message(soon, sim, mode, kind):
    """At the first attempt; who asked is told why, and so is who asks next. A person mends it and starts it again."""
    echo = soon.start(Echo, id=f"parks-{mode}")
    sim.faults([{"mode": mode, "times": 1}])

    with pytest.raises(AgentDown, match=f"{kind}: no restart mends it") as told:
        echo.call.ask("What is new?").result(60)
    wait_for(lambda: echo.status == "parked")
    with pytest.raises(NotRunning, match=kind):
        echo.call.ask("And now?").result(60)
    explained = soon.explain(echo)
    echo.restart()
    wait_for(lambda: soon.messages(path=echo.path)["outcome"].tolist() == ["ok"])

    assert told.value.__cause__ is not None
    assert kind in explained
    assert "ref.restart() tries again" in explained
    assert echo.state["messages"][0]["content"] == "What is new?"
    assert rows(soon, echo.path) == [(1, "failed", kind), (1, "ok", None)]
    assert [why.split(":")[0] for why in soon.events(path=echo.path).query("kind == 'parked'")["reason"]] == [kind]
    assert sim.requests() == 2


def test_a_500_for_one_prompt_only_is_no_chance_and_parks(soon, sim):
    """The same fault on the same request, so often: never for ever, and nobody else is held up by it."""
    echo, other = soon.start(Echo, id="poisoned"), soon.start(Echo, id="well")
    sim.faults([{"mode": "500", "prompt": "poison"}])

    with pytest.raises(AgentDown, match="4 times server_error on the same request"):
        echo.call.ask("poison").result(60)
    wait_for(lambda: echo.status == "parked")

    assert other.call.ask("bread").result(60) == "bread"
    assert [row["status"] for row in sim.log()] == [500] * 4 + [200]
    assert echo.incarnation == 1
    assert soon.restarts().query("path == '/poisoned'").empty


def test_the_same_fault_is_counted_over_lives_and_kernels(tmp_path):
    """Whoever dies between two attempts: the journal has those that failed."""
    with Lab(tmp_path / "run.lab", nodes=1) as lab:
        patient = lab.start(Patient, id="patient")
        patient.cast.work()
        wait_for(lambda: patient.status == "waiting" and len(lab.steps()) == 1)
        patient.kill()
        wait_for(lambda: len(lab.steps()) == 2)

    with Lab(tmp_path / "run.lab", nodes=1, resume=True) as lab:
        wait_for(lambda: lab["patient"].status == "parked")

        assert lab.steps()["attempt"].tolist() == [1, 2, 3]
        assert "3 times conflict on the same request" in lab.explain(lab["patient"])

    with Lab(tmp_path / "run.lab", nodes=1, resume=True) as lab:
        patient = lab["patient"]
        assert patient.status == "parked"
        with pytest.raises(NotRunning, match="3 times conflict on the same request"):
            patient.call.work().result(60)
        patient.restart()
        wait_for(lambda: len(lab.steps()) == 4 and patient.status == "waiting")  # all attempts are to be had again


def test_a_row_may_escalate(soon, sim):
    """The agent crashes, its supervisor restarts it, and the message is given up at its first delivery."""
    proud = soon.start(Proud, id="escalates")
    sim.scripts(sim_clerk=[{"tool": "add", "input": {"a": "no number"}}, "done"])

    with pytest.raises(AgentDown, match="add was not run, its input does not fit"):
        proud.call.ask("Add.").result(60)
    wait_for(lambda: proud.incarnation == 2)

    events = soon.events(path=proud.path)
    assert events.query("kind == 'escalated'")["reason"].tolist() == [
        "bad_arguments: its supervisor is to hear of it at once"
    ]
    assert soon.dead_letters(path=proud.path)["deliveries"].tolist() == [1]


def test_a_tool_that_fails_may_crash_its_agent(soon, sim):
    """The model is not told; else it is, and each failed call is a row with its fault."""
    proud, clerk = soon.start(Proud, id="proud"), soon.start(Clerk, id="clerk")
    sim.scripts(sim_clerk=[{"tool": "add", "input": {"a": 1, "b": 2}}, "I cannot."])

    with pytest.raises(AgentDown, match="the battery is empty"):
        proud.call.ask("Add.").result(60)
    sim.scripts(sim_clerk=[{"tool": "add", "input": {"a": 1, "b": 2}}, "I cannot."])

    assert clerk.call.ask("Add.").result(60) == "I cannot."
    assert soon.steps(path="/clerk").query("kind == 'tool'")["fault"].tolist() == ["tool_failed"]
    assert clerk.incarnation == 1


def test_a_tool_that_is_not_there_is_a_fault_as_any(soon, sim):
    """Told to the model by the table, and a row; another class parks."""
    clerk, proud = soon.start(Clerk, id="told"), soon.start(Proud, id="parks")
    sim.scripts(sim_clerk=[{"tool": "fly", "input": {}}, "I cannot."])

    assert clerk.call.ask("Fly.").result(60) == "I cannot."
    sim.scripts(sim_clerk=[{"tool": "fly", "input": {}}, "I cannot."])
    with pytest.raises(AgentDown, match="unknown_tool"):
        proud.call.ask("Fly.").result(60)

    assert soon.steps(path="/told").query("kind == 'tool'")["fault"].tolist() == ["unknown_tool"]
    wait_for(lambda: proud.status == "parked")


def test_a_budget_parks_though_no_step_met_it(soon, sim):
    """What a handler raises is decided by the same table."""
    spender = soon.start(Spender, id="spender")

    with pytest.raises(AgentDown, match="budget: no restart mends it"):
        spender.call.ask("What is new?").result(60)

    wait_for(lambda: spender.status == "parked")
    assert sim.requests() == 0


def test_who_asks_a_parked_agent_again_is_told_at_once(soon, sim):
    """An agent whose call failed for that dies, and its next life does not wait for an answer that nobody gives."""
    echo, asker = soon.start(Echo, id="silent"), soon.start(Asker, id="asker")
    sim.faults([{"mode": "400", "prompt": "poison"}])

    with pytest.raises(AgentDown, match="NotRunning"):
        asker.call.ask(echo).result(60)

    assert sim.requests() == 1
    assert echo.status == "parked"


def test_a_parked_message_can_be_skipped(soon, sim):
    """Its agent goes on with the next one."""
    echo = soon.start(Echo, id="skipped")
    sim.faults([{"mode": "400", "prompt": "poison"}])
    with pytest.raises(AgentDown):
        echo.call.ask("poison").result(60)
    wait_for(lambda: echo.status == "parked")

    echo.skip()

    assert echo.call.ask("bread").result(60) == "bread"
