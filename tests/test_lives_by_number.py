"""A path is no life: an old life may still end when the next one at its path runs, and is told apart by its number."""

from __future__ import annotations

import os
import threading
from collections import Counter as Tally
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from agentlab import Agent, Lab, Ref, Supervisor, child
from agentlab.errors import AlreadyStarted
from tests.agents import Counter
from tests.conftest import wait_for
from tests.oracle import fuzz
from tests.oracle import replay as oracle

SCENARIOS = 30
"""So many random ones here; more with ``python -m tests.oracle.fuzz --count N``."""


class Dawdler(Agent):
    """Ends when its gate is opened; until then its supervisor waits, and whoever killed that one does not."""

    trap_exit = True
    gate: str
    seen: list[str] = []

    async def tie(self, ref: Ref) -> None:
        """Link."""
        await self.link(ref)

    async def watch(self, ref: Ref) -> None:
        """Monitor."""
        await self.monitor(ref)

    async def untie(self, ref: Ref) -> None:
        """Take both back."""
        await self.unlink(ref)
        await self.demonitor(ref)

    async def on_exit(self, ref: Ref, reason: Any) -> None:
        """Note."""
        self.seen.append(f"exit {ref.path} {reason}")

    async def on_down(self, ref: Ref, reason: Any) -> None:
        """Note."""
        self.seen.append(f"down {ref.path} {reason}")

    async def on_stop(self, reason: Any) -> None:
        """Dawdle."""
        while os.path.exists(self.gate):  # noqa: ASYNC110, ASYNC240, PTH110 - a test opens it, from another process
            await anyio.sleep(0.01)


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """Closed until it is deleted."""
    made = tmp_path / "gate"
    made.touch()
    return made


def nest(gate: Path) -> Supervisor:
    """A supervisor in a supervisor, with a child that ends slowly."""
    slow = child(Dawdler, id="slow", gate=str(gate), shutdown="infinity")
    return Supervisor("outer", Supervisor("inner", slow, max_restarts=50), max_restarts=50)


def ends(lab: Lab, path: str) -> list[Any]:
    """The incarnations at a path that have ended, in order."""
    events = lab.events()
    ended = events[events["path"].eq(path) & events["kind"].isin(["supervisor_exited", "exited", "killed", "crashed"])]
    return ended["incarnation"].tolist()


def test_random_scenarios_over_nested_trees_go_as_the_machine_says(capsys: pytest.CaptureFixture[str]) -> None:
    """Supervisors in supervisors killed, stopped and filled: a lab's events, results and trees are the machine's."""
    tally = oracle.replay_live(fuzz.scenarios(0, SCENARIOS))

    assert tally["failed"] == 0, capsys.readouterr().out
    assert tally["passed"] == SCENARIOS


def test_the_end_of_an_old_supervisor_is_not_its_successors(lab: Lab, gate: Path) -> None:
    """The outer one is killed, then the new outer one, while the old inner ones still end; each end has its number."""
    lab.start(nest(gate))
    for number in (2, 3):
        lab["/outer"].kill()
        wait_for(lambda n=number: lab["/outer/inner/slow"].incarnation == n and lab["/outer"].status == "running")

    before = ends(lab, "/outer/inner")
    gate.unlink()
    lab.wait_idle(60)

    assert before == []
    assert sorted(ends(lab, "/outer/inner")) == sorted(ends(lab, "/outer/inner/slow")) == [1, 2]
    assert lab["/outer/inner"].status == lab["/outer/inner/slow"].status == "running"
    assert lab["/outer/inner"].count_children()["active"] == 1


def test_who_watches_a_supervisor_hears_of_that_life_only(lab: Lab, gate: Path) -> None:
    """A monitor and a link of the new inner supervisor say nothing when the one before it ends at last."""
    watcher = lab.start(Dawdler, id="watcher", gate=str(gate))
    lab.start(nest(gate))
    lab["/outer"].kill()
    wait_for(lambda: lab["/outer/inner/slow"].incarnation == 2 and lab["/outer"].status == "running")
    watcher.call.watch(lab["/outer/inner"]).result(30)
    watcher.call.tie(lab["/outer/inner"]).result(30)

    gate.unlink()
    wait_for(lambda: ends(lab, "/outer/inner") == [1])
    lab.wait_idle(60)
    heard_of_the_old = list(watcher.state["seen"])
    lab["/outer/inner"].kill()
    wait_for(lambda: len(watcher.state["seen"]) == 2)

    assert heard_of_the_old == []
    assert sorted(watcher.state["seen"]) == ["down /outer/inner killed", "exit /outer/inner killed"]


def test_a_link_of_an_old_life_is_not_its_successors(lab: Lab, gate: Path) -> None:
    """Who was linked to a life that still ends dies: the next life at that path was never linked, and hears nothing."""
    peer = lab.start(Counter, id="peer")
    lab.start(nest(gate))
    slow = lab["/outer/inner/slow"]
    slow.call.tie(peer).result(30)
    lab["/outer"].kill()
    wait_for(lambda: slow.incarnation == 2 and slow.status == "running")

    peer.kill()
    wait_for(lambda: peer.incarnation == 2)
    gate.unlink()
    lab.wait_idle(60)

    assert slow.state["seen"] == []


def test_every_life_starts_once_and_ends_once(lab: Lab, gate: Path) -> None:
    """However ends and starts overlap, a number at a path is one life."""
    lab.start(nest(gate))
    for number in (2, 3, 4):
        lab["/outer/inner" if number == 3 else "/outer"].kill()
        wait_for(lambda n=number: lab["/outer/inner/slow"].incarnation == n and lab["/outer"].status == "running")
    gate.unlink()
    lab.wait_idle(60)

    events = lab.events()
    lives = events[events["kind"].isin(["started", "supervisor_started"]) & events["path"].str.startswith("/outer")]
    starts = Tally(zip(lives["path"], lives["incarnation"], strict=True))
    assert set(starts.values()) == {1}
    for path in ("/outer", "/outer/inner", "/outer/inner/slow"):
        begun = sorted(n for place, n in starts if place == path)
        assert sorted(ends(lab, path)) == begun[:-1]


def test_what_an_old_supervisor_leaves_behind_is_not_what_its_successor_keeps(tmp_path: Path, gate: Path) -> None:
    """A child of the new supervisor stays in the store when the old one, which had one of that name, has ended."""
    with Lab(tmp_path / "run.lab", nodes=2) as lab:
        inner = Supervisor("inner", child(Dawdler, id="slow", gate=str(gate), shutdown="infinity"))
        lab.start(Supervisor("outer", inner))
        lab.start(Counter, id="extra", under="/outer/inner", count=1)
        lab["/outer"].kill()
        wait_for(lambda: lab["/outer/inner/slow"].incarnation == 2 and lab["/outer"].status == "running")
        extra = lab.whereis("/outer/inner/extra") or lab.start(Counter, id="extra", under="/outer/inner", count=1)
        extra.call.add(1).result(30)

        gate.unlink()
        lab.wait_idle(60)
        state, count = extra.state, lab["/outer/inner"].count_children()["active"]

    assert state == {"count": 2}
    assert count == 2
    with Lab(tmp_path / "run.lab", nodes=1, resume=True) as again:
        assert again["/outer/inner/extra"].call.add(1).result(30) == 3


def test_unlink_and_demonitor_reach_a_life_that_still_ends(lab: Lab, gate: Path) -> None:
    """Who took back a link and a monitor hears nothing of that life, although it has a successor."""
    watcher = lab.start(Dawdler, id="watcher", gate=str(gate))
    lab.start(nest(gate))
    for path in ("/outer/inner", "/outer/inner/slow"):
        watcher.call.tie(lab[path]).result(30)
        watcher.call.watch(lab[path]).result(30)
    lab["/outer"].kill()
    wait_for(lambda: lab["/outer/inner/slow"].incarnation == 2 and lab["/outer"].status == "running")
    for path in ("/outer/inner", "/outer/inner/slow"):
        watcher.call.untie(lab[path]).result(30)

    gate.unlink()
    lab.wait_idle(60)

    assert ends(lab, "/outer/inner") == ends(lab, "/outer/inner/slow") == [1]
    assert watcher.state["seen"] == []


def test_two_who_ask_for_one_id_do_not_get_each_others_past(lab: Lab, gate: Path) -> None:
    """A fork that has to wait for its supervisor, and a start that asked before it: the first is no fork."""
    lab.start(
        Supervisor("team", child(Dawdler, id="slow", gate=str(gate), shutdown="infinity"), child(Counter, id="c"))
    )
    counter = lab["/team/c"]
    counter.call.add(7).result(30)
    held = threading.Thread(target=lab["/team"].terminate_child, args=("slow",))  # the supervisor waits for it
    held.start()
    wait_for(lambda: lab._runtime is not None and lab._runtime.desk.entries["/team/slow"].is_ending)
    first = threading.Thread(target=lab.start, args=(Counter,), kwargs={"id": "x", "under": "/team"})
    first.start()
    wait_for(lambda: queued(lab, "/team") == 1)
    errors: list[Exception] = []
    second = threading.Thread(target=lambda: errors.append(failed(lambda: counter.fork(id="x"))))
    second.start()
    wait_for(lambda: queued(lab, "/team") == 2)

    gate.unlink()
    for thread in (held, first, second):
        thread.join(60)

    assert lab["/team/x"].state == {"count": 0}
    assert [type(error) for error in errors] == [AlreadyStarted]


def queued(lab: Lab, path: str) -> int:
    """Calls that wait for a supervisor."""
    assert lab._runtime is not None
    record: Any = lab._runtime.desk.tree.find(path)
    return len(record.keeper.lane.queue)


def failed(what: Callable[[], object]) -> Exception:
    """What it raises."""
    with pytest.raises(Exception) as raised:  # noqa: PT011 - the test says which
        what()
    return raised.value


def test_a_supervisors_incarnations_go_on_in_the_next_kernel(tmp_path: Path) -> None:
    """As an agent's do: a number at a path is one life, whoever looks at the events."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=2) as lab:
        lab.start(Supervisor("team", child(Counter, id="c")))
        lab["/team"].kill()
        lab.wait_idle(60)
    with Lab(path, nodes=2, resume=True) as lab:
        events = lab.events()
        started = events[events["kind"].eq("supervisor_started") & events["path"].eq("/team")]
        assert started["incarnation"].tolist() == [1, 2, 3]
