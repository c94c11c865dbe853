"""What a run on one machine has, one on a cluster has too: budgets, faults, Ctrl-C; and the script of the how-to page.

All of it in ``make long``.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentlab.evals import evaluate, includes, open_run
from agentlab.supervision.budget import Budget
from tests.clusters import SAMPLES, begin, check, go, wait_until_begun
from tests.evaluated import Clerk, questions
from tests.patience import LONG

__test__ = LONG

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two workers."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as made:
        yield made


def test_faults_at_the_workers_simulators_change_no_score_and_what_never_passes_is_poisoned(cluster, tmp_path):
    """Each worker has a simulator of its own, with the same profile."""
    faults = [{"mode": "500", "prompt": "What is 3"}, {"mode": "500", "rate": 0.2}]
    run = evaluate(
        Clerk, questions(SAMPLES), includes(), path=tmp_path / "run.lab", cluster=cluster, nodes=1, faults=faults
    )

    frame = run.samples().set_index("id")
    assert frame.loc["q3", ["disposition", "fault"]].tolist() == ["poisoned", "server_error"]
    assert frame.drop("q3")["score.includes"].tolist() == [1.0] * (SAMPLES - 1)
    assert frame.drop("q3")["turns"].tolist() == [3] * (SAMPLES - 1)
    assert (run.steps()["outcome"] == "failed").sum() > (run.steps().query("id == 'q3'")["outcome"] == "failed").sum()


def test_a_budget_is_each_samples_on_whatever_worker(cluster, tmp_path):
    """A sample that would spend more ends with its word."""
    run = evaluate(
        Clerk, questions(2), includes(), path=tmp_path / "run.lab", cluster=cluster, nodes=1, budget=Budget(tokens=10)
    )

    assert run.samples()["disposition"].tolist() == ["over_budget"] * 2


def test_an_interrupt_stops_a_run_in_good_order_and_the_same_call_goes_on(cluster, tmp_path):
    """As Ctrl-C does: the process says how it goes on, the samples that were begun go on from their journals."""
    path = tmp_path / "run.lab"
    command = [sys.executable, "-m", "tests.evaluated", str(path), str(SAMPLES), "1", cluster.scheduler_address]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until_begun(path)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=120)
        finally:
            process.kill()
    stopped = open_run(path).counts()
    go(path)
    run = begin(path, cluster).result(180)

    assert process.returncode not in (0, -signal.SIGKILL)
    assert "The same call goes on where it stands" in said
    assert stopped["stopped"] == SAMPLES
    check(path, run)


def test_the_script_of_the_how_to_page_does_as_it_stands(tmp_path):
    """Here, on workers that it starts; called again, it has nothing left to do."""
    shutil.copy(ROOT / "notebooks" / "howto" / "eval_on_a_cluster.py", tmp_path)
    command = [sys.executable, "eval_on_a_cluster.py", "local"]
    env = {**os.environ, "PYTHONWARNINGS": "default"}
    first = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False)
    again = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False)

    assert "Run('clerk': 200 scored)" in first.stdout, first.stderr
    assert again.stdout == first.stdout
