"""Where the time goes: cProfile on the runtime's thread and in every node while one kind of work is done.

    python tests/benchmarks/profile_kernel.py calls|cell|durable|crashes|starts|waits [agents] [--lines 25]

A profile makes calls several times as slow as they are: read the shares, not the times.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import io
import pstats
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

from calls import cell
from kit.agents import family
from waiting import Thinker

from agentlab import Agent, Lab
from crashes import singles


class Probe(Agent):
    """Profiles the node that it runs on; the profile is the thread's, so it sees everybody."""

    profiles: ClassVar[list[cProfile.Profile]] = []

    def begin(self) -> None:
        """From now on."""
        self.profiles.append(cProfile.Profile())
        self.profiles[-1].enable()

    def end(self, lines: int) -> str:
        """What was seen, as text."""
        profile = self.profiles.pop()
        profile.disable()
        return told(profile, lines)


def told(profile: cProfile.Profile, lines: int) -> str:
    """The functions that took most time themselves."""
    text = io.StringIO()
    pstats.Stats(profile, stream=text).sort_stats("tottime").print_stats(lines)
    return text.getvalue()


def one_per_node(lab: Lab) -> list[Any]:
    """A probe on each node."""
    probes = {ref.node: ref for ref in [lab.start(Probe) for _ in range(16)]}
    return [probes[node] for node in sorted(probes)]


def talk(lab: Lab, size: int) -> None:
    """Agents that call each other in pairs."""
    refs = family(lab, 2 * size)
    for reply in [one.call.talk(other, 100) for one, other in zip(refs[:size], refs[size:], strict=True)]:
        reply.result()


WORK: dict[str, Callable[[Lab, int], object]] = {
    "calls": talk,
    "cell": lambda lab, size: cell(family(lab, 1)[0], 10 * size),
    "durable": lambda lab, size: asyncio.run(_everybody(family(lab, size))),
    "crashes": lambda lab, size: singles(family(lab, size), size),
    "starts": family,
    "waits": lambda lab, size: [reply.result() for reply in lab.start_many(Thinker, size).call.ask("think")],
}


async def _everybody(refs: Any) -> None:
    for _ in range(10):
        await asyncio.gather(*(ref.call.add() for ref in refs))


def main() -> None:
    """Do the work under profiles and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=WORK)
    parser.add_argument("agents", type=int, nargs="?", default=500)
    parser.add_argument("--lines", type=int, default=25)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lab = stack.enter_context(Lab(folder / "run.lab" if options.work == "durable" else None))
        runtime, kernel, probes = lab._live, cProfile.Profile(), one_per_node(lab)
        for probe in probes:
            probe.call.begin().result()
        runtime.run(kernel.enable)
        WORK[options.work](lab, options.agents)
        runtime.run(kernel.disable)
        print("The runtime's thread:", told(kernel, options.lines))
        for probe in probes:
            print(f"Node {probe.node}:", probe.call.end(options.lines).result())


if __name__ == "__main__":
    main()
