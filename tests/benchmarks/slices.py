"""What time slices cost and what they give: one JSON line per figure.

    python tests/benchmarks/slices.py [--quick] [--rounds 3]

``step``: microseconds of one step (an await of a bare yield) in plain asyncio, with its costs counted, and sliced.
``lateness``: milliseconds after its due time at which a ticker of 10 ms goes on, p50, p99 and the worst, beside
nothing, endless loops, ``time.sleep`` and a blocking socket on the same node. The tickers begin spread over one
period. Medians of rounds that visit every case in turn.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
from kit.report import Options, Report, Side, Values, in_turn

from agentlab.slicing.sliced import Owner
from agentlab.slicing.slices import Slicer

SLICE = 0.002
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


def main() -> None:
    """Measure and print."""
    options = Options(__doc__)
    report = Report(options)
    tickers, seconds = options.size(1000), 0.5 if options.quick else 1.0
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sides: dict[str, Side] = {
        side: functools.partial(_step, kind) for side, kind in (("agentlab", "sliced"), ("plain asyncio", "plain"))
    }
    found = in_turn(options.rounds, sure=["us", "plain asyncio"], **sides)
    report.say("slicer alone: one step", found, "us", "us", peers=["plain asyncio"])
    for name in BESIDE:
        found = in_turn(options.rounds, sure=["p99"], agentlab=functools.partial(_late, name, tickers, seconds))
        for value in ("p99", "max"):
            report.say(f"slicer alone: lateness of {tickers} tickers beside {name}, {value}", found, value, "ms")


def _step(kind: str) -> Values:
    return {"us": asyncio.run(cost_of_step(kind))}


def _late(beside: str, tickers: int, seconds: float) -> Values:
    return asyncio.run(lateness(beside, tickers, seconds, SLICE))


if __name__ == "__main__":
    main()
