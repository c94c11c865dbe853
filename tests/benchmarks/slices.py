"""What time slices cost and what they give: one JSON line per figure.

    python tests/benchmarks/slices.py [--rounds 3] [--tickers 1000] [--seconds 2] [--slice 0.002]

``step``: microseconds of one step (an await of a bare yield) in plain asyncio, with its costs counted, and sliced.
``lateness``: milliseconds after its due time at which a ticker of 10 ms goes on, p50, p99 and the worst, beside
nothing, endless loops, ``time.sleep`` and a blocking socket on the same node. The tickers begin spread over one
period. Medians of rounds that visit every case in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import platform
import signal
import socket
import statistics
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import anyio

from agentlab.node.sliced import Owner
from agentlab.node.slices import Slicer

PERIOD = 0.01
STEPS = 20_000


async def yields(count: int) -> None:
    """Nothing but steps."""
    for _ in range(count):
        await asyncio.sleep(0)


async def cost_of_step(kind: str) -> float:
    """Microseconds per step of ten tasks."""
    loop = asyncio.get_running_loop()
    slicer = Slicer(loop)
    if kind == "sliced":
        slicer.install()
    began = time.perf_counter()
    if kind == "plain":
        await asyncio.gather(*(loop.create_task(yields(STEPS // 10)) for _ in range(10)))
    else:
        await asyncio.gather(*(slicer.start(yields(STEPS // 10), Owner(number)) for number in range(10)))
    took = time.perf_counter() - began
    slicer.close()
    return took / STEPS * 1e6


async def endless() -> None:
    """Never await."""
    while True:
        pass


async def sleeping() -> None:
    """Block on the clock."""
    while True:
        time.sleep(1)  # noqa: ASYNC251  # what is measured


async def receiving() -> None:
    """Block on a socket to which nobody writes."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.recv(1)


BESIDE: dict[str, list[Callable[[], Coroutine[Any, Any, None]]]] = {
    "nothing": [],
    "1 loop": [endless],
    "4 loops": [endless] * 4,
    "sleep": [sleeping],
    "socket": [receiving],
}


async def lateness(beside: str, tickers: int, seconds: float, slice_s: float) -> dict[str, float]:
    """Milliseconds: p50, p99 and max over all ticks, and how many there were."""
    loop = asyncio.get_running_loop()
    slicer = Slicer(loop, slice_s)
    slicer.install()
    late: list[float] = []
    begin = loop.time() + 0.5
    end = begin + seconds

    async def tick(number: int) -> None:
        await anyio.sleep(begin + number / tickers * PERIOD - loop.time())
        while (due := loop.time() + PERIOD) < end:
            await anyio.sleep(PERIOD)
            late.append(loop.time() - due)

    tasks = [slicer.start(tick(number), Owner(number)) for number in range(tickers)]
    gc.collect()
    gc.freeze()
    hogs = [(Owner(-1), make) for make in BESIDE[beside]]
    running = [slicer.start(make(), owner) for owner, make in hogs]
    await asyncio.gather(*tasks)
    for (owner, _), task in zip(hogs, running, strict=True):
        slicer.interrupt(owner, InterruptedError())
        await asyncio.wait([task])
        task.exception()
    slicer.close()
    gc.unfreeze()
    late.sort()
    at = [late[len(late) // 2], late[int(len(late) * 0.99)], late[-1]]
    return dict(zip(("p50", "p99", "max"), (value * 1e3 for value in at), strict=True)) | {"ticks": len(late)}


def median(figures: list[dict[str, float]]) -> dict[str, float]:
    """The median of each figure over the rounds."""
    return {name: round(statistics.median(figure[name] for figure in figures), 2) for name in figures[0]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tickers", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--slice", type=float, default=0.002)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    steps: dict[str, list[float]] = {"plain": [], "sliced": []}
    late: dict[str, list[dict[str, float]]] = {name: [] for name in BESIDE}
    for _ in range(options.rounds):
        for kind, found in steps.items():
            found.append(asyncio.run(cost_of_step(kind)))
        for name, seen in late.items():
            seen.append(asyncio.run(lateness(name, options.tickers, options.seconds, options.slice)))
    where = {"python": platform.python_version(), "tickers": options.tickers, "slice_ms": options.slice * 1e3}
    cost = {kind: round(statistics.median(found), 2) for kind, found in steps.items()}
    print(json.dumps({"figure": "step", "unit": "us", **cost, "more": round(cost["sliced"] - cost["plain"], 2)}))
    for name, seen in late.items():
        print(json.dumps({"figure": "lateness", "beside": name, "unit": "ms", **median(seen), **where}))


if __name__ == "__main__":
    main()
