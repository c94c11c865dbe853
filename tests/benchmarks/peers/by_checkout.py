"""A checkout of agentlab, whichever PYTHONPATH names: calls, crashes and waits, with names that every one of them has.

Processor time is that of all processes of the lab; ``ms`` is what somebody waits for.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arguments import answer

sys.path.insert(0, str(Path(__file__).parents[1]))

from kit import machine  # they lie above the peers
from kit.agents import Counter, family

import agentlab
from agentlab import Agent, Lab

WARM = 100


class Waiter(Agent):
    """Waits for something that is not here, step by step."""

    async def wait(self, times: int, ms: int) -> None:
        """Each wait is a step."""
        for _ in range(times):
            await self.step(asyncio.sleep, ms / 1e3)


def calls(pairs: int, times: int) -> dict[str, Any]:
    """Agents of one node call each other (P4)."""
    with Lab(nodes=1) as lab:
        refs = lab.start_many(Counter, 2 * pairs)

        def talk(times: int) -> None:
            replies = [
                one.call(timeout=300).talk(other, times) for one, other in zip(refs[:pairs], refs[pairs:], strict=True)
            ]
            for reply in replies:
                reply.result()

        talk(WARM)
        return costs(lambda: talk(times), pairs * times)


def cell(times: int) -> dict[str, Any]:
    """One call after the other from this process (P5)."""
    with Lab(nodes=1) as lab:
        ref = lab.start(Counter)

        def ask(times: int) -> None:
            for _ in range(times):
                ref.call.add().result()

        ask(WARM)
        return costs(lambda: ask(times), times)


def crashes(times: int) -> dict[str, Any]:
    """An agent crashes and its next life answers (P7)."""
    with Lab(nodes=2) as lab:
        refs = family(lab, 100)

        def crash(times: int) -> None:
            for number in range(times):
                ref = refs[number * 7919 % len(refs)]
                life, _ = ref.call.life().result()
                ref.crash()
                assert ref.call.life().result()[0] == life + 1, "another life than the next"

        crash(WARM)
        return costs(lambda: crash(times), times)


def storm(agents: int, victims: int, times: int) -> dict[str, Any]:
    """So many of very many raise at once, and answer again (P8)."""
    with Lab() as lab:
        refs = family(lab, agents)

        def break_out(times: int) -> None:
            for turn in range(times):
                hit = refs[turn * victims : (turn + 1) * victims]
                for one in hit:
                    one.cast.boom()
                for reply in [one.call(timeout=300).add() for one in hit]:
                    reply.result()

        return costs(lambda: break_out(times), victims * times)


def waits(agents: int, times: int, ms: int, where: str) -> dict[str, Any]:
    """Very many wait, step by step (P11)."""
    with tempfile.TemporaryDirectory() as folder, Lab(Path(folder) / "run.lab" if where == "durable" else None) as lab:
        refs = lab.start_many(Waiter, agents)

        def ask() -> None:
            for reply in refs.call(timeout=300).wait(times, ms):
                reply.result()

        for reply in lab.start_many(Waiter, WARM).call.wait(1, 1):
            reply.result()
        return costs(ask, agents * times)


def costs(deed: Callable[[], None], each: int) -> dict[str, Any]:
    """Processor time and time of a deed, divided by how often something was done in it."""
    family_of_it = machine.family()
    used, began = machine.cpu(family_of_it), time.perf_counter()
    deed()
    took = time.perf_counter() - began
    return {
        "cpu_us": (machine.cpu(family_of_it) - used) / each * 1e6,
        "ms": took / each * 1e3,
        "from": str(Path(agentlab.__file__).parents[1]),
    }


if __name__ == "__main__":
    answer(calls, cell, crashes, storm, waits)
