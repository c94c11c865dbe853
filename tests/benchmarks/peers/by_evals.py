"""agentlab's own evals, in a process of their own: memory, deaths and resumption are those of a process.

The simulator is another process, whose address and key the environment has.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from arguments import answer
from sums import MIND, POISON, STORE, folder_of, questions

from agentlab import Assistant, Lab, tool
from agentlab.control.rows import rows
from agentlab.evals import Run, evaluate, includes
from agentlab.evals.ledger import run_path
from agentlab.evals.progress import BEAT, Standings

sys.path.insert(0, str(Path(__file__).parents[1]))

from kit import machine  # it lies above the peers


@tool
def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


class Reckoner(Assistant):
    """Has no tools: one turn."""

    model = MIND
    base_url = os.environ.get("ANTHROPIC_BASE_URL")


class Clerk(Reckoner):
    """Asks for each addition."""

    tools = [add]


class Poisoned(Clerk):
    """Raises at the poisoned sample."""

    async def solve(self, what: str) -> str:
        """Work on it."""
        if POISON in what:
            raise ValueError("this one cannot be solved")
        return str(await self.ask(what))


def begun(samples: int, turns: int, poison: int = 0, solver: Any = None, **options: Any) -> Run:
    """The eval, as all that is measured here has it; ``concurrency`` is what it is by itself, 64."""
    asked = [{"id": id_, "input": text, "target": target} for id_, text, target in questions(samples, turns, poison)]
    solver = solver or (Clerk if turns > 1 else Reckoner)
    return evaluate(solver, asked, includes(), message="solve" if solver is Poisoned else "ask", **options)


def costs(samples: int, turns: int) -> dict[str, float]:
    """Milliseconds of processor time a sample, of this process and all below it; the first samples warm them up."""
    with Lab() as lab:
        begun(10, turns, lab=lab, name="warm")
        used, wall = machine.cpu(machine.family()), time.perf_counter()
        run = begun(samples, turns, lab=lab, name="measured")
        wall = time.perf_counter() - wall
        used = machine.cpu(machine.family()) - used
        return {"cpu_ms": used / samples * 1e3, "wall_s": wall, **_ends(run)}


def run(folder: str, samples: int, turns: int, poison: int = 0, raises: int = 0) -> dict[str, float]:
    """See a run through that is kept, or go on with it; how its samples ended, and what they cost."""
    used = machine.cpu_with_ended(machine.family())
    done = begun(samples, turns, poison, Poisoned if raises else None, path=folder_of(folder) / STORE)
    used = machine.cpu_with_ended(machine.family()) - used
    return {"cpu_ms": used / samples * 1e3, "over": 1, **_ends(done)}


def again(folder: str, samples: int, turns: int) -> dict[str, float]:
    """Call a run again that is finished: seconds of the call, and of processor time."""
    used, wall = time.process_time(), time.perf_counter()
    done = begun(samples, turns, path=folder_of(folder) / STORE)
    return {"call_s": time.perf_counter() - wall, "call_cpu_s": time.process_time() - used, **_ends(done)}


def bar(samples: int, turns: int) -> dict[str, float]:
    """What looking how far a run is costs, in percent of a core: the looker's thread and the kernel's."""
    with Lab() as lab:
        run = begun(samples, turns, lab=lab, wait=False)
        driver = run._driver
        assert driver is not None
        standings, spent, looks, wall = Standings(driver), 0.0, 0, time.perf_counter()
        while not driver.over.wait(BEAT):
            began = time.thread_time()
            standings.look()
            spent += time.thread_time() - began + _in_the_kernel(lab, driver)
            looks += 1
        return {"percent": 100 * spent / (time.perf_counter() - wall), "look_ms": spent / looks * 1e3, **_ends(run)}


def tree(samples: int, turns: int) -> dict[str, float]:
    """What an open tree is told while a run goes on, and what that costs its thread; the ends of the run apart."""
    told: list[tuple[int, int]] = []  # samples that were done, bytes
    with Lab() as lab:
        view: Any = lab.tree()
        run = begun(10, turns, lab=lab, name="warm")
        run = begun(samples, turns, lab=lab, name="measured", wait=False)
        driver = run._driver
        assert driver is not None
        pane, done = view._pane, driver.tally
        pane.send = lambda content, buffers: told.append((done.done, len(json.dumps(content)) + sum(map(len, buffers))))
        view._hear(view, {"t": "hello", "looker": "benchmark"}, [])
        began = time.perf_counter()
        driver.over.wait()
        wall, used = time.perf_counter() - began, machine.cpu_of_thread(pane._pusher.native_id)
        view.close()
        tenth = samples // 10
        first = [size for at, size in told[1:] if at <= tenth]
        last = [size for at, size in told[1:] if at > samples - tenth]
        return {
            "percent": 100 * used / wall, "ms": used / len(told) * 1e3, "messages": len(told) / wall,
            "first_bytes": statistics.median(first), "last_bytes": statistics.median(last),
            "most_bytes": max(size for _, size in told[1:]), "samples_s": samples / wall, **_ends(run),
        }  # fmt: skip


def _in_the_kernel(lab: Lab, driver: Any) -> float:
    """Seconds of its thread for the rows of what runs, which a look asks for."""
    paths = [f"{run_path(driver.plan.name)}/{place}" for place in list(driver.place._running)]

    def timed() -> float:
        began = time.thread_time()
        rows(lab._live, paths)
        return time.thread_time() - began

    return float(lab._live.run(timed))


def _ends(run: Run) -> dict[str, float]:
    scores = run.samples()["score.includes"]
    right = int((scores == 1.0).sum())
    return {"right": right, "lost": len(scores) - right}


if __name__ == "__main__":
    answer(costs, run, again, bar, tree)
