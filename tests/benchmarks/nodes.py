"""Whole processes: a node that is killed (P10), agents with a process of their own (P18).

    python tests/benchmarks/nodes.py [--quick] [--rounds 3] [killed] [processes]

P10: two nodes share the agents; one gets SIGKILL; the clock stops when each of its agents has answered again with the
count that it had committed. P18: memory is the proportional set size of the process that came with the agent.
"""

from __future__ import annotations

import functools
import os
import re
import signal
import time

import psutil
from kit import machine, peers
from kit.agents import family
from kit.report import Options, Report, Values, in_turn, measure, once

from agentlab import Agent, Lab, child


class Plain(Agent):
    """Counts. It is this script's own, so it travels by value, as a notebook's class does."""

    count: int = 0

    def add(self) -> int:
        """Add one."""
        self.count += 1
        return self.count


def pids(lab: Lab) -> dict[int, int]:
    """The processes of the lab's nodes, by number, as its events name them."""
    events = lab.events()
    started = events[events.kind == "node_started"]
    rows = zip(started.node, started.detail, strict=True)
    return {int(node): int(re.findall(r"\d+", str(detail))[0]) for node, detail in rows}


def killed(size: int) -> Values:
    """Kill one of two nodes that holds so many agents; milliseconds until all have answered again."""
    with Lab(nodes=2) as lab:
        refs = family(lab, 2 * size)
        for reply in refs.call.add():
            reply.result()
        agents = lab.agents()
        agents = agents[agents.kind == "Counter"]
        victim = int(agents.node.mode()[0])
        there = set(agents[agents.node == victim].path)
        lost = [ref for ref in refs if ref.path in there]
        pid = pids(lab)[victim]
        began = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        machine.wait_for(lambda: not _runs(pid), 10, "the end of the node")
        counts = [reply.result() for reply in [ref.call.life() for ref in lost]]
        took = (time.perf_counter() - began) * 1e3
    assert all(count == 1 for _, count in counts), "a state was not restored"
    return {"all_ms": took, "agents": len(lost)}


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def node_killed(report: Report, options: Options) -> None:
    """P10."""
    for size in options.sizes(5000):
        found = in_turn(options.rounds, sure=["all_ms"], agentlab=functools.partial(killed, size))
        about = {"on_the_node": found["agentlab"].get("agents")}
        report.say("P10 a node is killed: all of its agents answer again; agents", found, "all_ms", "ms", size=size,
                   target="≤ 500 ms", most=500.0, judged=size == options.size(5000), **about)  # fmt: skip


def isolated(size: int) -> Values:
    """So many agents with a process of their own: milliseconds to start one, bytes of one."""
    with Lab() as lab:
        lab.start(Plain, id="warm", isolation="process").call.add().result()
        before = {process.pid for process in machine.family()}
        began = time.perf_counter()
        refs = [lab.start(child(Plain, id=f"own-{n}", isolation="process")) for n in range(size)]
        took = (time.perf_counter() - began) * 1e3 / size
        assert [reply.result() for reply in [ref.call.add() for ref in refs]] == [1] * size
        own = [process for process in machine.family() if process.pid not in before]
        if len(own) < size:
            return {"missing": f"{size} agents with isolation='process' have {len(own)} processes of their own"}
        used = sum(map(machine.pss, own)) / size / 1e6
    return {"start_ms": took, "mb": used}


def own_processes(report: Report, options: Options) -> None:
    """P18."""
    ray = once(functools.partial(peers.python, "ray", "start", agents=3))
    for size in options.sizes(1000):
        rounds = 1 if size == 1000 else options.rounds
        found = in_turn(rounds, sure=["start_ms", "Ray"], agentlab=functools.partial(isolated, size), Ray=ray)
        name = "P18 isolation='process'"
        report.say(f"{name}: start of one; agents", found, "start_ms", "ms", peers=["Ray"], size=size,
                   target="≤ 8 ms; 1,000 work", most=8.0)  # fmt: skip
        report.say(f"{name}: memory of one (PSS); agents", found, "mb", "MB", peers=["Ray"], size=size,
                   target="≤ 3 MB", most=3.0)  # fmt: skip


PARTS = {"killed": node_killed, "processes": own_processes}

if __name__ == "__main__":
    measure(__doc__, PARTS)
