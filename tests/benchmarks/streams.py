"""Agents in the middle of a streamed answer (P20): memory, and what tokens cost that nobody looks at.

    python tests/benchmarks/streams.py [--quick]

A simulator in a process of its own sends each of 10,000 agents a word every five seconds. Memory is the proportional
set size of kernel, zygote and nodes above what they have with as many agents at rest. The kernel's time is that of its
process while the words come, beside the same while all agents are at rest.
"""

from __future__ import annotations

import asyncio
import time

import psutil
from kit import machine
from kit.report import Options, Report, Values, in_turn
from kit.sim import Sim

from agentlab import Assistant, Lab

WORD_S = 5.0
LOOK_S = 15.0
TEXT = "word " * 400  # it lasts longer than anybody looks
BEGUN_S = 300.0
WARM, MOST = 4, 0.9  # turns before; share of the agents that have to stream


class Talker(Assistant):
    """Says what it was told."""

    model = "claude-sim"
    max_tokens = 2_000


def streaming(sim: Sim, agents: int) -> Values:
    """So many at once."""
    return asyncio.run(_streaming(sim, agents))


async def _streaming(sim: Sim, agents: int) -> Values:
    sim.control.forget()
    async with Lab() as lab:
        refs = lab.start_many(Talker, agents)
        # A lab does not begin with thousands of calls at once: while some wait, each answer lets one more be under way.
        for _ in range(WARM):
            await asyncio.gather(*[ref.call(timeout=BEGUN_S).ask("tea") for ref in refs])
        await asyncio.to_thread(lab.wait_idle)
        rest, memory = await _kernel(), _memory(sim)
        sim.control.faults(delta_s=WORD_S)
        replies = [ref.call(timeout=BEGUN_S).ask(TEXT) for ref in refs]
        await asyncio.to_thread(
            machine.wait_for,
            lambda: time.sleep(1) or sim.control.requests() >= (WARM + MOST) * agents,
            BEGUN_S,
            "each call",
        )
        await asyncio.sleep(2 * WORD_S)
        busy, grown = await _kernel(), _memory(sim)
        at_once = sim.control.requests() - WARM * agents
        assert not any(reply.done() for reply in replies)
        for ref in refs:
            ref.kill()
        return {
            "memory_mb": (grown - memory) / 1e6, "all_mb": grown / 1e6, "rest": rest, "streaming": busy,
            "more": busy - rest, "at_once": at_once,
        }  # fmt: skip


async def _kernel() -> float:
    """Percent of a core that the kernel takes."""
    used, began = time.process_time(), time.monotonic()
    await asyncio.sleep(LOOK_S)
    return 100 * (time.process_time() - used) / (time.monotonic() - began)


def _memory(sim: Sim) -> float:
    total = 0
    for each in machine.family():
        if each.pid != sim.process.pid:
            try:
                total += machine.pss(each)
            except psutil.Error:
                continue
    return total


def main() -> None:
    """Once: 10,000 connections take a while to make."""
    options = Options(__doc__, rounds=1)
    report, agents, sim = Report(options), options.size(10_000), Sim()
    try:
        found = in_turn(options.rounds, agentlab=lambda: streaming(sim, agents))
    finally:
        sim.process.kill()
        sim.process.wait()
    report.say("P20 agents in the middle of a stream: memory of it all", found, "all_mb", "MB", size=agents,
               target="≤ 1 GB", most=1_000.0)  # fmt: skip
    report.say("P20 the same: so many stream at once", found, "at_once", "agents", size=agents)
    report.say("P20 the same: above the agents at rest", found, "memory_mb", "MB", size=agents)
    report.say("P20 kernel CPU for tokens nobody looks at", found, "more", "% of a core", size=agents,
               by="streaming", target="0", most=0.1)  # fmt: skip
    report.say("P20 kernel CPU while they stream", found, "streaming", "% of a core", size=agents)


if __name__ == "__main__":
    main()
