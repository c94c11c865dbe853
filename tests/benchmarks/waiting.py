"""Agents that mostly wait for a model: processor time of a step, and the wall against the ideal (P11).

    python tests/benchmarks/waiting.py [--quick] [--rounds 2] [memory] [durable]

``steps``: an agent journals so many steps that sleep and return what a model would. ``Assistant``: the real one, ten
model calls in one ``ask``; its client, the one place behind which a call leaves the process, is replaced by one that
sleeps and answers. (That place has no public name.) Processor time is that of all processes of the lab, from before
the first call to after the last answer. The first 100 agents' answers are not counted: they warm the nodes up.
"""

from __future__ import annotations

import asyncio
import functools
import tempfile
import time
from pathlib import Path
from typing import Any

from kit import machine, peers
from kit.report import Options, Report, Values, in_turn, measure, once

from agentlab import Agent, Assistant, Lab, Transcript

TIMES = 10
MS = 200


def reply(number: int) -> dict[str, Any]:
    """What a model says; it wants to go on until the last time."""
    return {
        "id": f"msg_{number}", "type": "message", "role": "assistant", "model": "sim",
        "content": [{"type": "text", "text": f"thought {number}"}],
        "stop_reason": "end_turn" if number == TIMES else "pause_turn", "stop_sequence": None,
        "usage": {"input_tokens": 100, "output_tokens": 10},
    }  # fmt: skip


async def model(number: int) -> dict[str, Any]:
    """A model call without a network."""
    await asyncio.sleep(MS / 1e3)
    return reply(number)


class Thinker(Agent):
    """Asks a model step by step."""

    messages: Transcript = Transcript()

    async def ask(self, text: str) -> str:
        """Ten steps."""
        self.messages.append({"role": "user", "content": text})
        for number in range(1, TIMES + 1):
            said = await self.step(model, number)
            self.messages.append({"role": "assistant", "content": said["content"]})
        return "done"


class _Client:
    async def create(self, *, messages: list[Any], **options: Any) -> dict[str, Any]:
        return await model(sum(message["role"] == "assistant" for message in messages) + 1)


class Stubbed(Assistant):
    """An assistant whose client stays in the process."""

    async def _client(self) -> Any:
        return _Client()


def asked(kind: type[Agent], size: int, store: Path | None) -> Values:
    """So many agents are asked at once."""
    with Lab(store) as lab:
        refs = lab.start_many(kind, size)
        for answer in lab.start_many(kind, 100).call.ask("warm up"):
            answer.result()
        used, own, began = machine.cpu(machine.family()), time.process_time(), time.perf_counter()
        for answer in refs.call(timeout=300).ask("think"):
            answer.result()
        wall = time.perf_counter() - began
        own = time.process_time() - own
        used = machine.cpu(machine.family()) - used
    steps = size * TIMES
    return {"cpu_us": used / steps * 1e6, "wall": wall / (TIMES * MS / 1e3), "steps_s": 0.6 * steps / own}


def measured(kind: type[Agent], size: int, *, durable: bool) -> Values:
    """The same in memory, or in a file."""
    with tempfile.TemporaryDirectory() as folder:
        return asked(kind, size, Path(folder) / "run.lab" if durable else None)


def in_memory(report: Report, options: Options) -> None:
    """P11."""
    _waits(report, options, "memory", 40.0, "memory")


def durable(report: Report, options: Options) -> None:
    """P11 in a file, and how many durable steps a second the kernel bears (P24)."""
    _waits(report, options, "durable", 60.0, "sqlite")


def _waits(report: Report, options: Options, where: str, most: float, store: str) -> None:
    sizes = {"agents": options.size(300), "times": TIMES, "ms": MS}
    langgraph = once(functools.partial(peers.python, "langgraph", "sleeps", **sizes, store=store))
    is_kept = where == "durable"
    for size in options.sizes(10_000):
        found = in_turn(
            options.rounds,
            sure=["cpu_us", "LangGraph"],
            agentlab=functools.partial(measured, Thinker, size, durable=is_kept),
            LangGraph=langgraph,
            BEAM=functools.partial(peers.beam, f"sleeps:many({size}, {TIMES}, {MS})"),
            asyncio=functools.partial(peers.python, "asyncio", "sleeps", agents=size, times=TIMES, ms=MS),
        )
        others, full = ["LangGraph", "BEAM", "asyncio"], size == options.size(10_000)
        name = f"P11 agents × 10 waits of 200 ms, {where}"
        report.say(f"{name}: CPU a step; agents", found, "cpu_us", "us", peers=others, size=size,
                   judged=full, target=f"≤ {most:g} us", most=most)  # fmt: skip
        report.say(f"{name}: wall to the ideal; agents", found, "wall", "times", peers=others, size=size,
                   judged=full, target="≤ 1.3", most=1.3)  # fmt: skip
        report.say(f"P24 steps a second at 60 % of a core of the kernel, {where}; agents", found, "steps_s", "steps/s",
                   size=size, judged=full and is_kept, target="≥ 15,000", least=15_000.0)  # fmt: skip
    size = options.size(1000)
    ours = functools.partial(measured, Stubbed, size, durable=is_kept)
    found = in_turn(options.rounds, sure=["cpu_us", "LangGraph"], agentlab=ours, LangGraph=langgraph)
    report.say(f"P11 {size} Assistants × 10 model calls of 200 ms, client stubbed, {where}: CPU a step", found,
               "cpu_us", "us", peers=["LangGraph"])  # fmt: skip


PARTS = {"memory": in_memory, "durable": durable}

if __name__ == "__main__":
    measure(__doc__, PARTS, rounds=2)
