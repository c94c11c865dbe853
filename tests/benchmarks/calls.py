"""Calls: between two agents on one node (P4), and from a cell and back (P5).

    python tests/benchmarks/calls.py [--quick] [--rounds 3]

A caller calls from inside a handler, so each call is a step of its message; the BEAM's caller is a gen_server inside
``handle_call`` too. P5 awaits one call after the other in an asyncio loop of this process, as a cell does.
"""

from __future__ import annotations

import asyncio
import functools
import time

from kit import peers
from kit.agents import Counter, family
from kit.report import Found, Options, Report, Side, Values, in_turn, once, quantile

from agentlab import Lab, Ref

CALLS = 500


def pairs(lab: Lab, count: int, calls: int) -> Values:
    """Pairs on the lab's only node, all at once."""
    refs = lab.start_many(Counter, 2 * count)
    callers, called = refs[:count], refs[count:]
    for reply in [one.call.talk(other, 10) for one, other in zip(callers, called, strict=True)]:
        reply.result()
    began = time.perf_counter()
    replies = [one.call(timeout=120).talk(other, calls) for one, other in zip(callers, called, strict=True)]
    for reply in replies:
        reply.result()
    each = (time.perf_counter() - began) / (count * calls) * 1e6
    return {"call_us": each, "calls_s": 1e6 / each}


def ours(count: int, calls: int) -> Values:
    """The same in a fresh lab in memory."""
    with Lab(nodes=1) as lab:
        return pairs(lab, count, calls)


def between_agents(report: Report, options: Options, ray: Side) -> None:
    """P4, at one, ten and a hundred pairs."""
    for count in [1, 10] if options.quick else [1, 10, 100]:
        calls = options.size(max(20, CALLS // count))
        others: dict[str, Side] = {
            "BEAM": functools.partial(peers.beam, f"calls:pairs({count}, {100 * calls})"),
            "pykka": functools.partial(peers.python, "pykka", "calls", pairs=count, calls=calls),
            "asyncio": functools.partial(peers.python, "asyncio", "calls", pairs=count, calls=20 * calls),
            "uvloop": functools.partial(
                peers.python, "asyncio", "calls", pairs=count, calls=20 * calls, loop="uvloop"
            ),
        }  # fmt: skip
        if count == 1:
            others["Ray"] = ray
        found = in_turn(
            options.rounds, sure=["call_us", "BEAM"], agentlab=functools.partial(ours, count, calls), **others
        )
        _tell_pairs(report, count, found)


def _tell_pairs(report: Report, count: int, found: Found) -> None:
    others = [name for name in found if name != "agentlab"]
    name = "P4 call and reply between two agents on one node, pairs at once"
    report.say(name, found, "call_us", "us", peers=others, size=count, judged=count == 1,
               target="≤ 25 × BEAM, ≥ 4 × pykka, ≥ 40 × Ray",
               ratio_most={"BEAM": 25.0, "pykka": 1 / 4, "Ray": 1 / 40})  # fmt: skip
    report.say("P4 calls a second, pairs at once", found, "calls_s", "calls/s", peers=others[:4], size=count)


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


def from_a_cell(report: Report, options: Options, ray: Side) -> None:
    """P5, beside so many agents at rest."""
    calls = options.size(2000)
    for size in options.sizes(10_000):
        with Lab() as lab:
            ours = functools.partial(cell, family(lab, size)[0], calls)
            found = in_turn(options.rounds, sure=["p50", "Ray"], agentlab=ours, Ray=ray)
        name = "P5 call from a cell and back, memory, agents in the lab"
        target = "≤ 0.4 ms, ≥ 2 × Ray"
        report.say(f"{name}, p50", found, "p50", "ms", peers=["Ray"], size=size, target=target, most=0.4,
                   ratio_most={"Ray": 1 / 2})  # fmt: skip
        report.say(f"{name}, p99", found, "p99", "ms", peers=["Ray"], size=size, target="≤ 2 ms", most=2.0)


def main() -> None:
    """Print the figures."""
    options = Options(__doc__)
    report = Report(options)
    ray = once(functools.partial(peers.python, "ray", "calls", calls=options.size(CALLS)))
    between_agents(report, options, ray)
    from_a_cell(report, options, ray)


if __name__ == "__main__":
    main()
