"""Attempts at a step, in a real lab: what is tried again where it stands, and what is written down about each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agentlab import Agent, Assistant, Lab
from agentlab.errors import AgentDown, StepFailed
from agentlab.faults import Action, fault
from agentlab.sim import Control, control

AT_ONCE = {"attempts": 4, "first": 0.001, "maximum": 0.01}
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
