"""An eval on two Dask workers beside the same on one (P22, C9), where samples cost processor time.

    python tests/benchmarks/clusters.py [--quick] [--rounds 1]

Workers are processes of a ``LocalCluster`` on this machine, each with one thread and a lab of one node, so two of them
have two cores where one has one. Each sample takes some 50 ms of processor time, that of so many sums. The clusters are
there, and each worker's lab has been used, before the time begins. The kernel's time is that of its process: everything
of a run that is not on a worker. Dask's scheduler is a part of it, whose clocks alone take a hundredth of a core.
"""

from __future__ import annotations

import time

from distributed import Client, LocalCluster
from kit.report import Options, Report, Values, in_turn

from agentlab import Agent
from agentlab.evals import evaluate, exact

ROUNDS = 5_000  # some 50 ms of processor time


class Burner(Agent):
    """Needs a core for a while."""

    async def solve(self, name: str) -> str:
        """Burn, and answer with the question."""
        for _ in range(ROUNDS):
            sum(range(1_000))
        return name


def spread(workers: int, samples: int) -> Values:
    """Samples a second on so many workers."""
    asked = [{"id": str(n), "input": str(n), "target": str(n)} for n in range(samples)]
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        evaluate(Burner, asked[: 8 * workers], exact(), cluster=client, nodes=1)
        used, wall = time.process_time(), time.perf_counter()
        run = evaluate(Burner, asked, exact(), cluster=client, nodes=1)
        used, wall = time.process_time() - used, time.perf_counter() - wall
        right = int((run.samples()["output"] == run.samples()["target"]).sum())
    return {"samples_s": samples / wall, "kernel_us": used / samples * 1e6, "right": right}


def main() -> None:
    """One and two."""
    options = Options(__doc__, rounds=1)
    report, samples = Report(options), options.size(1_500)
    found = in_turn(options.rounds, agentlab=lambda: spread(2, samples), one=lambda: spread(1, samples))
    note = f"{samples} samples of some 50 ms, on two workers beside one"
    report.say(f"P22 {note}: samples a second", found, "samples_s", "samples/s", peers=["one"],
               target="≥ 1.8 × one worker", ratio_least={"one": 1.8})  # fmt: skip
    report.say(f"P22 {note}: CPU of kernel and scheduler", found, "kernel_us", "us a sample", peers=["one"],
               target="≤ 100 us", most=100.0)  # fmt: skip
    report.say(f"P22 {note}: right", found, "right", "samples", peers=["one"], target="all", least=samples)


if __name__ == "__main__":
    main()
