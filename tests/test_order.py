"""The order of a mailbox is the order of acceptance, per sender, whatever moves and whatever the wall clock says."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from agentlab import Agent, Lab, Ref, Supervisor, child
from agentlab.errors import CallTimeout, NotRunning
from agentlab.pool.pool import Node
from tests.conftest import wait_for
from tests.patience import sign_of
from tests.taker import Taker
from tests.test_kernel_life import read_line, start_script


@pytest.fixture
def one() -> Iterator[Lab]:
    """A lab whose agents are all neighbours."""
    with Lab(nodes=1) as lab:
        yield lab


KERNEL = f"""
    import sys, time
    from pathlib import Path
    from agentlab import Lab
    from tests.patience import wait_for
    from {Taker.__module__} import Taker

    lab = Lab(sys.argv[1], nodes=1)
    rests, works, asker = (lab.start(Taker, id=name) for name in ("rests", "works", "asker"))
    real, back = time.time_ns, 0
    time.time_ns = lambda: real() - back
    rests.suspend()
    asker.cast.pass_on(works, sys.argv[2])
    wait_for(lambda: Path(sys.argv[2], "gated").exists() and lab.steps()["name"].tolist() == ["mark"])
    for n in range(5):
        rests.cast.take(n).result(60)
        works.cast.take(n).result(60)
        back += (3600 * 10**9) * (n % 2)
    print("ready", flush=True)
    time.sleep(600)
"""
"""A kernel whose wall clock is set back while casts wait; it is killed."""


def test_a_clock_that_is_set_back_does_not_reorder_a_mailbox(tmp_path: Path) -> None:
    """What waits when the kernel dies is handled by the next one as it came in, after the call that had begun."""
    path = tmp_path / "run.lab"
    script = start_script(KERNEL, str(path), str(tmp_path))
    assert read_line(script).strip() == "ready"
    script.kill()
    script.communicate(timeout=60)

    (tmp_path / "gate").touch()
    with Lab(path, nodes=1, resume=True) as lab:
        lab.wait_idle()
        assert lab["/rests"].state["got"] == [0, 1, 2, 3, 4]
        assert lab["/works"].state["got"] == [-1, 0, 1, 2, 3, 4]
        assert lab.steps(path="/works").query("replayed == 0")["name"].tolist() == ["mark"]


# within a node


UP = asyncio.Event()
"""Of the node in which it is set: agents there share a process."""


class Neighbour(Agent):
    """Shares its node with others, and notes what they say."""

    log: list[str] = []
    gate: str = ""

    async def on_start(self) -> None:
        """The second life waits for a sign, then says that it is up, to who waits for that on its node."""
        if self.incarnation > 1:
            await sign_of(self.gate)
            UP.set()

    async def note(self, word: str) -> None:
        """Keep the order in which things came."""
        self.log = [*self.log, word]

    async def cast_to(self, other: Ref, word: str) -> None:
        """Cast."""
        other.cast.note(word)

    async def call_when_up(self, other: Ref, word: str) -> None:
        """Call in the very moment in which the other's next life is up."""
        await UP.wait()
        await other.call.note(word)

    async def give_up_waiting(self, other: Ref, deaf: Ref, folder: str) -> None:
        """Call twice; the first time, while another question is open too, without waiting."""
        await sign_of(f"{folder}/busy")
        impatient = [deaf.call(timeout=0).note(""), other.call(timeout=0).note("first")]
        await asyncio.gather(*impatient, return_exceptions=True)
        await other.call.note("second")
        await anyio.Path(folder, "answered").touch()

    async def cast_after(self, other: Ref, word: str) -> None:
        """Cast as soon as this message is over."""
        self._over = False
        self._task = asyncio.create_task(self._cast_then(other, word))
        await asyncio.sleep(0)
        self._over = True

    async def _cast_then(self, other: Ref, word: str) -> None:
        while not self._over:  # noqa: ASYNC110  # an event would wake it later, in the next message
            await asyncio.sleep(0)
        other.cast.note(word)

    async def call(self, other: Ref, word: str) -> None:
        """Call."""
        await other.call.note(word)


def test_a_neighbours_call_does_not_overtake_what_waits_for_a_start(one: Lab, tmp_path: Path) -> None:
    """A cast that came while its agent was between two lives is in the kernel: the next life is called after it."""
    gate = tmp_path / "gate"
    a, b = one.start(Neighbour, id="a"), one.start(Neighbour, id="b", gate=str(gate))
    b.crash()
    wait_for(lambda: b.status == "starting")
    a.call.cast_to(b, "cast").result(60)

    called = a.call.call_when_up(b, "call")
    wait_for(lambda: a.info()["message"] == "call_when_up")
    gate.touch()
    called.result(60)

    assert b.state["log"] == ["cast", "call"]


def be_busy(folder: Path) -> None:
    """Keep the kernel's loop from hearing anything until an answer has come without it, or for a second."""
    (folder / "busy").touch()
    with contextlib.suppress(AssertionError):
        wait_for((folder / "answered").exists, timeout=1)


def test_a_call_that_is_not_waited_for_any_more_is_not_overtaken(one: Lab, tmp_path: Path) -> None:
    """It is under way to the kernel; the next call to the same agent goes there too."""
    a, b, deaf = (one.start(Neighbour, id=name) for name in ("a", "b", "deaf"))
    deaf.suspend()

    told = a.call.give_up_waiting(b, deaf, str(tmp_path))
    wait_for(lambda: a.info()["message"])
    one._live.run(be_busy, tmp_path)
    told.result(20)

    assert b.state["log"] == ["first", "second"]


def test_a_cast_between_two_messages_is_not_overtaken(one: Lab) -> None:
    """A task of the agent casts when no message is in hand; the next message's call comes after that."""
    a, b = one.start(Neighbour, id="a"), one.start(Neighbour, id="b")
    a.suspend()
    a.cast.cast_after(b, "cast")
    called = a.call.call(b, "call")
    a.resume()

    called.result(20)
    one.wait_idle()

    assert b.state["log"] == ["cast", "call"]


# whatever moves


class Member(Agent):
    """Takes numbers, and sends some on."""

    log: list[tuple[str, int]] = []

    async def put(self, sender: str, n: int) -> None:
        """Note who sent what."""
        self.log = [*self.log, (sender, n)]

    async def send(self, orders: list[tuple[str, str, int]]) -> None:
        """Send numbers, in the order in which they leave: the casts with the commit."""
        for how, path, n in orders:
            to = self.lab[path]
            if how == "cast":
                to.cast.put(self.path, n)
            elif how == "call":
                await to.call.put(self.path, n)
            else:
                with contextlib.suppress(CallTimeout):
                    await to.call(timeout=0.001).put(self.path, n)


MEMBERS = [f"/team/{name}" for name in "abcd"]


def orders(chance: random.Random, sender: str, numbers: Iterator[int]) -> list[tuple[str, str, int]]:
    """Some calls, then some casts. Members call only those after them, so there are no circles."""
    later = [path for path in MEMBERS if path > sender]
    ways = chance.choices(["call", "impatient"], k=2) if later else []
    calls = [(way, chance.choice(later), next(numbers)) for way in ways]
    others = [path for path in MEMBERS if path != sender]
    return calls + [("cast", chance.choice(others), next(numbers)) for _ in range(chance.randint(0, 2))]


def some_nodes(lab: Lab) -> list[Node]:
    """Those that run; for a moment there may be none, when all have been killed."""
    found: list[Node] = []
    wait_for(lambda: found.extend(lab._live.desk.pool.nodes.values()) or found)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_what_one_sends_to_another_arrives_in_order(seed: int) -> None:
    """Calls, casts, impatient calls, messages of the cell, with agents and nodes killed all the time."""
    chance, numbers = random.Random(seed), itertools.count(1)
    with Lab(nodes=3, stall_notice=0.1) as lab:
        team = Supervisor("team", *(child(Member, id=path[-1]) for path in MEMBERS), max_restarts=10**6)
        lab.start(team)
        refs = {path: lab[path] for path in MEMBERS}
        for _ in range(100):
            path, dice = chance.choice(MEMBERS), chance.random()
            if dice < 0.8:
                refs[path].cast.send(orders(chance, path, numbers))
            elif dice < 0.9:
                refs[path].cast.put("cell", next(numbers))
            elif dice < 0.97:
                with contextlib.suppress(NotRunning):  # it is between two lives
                    refs[path].kill()
            else:
                nodes = some_nodes(lab)
                nodes[int(len(nodes) * chance.random())].process.kill()
        lab.wait_idle(60)
        logs = {path: [tuple(entry) for entry in ref.state["log"]] for path, ref in refs.items()}

    for path, log in logs.items():
        for sender in {sender for sender, _ in log}:
            got = [n for who, n in log if who == sender]
            assert got == sorted(set(got)), (path, sender)
