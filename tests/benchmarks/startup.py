"""From nothing to the first answer, each in a fresh process (P16).

python tests/benchmarks/startup.py [--quick] [--rounds 3]
"""

from __future__ import annotations

import functools
import subprocess
import sys

from kit.report import Options, Report, Values, in_turn, once

IMPORT = "import time; began = time.perf_counter(); import {module}; print(time.perf_counter() - began)"
LAB = """
from agentlab import Agent, Lab
class Counter(Agent):
    count: int = 0
    def add(self) -> int:
        self.count += 1
        return self.count
{before}
began = time.perf_counter()
lab = Lab()
assert lab.start(Counter).call.add().result() == 1
print(time.perf_counter() - began)
lab.close()
"""
RAY = """
import ray
@ray.remote
class Counter:
    def add(self): return 1
began = time.perf_counter()
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
assert ray.get(Counter.remote().add.remote()) == 1
print(time.perf_counter() - began)
ray.shutdown()
"""
SECOND = "Lab().close()"


def seconds(code: str) -> Values:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-c", "import time\n" + code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        return {"missing": (done.stderr.strip().splitlines() or ["it failed"])[-1][:200]}
    return {"s": float(done.stdout.split()[-1])}


def main() -> None:
    """Print the figures."""
    options = Options(__doc__, rounds=3)
    report = Report(options)
    seconds(LAB.format(before=""))  # compiled files are written, the disk's cache is warm
    found = in_turn(
        options.rounds,
        sure=["s", "Ray"],
        agentlab=functools.partial(seconds, IMPORT.format(module="agentlab")),
        Ray=functools.partial(seconds, IMPORT.format(module="ray")),
        pykka=functools.partial(seconds, IMPORT.format(module="pykka")),
    )
    report.say("P16 import agentlab", found, "s", "s", peers=["Ray", "pykka"], target="≤ 0.13 s", most=0.13)
    found = in_turn(
        options.rounds,
        sure=["s", "Ray"],
        agentlab=functools.partial(seconds, LAB.format(before="")),
        Ray=once(functools.partial(seconds, RAY)),
    )
    report.say("P16 Lab() to the first answered call", found, "s", "s", peers=["Ray"], target="≤ 0.2 s", most=0.2)
    found = in_turn(options.rounds, sure=["s"], agentlab=functools.partial(seconds, LAB.format(before=SECOND)))
    report.say("P16 the same for a process's second lab", found, "s", "s")


if __name__ == "__main__":
    main()
