"""A run whose process is killed with SIGKILL, again and again, ends with the table of one that nobody disturbed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentlab import Lab
from agentlab.evals import evaluate, exact, open_run
from agentlab.evals.ledger import rows_of
from agentlab.lab import open_store
from agentlab.sim import Control, control
from tests.conftest import wait_for
from tests.evaluated import Patient, questions, waiting
from tests.marks import size
from tests.patience import LONG

KILLS, CONCURRENCY = 5 if LONG else 1, 4
SAMPLES, EPOCHS = (200, 3) if LONG else (10, 2)
TURNS = 3


@pytest.fixture
def outside() -> Iterator[Control]:
    """A simulator that outlives whoever asks it."""
    key = "a key of this test"
    command = [sys.executable, "-m", "agentlab.sim", "--port", "0"]
    env = {**os.environ, "AGENTLAB_SIM_TOKEN": key}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        yield control({"base_url": address, "api_key": key})
        process.kill()


def begun(path: Path, sim: Control) -> subprocess.Popen[bytes]:
    """A process that evaluates, or goes on with it."""
    env = {**os.environ, "EVAL_SIM_URL": sim.endpoint.base_url, "ANTHROPIC_API_KEY": sim.endpoint.api_key}
    command = [sys.executable, "-m", "tests.evaluated", str(path), str(SAMPLES), str(EPOCHS)]
    return subprocess.Popen(command, env=env, cwd=Path(__file__).parent.parent)


@pytest.mark.slow
def test_a_run_that_is_killed_and_resumed_scores_each_sample_once_and_pays_no_call_twice(tmp_path, outside):
    """What was journaled is never asked again; at most the calls in the air at a kill are, as nobody can know of them.

    Each kill falls at a random number of requests, while some of them are under way.
    """
    path, chance, total = tmp_path / "run.lab", random.Random(7), SAMPLES * EPOCHS * TURNS
    rough = [{"mode": "500", "rate": 0.1}]
    # The last one gets no answer before all kills, so that no process can be through before it is killed.
    outside.faults([{"mode": "hang_headers", "prompt": f"What is {SAMPLES - 1} "}, *rough], latency_s=0.02)
    for number in range(1, KILLS + 1):
        process = begun(path, outside)
        so_far = total * number // (KILLS + 1) + chance.randrange(-2, 3)
        wait_for(lambda so_far=so_far: outside.requests() >= so_far)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL
    outside.faults(rough, latency_s=0.02)
    assert begun(path, outside).wait(300) == 0

    run = open_run(path)
    frame, steps = run.samples(), run.steps()
    paid = Counter(row["key"] for row in outside.log() if row["finished"])
    with open_store(path) as store:
        recorded = Counter((row["id"], row["epoch"]) for row in rows_of(store._read(), run.name))

    assert frame["disposition"].tolist() == ["scored"] * SAMPLES * EPOCHS
    assert frame["output"].tolist() == [f"{n} + {n} + 1 = {2 * n + 1}" for n in range(SAMPLES) for _ in range(EPOCHS)]
    assert frame["turns"].tolist() == [TURNS] * SAMPLES * EPOCHS
    assert frame["id"].unique().tolist() == [each["id"] for each in questions(SAMPLES)]
    assert set(recorded.values()) == {1}
    journaled = steps.query("kind == 'model' and outcome == 'ok' and replayed == 0")
    assert journaled.groupby(["id", "epoch", "step"]).size().max() == 1
    assert total <= paid.total() <= total + KILLS * CONCURRENCY


HELD = """
import sys
from agentlab.evals import evaluate, exact
from tests.evaluated import Patient, waiting
evaluate(Patient, waiting(sys.argv[1], 3), exact(), path=sys.argv[1] + "/run.lab", nodes=1)
"""


@pytest.mark.filterwarnings("ignore:.*Attempt is not defined")
def test_a_killed_run_goes_on_in_a_lab_that_was_opened_before_it_was_called(tmp_path):
    """The class of a sample's agent is made for the run: what the lab holds of it waits until then, and goes on."""
    path = tmp_path / "run.lab"
    command = [sys.executable, "-c", HELD, str(tmp_path)]
    with subprocess.Popen(command, cwd=Path(__file__).parent.parent) as process:
        wait_for(lambda: [size(tmp_path, f"n{n}") for n in range(3)] == [1] * 3)
        process.kill()
    (tmp_path / "go").touch()
    with Lab(path, nodes=1) as lab:
        run = evaluate(Patient, waiting(tmp_path, 3), exact(), lab=lab)
        frame, parked = run.samples(), lab.agents().query("status == 'parked'")

    assert frame["disposition"].tolist() == ["scored"] * 3
    assert frame["output"].tolist() == ["n0", "n1", "n2"]
    assert parked.empty


KEPT_NOWHERE = """
import sys
from agentlab.evals import evaluate, exact
from tests.evaluated import Patient, waiting
run = evaluate(Patient, waiting(sys.argv[1], 3), exact(), nodes=1, wait=False)
print(run.path, flush=True)
sys.stdin.read()
"""


def test_a_killed_run_that_nobody_keeps_leaves_no_file(tmp_path):
    """Its store is a file until the run is over; who is killed cannot remove it, and the zygote does."""
    command = [sys.executable, "-c", KEPT_NOWHERE, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=Path(__file__).parent.parent, **pipes) as process:
        store = Path(process.stdout.readline().strip())
        wait_for(lambda: size(tmp_path, "n0"))
        assert store.is_file()
        process.kill()

    wait_for(lambda: not store.parent.exists())
