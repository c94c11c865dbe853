"""An act whose kernel died between what it did and its answer: it is not done again, and is answered all the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agentlab import Agent, Lab, Supervisor
from tests.agents import Counter
from tests.conftest import wait_for
from tests.test_kernel_life import start_script

pytestmark = pytest.mark.xdist_group("dead kernels")  # one process has them all die


class Chief(Agent):
    """Administers a team, and notes what it was answered."""

    done: list[str] = []

    async def act(self, op: str) -> None:
        """One act."""
        team = self.lab["/team"]
        if op == "start":
            made = await self.lab.start(Counter, under="/crew")
        elif op == "start_team":
            made = await self.lab.start(Supervisor("any"), under="/teams")
        elif op == "restart":
            made = await team.restart_child("idle")
        else:
            made = await team.terminate_child(op) if op in ("temp", "kept") else await team.delete_child("idle")
        self.done = [*self.done, "None" if made is None else made.path]


KERNEL = """
import os, signal, sys
from agentlab import Lab, Supervisor, child
from agentlab.kernel.machine import Machine
from agentlab.store.database import Store
from tests.agents import Counter
from tests.test_acts_of_a_dead_kernel import EFFECTS, Chief

folder, *ops = sys.argv[1:]
for op in ops:
    if not os.fork():  # before anything runs: what was imported is there for all of them
        break
else:
    for _ in ops:
        os.wait()
    sys.exit()
armed = False

def commit(self, batch, real=Store.commit):
    real(self, batch)
    if armed and EFFECTS[op](dict(self.select("SELECT path, status FROM child"))):
        os.write(1, f"{op} done\\n".encode())  # whole, beside the others
        os.kill(os.getpid(), signal.SIGKILL)

def feed(self, event, real=Machine.feed):
    real(self, event)
    if armed:
        self._desk.loop.end_of_turn()  # as where others have their work committed in the same moment

Store.commit, Machine.feed = commit, feed
with Lab(f"{folder}/{op}.lab", nodes=1, resume=True) as lab:
    team = lab.start(Supervisor("team"))
    for id, restart in ("kept", "permanent"), ("idle", "permanent"), ("temp", "temporary"):
        team.start_child(child(Counter, id=id, restart=restart))
    lab.start(Supervisor("crew", child(Counter, id="one"), strategy="simple_one_for_one"))
    lab.start(Supervisor("teams", Supervisor("any"), strategy="simple_one_for_one"))
    team.terminate_child("idle")
    chief = lab.start(Chief, id="chief")
    lab.wait_idle(30)
    armed = True
    chief.cast.act(op)
    lab.wait_idle(30)
    os.write(1, f"{op} alive\\n".encode())
"""

Children = dict[str, str]

EFFECTS: dict[str, Callable[[Children], bool]] = {
    "start": lambda kids: any(path.startswith("/crew/") for path in kids),
    "start_team": lambda kids: any(path.startswith("/teams/") for path in kids),
    "restart": lambda kids: kids["/team/idle"] == "running",
    "kept": lambda kids: kids["/team/kept"] == "stopped",
    "temp": lambda kids: "/team/temp" not in kids,
    "delete": lambda kids: "/team/idle" not in kids,
}
"""What the store says once an act has been done: each child's status by its path."""

ANSWERS = {
    "start": "/crew/one-1", "start_team": "/teams/any-1", "restart": "/team/idle", "kept": "None", "temp": "None",
    "delete": "None",
}  # fmt: skip


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the labs whose kernels have died, each after its act."""
    folder = tmp_path_factory.mktemp("dead")
    said, _ = start_script(KERNEL, str(folder), *EFFECTS).communicate(timeout=120)
    assert sorted(said.splitlines()) == sorted(f"{op} done" for op in EFFECTS)
    return folder


@pytest.mark.parametrize("op", EFFECTS)
def test_an_act_is_not_done_again_for_a_kernel_that_died(dead: Path, op: str) -> None:
    """Whatever it was, the next kernel answers what it gave, and finds what it did."""
    with Lab(dead / f"{op}.lab", nodes=1, resume=True) as lab:
        wait_for(lambda: lab["/chief"].state["done"] != [])
        lab.wait_idle(30)
        assert lab["/chief"].state["done"] == [ANSWERS[op]]
        assert lab["/chief"].incarnation == 2
        assert EFFECTS[op](dict(lab._store.select("SELECT path, status FROM child")))
        assert len([path for path in lab.agents()["path"] if path.startswith("/crew/")]) == (op == "start")
        assert len(lab["/teams"].which_children()) == (op == "start_team")
        assert lab._store.select("SELECT * FROM answer") == []
