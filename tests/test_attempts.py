"""Attempts at a step, in a real lab: what is tried again where it stands, and what is written down about each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agentlab import Lab
from agentlab.errors import AgentDown, CallTimeout
from agentlab.faults import Action
from agentlab.sim import Control, control
from tests.conftest import wait_for
from tests.failing import SOON, Asker, Brittle, Echo, Patient, Worker, rows


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


def test_a_wait_that_is_longer_than_an_agents_own_is_the_breakers(lab):
    """An hour is asked for, ``max_wait`` is a minute: the breaker of all nodes is open for the hour."""
    breaker = lab.breaker("sim")
    breaker.tune(agents=3, longest=10_000)
    lab.sim.profile([{"mode": "429", "retry_after": 3600}])
    echoes = [lab.start(Echo, id=f"e{n}") for n in range(4)]
    replies = [echo.call.ask("What is new?") for echo in echoes]

    wait_for(lambda: breaker.state == "open" and breaker.waiting == 4)

    (row,) = lab.breakers().query("name == 'sim'").to_dict("records")
    assert 3590 < (row["next_probe"] - row["since"]).total_seconds() < 3660
    assert {echo.status for echo in echoes} == {"waiting"}
    assert len({echo.node for echo in echoes}) == 2
    lab.sim.clear()
    breaker.close()
    assert [reply.result(60) for reply in replies] == ["What is new?"] * 4
    assert lab.messages()["deliveries"].tolist() == [1] * 4


# what must not be done twice


def test_a_once_step_is_tried_again_only_if_it_is_certain_that_it_did_not_run(soon):
    """Else it is in doubt, whatever the table says of its fault."""
    worker, sure = soon.start(Worker, id="doubtful"), soon.start(Worker, id="sure")

    assert sure.call.pay(False, 2).result(60) == 3
    worker.cast.pay(True)
    wait_for(lambda: worker.status == "parked")

    assert "in doubt: failing" in soon.explain(worker)
    assert len(soon.steps(path=worker.path)) == 1


@pytest.mark.parametrize("file", [False, True])
def test_a_once_step_that_certainly_did_nothing_is_in_no_doubt(tmp_path, file):
    """Its attempts are used up: the message is delivered again as after any crash, and no person is asked."""
    with Lab(tmp_path / "run.lab" if file else None, nodes=1, on_fault={"connection": "crash"}) as lab:
        worker = lab.start(Worker, id="sure")

        with pytest.raises(AgentDown, match="no luck"):
            worker.call.pay(False, 9).result(60)

        lab.wait_idle()
        assert (worker.status, worker.doubts()) == ("running", [])
        assert rows(lab, worker.path) == [(n, "failed", "connection") for n in (1, 2, 3)]
        restarts = lab.restarts()
        assert restarts["fault"].tolist() == ["connection"] * 3  # the kind, and the class is in the reason
        assert restarts["reason"].tolist() == ["StepFailed: no luck"] * 3


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
