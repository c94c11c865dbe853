"""Three notebooks as newcomers write them, each in a real kernel: run twice, in another order, with a kernel killed.

They lie in ``tests/newcomers/`` and use what README and the tour teach, nothing more. A cell that ends in an error is a
failure, wherever it stands and however often it ran before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernels import start_kernel

NOTEBOOKS = sorted((Path(__file__).parent / "newcomers").glob("*.ipynb"))


class Reader:
    """Somebody with a notebook, who runs its cells in whatever order; a kernel that dies is started anew."""

    def __init__(self, notebook: Path, where: Path) -> None:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        self.cells = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        self.where = where
        self.open()

    def open(self) -> None:
        """Start a kernel in the notebook's folder."""
        self.manager, self.client = start_kernel(self.where)

    def run(self, first: int = 0, end: int | None = None) -> None:
        """Run cells; the error of one that fails is the test's."""
        for code in self.cells[first:end]:
            self.execute(code)

    def execute(self, code: str) -> None:
        """Run one cell."""
        reply = self.client.execute_interactive(code, timeout=90, output_hook=lambda _: None)["content"]
        assert reply["status"] == "ok", f"this cell failed:\n\n{code}\n\n" + "\n".join(reply["traceback"])

    def move(self, where: Path) -> None:
        """Go on in another folder, as if for the first time; the kernel, which takes seconds to start, stays."""
        self.where = where
        self.execute(f"import os; os.chdir({str(where)!r})")

    def kill_kernel(self) -> None:
        """The kernel is killed, and a new one is started."""
        self.leave()
        self.open()

    def leave(self) -> None:
        """Close the notebook."""
        self.client.stop_channels()
        if self.manager.is_alive():
            self.manager.shutdown_kernel(now=True)


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reader]:
    """A reader of each notebook, in an empty folder."""
    made = Reader(request.param, tmp_path)
    yield made
    made.leave()


def test_there_are_three() -> None:
    """A researcher's, a teacher's, and that of somebody with 500 samples."""
    assert [path.stem for path in NOTEBOOKS] == ["evaluator", "researcher", "teacher"]


@pytest.mark.slow
def test_a_notebook_runs_to_its_end_again_from_the_middle_and_after_its_kernel_was_killed(
    reader: Reader, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """From the top, from the top again, then from its middle on, in one kernel.

    Then, in another folder, the kernel dies with the middle cell running; a new one runs them all, and the last half
    again.
    """
    middle = len(reader.cells) // 2
    reader.run()
    reader.run()
    reader.run(first=middle)

    reader.move(tmp_path_factory.mktemp("killed"))
    reader.run(end=middle)
    reader.client.execute(reader.cells[middle])
    reader.kill_kernel()

    reader.run()
    reader.run(first=middle)
