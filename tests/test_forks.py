"""Forked children, of agents and of the notebook: they never speak for their parents, and hold nothing of theirs."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agentlab import Agent, Lab, open_store
from agentlab.errors import LabClosed, StoreLocked
from tests.agents import Counter
from tests.conftest import wait_for
from tests.test_kernel_life import read_line, runs, start_script

FORK = multiprocessing.get_context("fork")


def square(n: int) -> int:
    """Work for a pool."""
    return n * n


def status(pid: int) -> int:
    """How a child ended."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Forker(Agent):
    """Forks, and forgets what a child should do."""

    forks: int = 0

    def returns(self) -> int:
        self.forks += 1
        return os.fork()

    def exits(self, code: int) -> int:
        pid = os.fork()
        if pid == 0:
            sys.exit(code)
        return status(pid)

    def raises(self) -> int:
        pid = os.fork()
        if pid == 0:
            raise ValueError("in the child")
        return status(pid)

    async def awaits(self) -> int:
        pid = os.fork()
        if pid == 0:
            await self.step(square, 3)
            os._exit(77)
        return status(pid)

    async def in_a_task(self) -> int:
        import asyncio

        async def fork() -> int:
            return os.fork()

        pid = await asyncio.create_task(fork())
        return status(pid)

    async def in_a_callback(self) -> int:
        import asyncio

        loop = asyncio.get_running_loop()
        forked: asyncio.Future[int] = loop.create_future()
        loop.call_soon(lambda: forked.set_result(os.fork()))
        pid = await forked
        return status(pid) * 0

    def in_a_thread(self) -> int:
        pids: list[int] = []
        thread = threading.Thread(target=lambda: pids.append(os.fork()))
        thread.start()
        thread.join()
        return status(pids[0])

    def runs_a_loop(self) -> int:
        import asyncio

        pid = os.fork()
        if pid == 0:
            found = asyncio.run(asyncio.sleep(0.01, 5))
            os._exit(found)
        return status(pid)

    def pool(self) -> list[int]:
        with FORK.Pool(2) as pool:
            return pool.map(square, range(10))

    def process(self) -> int:
        child = FORK.Process(target=sys.exit, args=(3,))
        child.start()
        child.join()
        return child.exitcode or 0

    def descriptors(self) -> list[int]:
        """What a program that is started gets of what is open here."""
        return [fd for fd in (int(file.name) for file in Path("/proc/self/fd").iterdir()) if fd > 2 and _inherited(fd)]

    def starts(self, apart: bool) -> int:
        return subprocess.Popen(["sleep", "1000"], start_new_session=apart).pid

    def dies(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def _inherited(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


WAYS = {
    "returns": ((), None), "exits": ((7,), 7), "raises": ((), 1), "awaits": ((), 1), "in_a_task": ((), 0),
    "in_a_callback": ((), 0), "in_a_thread": ((), 0), "runs_a_loop": ((), 5), "process": ((), 3),
    "pool": ((), [n * n for n in range(10)]),
}  # fmt: skip


@pytest.mark.parametrize("isolation", ["node", "kernel"])
@pytest.mark.parametrize("way", WAYS)
def test_a_child_of_an_agent_never_speaks_for_its_node(way: str, isolation: str) -> None:
    """However it ends: the message is answered once, by the parent, and the neighbours notice nothing."""
    args, expected = WAYS[way]
    with Lab(nodes=1) as lab:
        forker = lab.start(Forker, id="forker", isolation=isolation)
        innocent = lab.start(Counter, id="innocent", isolation=isolation)

        found = getattr(forker.call, way)(*args).result(60)
        answers = [innocent.call.add(1).result(60) for _ in range(50)]

        if expected is None:
            wait_for(lambda: not runs(found))
        else:
            assert found == expected
        assert answers == list(range(1, 51))
        assert innocent.state == {"count": 50}
        assert [len(lab.restarts()), int((lab.events()["kind"] == "node_down").sum())] == [0, 0]
        assert lab.messages(path="/forker")["outcome"].tolist() == ["ok"]


def test_a_program_that_an_agent_starts_gets_nothing_of_its_node() -> None:
    """The line to the kernel and the shared word are closed when another program begins."""
    with Lab(nodes=1) as lab:
        assert lab.start(Forker, id="f").call.descriptors().result(60) == []


@pytest.mark.parametrize("end", ["close", "node"])
def test_what_an_agent_starts_ends_with_its_node(end: str) -> None:
    """When the lab closes, and when the node dies; a program in a session of its own was meant to stay."""
    with Lab(nodes=1) as lab:
        forker = lab.start(Forker, id="f")
        tied, apart = (forker.call.starts(how).result(60) for how in (False, True))
        assert runs(tied)
        if end == "node":
            forker.cast.dies()
            wait_for(lambda: not runs(tied))
    try:
        wait_for(lambda: not runs(tied))
        assert runs(apart)
    finally:
        os.kill(apart, signal.SIGKILL)


def test_what_an_agent_starts_ends_with_a_kernel_that_is_killed() -> None:
    """``kill -9`` of the kernel: the zygote ends the groups of its nodes."""
    kernel = start_script(
        """
        import time
        from agentlab import Lab
        from tests.test_forks import Forker

        lab = Lab(nodes=1)
        print(lab.start(Forker, id="f").call.starts(False).result(60), flush=True)
        time.sleep(600)
        """
    )
    pid = int(read_line(kernel))
    assert runs(pid)

    kernel.kill()
    kernel.communicate(timeout=60)

    wait_for(lambda: not runs(pid))


USES: dict[str, Callable[[Lab], object]] = {
    "call": lambda lab: lab["/c"].call.add(1).result(60),
    "start": lambda lab: lab.start(Counter, id="other"),
    "rows": lambda lab: lab.rows(),
    "agents": lambda lab: lab.agents(),
    "events": lambda lab: lab.events(),
    "feed": lambda lab: lab.feed(),
    "wait_idle": lambda lab: lab.wait_idle(60),
}


def told(use: Callable[[], object]) -> str:
    """What a use of something gives, as text."""
    try:
        return repr(use())
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("stored", [False, True], ids=["memory", "file"])
def test_a_forked_child_of_the_notebook_is_told_that_the_lab_is_elsewhere(tmp_path: Path, stored: bool) -> None:
    """Nothing hangs, nothing reaches the parent's lab; a lab of the child's own works; the parent notices nothing."""
    path = tmp_path / "run.lab" if stored else None
    with Lab(path, nodes=1) as lab:
        counter = lab.start(Counter, id="c")
        counter.call.add(1).result(20)
        pending = counter.call.hang()
        ours, theirs = FORK.Pipe()

        def child() -> None:
            said = {name: told(lambda use=use: use(lab)) for name, use in USES.items()}  # type: ignore[misc]
            said["ref"], said["status"] = repr(counter), told(lambda: counter.status)
            said["reply"] = told(lambda: pending.result(60))
            said["cast"] = told(lambda: counter.cast.add(1))
            lab.close()
            if path is not None:
                said["again"], said["read"] = told(lambda: Lab(path)), told(lambda: open_store(path).events())
            else:
                with Lab(nodes=1) as own:
                    said["own"] = told(lambda: own.start(Counter, id="c").call.add(5).result(60))
            theirs.send(said)

        process = FORK.Process(target=child)
        process.start()
        assert ours.poll(100)
        said = ours.recv()
        process.join(60)

        assert process.exitcode == 0
        closed = {name: text for name, text in said.items() if name not in {"ref", "own", "again", "read"}}
        assert {text.split(":")[0] for text in closed.values()} == {LabClosed.__name__}
        assert all(str(os.getpid()) in text for text in closed.values())
        assert said["ref"] == "Ref('/c', Counter)"
        assert said.get("own") == (None if stored else "5")
        assert [said[name].split(":")[0] for name in ("again", "read") if name in said] == [StoreLocked.__name__] * (
            2 * stored
        )
        assert pending.cancel()
        assert counter.call.add(1).result(20) == 2


def test_a_forked_child_that_exits_as_a_script_closes_nothing(tmp_path: Path) -> None:
    """``sys.exit`` in a child, through ``with Lab(...)`` and the handlers at exit: its parent's lab runs on."""
    script = start_script(
        """
        import os, sys, warnings
        from agentlab import Lab
        from tests.agents import Counter

        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 and later do not like forks beside threads
        with Lab(sys.argv[1], nodes=1) as lab:
            counter = lab.start(Counter, id="c")
            pid = os.fork()
            if pid == 0:
                sys.exit(5)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), counter.call.add(2).result(20), flush=True)
        """,
        str(tmp_path / "run.lab"),
    )
    out, _ = script.communicate(timeout=60)
    assert out == "5 2\n"


def test_a_child_that_outlives_a_killed_kernel_holds_nothing(tmp_path: Path) -> None:
    """The store can be opened at once, and no node is left, while a forked child of the notebook lives on."""
    kernel = start_script(
        """
        import os, signal, sys, time
        from agentlab import Lab
        from tests.agents import Counter
        from tests.test_forks import FORK
        from tests.held import nodes

        lab = Lab(sys.argv[1], nodes=1, resume=True)
        lab.start(Counter, id="c").call.add(3).result(60)
        ours, theirs = FORK.Pipe()

        def live_on():
            theirs.send("I run")
            time.sleep(600)

        child = FORK.Process(target=live_on)
        child.start()
        ours.recv()
        print(child.pid, *nodes(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        str(tmp_path / "run.lab"),
    )
    child, *nodes = map(int, read_line(kernel).split())
    kernel.wait(60)
    try:
        with Lab(tmp_path / "run.lab", nodes=1, resume=True) as lab:
            assert lab["/c"].call.add(1).result(60) == 4
        wait_for(lambda: not any(runs(pid) for pid in nodes))
        assert runs(child)
    finally:
        os.kill(child, signal.SIGKILL)
        kernel.stdout.close()  # type: ignore[union-attr]  # it is a pipe


def test_a_child_that_lets_go_late_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel is killed before the child that it has just forked has run: its lab is not held by a live one."""
    monkeypatch.setattr("agentlab.store.file.LEAVING_S", 60.0)  # on a busy machine a child may take long to run
    kernel = start_script(
        """
        import os, pathlib, signal, sys, time

        def runs_late():
            while not pathlib.Path(sys.argv[2]).exists():
                time.sleep(0.01)

        os.register_at_fork(after_in_child=runs_late)
        from agentlab.store.database import Store
        from tests.test_forks import FORK

        store = Store(pathlib.Path(sys.argv[1]))
        child = FORK.Process(target=time.sleep, args=(600,))
        child.start()
        print(child.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        str(tmp_path / "run.lab"),
        str(tmp_path / "go"),
    )
    child = int(read_line(kernel))
    kernel.wait(60)
    go = threading.Timer(0.5, (tmp_path / "go").touch)
    go.start()
    try:
        Lab(tmp_path / "run.lab", nodes=1).close()
        assert runs(child)
    finally:
        go.join()
        os.kill(child, signal.SIGKILL)
        kernel.stdout.close()  # type: ignore[union-attr]  # it is a pipe


def test_a_child_forked_while_the_lab_is_busy_never_hangs(tmp_path: Path) -> None:
    """Whatever lock another thread holds at that moment: the child is told, and ends."""
    with Lab(tmp_path / "run.lab", nodes=1) as lab:
        counter = lab.start(Counter, id="c")
        over = threading.Event()

        def busy() -> None:
            while not over.is_set():
                counter.call.add(1).result(60)
                lab.events()

        thread = threading.Thread(target=busy)
        thread.start()
        try:
            for _ in range(10):
                process = FORK.Process(target=lambda: sys.exit(told(lab.events).startswith("LabClosed")))
                process.start()
                process.join(60)
                assert process.exitcode == 1
                time.sleep(0.001)  # another moment of the other thread
        finally:
            over.set()
            thread.join()
