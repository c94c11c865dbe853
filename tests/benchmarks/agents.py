"""What many agents cost: started together, idle, called, crashed, bereft of their node. One JSON line per figure.

    python tests/benchmarks/agents.py [--most 1000000] [--rounds 3]

``start_many``: microseconds per agent, wall, in a lab in memory. ``idle``: bytes per agent, the proportional
memory of all processes together less that of the empty lab. ``worked``: the same of agents that have answered one
call each, with what the lab keeps of that. ``random``: seconds until 1,000 agents chosen at random have answered a
call, which none of them ever had before. ``crash``: milliseconds from the first of 400 messages to as many agents
among so many, each of which raises, until all these have answered again. ``node_killed``: seconds from a SIGKILL of
one node until all agents, every one of which has been called before, have answered again.

``exponent`` says how a whole figure grows with the number of agents, from the smallest to the largest: 1 is in
proportion, 0 is not at all.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from agentlab import Agent, Lab
from agentlab._zygote import shared

ASKED = 1_000
CRASHED = 400
MACHINE = {"python": platform.python_version(), "machine": platform.machine()}


class Counter(Agent):
    """Counts."""

    count: int = 0

    async def add(self, n: int = 1) -> int:
        """Add and say the sum."""
        self.count += n
        return self.count

    async def fail(self) -> None:
        """Crash."""
        raise ValueError("asked to")


def memory(lab: Lab) -> int:
    """The proportional share of memory (bytes) of the kernel, the zygote and the lab's nodes; Linux only."""
    runtime = lab._runtime
    assert runtime is not None
    pids = [os.getpid(), shared()._process.pid, *(node.process.pid for node in runtime.desk.pool.nodes.values())]
    return sum(pss(pid) for pid in pids)


def pss(pid: int) -> int:
    """One process's, with what it has in swap."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Pss:", "SwapPss:")))


def many(size: int) -> dict[str, float]:
    """Start, weigh, and call some."""
    with Lab(nodes=2) as lab:
        lab.start(Counter, id="first").call.add().result(30)
        empty = memory(lab)
        began = time.perf_counter()
        refs = lab.start_many(Counter, size)
        took = time.perf_counter() - began
        weight = memory(lab) - empty
        chosen = random.Random(7).sample(range(size), min(ASKED, size))
        began = time.perf_counter()
        replies = [refs[number].call.add() for number in chosen]
        assert [reply.result(60) for reply in replies] == [1] * len(chosen)
        called = time.perf_counter() - began
    return {"start_many": took, "idle": float(weight), "random": called}


def worked(size: int) -> dict[str, float]:
    """Weigh agents at rest that have answered one call each: they are on nodes, and have a past."""
    with Lab(nodes=2) as lab:
        lab.start(Counter, id="first").call.add().result(30)
        empty = memory(lab)
        refs = lab.start_many(Counter, size)
        for start in range(0, size, ASKED):
            for reply in [ref.call.add() for ref in refs[start : start + ASKED]]:
                reply.result(60)
        return {"worked": float(memory(lab) - empty)}


def crash(size: int) -> dict[str, float]:
    """Crash some of many at once; all of those answer again."""
    with Lab(nodes=2) as lab:
        refs = lab.start_many(Counter, size)
        chosen = [refs[number] for number in range(0, size, max(1, size // CRASHED))][:CRASHED]
        for reply in [ref.call.add() for ref in chosen]:
            reply.result(60)
        began = time.perf_counter()
        for ref in chosen:
            ref.cast(redeliver=False).fail()
        replies = [ref.call.add() for ref in chosen]
        assert {reply.result(60) for reply in replies} == {2}
        return {"crash": time.perf_counter() - began}


def node_killed(size: int) -> dict[str, float]:
    """Kill a node; all agents answer again."""
    with Lab(nodes=2) as lab:
        refs = list(lab.start_many(Counter, size))
        for reply in [ref.call.add() for ref in refs]:
            reply.result(60)
        runtime = lab._runtime
        assert runtime is not None
        victim = next(iter(runtime.desk.pool.nodes.values())).process.pid
        began = time.perf_counter()
        os.kill(victim, signal.SIGKILL)
        while any(node.process.pid == victim for node in list(runtime.desk.pool.nodes.values())):
            time.sleep(0.0005)  # the kernel sees its line cut
        replies = [ref.call.add() for ref in refs]
        assert {reply.result(60) for reply in replies} == {2}
        return {"node_killed": time.perf_counter() - began}


UNITS = {
    "start_many": (1e6, "us_per_agent", True),
    "idle": (1.0, "bytes_per_agent", True),
    "random": (1.0, "s", False),
    "worked": (1.0, "bytes_per_agent", True),
    "crash": (1e3, "ms", False),
    "node_killed": (1.0, "s", False),
}
"""By figure: what a second (or a byte) is multiplied with, the unit, and whether it is told per agent."""


def alone(work: str, size: int) -> dict[str, float]:
    """One measurement in a process of its own: what an earlier one has left behind would blur the memory."""
    command = [sys.executable, __file__, "--alone", work, str(size)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def report(work: str, sizes: list[int], rounds: int) -> None:
    """Measure at every size in turn, and print the medians."""
    found: dict[str, dict[int, list[float]]] = {}
    for _ in range(rounds):
        for size in sizes:
            for figure, value in alone(work, size).items():
                found.setdefault(figure, {}).setdefault(size, []).append(value)
    for figure, by_size in found.items():
        middle = {size: statistics.median(values) for size, values in by_size.items()}
        factor, unit, each = UNITS[figure]
        for size, value in middle.items():
            shown = round(value * factor / (size if each else 1), 3)
            print(json.dumps({"figure": figure, "agents": size, "agentlab": shown, "unit": unit} | MACHINE), flush=True)
        if len(sizes) > 1 and middle[sizes[0]] > 0:
            slope = math.log(middle[sizes[-1]] / middle[sizes[0]]) / math.log(sizes[-1] / sizes[0])
            print(json.dumps({"figure": f"{figure}: exponent", "agentlab": round(slope, 2)} | MACHINE), flush=True)


WORK: dict[str, tuple[Callable[[int], dict[str, float]], tuple[int, ...]]] = {
    "many": (many, (10_000, 100_000, 1_000_000)),
    "worked": (worked, (1_000, 10_000, 100_000)),
    "crash": (crash, (1_000, 10_000, 100_000)),
    "node_killed": (node_killed, (500, 5_000, 50_000)),
}
"""What is measured, and with how many agents."""


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most", type=int, default=1_000_000)
    parser.add_argument("--only", choices=WORK, action="append")
    parser.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        name, size = options.alone
        print(json.dumps(WORK[name][0](int(size))))
        return
    for name in options.only or WORK:
        report(name, [size for size in WORK[name][1] if size <= options.most], options.rounds)


if __name__ == "__main__":
    main()
