"""The drill of three in the morning, in small and on a fast clock; at its full size it is a benchmark."""

from __future__ import annotations

import subprocess
import sys

import pytest

from agentlab.drill import Report, drill


@pytest.mark.slow
def test_nobody_in_the_middle_of_a_task_loses_anything_to_an_outage():
    """A thousand agents, forty at work: nothing lost or done twice, no restart, and few requests meanwhile."""
    report = drill(1_000, 40, 30.0, speed=10.0, nodes=1)

    assert report.broken == []
    assert (report.interrupted, report.right) == (40, 40)
    assert (report.restarts, report.parked, report.redelivered) == (0, 0, 0)
    assert report.openings >= 1
    assert min(map(len, (report.pings["before"], report.pings["during"]))) > 0
    assert report.calls < 40 * 3  # each may fail once or twice before the breaker opens; after that, canaries


def test_a_report_says_which_rules_were_broken():
    """Each with its numbers; and what is printed has all figures."""
    report = Report(100, 10, interrupted=10, right=9, lost=1, gave_up=1)

    assert report.broken == ["9 of 10 tasks are right", "1 messages were lost", "1 supervisors gave up"]
    assert str(report).splitlines()[2].split() == ["tasks", "with", "the", "right", "answer", "9"]


def test_the_drill_is_a_program():
    """It says how it is used, and refuses what makes no sense."""
    said = subprocess.run(
        [sys.executable, "-m", "agentlab.drill", "--how", "luck"], capture_output=True, text=True, check=False
    )  # fmt: skip

    assert said.returncode == 2
    assert "breaker" in said.stderr
