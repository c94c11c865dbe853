"""Every public method of Lab and Ref, wherever Python may call it: it works, or says at once why it cannot.

DESIGN.md has the table.
"""

from __future__ import annotations

import concurrent.futures
import gc
import multiprocessing
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentlab import Lab, Ref
from tests.conftest import wait_for
from tests.everywhere import LAB, REF, USES, Stock

FORK = multiprocessing.get_context("fork")

ANYWHERE = {"lab.closed", "ref.id", "ref.path"}
"""They ask nobody."""


@pytest.fixture(scope="module")
def stock() -> Iterator[Stock]:
    """One lab for all, with agents for each use."""
    with Lab(nodes=2) as lab:
        yield Stock(lab, 2000)


@pytest.mark.parametrize(("cls", "table"), [(Lab, LAB), (Ref, REF)])
def test_the_table_has_every_public_name(cls: type, table: dict[str, object]) -> None:
    """A method that is added is tried everywhere, too."""
    assert set(table) == {name for name in dir(cls) if not name.startswith("_")}


def test_fifty_threads_at_once(stock: Stock) -> None:
    """Each uses a tenth of them, so that five use the same ones at once."""
    names = [name for name in USES if name != "lab.close"]  # fifty more labs would be fifty more nodes
    together = threading.Barrier(50)

    def work(first: int) -> dict[str, str]:
        together.wait()
        return {name: stock.attempt(name) for name in names[first % 10 :: 10]}

    with concurrent.futures.ThreadPoolExecutor(50) as threads:
        found = list(threads.map(work, range(50)))

    assert {(name, what) for one in found for name, what in one.items() if what != "works"} == set()


class Finalized:
    """Garbage that does something as it goes."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.work = work
        self.itself = self  # only the collector finds it

    def __del__(self) -> None:
        self.work()


@pytest.mark.parametrize("name", USES)
def test_in_a_finalizer(stock: Stock, name: str) -> None:
    """``__del__`` in the cell's thread may do everything."""
    found: list[str] = []

    Finalized(lambda: found.append(stock.attempt(name)))
    gc.collect(1)  # it is young

    assert found == ["works"]


@pytest.mark.parametrize("name", USES)
def test_in_a_finalizer_that_the_labs_own_thread_runs(stock: Stock, name: str) -> None:
    """The collector runs anywhere: what would wait for the lab is refused there, and the lab goes on."""
    found: list[str] = []
    ref = stock.take()

    def collect() -> None:
        Finalized(lambda: found.append(stock.attempt(name, ref)))
        gc.collect(1)  # it is young

    stock.lab._runtime.run(collect)  # type: ignore[union-attr]  # it is live

    assert found[0].split(":")[0] in {"works", "CallCycle"}
    assert name not in ANYWHERE | {"ref.cast"} or found == ["works"]
    assert stock.take().call.add(1).result(60) == 1


def test_in_a_signal_handler(stock: Stock) -> None:
    """A handler that interrupts the reading of frames, calls and starts may do everything as well."""
    found: dict[str, str] = {}
    left = list(USES)
    main = threading.main_thread().ident
    assert main is not None

    def handle(number: int, frame: object) -> None:
        name = left.pop()
        found[name] = stock.attempt(name)

    def press() -> None:
        for done in range(len(USES)):
            signal.pthread_kill(main, signal.SIGUSR1)
            wait_for(lambda done=done: len(found) > done, timeout=60)

    before = signal.signal(signal.SIGUSR1, handle)
    presser = threading.Thread(target=press)
    try:
        presser.start()
        while presser.is_alive():
            stock.lab.events()
            stock.take().call.add(1).result(60)
            stock.lab.agents()
    finally:
        presser.join()
        signal.signal(signal.SIGUSR1, before)

    assert {name: what for name, what in found.items() if what != "works"} == {}
    assert set(found) == set(USES)


def test_in_a_forked_child(stock: Stock) -> None:
    """All of it says at once that the lab lives in another process."""
    ours, theirs = FORK.Pipe()
    ref = stock.take()

    def child() -> None:
        theirs.send({name: stock.attempt(name, ref) for name in USES})

    process = FORK.Process(target=child)
    process.start()
    assert ours.poll(100)
    found = ours.recv()
    process.join(60)

    elsewhere = {name for name, what in found.items() if what.startswith("LabClosed: ")}
    assert {name: found[name] for name in USES if name not in elsewhere} == dict.fromkeys(
        [*ANYWHERE, "lab.close"], "works"
    )  # there, a lab of the child's own
    assert stock.take().call.add(1).result(60) == 1


@pytest.mark.parametrize("loops", [["asyncio", "trio", "uvloop", "policy"], ["nest"]], ids=" ".join)
def test_in_a_running_loop(loops: list[str]) -> None:
    """asyncio's, trio's, uvloop's (also as the policy), one that nest_asyncio has patched: calls and awaits."""
    script = subprocess.run(
        [sys.executable, "-m", "tests.everywhere", *loops],
        capture_output=True, text=True, check=False, timeout=300, cwd=Path(__file__).parent.parent,
    )  # fmt: skip

    assert (script.stdout.splitlines(), script.returncode) == ([f"{loop} {{}}" for loop in loops], 0), script.stderr
