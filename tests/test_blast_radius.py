"""What one misbehaving agent costs its neighbours: nine agents, one of them misbehaves, the eight others go on.

Who lived is asserted, and that the others answered *while* one misbehaved; never how fast.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from agentlab import Agent, Lab, Ref, Supervisor, child
from agentlab.ref.many import Refs
from tests import misbehave
from tests.conftest import wait_for
from tests.marks import mark, size

if TYPE_CHECKING:
    import pandas as pd


def fail() -> None:
    """Raise."""
    raise ValueError("no tea")


DEEDS: dict[str, Callable[..., None]] = {
    "raise": fail,
    "block": misbehave.block_until,
    "loop": misbehave.loop,
    "hold": misbehave.hold_until,
    "hold for ever": misbehave.hold_for_ever,
    "exit": misbehave.leave,
    "segfault": misbehave.segfault,
}


class Villager(Agent):
    """Counts; and misbehaves as often as it is told to."""

    count: int = 0

    async def add(self) -> int:
        """Add one and say the sum."""
        self.count += 1
        return self.count

    async def misbehave(self, how: str, folder: str, *args: Any, times: int = 1) -> int:
        """Change the state, then do it: at the first ``times`` deliveries only. Afterwards add one."""
        before = self.count
        self.count += 1000  # half a change, which must never show
        if mark(folder, how) <= times:
            DEEDS[how](*args)
        self.count = before + 1
        return self.count

    async def wait(self, folder: str, gate: str) -> str:
        """Begin, and end when the file ``gate`` is there."""
        mark(folder, "waits")
        while not await anyio.Path(gate).exists():  # noqa: ASYNC110  # another process makes it
            await anyio.sleep(0.01)
        return "waited"


class Village:
    """Nine agents on one node, each of which has counted to one."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder
        children = [child(Villager, id=f"v{number}") for number in range(9)]
        lab.start(Supervisor("village", *children, max_restarts=1000))
        self.all = Refs([lab[f"/village/v{number}"] for number in range(9)])
        self.all.call.add().result(20)
        (self.home,) = {ref.node for ref in self.all}
        self.offender, self.others = self.all[4], Refs([*self.all[:4], *self.all[5:]])

    def misbehave(self, how: str, *args: Any, times: int = 1) -> Any:
        """Send the offender its message, and wait until it has begun."""
        reply = self.offender.call.misbehave(how, str(self.folder), *args, times=times)
        wait_for(lambda: size(self.folder, how) >= 1)
        return reply

    def gate(self) -> Path:
        """A named pipe on which code can wait."""
        os.mkfifo(self.folder / "gate")
        return self.folder / "gate"

    def hold(self, gate: Path) -> Any:
        """Send the offender what makes it hold the interpreter until somebody writes, and wait until it holds it."""
        reply = self.misbehave("hold", str(gate))
        wait_for(lambda: size(self.folder, "gate-holds") == 1)
        return reply

    def kill_home(self) -> None:
        """End the node of all nine as the system would."""
        assert self.lab._runtime is not None
        os.kill(self.lab._runtime.desk.pool.nodes[self.home].process.pid, signal.SIGKILL)

    def row(self, ref: Ref) -> pd.Series[Any]:
        """What the agents' frame says of one."""
        return self.lab.agents().set_index("path").loc[ref.path]

    def check_untouched(self) -> None:
        """The eight are in their first life, on the node where they were."""
        for ref in self.others:
            row = self.row(ref)
            assert (row["status"], row["incarnation"], row["restarts"], row["node"]) == ("running", 1, 0, self.home)

    def check_moved(self) -> None:
        """The eight live on another node, through no fault of theirs, and nobody holds it against them."""
        import pandas as pd  # not in each node that runs a villager

        events = self.lab.events()
        for ref in self.others:
            row = self.row(ref)
            assert (row["status"], row["restarts"]) == ("running", 0)
            assert pd.isna(row["node"]) or row["node"] != self.home  # who is not asked for anything is on none
            assert self.reasons(ref, events) == ["node_down"]
        assert set(self.lab.restarts().query("path != @self.offender.path")["reason"]) <= {"node_down"}

    def reasons(self, ref: Ref, events: pd.DataFrame) -> list[str]:
        """Why its lives ended."""
        kinds = ["node_down", "crashed", "exited", "parked", "stopped"]
        return events[(events["path"] == ref.path) & events["kind"].isin(kinds)]["reason"].tolist()

    def deliveries(self, ref: Ref, method: str) -> list[int]:
        """How often its messages of this name were charged, each in the end handled well."""
        rows = self.lab.messages(path=ref).query("method == @method")
        assert set(rows["outcome"]) == {"ok"}
        return rows["deliveries"].tolist()


@pytest.fixture
def village(tmp_path: Path) -> Iterator[Village]:
    """Nine agents in a lab with one node, which nobody ends for a stall before the test lets it go."""
    with Lab(nodes=1, stall_seconds=60.0) as lab:
        yield Village(lab, tmp_path)


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Village]:
    """The same where a node that stalls is left alone: on a busy machine one may, before it dies of what it runs."""
    with Lab(nodes=1, stall_notice=60.0, stall_seconds=120.0) as lab:
        yield Village(lab, tmp_path)


def write(gate: Path) -> None:
    """Let go who waits on a named pipe."""
    with gate.open("wb", buffering=0) as pipe:
        pipe.write(b"!")


def test_one_that_raises_restarts_alone(village: Village) -> None:
    """Its restart counts, nobody else notices."""
    assert village.misbehave("raise").result(20) == 2

    assert village.others.call.add().result(20) == [2] * 8
    village.check_untouched()
    assert village.row(village.offender)["restarts"] == 1
    assert village.deliveries(village.offender, "misbehave") == [2]


def test_neighbours_of_one_that_blocks_answer_meanwhile(village: Village) -> None:
    """A read that waits, as ``time.sleep``, blocks who calls it, and nobody beside it; nobody dies."""
    gate = village.gate()
    reply = village.misbehave("block", str(gate))

    assert village.others.call.add().result(20) == [2] * 8
    assert not reply.done()
    write(gate)

    assert reply.result(20) == 2
    village.check_untouched()
    assert village.row(village.offender)["incarnation"] == 1
    assert village.deliveries(village.offender, "misbehave") == [1]


def test_neighbours_of_an_endless_loop_answer_meanwhile(village: Village) -> None:
    """The loop never ends by itself; ``crash`` reaches it, and its restart alone counts."""
    reply = village.misbehave("loop")

    assert village.others.call.add().result(20) == [2] * 8
    assert not reply.done()
    assert village.offender.status == "busy"
    village.offender.crash()

    assert reply.result(20) == 2
    assert village.others.call.add().result(20) == [3] * 8
    village.check_untouched()
    assert village.row(village.offender)["restarts"] == 1
    assert village.deliveries(village.offender, "misbehave") == [1]


def test_neighbours_at_rest_of_c_code_that_holds_the_lock_answer_meanwhile(village: Village) -> None:
    """Another node serves them from their checkpoints; when the C code returns, nobody has died and nothing is lost."""
    gate = village.gate()
    reply = village.hold(gate)

    assert village.others.call.add().result(20) == [2] * 8
    assert not reply.done()
    write(gate)

    assert reply.result(20) == 2
    assert village.all.call.add().result(20) == [3] * 9
    assert [village.row(ref)["restarts"] for ref in village.all] == [0] * 9
    assert village.row(village.offender)["incarnation"] == 1
    assert village.deliveries(village.offender, "misbehave") == [1]


def test_a_begun_message_beside_c_code_is_neither_repeated_nor_charged(village: Village) -> None:
    """Its agent stays where it is until the node returns, and then goes on where it was."""
    gate, door = village.gate(), village.folder / "door"
    busy = village.others[0]
    waiting = busy.call.wait(str(village.folder), str(door))
    wait_for(lambda: busy.info()["message"] == "wait")  # its kernel knows too: who holds the node lets nothing out
    reply = village.hold(gate)
    door.touch()

    assert Refs(village.others[1:]).call.add().result(20) == [2] * 7
    assert not reply.done()
    assert not waiting.done()
    write(gate)

    assert waiting.result(20) == "waited"
    assert reply.result(20) == 2
    assert size(village.folder, "waits") == 1
    assert village.deliveries(busy, "wait") == [1]
    assert village.row(busy)["incarnation"] == 1


def test_c_code_that_never_returns_is_ended_and_blamed(tmp_path: Path) -> None:
    """After ``stall_seconds`` its node dies: its restart counts, its message is charged; its neighbours moved."""
    with Lab(nodes=1, stall_seconds=1.0) as lab:
        village = Village(lab, tmp_path)
        door = tmp_path / "door"
        waiting = village.others[0].call.wait(str(tmp_path), str(door))
        wait_for(lambda: village.others[0].info()["message"] == "wait")
        reply = village.misbehave("hold for ever")

        assert reply.result(30) == 2
        door.touch()

        assert waiting.result(20) == "waited"
        assert village.others.call.add().result(20) == [2] * 8
        assert [village.row(ref)["restarts"] for ref in village.others] == [0] * 8
        assert village.row(village.offender)["restarts"] == 1
        assert village.deliveries(village.offender, "misbehave") == [2]
        assert village.deliveries(village.others[0], "wait") == [1]


@pytest.mark.parametrize("how", ["exit", "segfault"])
def test_neighbours_of_one_that_takes_its_process_along_move_uncounted(patient: Village, how: str) -> None:
    """The node dies; the one that was on the CPU is charged with it, the eight go on from their checkpoints."""
    assert patient.misbehave(how).result(20) == 2

    assert patient.others.call.add().result(20) == [2] * 8
    patient.check_moved()
    assert patient.row(patient.offender)["restarts"] == 1
    assert patient.deliveries(patient.offender, "misbehave") == [2]


def test_an_innocent_message_on_a_node_that_dies_is_delivered_again_uncharged(patient: Village) -> None:
    """It had begun, so it begins again elsewhere; however often its node dies it is not what is given up."""
    door = patient.folder / "door"
    innocent = patient.others[0]
    waiting = innocent.call.wait(str(patient.folder), str(door))
    wait_for(lambda: size(patient.folder, "waits") == 1)

    assert patient.misbehave("exit").result(20) == 2
    wait_for(lambda: size(patient.folder, "waits") == 2)
    door.touch()

    assert waiting.result(20) == "waited"
    patient.check_moved()
    assert patient.deliveries(innocent, "wait") == [1]
    assert patient.deliveries(patient.offender, "misbehave") == [2]


def test_a_node_that_dies_at_rest_is_nobodys_fault(village: Village) -> None:
    """Somebody ends it from outside while no agent runs: all nine move, no restart counts."""
    village.lab.wait_idle()
    village.kill_home()

    assert village.all.call.add().result(20) == [2] * 9
    assert [village.row(ref)["restarts"] for ref in village.all] == [0] * 9
    village.check_moved()


def test_a_node_that_is_killed_under_somebody_is_charged_to_that_one(village: Village) -> None:
    """Whoever was on the CPU is charged, whoever else ended the node: nobody can tell the two apart."""
    reply = village.hold(village.gate())
    assert village.others.call.add().result(20) == [2] * 8
    village.kill_home()

    assert reply.result(20) == 2
    assert village.others.call.add().result(20) == [3] * 8
    assert village.row(village.offender)["restarts"] == 1
    assert [village.row(ref)["restarts"] for ref in village.others] == [0] * 8


def test_who_brings_a_node_down_twice_gets_one_of_its_own(patient: Village) -> None:
    """An event says so; the third time it dies alone."""
    assert patient.misbehave("exit", times=2).result(20) == 2
    patient.others.call.add().result(20)
    before = {ref.path: (ref.node, ref.incarnation) for ref in patient.others}

    assert patient.misbehave("exit", times=4).result(20) == 3  # at its first delivery: the fourth time in all

    assert {ref.path: (ref.node, ref.incarnation) for ref in patient.others} == before
    assert patient.offender.node not in {ref.node for ref in patient.others}
    assert patient.row(patient.offender)["restarts"] == 3
    assert [patient.row(ref)["restarts"] for ref in patient.others] == [0] * 8
    told = patient.lab.events().query("kind == 'isolated'")
    assert told["path"].tolist() == [patient.offender.path]


def test_a_family_of_nine_outlives_a_node_that_dies_with_one_for_all(tmp_path: Path) -> None:
    """A move is no crash: under ``one_for_all`` only the restart of the one to blame takes its siblings along."""
    with Lab(nodes=1) as lab:
        children = [child(Villager, id=f"v{number}") for number in range(3)]
        lab.start(Supervisor("family", *children, strategy="one_for_all", max_restarts=1))
        refs = Refs([lab[f"/family/v{number}"] for number in range(3)])
        refs.call.add().result(20)

        assert refs[1].call.misbehave("exit", str(tmp_path)).result(20) == 2

        assert refs.call.add().result(20) == [2, 3, 2]
        lab.wait_idle()
        assert lab["/family"].status == "running"
