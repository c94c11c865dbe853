"""The pictures of the README are there, and the one of an eval is what a run draws today.

The other two are made in a browser (``tests/browser``). ``AGENTLAB_PICTURE=1`` makes all of them anew.
"""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path

import pytest

from agentlab import Agent, charts
from agentlab.evals import evaluate, exact

ROOT = Path(__file__).parents[1]
TITLES = re.compile(r"<title>([^<]*)</title>")
MOST_BYTES = 250_000

pytestmark = pytest.mark.xdist_group("altair")  # it takes seconds to load: one process is enough


class Pupil(Agent):
    """Knows the multiplication table, the large numbers less well, and nothing of division."""

    async def solve(self, question: str) -> str:
        """What it says; it is as lucky in the same place of the tree each time."""
        left, sign, right = question.split()
        if sign == "/":
            raise ArithmeticError("nobody has taught me that")
        luck = zlib.crc32(self.ref.path.encode()) % 100
        return str(int(left) * int(right) + (luck < 9 * int(left)))


def test_the_chart_of_the_readme_is_that_of_a_run(tmp_path):
    """Nine samples in eight epochs, one of which always raises: the picture says of each cell what this run says."""
    asked = [{"id": f"{n} * 7", "input": f"{n} * 7", "target": str(7 * n)} for n in range(2, 10)]
    asked.append({"id": "56 / 7", "input": "56 / 7", "target": "8"})
    run = evaluate(Pupil, asked, exact(), epochs=8, path=tmp_path / "run.lab", name="pupil", nodes=1)
    picture, drawn = ROOT / ".github" / "eval.svg", charts.by_sample(run)._repr_mimebundle_()["image/svg+xml"]
    if os.environ.get("AGENTLAB_PICTURE"):
        picture.write_text(drawn, encoding="utf-8")

    shown = sorted(TITLES.findall(picture.read_text(encoding="utf-8")))
    assert len({each for each in shown if "ended" in each}) == 9 * 8 + 8  # a text lies over a cell that was not scored
    assert shown == sorted(TITLES.findall(drawn))


def test_each_picture_of_the_readme_is_there_and_small():
    """Tree, dashboard, eval."""
    found = re.findall(r"[(\"](\.github/[^)\"]+)[)\"]", (ROOT / "README.md").read_text(encoding="utf-8"))

    assert found == [".github/tree.png", ".github/dashboard.png", ".github/eval.svg"]
    assert [name for name in found if not 0 < (ROOT / name).stat().st_size < MOST_BYTES] == []
