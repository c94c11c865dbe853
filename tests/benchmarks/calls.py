"""Calls: between two agents (P4), and from a cell and back (P5).

    python tests/benchmarks/calls.py [--quick] [--rounds 3] [pairs] [cell]

A caller calls from inside a handler, so each call is a step of its message; the BEAM's caller is a gen_server inside
``handle_call`` too. The processor time is that of kernel and nodes together; asyncio's is its wall, for it is one
process that never waits. P5 awaits one call after the other in an asyncio loop of this process, as a cell does.
"""

from __future__ import annotations

import asyncio
import functools
import time

from kit import machine, peers
from kit.agents import Counter, family
from kit.report import Found, Options, Report, Side, Values, in_turn, measure, once, quantile

from agentlab import Lab, Ref

CALLS = 5_000
ONE_NODE = "on one node"
RAYS = 500


def pairs(count: int, calls: int, nodes: int | None) -> Values:
    """Pairs, each of two agents that were started side by side, all at once in a fresh lab in memory."""
    with Lab() if nodes is None else Lab(nodes=nodes) as lab:
        refs = lab.start_many(Counter, 2 * count)
        callers, called = refs[:count], refs[count:]
        for reply in [one.call.talk(other, 10) for one, other in zip(callers, called, strict=True)]:
            reply.result()
        lab.wait_idle()
        used, began = machine.cpu(machine.family()), time.perf_counter()
        replies = [one.call(timeout=120).talk(other, calls) for one, other in zip(callers, called, strict=True)]
        for reply in replies:
            reply.result()
        each = (time.perf_counter() - began) / (count * calls) * 1e6
        lab.wait_idle()
        used = machine.cpu(machine.family()) - used
    return {"call_us": each, "calls_s": 1e6 / each, "cpu_us": used / (count * calls) * 1e6}


def between_agents(report: Report, options: Options) -> None:
    """P4, at one, ten and a hundred pairs: where the lab has placed them, and on one node."""
    ray = once(functools.partial(peers.python, "ray", "calls", calls=options.size(RAYS)))
    for count in [1, 10] if options.quick else [1, 10, 100]:
        calls = options.size(CALLS // count)
        ours = functools.partial(pairs, count, calls)
        sides: dict[str, Side] = {
            "agentlab": functools.partial(ours, None),
            ONE_NODE: functools.partial(ours, 1),
            "BEAM": functools.partial(peers.beam, f"calls:pairs({count}, {10 * calls})"),
            "pykka": functools.partial(peers.python, "pykka", "calls", pairs=count, calls=calls),
            "asyncio": functools.partial(peers.python, "asyncio", "calls", pairs=count, calls=10 * calls),
            "uvloop": functools.partial(peers.python, "asyncio", "calls", pairs=count, calls=10 * calls, loop="uvloop"),
        }
        if count == 1:
            sides["Ray"] = ray
        _tell_pairs(report, count, in_turn(options.rounds, sure=["call_us", "asyncio"], **sides))


def _tell_pairs(report: Report, count: int, found: Found) -> None:
    others = [name for name in found if name not in ("agentlab", "asyncio")]
    name = "P4 call and reply between two agents, default placement, pairs at once"
    report.say(name, found, "call_us", "us", peers=["asyncio", *others], size=count,
               target="≤ 22 us, ≤ 1/3 of pykka", most=22.0, ratio_most={"pykka": 1 / 3})  # fmt: skip
    report.say(f"{name}: CPU of all processes", found, "cpu_us", "us", peers=["asyncio", "uvloop", ONE_NODE],
               size=count, target="≤ 6 × asyncio", ratio_most={"asyncio": 6.0})  # fmt: skip


def cell(ref: Ref, calls: int) -> Values:
    """Milliseconds of calls, one awaited after the other."""
    took = asyncio.run(_cell(ref, calls))
    return {"p50": quantile(took, 0.5), "p99": quantile(took, 0.99)}


async def _cell(ref: Ref, calls: int) -> list[float]:
    took = []
    for _ in range(calls):
        began = time.perf_counter()
        await ref.call.add()
        took.append((time.perf_counter() - began) * 1e3)
    return took


def from_a_cell(report: Report, options: Options) -> None:
    """P5, beside so many agents at rest."""
    ray = once(functools.partial(peers.python, "ray", "calls", calls=options.size(RAYS)))
    for size in options.sizes(10_000):
        with Lab() as lab:
            ours = functools.partial(cell, family(lab, size)[0], options.size(2000))
            found = in_turn(options.rounds, sure=["p50", "Ray"], agentlab=ours, Ray=ray)
        name = "P5 call from a cell and back, memory, agents in the lab"
        report.say(f"{name}, p50", found, "p50", "ms", peers=["Ray"], size=size, target="≤ 0.2 ms", most=0.2)
        report.say(f"{name}, p99", found, "p99", "ms", peers=["Ray"], size=size, target="≤ 0.5 ms", most=0.5)


PARTS = {"pairs": between_agents, "cell": from_a_cell}

if __name__ == "__main__":
    measure(__doc__, PARTS)
