"""Ray: every actor is a process."""

from __future__ import annotations

import os
import time
from typing import Any

import psutil
from arguments import answer, percentiles

try:
    import ray
except ImportError:
    raise SystemExit("ray is not installed: pip install 'jupyter-agentlab[bench]'") from None


class Counter:
    """Counts and calls another one."""

    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        """Add one."""
        self.count += 1
        return self.count

    def pid(self) -> int:
        """Its process."""
        return os.getpid()

    def talk(self, other: Any, calls: int) -> None:
        """Call another one so often."""
        for _ in range(calls):
            ray.get(other.add.remote())


def actor() -> Any:
    """A new one that restarts for ever."""
    return ray.remote(Counter).options(max_restarts=-1, max_task_retries=-1, num_cpus=0).remote()


def calls(calls: int) -> dict[str, float]:
    """Microseconds per call of a pair; milliseconds of a call from the driver and back."""
    one, other = actor(), actor()
    ray.get([one.add.remote(), other.add.remote()])
    began = time.perf_counter()
    ray.get(one.talk.remote(other, calls))
    each = (time.perf_counter() - began) / calls * 1e6
    took = []
    for _ in range(calls):
        began = time.perf_counter()
        ray.get(one.add.remote())
        took.append((time.perf_counter() - began) * 1e3)
    return {"call_us": each, **percentiles(took)}


def crash(times: int) -> dict[str, float]:
    """Milliseconds from a kill to the next answer."""
    one = actor()
    took = []
    for _ in range(times):
        pid = ray.get(one.pid.remote())
        began = time.perf_counter()
        ray.kill(one, no_restart=False)
        while ray.get(one.pid.remote()) == pid:
            pass
        took.append((time.perf_counter() - began) * 1e3)
    return percentiles(took)


def start(agents: int) -> dict[str, float]:
    """Milliseconds to the first answer of a new actor, and megabytes (PSS) of its process."""
    began = time.perf_counter()
    actors = [actor() for _ in range(agents)]
    pids = ray.get([each.pid.remote() for each in actors])
    took = (time.perf_counter() - began) / agents * 1e3
    used = sum(psutil.Process(pid).memory_full_info().pss for pid in pids)
    return {"start_ms": took, "mb": used / agents / 1e6}


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        answer(calls, crash, start)
    finally:
        ray.shutdown()
