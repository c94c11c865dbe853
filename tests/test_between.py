"""Between two lives: what an agent is called that is about to be started again, and what frees an id."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import anyio
import pytest

from agentlab import Backoff, Lab, Limit, Supervisor, child
from agentlab.errors import AlreadyPresent, NotRunning
from agentlab.supervision import Due
from tests.agents import Counter
from tests.conftest import wait_for


class Door(Counter):
    """Comes up when its door is open, and ends when its gate is."""

    place: str

    async def on_start(self) -> None:
        """Wait."""
        await self._wait("door")

    async def on_stop(self, reason: object) -> None:
        """Wait."""
        await self._wait("gate")

    async def _wait(self, name: str) -> None:
        (Path(self.place) / f"at the {name}").touch()
        while os.path.exists(Path(self.place) / name):  # noqa: ASYNC110, ASYNC240, PTH110 - a test opens it
            await anyio.sleep(0.01)


def test_a_sibling_about_to_be_restarted_is_starting(lab: Lab, tmp_path: Path) -> None:
    """While the group is stopped and started one by one, nobody in it is called stopped."""
    slow = child(Door, id="slow", place=str(tmp_path), shutdown="infinity")
    lab.start(Supervisor("team", child(Counter, id="first"), slow, child(Counter, id="last"), strategy="one_for_all"))
    (tmp_path / "gate").touch()
    (tmp_path / "door").touch()

    lab["/team/first"].kill()
    wait_for(lambda: lab["/team/last"].status != "running")
    stopping = lab["/team/last"].status
    (tmp_path / "gate").unlink()
    wait_for(lambda: lab["/team/first"].incarnation == 2)
    coming = lab["/team/last"].status, dict(lab.agents().set_index("path")["status"])["/team/last"]
    (tmp_path / "door").unlink()
    lab.wait_idle(30)

    assert stopping == "starting"
    assert coming == ("starting", "starting")
    assert lab["/team/last"].status == "running"


def test_an_end_that_its_supervisor_has_not_come_to_is_no_running_agent(lab: Lab, tmp_path: Path) -> None:
    """The supervisor waits for another child's ``on_stop``: what ended meanwhile is about to be started again."""
    slow = child(Door, id="slow", place=str(tmp_path), shutdown="infinity")
    team = lab.start(Supervisor("team", slow, child(Counter, id="quick")))
    (tmp_path / "gate").touch()
    ending = threading.Thread(target=team.terminate_child, args=("slow",))
    ending.start()
    wait_for((tmp_path / "at the gate").exists)

    lab["/team/quick"].crash()
    wait_for(lambda: lab["/team/quick"].status != "running")

    assert lab["/team/quick"].status == "starting"
    with pytest.raises(NotRunning, match="kill: '/team/quick' is starting"):
        lab["/team/quick"].kill()
    (tmp_path / "gate").unlink()
    ending.join(30)
    lab.wait_idle(30)
    assert (lab["/team/quick"].status, lab["/team/quick"].incarnation) == ("running", 2)


def test_who_waits_for_a_siblings_back_off_backs_off(lab: Lab) -> None:
    """They will be started together."""
    waits = child(Counter, id="waits", backoff=Backoff(initial=600.0, maximum=600.0))
    lab.start(Supervisor("team", waits, child(Counter, id="other"), strategy="one_for_all"))

    lab["/team/waits"].kill()
    wait_for(lambda: lab["/team/waits"].status == "backing_off")

    assert lab["/team/other"].status == "backing_off"


def test_what_is_below_a_supervisor_that_waits_is_not_stopped(lab: Lab) -> None:
    """Its agents and supervisors come back with it; a call to one of them waits."""
    inner = Supervisor("inner", child(Counter, id="deep"))
    team = child(Supervisor("team", inner, child(Counter, id="flat")), backoff=Backoff(initial=600.0, maximum=600.0))
    lab.start(team)
    refs = [lab[path] for path in ("/team", "/team/flat", "/team/inner", "/team/inner/deep")]

    lab["/team"].kill()
    words = [ref.status for ref in refs]
    waiting = refs[3].call.add(1)
    end_back_off(lab, "/team")

    assert words == ["backing_off"] * 4
    assert waiting.result(30) == 1
    lab.wait_idle(30)
    assert [ref.status for ref in refs] == ["running"] * 4


def end_back_off(lab: Lab, path: str) -> None:
    """Have a wait before a restart be over."""
    assert lab._runtime is not None
    runtime = lab._runtime

    def over() -> None:
        record = runtime.desk.tree.find(path)
        assert record is not None
        assert record.trouble is not None
        assert record.trouble.timer is not None
        runtime.machine.feed(Due(record.trouble.timer))

    runtime.run(over)


@pytest.mark.parametrize("under", ["/", "/team"])
def test_stop_of_a_parked_agent_frees_its_id(lab: Lab, under: str) -> None:
    """It is over: called stopped, its mail is dead letters, and another may have its id and begins fresh."""
    lab.start(Supervisor("team"))
    agent = lab.start(child(Counter, id="c", own_limit=Limit(0, 1.0)), under=under)
    agent.call.add(4).result(30)
    agent.kill()
    wait_for(lambda: agent.status == "parked")
    agent.cast.add(1)

    agent.stop()
    status, letters = agent.status, lab.dead_letters()["path"].tolist()
    with pytest.raises(NotRunning):
        agent.call.add(1).result(30)
    again = lab.start(Counter, id="c", under=under)

    assert status == "stopped"
    assert letters == [agent.path]
    assert again.call.add(1).result(30) == 1
    assert again.incarnation == 1


def test_a_stopped_agent_may_be_restarted_as_long_as_nobody_has_its_id(lab: Lab) -> None:
    """From its checkpoint."""
    agent = lab.start(child(Counter, id="c", own_limit=Limit(0, 1.0)))
    agent.call.add(4).result(30)
    agent.kill()
    wait_for(lambda: agent.status == "parked")
    agent.stop()

    agent.restart()

    assert agent.call.add(1).result(30) == 5


def test_a_declared_child_that_was_stopped_keeps_its_id(lab: Lab) -> None:
    """Its supervisor's spec has it: it comes back with that one."""
    lab.start(Supervisor("team", child(Counter, id="c")))
    lab["/team/c"].stop()

    with pytest.raises(AlreadyPresent):
        lab.start(Counter, id="c", under="/team")


def test_stop_of_a_parked_agent_outlives_the_kernel(tmp_path: Path) -> None:
    """The lab that is opened again calls it stopped too."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=2) as lab:
        agent = lab.start(child(Counter, id="c", own_limit=Limit(0, 1.0)))
        agent.kill()
        wait_for(lambda: agent.status == "parked")
        agent.stop()
    with Lab(path, nodes=2, resume=True) as lab:
        assert lab["/c"].status == "stopped"
        assert lab.start(Counter, id="c").call.add(1).result(30) == 1


def test_stop_of_a_parked_supervisor_frees_its_id(lab: Lab) -> None:
    """It gave up and was parked; stopped, it makes room for another."""
    team = lab.start(child(Supervisor("team", child(Counter, id="c"), max_restarts=0), own_limit=Limit(0, 1.0)))
    lab["/team/c"].kill()
    wait_for(lambda: team.status == "parked")

    team.stop()
    lab.start(Supervisor("team", child(Counter, id="d")))

    assert lab["/team/d"].call.add(1).result(30) == 1
