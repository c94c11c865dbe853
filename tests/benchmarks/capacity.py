"""How many messages a second one lab bears: until the p99 of a call has doubled (P24).

    python tests/benchmarks/capacity.py [--quick] [--rounds 3] [memory] [durable]

Calls to agents in turn are sent from this process at a fixed rate, whether or not earlier ones were answered; the rate
grows by 1.4 until the p99 of their latency is more than twice that of the lowest rate (and above a millisecond, or
noise would decide). What is reported is the last rate that was borne. The sender shares this process's interpreter
with the kernel, as a cell does.
"""

from __future__ import annotations

import asyncio
import functools
import tempfile
import time
from typing import Any

from kit.agents import family
from kit.report import Options, Report, Values, in_turn, measure, quantile

from agentlab import Lab

LOWEST = 400.0
GROWTH = 1.4
FLOOR_MS = 1.0
HIGHEST = 200_000.0


async def latencies(refs: Any, rate: float, seconds: float) -> list[float]:
    """Milliseconds of calls that are sent at a rate; late sending counts as latency."""
    took: list[float] = []
    tasks = []
    began = time.perf_counter()

    async def call(number: int, due: float) -> None:
        await refs[number % len(refs)].call.add()
        took.append((time.perf_counter() - due) * 1e3)

    for number in range(int(rate * seconds)):
        due = began + number / rate
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        elif number % 50 == 0:
            await asyncio.sleep(0)
        tasks.append(asyncio.create_task(call(number, due)))
    await asyncio.gather(*tasks)
    return took


def capacity(size: int, seconds: float, where: str) -> Values:
    """The last rate before the p99 doubled."""
    with tempfile.TemporaryDirectory() as folder, Lab(f"{folder}/run.lab" if where == "durable" else None) as lab:
        refs = family(lab, size)
        asyncio.run(latencies(refs, LOWEST, seconds))
        base = quantile(asyncio.run(latencies(refs, LOWEST, seconds)), 0.99)
        limit, rate = max(2 * base, FLOOR_MS), LOWEST
        while rate < HIGHEST:
            p99 = quantile(asyncio.run(latencies(refs, rate * GROWTH, seconds)), 0.99)
            if p99 > limit:
                # Once more: a single hiccup of the machine is no limit of the lab.
                p99 = quantile(asyncio.run(latencies(refs, rate * GROWTH, seconds)), 0.99)
            if p99 > limit:
                break
            rate *= GROWTH
    return {"rate": rate, "base_p99_ms": base}


def in_memory(report: Report, options: Options) -> None:
    """Of agents at three sizes."""
    for size in options.sizes(10_000):
        _say(report, options, size, "memory")


def durable(report: Report, options: Options) -> None:
    """In a file."""
    _say(report, options, options.size(10_000), "durable")


def _say(report: Report, options: Options, size: int, where: str) -> None:
    seconds = 0.5 if options.quick else 1.0
    found = in_turn(options.rounds, agentlab=functools.partial(capacity, size, seconds, where))
    base = round(found["agentlab"].get("base_p99_ms", 0.0), 3)
    report.say(f"P24 calls a second until p99 doubles, {where}; agents", found, "rate", "calls/s", size=size,
               target="≥ 15,000", least=15_000.0, base_p99_ms=base)  # fmt: skip


PARTS = {"memory": in_memory, "durable": durable}

if __name__ == "__main__":
    measure(__doc__, PARTS)
