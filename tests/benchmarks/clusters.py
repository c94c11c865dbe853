"""An eval on two Dask workers beside the same on one (P22, C9), and what a sample costs where the run is.

    python tests/benchmarks/clusters.py [--quick] [--rounds 3] [workers] [kernel]

Workers are processes of this machine, each with one thread and a lab of one node, so two of them have two cores where
one has one. The scheduler and the workers' nannies are a process of their own, as on a real cluster. Each sample takes
some 50 ms of processor time, that of so many sums. The workers are there, and each one's lab has been used, before the
time begins. What the run's kernel needs is measured with samples that take no time, as many as it can take: its own
clocks, and those of Dask's client, are a hundredth of a core however many samples there are.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client
from kit.report import COUNT, Options, Report, Values, in_turn, measure

from agentlab import Agent
from agentlab.evals import evaluate, exact

ROUNDS = 5_000  # some 50 ms of processor time
CLUSTER = """
import sys
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=int(sys.argv[1]), threads_per_worker=1, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


class Burner(Agent):
    """Needs a core for a while."""

    async def solve(self, rounds: int) -> str:
        """Burn, and answer."""
        for _ in range(rounds):
            sum(range(1_000))
        return "burnt"


@contextmanager
def cluster(workers: int) -> Iterator[Client]:
    """A cluster in processes of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER, str(workers)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            with Client(process.stdout.readline().strip()) as client:
                yield client
        finally:
            process.stdin.close()


def spread(workers: int, samples: int, rounds: int = ROUNDS) -> Values:
    """Samples a second on so many workers."""
    asked = [{"id": str(n), "input": rounds, "target": "burnt"} for n in range(samples)]
    with cluster(workers) as client:
        evaluate(Burner, asked[: 8 * workers], exact(), cluster=client, nodes=1)
        used, wall = time.process_time(), time.perf_counter()
        run = evaluate(Burner, asked, exact(), cluster=client, nodes=1)
        used, wall = time.process_time() - used, time.perf_counter() - wall
        right = int((run.samples()["output"] == "burnt").sum())
    return {"samples_s": samples / wall, "kernel_us": used / samples * 1e6, "right": right}


def beside_one(report: Report, options: Options) -> None:
    """C9: two workers beside one."""
    samples = options.size(400)
    found = in_turn(
        options.rounds, sure=["samples_s", "one"], agentlab=lambda: spread(2, samples), one=lambda: spread(1, samples)
    )
    note = f"{samples} samples of some 50 ms, on two workers beside one"
    report.say(f"P22 {note}: samples a second", found, "samples_s", "samples/s", peers=["one"],
               target="≥ 1.8 × one worker", ratio_least={"one": 1.8})  # fmt: skip
    report.say(f"P22 {note}: right", found, "right", "samples", peers=["one"], target="all", least=samples,
               by=COUNT)  # fmt: skip


def kernels_part(report: Report, options: Options) -> None:
    """What the run's kernel needs."""
    samples = options.size(6_000)
    found = in_turn(options.rounds, sure=["kernel_us"], agentlab=lambda: spread(2, samples, 0))
    note = f"{samples} samples that take no time, on two workers"
    report.say(f"P22 {note}: CPU of the kernel", found, "kernel_us", "us a sample", target="≤ 100 us", most=100.0)
    report.say(f"P22 {note}: right", found, "right", "samples", target="all", least=samples, by=COUNT)


PARTS = {"workers": beside_one, "kernel": kernels_part}

if __name__ == "__main__":
    measure(__doc__, PARTS)
