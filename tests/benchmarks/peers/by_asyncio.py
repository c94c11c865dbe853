"""asyncio by hand: an agent is a task with a queue, a call a future in it. No supervisor, no commits, no guarantees."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

from arguments import answer


async def counter(mailbox: asyncio.Queue[asyncio.Future[int]]) -> None:
    """Count."""
    count = 0
    while True:
        asked = await mailbox.get()
        count += 1
        asked.set_result(count)


async def _pairs(pairs: int, calls: int) -> float:
    loop = asyncio.get_running_loop()
    mailboxes: list[asyncio.Queue[Any]] = [asyncio.Queue() for _ in range(pairs)]
    tasks = [loop.create_task(counter(mailbox)) for mailbox in mailboxes]

    async def talk(mailbox: asyncio.Queue[Any]) -> None:
        for _ in range(calls):
            asked = loop.create_future()
            mailbox.put_nowait(asked)
            await asked

    began = time.perf_counter()
    await asyncio.gather(*map(talk, mailboxes))
    took = time.perf_counter() - began
    for task in tasks:
        task.cancel()
    return took / (pairs * calls) * 1e6


def calls(pairs: int, calls: int, loop: str = "asyncio") -> dict[str, float]:
    """Callers and called in pairs, all at once; ``loop=uvloop`` for that one."""
    if loop == "uvloop":
        try:
            import uvloop
        except ImportError:
            raise SystemExit("uvloop is not installed: pip install 'jupyter-agentlab[bench]'") from None
        each = uvloop.run(_pairs(pairs, calls))
    else:
        each = asyncio.run(_pairs(pairs, calls))
    return {"call_us": each, "calls_s": 1e6 / each, "cpu_us": each}  # one process, which never waits


async def _tick(until: float, late: list[float]) -> None:
    await asyncio.sleep(0.01 * (id(late) % 97) / 97)
    while (due := time.perf_counter() + 0.01) < until:
        await asyncio.sleep(0.01)
        late.append((time.perf_counter() - due) * 1e3)


async def _lateness(tickers: int, seconds: float) -> list[float]:
    until = time.perf_counter() + seconds
    late: list[list[float]] = [[] for _ in range(tickers)]
    await asyncio.gather(*(_tick(until, each) for each in late))
    return sorted(itertools.chain(*late))


def lateness(tickers: int, seconds: int) -> dict[str, float]:
    """How late tickers of ten milliseconds go on, in milliseconds; beside an endless loop they never would."""
    late = asyncio.run(_lateness(tickers, seconds))
    return {"p50": late[len(late) // 2], "p99": late[int(len(late) * 0.99)], "max": late[-1]}


def sleeps(agents: int, times: int, ms: int) -> dict[str, float]:
    """Processor time of one wait (microseconds), and the wall against the ideal."""

    async def one() -> None:
        for _ in range(times):
            await asyncio.sleep(ms / 1e3)

    async def run() -> None:
        await asyncio.gather(*(one() for _ in range(agents)))

    used, began = time.process_time(), time.perf_counter()
    asyncio.run(run())
    wall = time.perf_counter() - began
    return {"cpu_us": (time.process_time() - used) / (agents * times) * 1e6, "wall": wall / (times * ms / 1e3)}


if __name__ == "__main__":
    answer(calls, lateness, sleeps)
