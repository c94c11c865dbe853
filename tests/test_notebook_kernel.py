"""A lab in a real IPython kernel: interrupts, classes from cells, a killed kernel, a resumed lab."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import wait_for
from tests.kernels import Manager, start_kernel
from tests.test_kernel_life import runs

pytestmark = pytest.mark.xdist_group("notebook-kernel")  # most of them share a kernel

DEFINE = """
import anyio
from agentlab import Agent, Lab

class Counter(Agent):
    count: int = 0

    async def add(self, n: int = 1) -> int:
        self.count += n
        return self.count

    async def hang(self):
        await anyio.sleep_forever()
"""

WATCH = """
import agentlab, pathlib, sys, threading, time

cell_runs = threading.Event()

def waits_in(file):
    return file.endswith("selectors.py") or file.startswith(str(pathlib.Path(agentlab.__file__).parent))

def watch():
    main, looks = threading.main_thread().ident, 0
    while True:
        cell_runs.wait()
        while not counter.info()["message"]:  # what it waits for has not begun
            time.sleep(0.005)
        frame = sys._current_frames()[main]
        while frame is not None and not waits_in(frame.f_code.co_filename):
            frame = frame.f_back
        looks = looks + 1 if frame is not None else 0
        time.sleep(0.005)  # between two looks; a wait of the cell outlasts many
        if looks == 20:
            looks = 0
            cell_runs.clear()
            pathlib.Path("waits").touch()

threading.Thread(target=watch, daemon=True).start()
"""
"""Makes a file when the cell that has set ``cell_runs`` waits, for its lab or in its loop, while ``counter`` works."""


class Kernel:
    """A kernel and a client: ``run`` gives what a cell printed, or the error's name."""

    def __init__(self, where: Path) -> None:
        self.manager: Manager
        self.where = where
        self.manager, self.client = start_kernel(where)
        self.error: dict[str, Any] = {}  # the last one, as a cell shows it

    def begin(self, code: str) -> str:
        """Begin a cell; its id."""
        return str(self.client.execute(code))

    def end(self, cell: str, timeout: float = 60) -> str:
        """Wait for a cell; its prints and its last value, or the error's name."""
        said: list[str] = []
        deadline = time.monotonic() + timeout
        while True:
            message: dict[str, Any] = self.client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic()))
            if message["parent_header"].get("msg_id") != cell:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                said.append(content["text"])
            elif kind == "execute_result":
                said.append(content["data"]["text/plain"])
            elif kind == "error":
                said.append(content["ename"])
                self.error = content
            elif kind == "status" and content["execution_state"] == "idle":
                return "".join(said).strip()

    def run(self, code: str) -> str:
        """A whole cell."""
        return self.end(self.begin(code))


@contextmanager
def opened(where: Path) -> Iterator[Kernel]:
    """A kernel, which ends."""
    made = Kernel(where)
    try:
        yield made
    finally:
        made.client.stop_channels()
        if made.manager.is_alive():
            made.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """One kernel for all who do not end it, since it takes seconds to start."""
    with opened(tmp_path_factory.mktemp("shared")) as made:
        yield made


@pytest.fixture
def kernel(shared: Kernel) -> Iterator[Kernel]:
    """It has defined Counter, and no lab runs in it."""
    assert shared.run(DEFINE) == ""
    yield shared
    shared.run("lab.close()")


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Kernel]:
    """A kernel of the test's own, to end; it has defined Counter."""
    with opened(tmp_path) as made:
        assert made.run(DEFINE) == ""
        yield made


@pytest.mark.parametrize("wait", ["await counter.call.hang()", "counter.call.hang().result()"])
def test_interrupting_a_cell_ends_the_wait_only(kernel: Kernel, wait: str) -> None:
    """Whether the cell awaits or blocks: the agent stays where it was, and a line says so and how to end it."""
    kernel.run("lab = Lab(); counter = lab.start(Counter, id='counter')")
    assert interrupted(kernel, wait) in ("KeyboardInterrupt", "CancelledError")
    line = "/counter.hang goes on; nobody waits for it. End it: lab['/counter'].skip(), or reply.cancel()."
    assert kernel.error["evalue"] == line
    assert kernel.run("(counter.status, counter.incarnation)") == "('busy', 1)"

    assert interrupted(kernel, wait) in ("KeyboardInterrupt", "CancelledError")  # the next press queues another
    assert kernel.error["evalue"].startswith("/counter.hang stays in the mailbox; nobody waits for it.")

    assert kernel.run("counter.skip()\nwhile not counter.info()['message']: pass\ncounter.skip()") == ""
    assert kernel.run("await counter.call.add(5)") == "5"


@pytest.mark.parametrize(
    ("wait", "line"),
    [
        ("lab.wait_idle(60)", "/counter (busy, 1 message): that goes on"),
        ("lab.start(Slow)", "the start of Slow goes on; nobody waits for it."),
        ("counter.replace_state(count=1)", "replace_state of /counter goes on; nobody waits for it."),
    ],
)
def test_an_interrupted_wait_says_what_goes_on(kernel: Kernel, wait: str, line: str) -> None:
    """Whatever blocks a cell: the interrupt's line names what was not ended by it."""
    kernel.run(
        "class Slow(Agent):\n    async def on_start(self):\n        await anyio.sleep_forever()\n"
        "lab = Lab(); counter = lab.start(Counter, id='counter'); reply = counter.call.hang()"
    )
    assert interrupted(kernel, wait) == "KeyboardInterrupt"
    assert line in kernel.error["evalue"]
    assert "\n" not in kernel.error["evalue"]
    assert len("\n".join(kernel.error["traceback"]).splitlines()) < 25


def interrupted(kernel: Kernel, code: str) -> str:
    """What became of a cell that waits, when the stop button was pressed."""
    waits = kernel.where / "waits"
    waits.unlink(missing_ok=True)
    kernel.run("'cell_runs' in globals() or exec(" + repr(WATCH) + ");")
    cell = kernel.begin(f"cell_runs.set()\n{code}")
    wait_for(waits.exists)
    kernel.manager.interrupt_kernel()
    return kernel.end(cell, timeout=60)


def test_a_class_from_a_cell_travels(kernel: Kernel) -> None:
    """The one cell of the contract, in a kernel."""
    assert kernel.run("lab = Lab(); counter = lab.start(Counter, id='counter'); lab") == (
        "Lab('memory', 1 agent, 2 nodes)"
    )
    assert kernel.run("await counter.call.add(5)") == "5"
    kernel.run("counter.crash()")
    assert kernel.run("await counter.call.add(1)") == "6"
    assert kernel.run("lab.close(); lab") == "Lab('memory', closed)"


def test_a_killed_kernel_leaves_nothing_and_its_lab_asks_before_it_runs(mortal: Kernel, tmp_path: Path) -> None:
    """After ``kill -9`` no node is left; a new kernel gets the lab back, parked until ``resume``."""
    mortal.run("lab = Lab('run.lab'); counter = lab.start(Counter, id='counter'); await counter.call.add(5)")
    pids = nodes_of(mortal)
    assert pids

    mortal.manager.shutdown_kernel(now=True)
    wait_for(lambda: not any(runs(pid) for pid in pids))

    with opened(tmp_path) as second:
        assert "parked" in second.run("from agentlab import Lab; lab = Lab('run.lab')")
        assert second.run("lab['/counter'].status") == "'parked'"
        assert "run the cell that defines Counter" in second.run("lab.rows()[1].reason")
        second.run(DEFINE)
        assert second.run("lab.resume()") == "[Ref('/counter', Counter, running)]"
        assert second.run("await lab['/counter'].call.add(1)") == "6"


def nodes_of(kernel: Kernel) -> list[int]:
    """The processes of its lab's nodes."""
    return [
        int(pid) for pid in kernel.run("print(*[n.process.pid for n in lab._live.desk.pool.nodes.values()])").split()
    ]


def test_a_restarted_kernel_leaves_no_nodes(mortal: Kernel) -> None:
    """Restart in the notebook's menu: the old nodes go, the new kernel starts from nothing."""
    mortal.run("lab = Lab(); lab.start(Counter)")
    pids = nodes_of(mortal)
    assert pids
    mortal.manager.restart_kernel(now=True)
    mortal.client.wait_for_ready(timeout=60)
    wait_for(lambda: not any(runs(pid) for pid in pids))


def test_a_long_start_shows_how_far_it_is(kernel: Kernel) -> None:
    """A bar appears once the start has taken a while, and is full at the end; a short one shows nothing."""
    kernel.run("import agentlab.control.progress as bar; lab = Lab(); lab.start_many(Counter, 10)")
    kernel.run("was = bar.PATIENCE, bar.BEAT")
    cell = kernel.begin("bar.PATIENCE, bar.BEAT = 0, 0.01; refs = lab.start_many(Counter, 30_000)")
    shown: list[str] = []
    while True:
        message: dict[str, Any] = kernel.client.get_iopub_msg(timeout=60)
        if message["parent_header"].get("msg_id") == cell:
            shown.append(message["content"].get("data", {}).get("text/html", ""))
            if message["content"].get("execution_state") == "idle":
                break
    bars = [html for html in shown if html.startswith("<progress")]
    assert "max='30000'" in bars[0]
    assert "value='30000'" in bars[-1]
    assert kernel.run("bar.PATIENCE = 60; len(lab.start_many(Counter, 5)), len(refs)") == "(5, 30000)"
    kernel.run("bar.PATIENCE, bar.BEAT = was")
