"""What a process costs, read from ``/proc``; and whether it grew."""

from __future__ import annotations

import statistics
import threading
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from agentlab import Lab

MB = 1 << 20


class Left(NamedTuple):
    """What a lab must give back."""

    processes: int
    threads: int
    descriptors: int
    zygote_descriptors: int


class Sample(NamedTuple):
    """One look."""

    at: float
    kernel: float
    nodes: float


def left() -> Left:
    """What this process has now. The zygote, which outlives its labs, is one of the processes."""
    children = psutil.Process().children(recursive=True)
    alive = [process for process in children if process.status() != psutil.STATUS_ZOMBIE]
    zygote = sum(descriptors(process.pid) for process in alive[:1])
    return Left(len(children), threading.active_count(), descriptors("self"), zygote)


def descriptors(pid: int | str) -> int:
    """How many a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def pss(pid: int | str) -> float:
    """The memory of a process in MB, what it shares with others divided among them; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / MB


def pids(lab: Lab) -> list[int]:
    """The lab's nodes."""
    assert lab._runtime is not None
    found = [node.process.pid for node in list(lab._runtime.desk.pool.nodes.values())]
    return [pid for pid in found if pid is not None]  # the others are not forked yet


def newest(lab: Lab) -> int:
    """The number of the newest node: how many were ever started."""
    assert lab._runtime is not None
    return max(lab._runtime.desk.pool.nodes, default=0)


class Memory:
    """Samples of a run, and whether they grew.

    Nodes come and go, so the figure is the sum over the ``nodes`` largest: as many as the pool has. Nodes that
    single agents were given on top of those are counted by ``pids``.
    """

    def __init__(self, lab: Lab, nodes: int) -> None:
        self._lab, self._nodes = lab, nodes
        self._start = time.monotonic()
        self.samples: list[Sample] = []

    def look(self) -> Sample:
        """Take a sample."""
        sizes = sorted(map(pss, pids(self._lab)))
        sample = Sample(time.monotonic() - self._start, pss("self"), sum(sizes[-self._nodes :]))
        self.samples.append(sample)
        return sample

    def growth(self, warm_up: float) -> dict[str, tuple[float, float]]:
        """Medians in MB of the first and the last third after the warm-up, per kind of process."""
        samples = [sample for sample in self.samples if sample.at >= warm_up] or self.samples
        third = max(1, len(samples) // 3)
        return {
            kind: (
                round(statistics.median(getattr(sample, kind) for sample in samples[:third]), 1),
                round(statistics.median(getattr(sample, kind) for sample in samples[-third:]), 1),
            )
            for kind in ("kernel", "nodes")
        }
