"""Evals on a Dask cluster: every sample is scored once, whoever of its workers dies."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentlab import Agent
from agentlab.errors import InsecureCluster, InvalidSpec, StoreError
from agentlab.evals import evaluate, exact
from agentlab.evals.ledger import rows_of
from agentlab.evals.machines import as_table, check_private, differing, door_of, probed
from agentlab.lab import open_store
from tests.conftest import wait_for
from tests.evaluated import Worker
from tests.marks import mark, size
from tests.patience import sign_of

SAMPLES = 6


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two workers, each a process with a nanny that starts another one when it dies."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as made:
        yield made


def journaled(folder: Path) -> int:
    """Steps that the labs of a run's workers have committed."""
    count = 0
    for path in folder.glob("*.lab"):
        with contextlib.suppress(StoreError), open_store(path) as store:  # one is just being made
            count += len(store.steps())
    return count


def patient(folder: str) -> type[Agent]:
    """A solver whose class no module has: it makes a mark, waits for a sign, and answers."""

    class Patient(Agent):
        async def solve(self, what: str) -> str:
            await self.step(mark, folder, what)
            await sign_of(f"{folder}/go")
            return what

    return Patient


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_unfinished_samples_and_they_go_on_from_their_journals(cluster, tmp_path):
    """Each is scored once, and no step that was journaled is done again; then the run is over for whoever asks."""
    from distributed import Client

    solver, samples = patient(str(tmp_path)), [{"input": f"n{n}", "target": f"n{n}"} for n in range(SAMPLES)]
    path = tmp_path / "runs" / "run.lab"
    run = evaluate(solver, samples, exact(), path=path, cluster=cluster, nodes=1, wait=False)
    wait_for(lambda: journaled(path.with_name("run.lab.workers")) == SAMPLES, 120)
    with Client(cluster, set_as_default=False) as client:
        victim = min(client.run(os.getpid).values())
    os.kill(victim, signal.SIGKILL)
    (tmp_path / "go").touch()
    run.result(180)

    frame = run.samples()
    with open_store(path) as store:
        recorded = Counter((row["id"], row["epoch"]) for row in rows_of(store._read(), run.name))
    assert frame["output"].tolist() == [f"n{n}" for n in range(SAMPLES)]
    assert frame["score.exact"].tolist() == [1.0] * SAMPLES
    assert set(frame["worker"]) <= {"0", "1"}
    assert set(recorded.values()) == {1}
    assert [size(tmp_path, f"n{n}") for n in range(SAMPLES)] == [1] * SAMPLES
    assert set(run.steps()["id"]) == set(frame["id"])
    assert evaluate(solver, samples, exact(), path=path).samples().equals(frame)


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("tls://10.0.0.7:8786", True),
        ("tcp://127.0.0.1:8786", True),
        ("tcp://[::1]:8786", True),
        ("tcp://localhost:8786", True),
        ("tcp://10.0.0.7:8786", False),
        ("tcp://node-7.cluster:8786", False),
        ("ws://10.0.0.7:8786", False),
    ],
)
def test_only_what_nobody_on_the_way_can_read_or_change_is_taken(address, private):
    """Loopback and TLS; another line only if a person says so."""
    check_private(address, insecure=True)
    if private:
        check_private(address, insecure=False)
    else:
        with pytest.raises(InsecureCluster, match=r"security=True.*insecure=True"):
            check_private(address, insecure=False)


def test_a_cluster_in_the_clear_is_refused_before_anything_starts(tmp_path):
    """Not even a store is made."""
    path = tmp_path / "run.lab"
    with pytest.raises(InsecureCluster, match=r"tcp://192\.0\.2\.1:8786 is beyond this machine"):
        evaluate(Worker, ["tea"], exact(), path=path, cluster="tcp://192.0.2.1:8786")

    assert not path.exists()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"cluster": 3}, r"a distributed\.Client.*got 3"),
        ({"cluster": "here"}, "a scheduler's address"),
        ({"cluster": "inproc://10.0.0.7/1/1"}, "threads of one process"),
        ({"cluster": "tcp://127.0.0.1:1", "lab": object()}, "a lab or a cluster, not both"),
    ],
)
def test_what_is_no_cluster_is_refused(wrong, words):
    """Each with what would do."""
    with pytest.raises(InvalidSpec, match=words):
        evaluate(Worker, ["tea"], exact(), **wrong)


def test_what_two_processes_must_have_in_common_is_a_table():
    """The same process has all; another Python and a missing agentlab are two lines."""
    here = probed()
    there = {**here, "Python": "3.9", "agentlab": "missing", "host": "another"}
    rows = differing(here, there)

    assert differing(here, here) == []
    assert rows == [("Python", here["Python"], "3.9"), ("agentlab", here["agentlab"], "missing")]
    assert as_table(rows).splitlines()[0].split() == ["what", "here", "there"]
    assert as_table(rows).splitlines()[2].split() == ["agentlab", here["agentlab"], "missing"]


def test_a_cluster_is_reached_by_its_address_or_whoever_knows_it(cluster):
    """By the cluster, a client of it, or the text."""
    from distributed import Client

    with Client(cluster, set_as_default=False) as client:
        doors = {door_of(each).address for each in (cluster, client, cluster.scheduler_address)}
    assert len(doors) == 1
