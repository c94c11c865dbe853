"""Starts by the kernel itself, of who did nothing wrong: they are restarts as any other, whatever happens in them."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import anyio
import pytest

from agentlab import Agent, Lab, Ref, Supervisor, child
from tests.conftest import wait_for


def pay(gate: str) -> str:
    """An effect that takes until its gate is opened."""
    while os.path.exists(gate):  # noqa: PTH110 - a test opens it, from another process
        time.sleep(0.01)
    return "paid"


pay.once = True  # type: ignore[attr-defined]  # how any callable says so


class Slow(Agent):
    """Comes up slowly, as long as its door is shut; says that it tries to."""

    place: str
    done: int = 0

    async def on_start(self) -> None:
        """Say so, and wait at the door."""
        (Path(self.place) / "starts").open("a").write("x")
        while os.path.exists(Path(self.place) / "door"):  # noqa: ASYNC110, ASYNC240, PTH110 - a test opens it
            await anyio.sleep(0.01)

    async def work(self) -> int:
        """A once step."""
        await self.step(pay, str(Path(self.place) / "gate"))
        self.done += 1
        return self.done


def starts(place: Path) -> int:
    """How often it began to come up."""
    return (place / "starts").stat().st_size


def happened(lab: Lab, kind: str) -> list[str]:
    """To whom, in order."""
    events = lab.events()
    found: list[str] = events[events["kind"].eq(kind)]["path"].tolist()
    return found


@pytest.fixture
def slow(lab: Lab, tmp_path: Path) -> Ref:
    """Under a supervisor whose limit is one restart."""
    lab.start(Supervisor("team", child(Slow, id="slow", place=str(tmp_path)), max_restarts=1, max_seconds=1000.0))
    return lab["/team/slow"]


def in_doubt(slow: Ref, place: Path) -> None:
    """Killed in its step, and parked therefore."""
    (place / "gate").touch()
    slow.cast.work()
    wait_for(lambda: slow.info()["step"] == "pay")
    slow.kill()
    wait_for(lambda: slow.status == "parked")
    (place / "gate").unlink()
    (place / "door").touch()


def test_an_agent_killed_while_it_starts_after_settle_is_started_again(lab: Lab, slow: Ref, tmp_path: Path) -> None:
    """A person has settled its doubt; the start that follows is killed, and tried again; the message goes on."""
    in_doubt(slow, tmp_path)
    settling = threading.Thread(target=slow.settle, args=("pay",), kwargs={"retry": True})
    settling.start()
    wait_for(lambda: starts(tmp_path) == 2)

    slow.kill()
    wait_for(lambda: starts(tmp_path) == 3)
    (tmp_path / "door").unlink()
    settling.join(60)
    lab.wait_idle(60)

    assert slow.status == "running"
    assert slow.state["done"] == 1
    assert happened(lab, "restarting") == ["/team/slow"]


def test_such_a_start_that_keeps_failing_meets_the_limit(lab: Lab, slow: Ref, tmp_path: Path) -> None:
    """Its first death is uncounted, each that follows is one restart, and the second is one too many."""
    in_doubt(slow, tmp_path)
    settling = threading.Thread(target=slow.settle, args=("pay",), kwargs={"retry": True})
    settling.start()
    for number in (2, 3):
        wait_for(lambda n=number: starts(tmp_path) == n)
        slow.kill()
    settling.join(60)
    wait_for(lambda: happened(lab, "gave_up"))

    (tmp_path / "door").unlink()
    lab.wait_idle(60)

    assert slow.state["done"] == 1  # the supervisor was started again, and with it the agent
    assert happened(lab, "gave_up") == ["/team"]


def test_one_that_starts_over_is_started_again_when_it_is_killed(lab: Lab, slow: Ref, tmp_path: Path) -> None:
    """It built on an answer that was never committed: it goes back to its last commit; a kill there parks nobody."""
    runtime = lab._runtime
    (tmp_path / "door").touch()
    runtime.run(lambda: runtime.lives.start_over(runtime.desk.entries[slow.path]))
    wait_for(lambda: starts(tmp_path) == 2)

    slow.kill()
    wait_for(lambda: starts(tmp_path) == 3)
    (tmp_path / "door").unlink()
    lab.wait_idle(60)

    assert slow.status == "running"
    assert slow.call.work().result(60) == 1
    assert happened(lab, "restarting") == [slow.path]


def test_starting_over_counts_no_restart(lab: Lab, slow: Ref) -> None:
    """However often: it did nothing wrong."""
    runtime = lab._runtime

    for number in range(2, 6):
        runtime.run(lambda: runtime.lives.start_over(runtime.desk.entries[slow.path]))
        wait_for(lambda n=number: slow.incarnation == n and slow.status == "running")

    assert lab["/team"].status == "running"
    assert happened(lab, "restarting") == []


def test_starting_over_in_the_middle_of_a_stop_is_a_stop(lab: Lab, slow: Ref, tmp_path: Path) -> None:
    """Somebody has asked for its end, so nobody starts it again."""
    runtime = lab._runtime
    (tmp_path / "gate").touch()
    slow.cast.work()
    wait_for(lambda: slow.info()["step"] == "pay")
    stopping = threading.Thread(target=slow.stop)
    stopping.start()
    wait_for(lambda: runtime.desk.entries[slow.path].is_ending)

    runtime.run(lambda: runtime.lives.start_over(runtime.desk.entries[slow.path]))
    stopping.join(60)
    (tmp_path / "gate").unlink()

    assert not stopping.is_alive()
    assert slow.incarnation == 1
    assert starts(tmp_path) == 1
