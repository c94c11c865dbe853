"""Whatever becomes of a cluster, every sample is scored once, and what was journaled is not done again.

All of it in ``make long``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from agentlab import Agent
from agentlab.errors import ClusterLost, WorkerRefused
from agentlab.evals import evaluate, exact
from agentlab.evals.ledger import rows_of
from agentlab.evals.machines import door_of
from agentlab.lab import open_store
from tests.clusters import SAMPLES, begin, check, go, wait_until_begun
from tests.conftest import wait_for
from tests.evaluated import Worker
from tests.marks import mark, size
from tests.patience import LONG, sign_of

__test__ = LONG

ROOT = Path(__file__).parent.parent
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture(scope="module", params=["tcp", "tls"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Two workers, each a process with a nanny that starts another one when it dies."""
    from distributed import LocalCluster
    from distributed.security import Security

    security = Security.temporary() if request.param == "tls" else None
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", security=security
    ) as made:  # fmt: skip
        assert made.scheduler_address.startswith(f"{request.param}://")
        yield made


def patient(folder: str) -> type[Agent]:
    """A solver whose class no module has: it makes a mark, waits for a sign, and answers."""

    class Patient(Agent):
        async def solve(self, what: str) -> str:
            await self.step(mark, folder, what)
            await sign_of(f"{folder}/go")
            return what

    return Patient


def test_a_worker_that_is_killed_costs_its_unfinished_samples_and_they_go_on_from_their_journals(cluster, tmp_path):
    """Each is scored once, and no step that was journaled is done again; then the run is over for whoever asks."""
    from distributed import Client

    solver, samples = patient(str(tmp_path)), [{"input": f"n{n}", "target": f"n{n}"} for n in range(SAMPLES)]
    path = tmp_path / "runs" / "run.lab"
    run = evaluate(solver, samples, exact(), path=path, cluster=cluster, nodes=1, wait=False)
    wait_until_begun(path)
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


def test_a_cluster_is_reached_by_its_address_or_whoever_knows_it(cluster):
    """By the cluster, a client of it, or the text."""
    from distributed import Client

    with Client(cluster, set_as_default=False) as client:
        doors = {door_of(each).address for each in (cluster, client, cluster.scheduler_address)}
    assert len(doors) == 1


@pytest.fixture
def start(tmp_path) -> Iterator[Start]:
    """Start a scheduler or a worker of a cluster; all are killed at the end."""
    with contextlib.ExitStack() as ending:

        def begun(what: str, *options: str, **env: str) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", f"distributed.cli.dask_{what}", *options]
            process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **env})
            ending.callback(process.wait, 60)
            ending.callback(process.kill)
            return process

        yield begun


def scheduler(start: Start, folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A scheduler, and its address."""
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)
    process = start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    wait_for(lambda: '"address": "tcp' in file.read_text() if file.exists() else False)
    return process, next(line for line in file.read_text().split('"') if line.startswith("tcp://"))


def workers(start: Start, address: str, *names: str, others: int = 0, **env: str) -> list[subprocess.Popen[bytes]]:
    """Workers without nannies, so that nobody starts another one; returns when they and the others are there."""
    from distributed import Client

    options = ("--no-nanny", "--no-dashboard", "--nthreads", "1", "--host", "127.0.0.1")
    begun = [start("worker", address, *options, "--name", name, **env) for name in names]
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(len(names) + others, timeout=120)
    return begun


def test_a_worker_that_is_retired_hands_its_samples_on(tmp_path):
    """What was under way there goes on in its store, opened by its neighbour."""
    from distributed import Client, LocalCluster

    path = tmp_path / "run.lab"
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        run = begin(path, cluster)
        wait_until_begun(path)
        with Client(cluster, set_as_default=False) as client:
            address, pid = next(iter(client.run(os.getpid).items()))
            client.retire_workers([address])
        wait_for(lambda: not psutil.pid_exists(pid), 120)
        go(path)
        run.result(180)

    check(path, run)
    assert run.samples()["worker"].nunique() == 1


def test_a_worker_that_joins_gets_samples(tmp_path):
    """Of those that nobody has begun."""
    from distributed import LocalCluster

    path = tmp_path / "run.lab"
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        run = begin(path, cluster, concurrency=1)
        wait_until_begun(path, 1)
        cluster.scale(2)
        wait_until_begun(path, 2)
        go(path)
        run.result(180)

    check(path, run)
    assert set(run.samples()["worker"]) == {"0", "1"}


def test_a_scheduler_that_is_killed_ends_the_run_and_the_same_call_goes_on(tmp_path, start):
    """With another cluster on the same host, from the journals of the first."""
    path = tmp_path / "run.lab"
    process, address = scheduler(start, tmp_path)
    lost = workers(start, address, "a", "b")
    run = begin(path, address)
    wait_until_begun(path)
    process.kill()
    with pytest.raises(ClusterLost, match="6 samples are left"):
        run.result(180)
    for each in lost:
        each.wait(180)
    _, address = scheduler(start, tmp_path)
    workers(start, address, "c", "d")
    go(path)
    run = begin(path, address).result(180)

    check(path, run)


def test_a_kernel_that_is_killed_and_run_again_finds_its_samples_at_work(tmp_path, start):
    """The workers have gone on: who holds a store gets the samples that were begun in it."""
    path = tmp_path / "run.lab"
    _, address = scheduler(start, tmp_path)
    workers(start, address, "a", "b")
    command = [sys.executable, "-m", "tests.evaluated", str(path), str(SAMPLES), "1", address]
    with subprocess.Popen(command, cwd=ROOT) as kernel:
        try:
            wait_until_begun(path)
        finally:
            kernel.kill()
    run = begin(path, address)
    wait_for(lambda: run.done() or run._driver.place.busy().running == SAMPLES, 120)
    assert not run.done(), run._driver.error
    go(path)
    run.result(180)

    check(path, run)
    assert set(run.samples()["worker"]) == {"a", "b"}


def test_a_worker_of_another_version_is_refused_with_a_table(tmp_path, start):
    """Alone it ends the run; beside one that fits it is warned of, and gets nothing."""
    about = tmp_path / "old" / "jupyter_agentlab-0.0.1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: jupyter-agentlab\nVersion: 0.0.1\n")
    _, address = scheduler(start, tmp_path)
    workers(start, address, "old", PYTHONPATH=str(about.parent))
    with pytest.raises(WorkerRefused, match=r"agentlab +\S+ +0\.0\.1") as refused:
        evaluate(Worker, ["tea"], exact(), path=tmp_path / "run.lab", cluster=address)
    workers(start, address, "new", others=1)
    with pytest.warns(UserWarning, match=r"agentlab +\S+ +0\.0\.1"):
        run = evaluate(Worker, ["tea", "milk"], exact(), path=tmp_path / "both.lab", cluster=address, nodes=1)

    assert [(what, there) for what, _, there in refused.value.table] == [("agentlab", "0.0.1")]
    assert set(run.samples()["worker"]) == {"new"}


def test_a_run_over_tls_is_the_same(tmp_path):
    """The client's certificates are taken with it."""
    from distributed import Client, LocalCluster
    from distributed.security import Security

    path = tmp_path / "run.lab"
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", security=Security.temporary()
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        go(path)
        run = begin(path, client).result(180)
        assert client.scheduler.address.startswith("tls://")

    check(path, run)
    shutil.rmtree(path.with_name("run.lab.workers"))
    with pytest.warns(UserWarning, match=r"left out: .*lab-0\.lab"):
        assert run.steps().empty
