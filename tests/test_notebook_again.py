"""A notebook of one's own with a file: its cells are run twice, from the middle, and after its kernel was killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_notebook_kernel import Kernel

CELLS = [
    "from agentlab import Agent, Lab, Supervisor, child",
    """
class Counter(Agent):
    count: int = 0

    async def add(self, n: int = 1) -> int:
        self.count += n
        return self.count
""",
    "lab = Lab('run.lab')",
    "c = lab.start(Counter, id='c', exist_ok=True)",
    """
def team():
    return Supervisor('team', child(Counter, id='left', count=10), child(Counter, id='right'))

lab.start(team(), exist_ok=True)
""",
    "many = lab.start_many(Counter, 3, exist_ok=True)",
    "await c.call.add(5)",
    "[await ref.call.add(1) for ref in many]",
    "await lab['/team/left'].call.add(1)",
]
OPEN = 2
RESULTS = 6


def run(kernel: Kernel, cells: list[str]) -> list[str]:
    """Run cells; what each said."""
    return [kernel.end(kernel.begin(cell), timeout=100) for cell in cells]


@pytest.fixture
def kernels(tmp_path: Path) -> Iterator[list[Kernel]]:
    """Kernels that a test has started, all in one folder."""
    started: list[Kernel] = []
    yield started
    for kernel in started:
        kernel.client.stop_channels()
        if kernel.manager.is_alive():
            kernel.manager.shutdown_kernel(now=True)


def start(kernels: list[Kernel], where: Path) -> Kernel:
    """The next kernel of the notebook; the one before is killed, as by Restart in the menu."""
    if kernels:
        kernels[-1].manager.shutdown_kernel(now=True)
    kernels.append(Kernel(where))
    return kernels[-1]


def test_every_cell_may_be_run_again(kernels: list[Kernel], tmp_path: Path) -> None:
    """Twice from the top, from the middle, and from the top in the kernel that comes after: the work goes on."""
    first = start(kernels, tmp_path)
    assert run(first, CELLS)[RESULTS:] == ["5", "[1, 1, 1]", "11"]
    again = run(first, CELLS)
    assert again[:4] == ["", "", "", ""]  # nothing is said: the same class, the same lab, the same agent
    assert again[RESULTS:] == ["10", "[2, 2, 2]", "12"]
    assert run(first, CELLS[3:])[RESULTS - 3 :] == ["15", "[3, 3, 3]", "13"]
    assert first.run("{ref.incarnation for ref in lab}") == "{1}"

    second = start(kernels, tmp_path)
    said = run(second, CELLS)
    assert "run.lab: 5 places of the tree are back, parked. lab.resume() runs them." in said[OPEN]
    assert "is not defined" not in said[OPEN]
    assert said[RESULTS:] == ["20", "[4, 4, 4]", "14"]
    assert run(second, CELLS)[RESULTS:] == ["25", "[5, 5, 5]", "15"]
    assert second.run("lab.resume(), {ref.status for ref in lab}") == "([], {'running'})"


def test_a_kernel_that_opens_before_it_defines(kernels: list[Kernel], tmp_path: Path) -> None:
    """It is told what is missing, can read all, and goes on once the cell was run."""
    run(start(kernels, tmp_path), CELLS)

    second = start(kernels, tmp_path)
    said = "".join(run(second, [CELLS[0], CELLS[OPEN]]))
    assert "Counter is not defined, so /c, /team/left, /team/right and 3 more stay parked: " in said
    assert "run the cell that defines Counter, then lab.resume()" in said
    assert "run the cell that defines Counter" in second.run("lab.resume()")
    assert second.run("lab['/c'].state, lab['/team/left'].state") == "({'count': 5}, {'count': 11})"
    assert second.run("print((lab.agents()['kind'] == 'Counter (not defined)').sum())") == "6"
    assert "── left " in second.run("print(repr(lab.tree()))")
    assert "Counter is not defined. Run the cell that" in second.run(
        "try: c = lab['/c'].call.add\nexcept Exception as e: print(e)"
    )

    assert run(second, CELLS[1:])[RESULTS - 1 :] == ["10", "[2, 2, 2]", "12"]


def test_opening_above_the_cells_of_classes_says_one_line_and_no_more(kernels: list[Kernel], tmp_path: Path) -> None:
    """However many classes are missing, and not again for the same lab; once the cells were run all goes on."""
    cells = [
        "from agentlab import Agent, Lab\nlab = Lab('run.lab', nodes=1)",
        "class A(Agent):\n    count: int = 0\n    def add(self):\n        self.count += 1\n        return self.count",
        "class B(A):\n    pass",
        "a, b = (lab.start(cls, exist_ok=True) for cls in (A, B))",
        "await a.call.add(), await b.call.add()",
    ]
    assert run(start(kernels, tmp_path), cells) == ["", "", "", "", "(1, 1)"]

    second = start(kernels, tmp_path)
    said = run(second, cells)
    assert said[0] == (
        "run.lab: 2 places of the tree are back, parked. lab.resume() runs them. A, B are not defined, so /a, /b stay "
        "parked: define them (run their cells), then lab.resume()."
    )
    assert said[1:] == ["", "", "", "(2, 2)"]
    assert run(second, cells) == ["", "", "", "", "(3, 3)"]


def test_a_class_that_a_cell_changed_is_named_in_a_line(kernels: list[Kernel], tmp_path: Path) -> None:
    """The agents keep their code until it is upgraded."""
    kernel = start(kernels, tmp_path)
    run(kernel, CELLS)
    changed = CELLS[1].replace("+= n", "+= 100 * n")
    said = run(kernel, [changed, *CELLS[2:]])
    assert said[3 - 1] == "/c keeps the older Counter; lab.upgrade(Counter) gives the code that is defined now."
    assert said[4 - 1].splitlines()[0].startswith("/team/left and 1 more keep the older Counter; lab.upgrade(Counter)")
    assert said[5 - 1].startswith("/counter-1 and 2 more keep the older Counter")
    assert said[RESULTS - 1] == "10"
    kernel.run("lab.upgrade(Counter)")
    assert run(kernel, CELLS[2:])[RESULTS - 2] == "510"
