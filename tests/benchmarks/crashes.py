"""Crashes: one agent's until its next answer (P7), many at once (P8).

    python tests/benchmarks/crashes.py [--quick] [--rounds 3] [memory] [durable] [storm]

P7: ``ref.crash()``, then a call; the clock stops when the next life has answered with the count that the last one had
committed. The BEAM's process is sent an exit signal, and its next life, which has forgotten everything, is found in a
table that its ``init`` writes. Pykka has no supervisor: ``on_failure`` starts the next. Ray: ``ray.kill`` with restart.
P8: each of the many raises in a handler, is not delivered that message again, and is then called.
"""

from __future__ import annotations

import asyncio
import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kit import peers
from kit.agents import family
from kit.report import Options, Report, Values, in_turn, measure, once, quantile

from agentlab import Lab, Ref


def crash(ref: Ref) -> float:
    """Milliseconds from a crash to the answer of the next life, its state restored."""
    ref.call.add().result()
    life, count = ref.call.life().result()
    began = time.perf_counter()
    ref.crash()
    next_life, restored = ref.call.life().result()
    took = (time.perf_counter() - began) * 1e3
    assert (next_life, restored) == (life + 1, count), "another life than the next, or another state"
    return took


def singles(refs: Any, times: int) -> Values:
    """One after the other, spread over the siblings."""
    took = [crash(refs[number * 7919 % len(refs)]) for number in range(times)]
    return {"p50": quantile(took, 0.5), "p99": quantile(took, 0.99)}


def in_memory(report: Report, options: Options) -> None:
    """P7."""
    _one_at_a_time(report, options, "memory", None)


def durable(report: Report, options: Options) -> None:
    """P7, in a file."""
    with tempfile.TemporaryDirectory() as folder:
        _one_at_a_time(report, options, "durable", Path(folder))


def _one_at_a_time(report: Report, options: Options, where: str, path: Path | None) -> None:
    """Among so many siblings."""
    times = options.size(300)
    ray = once(functools.partial(peers.python, "ray", "crash", times=3))
    for size in options.sizes(10_000):
        with Lab(None if path is None else path / f"{size}.lab") as lab:
            refs = family(lab, size)
            singles(refs, 20)
            found = in_turn(
                options.rounds,
                sure=["p50", "BEAM"],
                agentlab=functools.partial(singles, refs, times),
                BEAM=functools.partial(peers.beam, f"crashes:single({size}, {times})"),
                pykka=functools.partial(peers.python, "pykka", "crash", times=times),
                Ray=ray,
            )
        name, others = f"P7 crash to the next answer, {where}, siblings", ["BEAM", "pykka", "Ray"]
        report.say(f"{name}, p50", found, "p50", "ms", peers=others, size=size, target="≤ 0.3 ms",
                   most=0.3)  # fmt: skip
        report.say(f"{name}, p99", found, "p99", "ms", peers=others, size=size, target="≤ 1 ms", most=1.0)


async def _calls_until(refs: Any, done: Callable[[], bool]) -> list[float]:
    """Milliseconds of calls to one sibling after the other."""
    took: list[float] = []
    while not done():
        began = time.perf_counter()
        await refs[len(took) * 7919 % len(refs)].call.add()
        took.append((time.perf_counter() - began) * 1e3)
    return took


def storm(victims: Any, siblings: Any, seconds: float) -> Values:
    """Crash the victims at once, calling siblings before, for some seconds, and meanwhile."""
    return asyncio.run(_storm(victims, siblings, seconds))


async def _storm(victims: Any, siblings: Any, seconds: float) -> Values:
    counts = [count for _, count in await asyncio.gather(*(ref.call.life() for ref in victims))]
    quiet_until = time.perf_counter() + seconds
    before = await _calls_until(siblings, lambda: time.perf_counter() > quiet_until)
    back = False
    watching = asyncio.create_task(_calls_until(siblings, lambda: back))
    began = time.perf_counter()
    victims.cast(redeliver=False).boom()
    lives = await asyncio.gather(*(ref.call.life() for ref in victims))
    took = (time.perf_counter() - began) * 1e3
    back = True
    meanwhile = await watching
    assert [count for _, count in lives] == counts, "another state than the committed one"
    calm, wild = quantile(before, 0.99), quantile(meanwhile, 0.99)
    return {"all_ms": took, "before_p99": calm, "p99": wild, "slower": wild - calm}


def many_at_once(report: Report, options: Options) -> None:
    """P8: four of a hundred."""
    threads, crashing = options.size(2000), options.size(400)
    pykka = functools.partial(peers.python, "pykka", "many", agents=threads, crashing=crashing)
    for size in options.sizes(10_000):
        victims = max(1, size // 25)
        with Lab() as lab:
            refs = family(lab, size)
            found = in_turn(
                options.rounds,
                sure=["all_ms", "BEAM"],
                agentlab=functools.partial(storm, refs[:victims], refs[victims:], options.size(10) / 10),
                BEAM=functools.partial(peers.beam, f"crashes:many({size}, {victims})"),
                **({f"pykka, {crashing} of {threads}": pykka} if size == options.size(10_000) else {}),
            )
        others, full = [name for name in found if name != "agentlab"], size == options.size(10_000)
        report.say("P8 four of 100 crash at once: all answer again; agents", found, "all_ms", "ms",
                   peers=others, size=size, judged=full, target="≤ 80 ms", most=80.0)  # fmt: skip
        extra = {name: round(value, 3) for name, value in found["agentlab"].items() if name.endswith("p99")}
        report.say("P8 siblings' call p99 meanwhile, above that of before; agents", found, "slower", "ms", size=size,
                   by="p99", target="≤ 5 ms", most=5.0, **extra)  # fmt: skip


PARTS = {"memory": in_memory, "durable": durable, "storm": many_at_once}

if __name__ == "__main__":
    measure(__doc__, PARTS)
