"""Inspect AI with the same eval: its own solvers, scorer, tool loop, retries and logs, as they come.

Samples and connections at once are as many as ours, and nothing is displayed; all else is as Inspect has it. A run that
may be resumed is an ``eval_set``, of which the same call goes on with what its logs have not got.
"""

from __future__ import annotations

import tempfile
import time
from typing import Any

from arguments import answer
from sums import AT_ONCE, MIND, POISON, folder_of, questions

try:
    import inspect_ai
    from inspect_ai.dataset import Sample
    from inspect_ai.model import GenerateConfig, get_model
    from inspect_ai.scorer import includes
    from inspect_ai.solver import Generate, Solver, TaskState, generate, solver, use_tools
    from inspect_ai.tool import Tool, tool
except ImportError:
    raise SystemExit("inspect-ai is not installed: pip install 'jupyter-agentlab[bench]'") from None


@tool
def add() -> Tool:
    """A tool of two numbers."""

    async def execute(a: float, b: float) -> float:
        """Add two numbers.

        Args:
            a: The first.
            b: The second.
        """
        return a + b

    return execute


@solver
def poisoned() -> Solver:
    """Raises at the poisoned sample."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        if POISON in state.input_text:
            raise ValueError("this one cannot be solved")
        return state

    return solve


def task(samples: int, turns: int, poison: int = 0, raises: int = 0) -> Any:
    """The eval."""
    asked = [Sample(id=id_, input=text, target=target) for id_, text, target in questions(samples, turns, poison)]
    steps = [*([poisoned()] if raises else []), *([use_tools(add())] if turns > 1 else []), generate()]
    return inspect_ai.Task(dataset=asked, solver=steps, scorer=includes(), name="sums")


def options(folder: str, **more: Any) -> dict[str, Any]:
    """Of each call."""
    model = get_model(f"anthropic/{MIND}", config=GenerateConfig(max_connections=AT_ONCE))
    return {"model": model, "log_dir": folder, "display": "none", "max_samples": AT_ONCE, **more}


def costs(samples: int, turns: int, realtime: int = 1) -> dict[str, float]:
    """Milliseconds of processor time a sample; the first samples warm the process up."""
    with tempfile.TemporaryDirectory() as folder:
        given = options(folder, log_realtime=bool(realtime))
        inspect_ai.eval(task(10, turns), **given)
        used, wall = time.process_time(), time.perf_counter()
        logs = inspect_ai.eval(task(samples, turns), **given)
        used, wall = time.process_time() - used, time.perf_counter() - wall
        return {"cpu_ms": used / samples * 1e3, "wall_s": wall, **_ends(logs[0], samples)}


def run(folder: str, samples: int, turns: int, poison: int = 0, raises: int = 0) -> dict[str, float]:
    """See a run through that is kept, or go on with it; how its samples ended, and what they cost."""
    used = time.process_time()
    ended, logs = inspect_ai.eval_set(task(samples, turns, poison, raises), **options(str(folder_of(folder))))
    used = time.process_time() - used
    return {"cpu_ms": used / samples * 1e3, "over": int(ended), **_ends(logs[0], samples)}


def again(folder: str, samples: int, turns: int) -> dict[str, float]:
    """Call a run again that is finished: seconds of the call, and of processor time."""
    used, wall = time.process_time(), time.perf_counter()
    _, logs = inspect_ai.eval_set(task(samples, turns), **options(folder))
    return {
        "call_s": time.perf_counter() - wall, "call_cpu_s": time.process_time() - used, **_ends(logs[0], samples),
    }  # fmt: skip


def _ends(log: Any, samples: int) -> dict[str, float]:
    results = log.results
    right = results.scores[0].metrics["accuracy"].value * results.completed_samples if results else 0
    return {"right": round(right), "lost": samples - round(right)}


if __name__ == "__main__":
    answer(costs, run, again)
