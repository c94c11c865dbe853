"""Turns of an Assistant over real HTTP, streamed and journaled (P19), beside other ways to ask a model.

    python tests/benchmarks/turns.py [--quick] [--rounds 3] [50] [500] [5,000]

Every side asks the same simulator, which is a process of its own on the same two cores; its processor time is in no
figure, but the turns a second are what is left beside it. Conversations have two turns. Ours are of agents in a lab
whose store is a file; the time is that of kernel and nodes together. What the peers do is in ``peers/by_turns.py``;
those that take over 2 ms take part with fewer turns.
"""

from __future__ import annotations

import asyncio
import functools
import tempfile
import time
from pathlib import Path

from kit import machine, peers
from kit.report import Options, Report, Side, Values, in_turn, measure, once
from kit.sim import Sim
from peers.talk import LONGEST, MODEL, OF_A_CONVERSATION, QUESTION, SYSTEM

from agentlab import Assistant, Lab

PEERS = {"aiohttp": 1, "anthropic": 2, "pydantic-ai": 4, "LangGraph": 4, "Inspect": 8}
"""How many times fewer turns each takes."""

MOST_PEERS = 500  # at once, whom peers are measured with more than once


class Talker(Assistant):
    """Answers, and has no tools."""

    model = MODEL
    system = SYSTEM
    max_tokens = LONGEST


def ours(sim: Sim, at_once: int, turns: int) -> Values:
    """So many agents, each with conversations of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_ours(sim, Path(folder) / "lab.db", at_once, turns))


async def _ours(sim: Sim, store: Path, at_once: int, turns: int) -> Values:
    async with Lab(store=store) as lab:
        left = max(at_once, turns // OF_A_CONVERSATION)
        whole = left * OF_A_CONVERSATION
        refs = iter(lab.start_many(Talker, left + 10))

        async def talk() -> None:
            ref = next(refs)
            for _ in range(OF_A_CONVERSATION):
                await ref.call(timeout=300).ask(QUESTION)

        async def worker() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await talk()

        await asyncio.gather(*[talk() for _ in range(10)])
        used, wall = _cpu(sim), time.perf_counter()
        await asyncio.gather(*[worker() for _ in range(at_once)])
        wall = time.perf_counter() - wall
        await asyncio.to_thread(lab.wait_idle)
        return {"cpu_ms": (_cpu(sim) - used) / whole * 1e3, "turns_s": whole / wall}


def _cpu(sim: Sim) -> float:
    return machine.cpu(each for each in machine.family() if each.pid != sim.process.pid)


def turns(full: int, report: Report, options: Options) -> None:
    """So many at once. What takes a minute, as all peers with 5,000 do, is measured once."""
    at_once = options.size(full) if full > MOST_PEERS else full
    turns = max(options.size(5_000), at_once * OF_A_CONVERSATION)
    sim = Sim()
    try:
        sides: dict[str, Side] = {"agentlab": functools.partial(ours, sim, at_once, turns)}
        for name, less in PEERS.items():
            what = name.lower().replace("-", "_")
            asked = functools.partial(peers.python, "turns", what, patience=900.0, at_once=at_once, turns=turns // less)
            sides[name] = once(asked) if full > MOST_PEERS else asked
        found = in_turn(options.rounds, sure=["cpu_ms", "LangGraph"], **sides)
    finally:
        sim.process.kill()
        sim.process.wait()
    report.say("P19 a turn of an Assistant: CPU, so many at once", found, "cpu_ms", "ms", peers=[*PEERS],
               size=at_once, target="≤ 1.2 ms, ≤ 1/8 of LangGraph and Inspect", most=1.2,
               ratio_most={"LangGraph": 1 / 8, "Inspect": 1 / 8})  # fmt: skip
    report.say("P19 turns a second, the simulator on the same cores", found, "turns_s", "turns/s",
               peers=[*PEERS], size=at_once)  # fmt: skip


PARTS = {
    "50": functools.partial(turns, 50),
    "500": functools.partial(turns, 500),
    "5,000": functools.partial(turns, 5_000),
}

if __name__ == "__main__":
    measure(__doc__, PARTS)
