"""The drill of three in the morning, in small and on a fast clock; at its full size it is a benchmark."""

from __future__ import annotations

import importlib
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agentlab import Agent, Lab
from agentlab.drill import Loner, Report, bill, drill, rules_at
from agentlab.drill.control import Control
from agentlab.drill.people import answer, question
from agentlab.errors import AgentLabError, InvalidArgument
from agentlab.sim import Simulator, control
from tests.conftest import wait_for
from tests.patience import LONG

BENCHMARKS = Path(__file__).parent / "benchmarks"


@pytest.mark.slow
def test_nobody_in_the_middle_of_a_task_loses_anything_to_an_outage():
    """A thousand agents, forty at work: nothing lost or done twice, no restart, and few requests meanwhile."""
    report = drill(1_000, 40, 30.0, speed=10.0, nodes=1)

    assert report.broken == []
    assert (report.interrupted, report.right) == (40, 40)
    assert (report.restarts, report.parked, report.redelivered) == (0, 0, 0)
    assert report.openings >= 1
    assert report.calls < 40 * 8  # each may fail a few times before the breaker opens; after that, canaries


def test_a_report_says_which_rules_were_broken():
    """Each with its numbers; and what is printed has all figures."""
    report = Report(100, 10, interrupted=10, right=9, lost=1, gave_up=1)
    report.pings["before"] = [0.001] * 100

    assert report.broken == [
        "9 of 10 tasks are right", "1 messages were lost", "1 supervisors gave up",
        "none of the others was answered during the outage",
    ]  # fmt: skip
    assert str(report).splitlines()[2].split() == ["tasks", "with", "the", "right", "answer", "9"]


def test_latencies_are_told_of_answers_that_there_were():
    """None are not fast; and one in a hundred is not known of fifty."""
    report = Report(100, 10)
    report.pings |= {"before": [0.001] * 99 + [0.5], "during": [0.001] * 50}
    printed = dict(report.rows())

    assert math.isnan(Report(100, 10).latency("during", 0.5))
    assert math.isnan(report.latency("during", 0.99))
    assert printed["their latency, median, p99 and longest, before"] == "1.0, 500.0, 500.0 ms"
    assert printed["their latency, median, p99 and longest, during"] == "1.0, too few, 1.0 ms"
    assert not report.slowed
    report.pings["during"] = [0.02] * 50
    assert report.slowed


def test_others_may_be_slower_by_as_much_as_the_control_is():
    """A machine that others use while the provider is down answers everybody later, also who is in no lab."""
    report = Report(100, 10)
    report.pings |= {"before": [0.01] * 100, "during": [0.04] * 100}
    assert report.slowed

    report.trips |= {"before": [0.001] * 100, "during": [0.003] * 100}
    assert not report.slowed
    report.trips["during"] = [0.002] * 100
    assert report.slowed  # (10 + 5) * 2 are less than 40


def test_a_control_answers_as_often_as_it_is_asked_and_ends():
    """It is a process of its own, with nothing of a lab in it."""
    with Control() as trips:
        took = trips.took(16) + trips.took(3)

    assert len(took) == 19
    assert all(seconds > 0 for seconds in took)


def test_what_came_to_nothing_is_counted_from_the_log():
    """An answer that was cut, one that had been given before, and those for a task that nobody finished."""
    row = {"tokens_in": 10, "tokens_out": 1, "prompt": "a"}
    log: list[dict[str, Any]] = [
        {**row, "key": "1", "finished": False}, {**row, "key": "1", "finished": True},
        {**row, "key": "1", "finished": True}, {**row, "key": "2", "finished": True, "prompt": "b"},
        {"key": "3", "finished": False, "prompt": "a", "tokens_in": None, "tokens_out": None},
    ]  # fmt: skip

    assert bill.repeated(log) == 1
    assert bill.wasted(log, {"a"}) == 33
    assert bill.wasted(log, {"a", "b"}) == 22


def test_who_retries_alone_tries_so_often_and_crashes():
    """No breaker hears of it and nobody is parked: three deliveries of eight tries, and it is given up."""
    with Lab(nodes=1, on_fault=rules_at(1_000.0, "retries")) as lab:
        lab.sim.profile([{"mode": "529"}])
        asked = lab.start(Loner, id="loner").call.add_up(question(1))
        with pytest.raises(AgentLabError):
            asked.result(60)
        lab.wait_idle(60)
        seen, lives, events = lab.sim.log(), lab.restarts(), lab.events()
        state, faults = lab.breaker("sim").state, lab.breakers()["faults"].sum()

    assert seen["mode"].tolist() == ["529"] * 24
    assert len(lives) == 3
    assert not events["kind"].isin(["parked", "gave_up"]).any()
    assert (state, faults) == ("closed", 0)


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a file of the benchmarks as its script does."""

    def beside(folder: str, name: str) -> Any:
        monkeypatch.syspath_prepend(str(BENCHMARKS))
        monkeypatch.syspath_prepend(str(BENCHMARKS / folder))
        return importlib.import_module(name)

    return beside


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_langgraph_does_the_task_of_the_drill(beside):
    """What is measured beside the drill tries again, as its policy says; its whole night is for ``make long``."""
    peer = beside("peers", "by_langgraph_drill")
    async with Simulator(api_key=peer.TOKEN) as sim:
        tasks = peer.Tasks(sim.base_url, peer.policy("eight"))
        sim.set_faults([{"mode": "clean_eof_no_stop", "nth": 1}, {"mode": "529", "nth": 1}])
        said, seen = await tasks.ask(7), list(sim.log)
        await tasks.close()
        found = await _night_of(peer, sim) if LONG else {"right": 2, "lost": 0, "repeated": 0}

    assert said == answer(7)
    assert [row["mode"] for row in seen] == ["clean_eof_no_stop", "529", *[None] * 7]
    assert bill.repeated(seen) == 0
    assert (found["right"], found["lost"], found["repeated"]) == (2, 0, 0)


async def _night_of(peer: Any, sim: Simulator) -> dict[str, float]:
    tasks = peer.Tasks(sim.base_url, peer.policy("eight"))
    found: dict[str, float] = await peer.spend_night(control(sim), tasks, agents=12, busy=2, seconds=1)
    return found


def test_the_benchmark_tells_all_nights(beside, capsys):
    """A line for each figure, ours beside the others'."""
    bench = beside(".", "drill")
    ours = {"right": 40, "lost": 0, "repeated": 0, "wasted": 9, "calls": 50, "last_s": 1.0, "found_s": 0.5,
            "before_p99": 2.0, "p99": 3.0}  # fmt: skip
    nights = {"agentlab": [ours], **{name: [{**ours, "right": 30, "lost": 10}] for name in bench.OTHERS}}
    kit = beside(".", "kit.report")

    bench.tell(kit.Report(), kit.Found(nights, {}, foreign=0.0), 40, 18)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert [line["met"] for line in lines if "met" in line] == [True, True, True]
    assert {line["unit"] for line in lines} == {"tasks", "calls", "tokens", "s", "ms"}
    assert (lines[0]["agentlab"], lines[0]["peer"]) == (40, 30)


class Held(Agent):
    """May end the process that it lives in."""

    def end(self) -> None:
        os._exit(1)

    def stay(self) -> str:
        return "here"


def test_moves_are_counted_if_somebody_of_the_drill_is_to_blame():
    """A node that an agent ends takes its neighbour along, and that is a restart; one that the machine ends is none."""
    with Lab(nodes=1, stall_notice=60.0, stall_seconds=120.0) as lab:
        good, bad = lab.start(Held, id="good"), lab.start(Held, id="bad")
        lab.wait_idle(60)
        born = lab.events().query("kind == 'node_started'")["detail"]
        os.kill(int(born.iloc[0].removeprefix("process ")), signal.SIGKILL)
        wait_for(lambda: good.incarnation == 2 and bad.incarnation == 2)
        machine = Report(2, 1)
        machine.count(lab)
        assert good.call.stay().result(60) == "here"  # who is not asked lives on no node
        bad.cast(redeliver=False).end()
        wait_for(lambda: good.incarnation == 3 and bad.incarnation == 3)
        own = Report(2, 1)
        own.count(lab)

    assert (machine.restarts, machine.moved) == (0, 2)
    assert (own.restarts, own.moved) == (2, 2)


def test_the_drill_is_a_program():
    """It says how it is used, and refuses what makes no sense."""
    said = subprocess.run(
        [sys.executable, "-m", "agentlab.drill", "--how", "luck"], capture_output=True, text=True, check=False
    )  # fmt: skip

    assert said.returncode == 2
    assert "breaker" in said.stderr
    with pytest.raises(InvalidArgument, match="of 10 agents 10 are to be busy"):
        drill(10, 10)
