"""The exercises at the end of each notebook: what is shipped is unsolved, and its solution solves it."""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from agentlab.testing import exercise

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
SOLUTION = re.compile(r"<details><summary>A solution</summary>\n\n```python\n(.*)\n```\n\n</details>", re.DOTALL)


def exercises_of(path: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """The cells of code from the heading *Exercises* on, each with its tag, and the solutions in their order."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    first = next(n for n, cell in enumerate(cells) if "tags" in cell["metadata"])
    texts = [(cell, "".join(cell["source"])) for cell in cells[first:]]
    code = [(cell["metadata"]["tags"][0], text) for cell, text in texts if cell["cell_type"] == "code"]
    folded = [SOLUTION.fullmatch(text) for cell, text in texts if cell["cell_type"] == "markdown"]
    return code, [each[1] for each in folded if each]


async def run_cells(cells: list[str]) -> list[str]:
    """Run cells one after another, each with what the ones before left; the lines that were printed."""
    names: dict[str, Any] = {"__name__": "__main__"}  # as in a notebook, so that its classes travel by value
    with contextlib.redirect_stdout(io.StringIO()) as out:
        for cell in cells:
            code = compile(cell, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            value = eval(code, names)
            if code.co_flags & inspect.CO_COROUTINE:
                await value
    return [line for line in out.getvalue().splitlines() if line.startswith("Exercise")]


def solved(cells: list[tuple[str, str]], solutions: list[str]) -> list[str]:
    """The cells with each exercise replaced by its solution."""
    left = iter(solutions)
    return [next(left) if tag == "exercise" else text for tag, text in cells]


def test_each_notebook_ends_with_exercises_that_have_a_solution() -> None:
    """Two or three; each is one cell to write in, one that checks it, and a folded solution."""
    for path in NOTEBOOKS:
        cells, solutions = exercises_of(path)
        tags = [tag for tag, _ in cells]

        assert tags == ["exercises", *["exercise", "check"] * len(solutions)], path.name
        assert 2 <= len(solutions) <= 3, path.name


@pytest.mark.slow
async def test_an_untouched_exercise_is_not_solved_and_the_solution_is() -> None:
    """As shipped each check gives a hint and raises nothing; with its solution each is solved."""
    for path in NOTEBOOKS:
        cells, solutions = exercises_of(path)

        untouched = await run_cells([text for _, text in cells])
        after = await run_cells(solved(cells, solutions))

        numbers = range(1, len(solutions) + 1)
        assert [line.split(". ")[0] for line in untouched] == [f"Exercise {n}: not yet" for n in numbers], path.name
        assert after == [f"Exercise {n}: solved." for n in numbers], path.name


def test_a_strict_check_raises_after_its_hint(capsys, monkeypatch) -> None:
    """Graders look for a cell that failed; an interrupt is nobody's hint."""
    monkeypatch.setattr(exercise, "strict", True)

    with pytest.raises(AssertionError), exercise(1):
        raise AssertionError("count the last one too")
    with pytest.raises(KeyboardInterrupt), exercise(2):
        raise KeyboardInterrupt
    with exercise(3):
        pass

    assert capsys.readouterr().out == "Exercise 1: not yet. count the last one too\nExercise 3: solved.\n"
