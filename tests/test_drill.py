"""The drill of three in the morning, in small and on a fast clock; at its full size it is a benchmark."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys

import pytest

from agentlab import Agent, Lab
from agentlab.drill import Report, drill
from agentlab.errors import InvalidArgument
from tests.conftest import wait_for


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


class Held(Agent):
    """May end the process that it lives in."""

    def end(self) -> None:
        os._exit(1)

    def stay(self) -> str:
        return "here"


def test_moves_are_counted_if_somebody_of_the_drill_is_to_blame():
    """A node that an agent ends takes its neighbour along, and that is a restart; one that the machine ends is none."""
    with Lab(nodes=1) as lab:
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
