"""What many agents cost: started together, idle, called once (P1, P2, P3).

    python tests/benchmarks/agents.py [--quick] [--rounds 3] [rest] [ten-million] [called]

Memory is the proportional share (PSS) of all processes together, less that of the empty lab. *Idle* agents have
never been called; *worked* ones have answered one call each, with what the lab keeps of that. BEAM: a gen_server
under a ``simple_one_for_one`` supervisor. Each measurement has a process of its own, since what an earlier one has
left behind would blur the memory.
"""

from __future__ import annotations

import functools
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from kit import peers
from kit.report import Found, Options, Report, Values, in_turn, measure

from agentlab import Agent, Lab
from agentlab.pool.fork import shared

ASKED = 1_000


class Counter(Agent):
    """Counts."""

    count: int = 0

    async def add(self, n: int = 1) -> int:
        """Add and say the sum."""
        self.count += n
        return self.count


def memory(lab: Lab) -> int:
    """The proportional share of memory (bytes) of the kernel, the zygote and the lab's nodes; Linux only."""
    runtime = lab._runtime
    assert runtime is not None
    pids = [os.getpid(), shared()._process.pid, *(node.process.pid for node in runtime.desk.pool.nodes.values())]
    return sum(pss(pid or 0) for pid in pids)


def pss(pid: int) -> int:
    """One process's, with what it has in swap."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Pss:", "SwapPss:")))


def idle(size: int) -> Values:
    """Start, weigh, and call some."""
    with Lab(nodes=2) as lab:
        lab.start(Counter, id="first").call.add().result(30)
        empty = memory(lab)
        began = time.perf_counter()
        refs = lab.start_many(Counter, size)
        took = time.perf_counter() - began
        weight, in_all = memory(lab) - empty, memory(lab)
        chosen = random.Random(7).sample(range(size), min(ASKED, size))
        began = time.perf_counter()
        replies = [refs[number].call.add() for number in chosen]
        assert [reply.result(60) for reply in replies] == [1] * len(chosen)
        called = time.perf_counter() - began
    return {"start_us": took / size * 1e6, "bytes": weight / size, "gb": in_all / 1e9, "called_s": called}


def worked(size: int) -> Values:
    """Weigh agents at rest that have answered one call each: they are on nodes, and have a past."""
    with Lab(nodes=2) as lab:
        lab.start(Counter, id="first").call.add().result(30)
        empty = memory(lab)
        refs = lab.start_many(Counter, size)
        for start in range(0, size, ASKED):
            for reply in [ref.call.add() for ref in refs[start : start + ASKED]]:
                reply.result(60)
        return {"bytes": (memory(lab) - empty) / size}


def alone(work: str, size: int) -> Values:
    """One measurement in a process of its own."""
    done = subprocess.run([sys.executable, __file__, work, str(size)], stdout=subprocess.PIPE, text=True, check=True)
    figures: Values = json.loads(done.stdout)
    return figures


def at_rest(report: Report, options: Options) -> None:
    """P1, P2 and P3, up to a million."""
    for size in options.sizes(1_000_000):
        judged = size == options.size(100_000)
        beam = functools.partial(peers.beam, f"starts:many({size})", "+P", "2000000")
        ours = functools.partial(alone, "idle", size)
        found = in_turn(options.rounds, sure=["start_us", "BEAM"], agentlab=ours, BEAM=beam)
        report.say("P1 idle agent that was never called, all processes together; agents", found, "bytes", "bytes",
                   peers=["BEAM"], size=size, judged=judged, target="≤ 0.15 × BEAM",
                   ratio_most={"BEAM": 0.15})  # fmt: skip
        report.say("P2 start of one of many; agents", found, "start_us", "us", peers=["BEAM"], size=size,
                   judged=judged, target="≤ 0.6 × BEAM", ratio_most={"BEAM": 0.6})  # fmt: skip
        _say_all(report, found, size, judged=False)


def ten_millions(report: Report, options: Options) -> None:
    """P3."""
    size = options.size(10_000_000)
    found = in_turn(min(2, options.rounds), agentlab=functools.partial(alone, "idle", size))
    _say_all(report, found, size, judged=True)


def _say_all(report: Report, found: Found, size: int, *, judged: bool) -> None:
    report.say("P3 all of it in memory; agents", found, "gb", "GB", size=size, judged=judged, target="≤ 4 GB", most=4.0)
    report.say("P3 1,000 of them called, each answered; agents", found, "called_s", "s", size=size)


def after_a_call(report: Report, options: Options) -> None:
    """P1: what a call leaves behind; BEAM's process is as large after it as before."""
    for size in options.sizes(100_000):
        beam = functools.partial(peers.beam, f"starts:many({size})")
        ours = functools.partial(alone, "worked", size)
        found = in_turn(min(2, options.rounds), sure=["bytes", "BEAM"], agentlab=ours, BEAM=beam)
        report.say("P1 agent that has answered one call, all processes together; agents", found, "bytes", "bytes",
                   peers=["BEAM"], size=size, judged=size == options.size(100_000), target="≤ 0.5 × BEAM",
                   ratio_most={"BEAM": 0.5})  # fmt: skip


PARTS = {"rest": at_rest, "ten-million": ten_millions, "called": after_a_call}

if __name__ == "__main__":
    if sys.argv[1:2] in (["idle"], ["worked"]):
        print(json.dumps({"idle": idle, "worked": worked}[sys.argv[1]](int(sys.argv[2]))))
    else:
        measure(__doc__, PARTS)
