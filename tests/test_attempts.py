"""Attempts at a step, in a real lab: what is tried again where it stands, and what is written down about each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from agentlab import Agent, Assistant, Lab, Ref, tool
from agentlab.errors import AgentDown, CallTimeout, NotRunning, StepFailed
from agentlab.faults import Action, fault
from agentlab.sim import Control, control
from tests.conftest import wait_for

AT_ONCE = {"attempts": 6, "first": 0.001, "maximum": 0.01, "same": 4}
SOON = {
    kind: Action("retry_step", **AT_ONCE)
    for kind in ("server_error", "connection", "cut_stream", "stalled", "garbage", "cut_upload", "timeout", "conflict")
} | {kind: Action("wait", first=0.001, maximum=0.01, same=4) for kind in ("rate_limit", "overloaded", "unavailable")}
SOON["stalled"] = Action("retry_step", attempts=2, first=0.001, same=99)


class Echo(Assistant):
    """The plainest assistant."""


class Brittle(Echo):
    """Its class lets it crash, whatever its lab says."""

    on_fault = {"server_error": "crash"}


class Worker(Agent):
    """Has a step that fails as often as it is told, in what way it is told."""

    done: int = 0

    async def work(self, kind: str, times: int) -> int:
        """How many attempts it took."""
        made = await self.step(_Failing(kind, times), kind)
        self.done += 1
        return made

    async def pay(self, ran: bool, times: int = 1) -> int:
        """The same with an effect that may run once only."""
        failing = _Failing("connection", times, ran=ran)
        failing.once = True
        return await self.step(failing)


class _Failing:
    """An effect that fails a few times; as a step it is called ``failing``."""

    __name__ = "failing"
    once = False

    def __init__(self, kind: str, times: int, *, ran: bool = True) -> None:
        self.kind, self.times, self.ran = kind, times, ran
        self.calls = 0

    def __call__(self, *args: str) -> int:
        self.calls += 1
        if self.calls <= self.times:
            error = ValueError(f"no {self.kind}") if self.kind == "crash" else StepFailed("no luck", fault(self.kind))
            error.ran = self.ran
            raise error
        return self.calls


@tool
def add(a: float, b: float) -> float:
    """Add two numbers."""
    raise RuntimeError("the battery is empty")


class Clerk(Assistant):
    """Its only tool fails, and its model says what the test wants."""

    model = "sim-clerk"
    tools = (add,)


class Proud(Clerk):
    """It does not tell its model of failures."""

    on_fault = {"tool_failed": "crash", "unknown_tool": "park", "bad_arguments": "escalate"}


class Spender(Assistant):
    """May not even answer once."""

    budget = 10


class Patient(Agent):
    """Waits long between two attempts, and gives up after three."""

    on_fault = {"conflict": Action("retry_step", first=3600, maximum=3600, same=3)}

    async def work(self) -> None:
        """Never succeeds."""
        await self.step(_Failing("conflict", 99))


class Asker(Agent):
    """Asks another agent."""

    async def hurry(self, who: Ref, seconds: float) -> int:
        """What it has done, with little time for it."""
        return int(await who.call(timeout=seconds).work("server_error", 3))

    async def sit(self) -> None:
        """Take long over a step."""
        await self.step(asyncio.sleep, 3600)

    async def relay(self, other: Ref, who: Ref, seconds: float) -> int:
        """The same by another."""
        return int(await other.call(timeout=seconds).hurry(who, seconds))

    async def ask(self, who: Ref) -> str:
        """What it says."""
        return str(await who.call.ask("poison"))


@pytest.fixture(scope="module")
def soon() -> Iterator[Lab]:
    """A lab that does not wait long; one for all, with one simulator."""
    with Lab(nodes=1, on_fault=SOON) as made:
        yield made


@pytest.fixture
def sim(soon: Lab) -> Iterator[Control]:
    """Its simulator, with nothing set and nothing seen."""
    steer = control(soon.simulator())
    steer.clear()
    steer.forget()
    yield steer
    steer.clear()


def rows(lab: Any, path: str) -> list[tuple[Any, ...]]:
    """Attempt, outcome and fault of an agent's steps."""
    steps = lab.steps(path=path)
    return [(a, o, None if o == "ok" else f) for a, o, f in zip(steps.attempt, steps.outcome, steps.fault, strict=True)]


MODES = {
    "500": "server_error", "rst": "connection", "clean_eof_no_stop": "cut_stream", "eof_inside_event": "cut_stream",
    "half_frame_then_blank": "garbage", "400_cut_upload": "cut_upload",
    "429": "rate_limit", "529": "overloaded", "503": "unavailable", "mid_stream_overloaded": "overloaded",
    "504": "timeout",
}  # fmt: skip


@pytest.mark.parametrize(("mode", "kind"), MODES.items())
def test_what_passes_is_tried_again_where_it_stands(soon, sim, mode, kind):
    """No restart, no delivery is charged: the agent has answered once, and each attempt is a row."""
    echo = soon.start(Echo, id=f"mode-{mode}")
    sim.faults([{"mode": mode, "times": 2}])

    answer = echo.call.ask("What is new?").result(60)

    assert answer == "What is new?"
    assert echo.incarnation == 1
    assert rows(soon, echo.path) == [(1, "failed", kind), (2, "failed", kind), (3, "ok", None)]
    assert soon.messages(path=echo.path)["deliveries"].tolist() == [1]
    events = soon.events(path=echo.path).query("kind in ('retrying', 'waiting')")
    assert events["reason"].str.startswith(kind).tolist() == [True, True]
    assert events["kind"].tolist() == ["waiting" if SOON[kind].does == "wait" else "retrying"] * 2


def test_a_class_has_its_own_rows_before_those_of_its_lab(soon, sim):
    """Here it crashes, and its next life does the same again."""
    brittle = soon.start(Brittle, id="brittle")
    sim.faults([{"mode": "500", "times": 1}])

    answer = brittle.call.ask("What is new?").result(60)

    assert answer == "What is new?"
    assert brittle.incarnation == 2
    assert rows(soon, brittle.path) == [(1, "failed", "server_error"), (2, "ok", None)]


def test_when_no_more_attempts_are_allowed_it_is_a_crash(soon):
    """Its next life begins to count anew; what was decided is in each row."""
    worker = soon.start(Worker, id="tired")

    with pytest.raises(AgentDown, match="no luck"):
        worker.call.work("stalled", 99).result(60)

    steps = soon.steps(path=worker.path)
    assert steps["attempt"].tolist() == [1, 2, 3, 4, 5, 6]
    assert steps["output"][0].startswith("StepFailed: no luck (retry_step: attempt 2 of 2 in 0.00")
    assert steps["output"][1] == "StepFailed: no luck"


def test_a_step_of_ones_own_is_tried_again_and_its_exception_is_none_to_the_handler(soon):
    """What is no crash by the table need not be caught."""
    worker = soon.start(Worker, id="own")

    assert worker.call.work("timeout", 2).result(60) == 3
    assert worker.state == {"done": 1}


def test_a_crash_is_tried_once(soon):
    """As without any table: the handler gets it, and dies of it."""
    worker = soon.start(Worker, id="plain")

    with pytest.raises(AgentDown, match="no crash"):
        worker.call.work("crash", 99).result(60)

    assert rows(soon, worker.path) == [(n, "failed", "ValueError") for n in (1, 2, 3)]


# what no restart mends

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
    assert soon.events(path=echo.path).query("kind == 'parked'")["reason"].str.startswith(kind).all()
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
        wait_for(lambda: len(lab.steps()) == 4)
        assert patient.status == "waiting"  # all attempts are to be had again


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


# what must not be done twice


def test_a_once_step_is_tried_again_only_if_it_is_certain_that_it_did_not_run(soon):
    """Else it is in doubt, whatever the table says of its fault."""
    worker, sure = soon.start(Worker, id="doubtful"), soon.start(Worker, id="sure")

    assert sure.call.pay(False, 2).result(60) == 3
    worker.cast.pay(True)
    wait_for(lambda: worker.status == "parked")

    assert "in doubt: failing" in soon.explain(worker)
    assert len(soon.steps(path=worker.path)) == 1


def test_who_waits_between_two_attempts_can_be_killed_and_cancelled(lab):
    """An hour is not waited for."""
    patient = lab.start(Patient, id="patient")
    reply = patient.call.work()
    wait_for(lambda: patient.status == "waiting" and len(lab.steps()) == 1)

    patient.kill()
    wait_for(lambda: len(lab.steps()) == 2)
    assert reply.cancel()
    wait_for(reply.done)

    assert lab.steps()["attempt"].tolist() == [1, 2]
    lab.wait_idle(60)
    assert patient.status == "running"


class Slow(Worker):
    """Waits long before it tries again, as others count."""

    on_fault = {"server_error": Action("retry_step", first=4.0, maximum=4.0)}


def test_the_deadlines_of_those_who_ask_stand_still_while_a_step_waits_for_its_next_attempt(lab):
    """Of a cell, an agent, and one that asks through another: six seconds of waiting at least, and none is late."""
    slow = [lab.start(Slow, id=f"slow-{n}") for n in range(3)]
    first, second = lab.start(Asker, id="first"), lab.start(Asker, id="second")

    replies = [
        slow[0].call(timeout=4.0).work("server_error", 3),
        first.call(timeout=4.5).hurry(slow[1], 4.0),
        second.call(timeout=5.0).relay(lab.start(Asker, id="third"), slow[2], 4.0),
    ]

    assert [reply.result() for reply in replies] == [4, 4, 4]
    assert lab.restarts().empty


def test_a_deadline_is_a_deadline_while_the_step_runs(lab):
    """What an attempt takes is the agent's own time, and a time that was given for one wait is nobody else's."""
    patient = lab.start(Patient, id="patient")
    reply = patient.call(timeout=3600).work()
    wait_for(lambda: patient.status == "waiting" and len(lab.steps()) == 1)

    with pytest.raises(CallTimeout):
        reply.result(0.05)
    with pytest.raises(CallTimeout):
        lab.start(Asker, id="impatient").call(timeout=0.1).sit().result()

    patient.skip()
