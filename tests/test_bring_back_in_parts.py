"""Very many children come back with their supervisor in parts: the lab goes on in between, and so does an end of it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from agentlab import Lab, Limit, Ref, Supervisor, child
from agentlab.supervision import Due, Signal
from agentlab.supervision.restarts import PART
from tests.agents import Counter
from tests.conftest import wait_for
from tests.patience import LONG
from tests.test_supervision import Stage, below, team, worker

MANY = 20_000 if LONG else 10 * PART
SOME = 3 * PART + 7
FEW = 5  # a part, in the tests of the machine
ALL = 3 * FEW + 2


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts so small that every command of the machine can be held against the rules."""
    monkeypatch.setattr("agentlab.supervision.restarts.PART", FEW)


# the machine


def killed(count: int = ALL, **flags: Any) -> Stage:
    """A supervisor to which children were added has been killed: the first part of them is being started again."""
    stage = Stage(team("root", below(team("team", **flags)), max_restarts=10))
    stage.settle()
    stage.ask("/team", "start_children", [worker(f"w{n}") for n in range(count)])
    stage.do(Signal(stage.life("/team"), "kill"))
    return stage


def states(stage: Stage, state: str) -> int:
    """How many children are in that state."""
    record = stage.tree.find("/team")
    assert record is not None
    return [kid.state for kid in record.children.values()].count(state)  # type: ignore[comparison-overlap]  # any word


def ring(stage: Stage) -> None:
    """The world has had its turn."""
    (timer,) = stage.timers
    assert stage.timers[timer] <= stage.now
    stage.do(Due(timer))


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_a_part_is_started_and_then_the_next(strategy: str) -> None:
    """In start order; the supervisor has come up when the last part has, and is idle no earlier."""
    stage = killed(strategy=strategy)
    seen = []
    while stage.timers or stage.state("/team") != "running":
        stage.settle()
        seen.append(states(stage, "running"))
        assert not stage.tree.idle or stage.state("/team") == "running"
        if stage.timers:
            ring(stage)

    assert seen == [FEW, 2 * FEW, 3 * FEW, ALL]
    assert stage.kinds().count("supervisor_started /team") == 2
    assert stage.tree.idle


@pytest.mark.usefixtures("few")
def test_no_more_than_a_part_needs_no_second_turn() -> None:
    """As many as one part holds come back as ever."""
    stage = killed(FEW)

    assert not stage.timers
    stage.settle()
    assert states(stage, "running") == FEW


@pytest.mark.usefixtures("few")
def test_a_slow_start_does_not_hold_up_the_next_part() -> None:
    """The children are independent of each other: all of them start side by side."""
    stage = killed()
    while stage.timers:
        ring(stage)

    assert states(stage, "starting") == ALL
    stage.settle()
    assert states(stage, "running") == ALL


@pytest.mark.usefixtures("few")
def test_it_answers_nobody_in_between() -> None:
    """It still starts, as OTP's supervisor in its ``init``: a call waits until all are there."""
    stage = killed()
    stage.settle()
    number = stage.call("/team", "count_children")
    while stage.timers:
        assert number not in stage.answers
        ring(stage)
        stage.settle()

    assert stage.answers[number].active == ALL


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all"])
def test_killed_between_two_parts_it_brings_back_all_the_same(strategy: str) -> None:
    """Those that had come up and those that had not, in their order; the timer of the dead one does nothing."""
    stage = killed(strategy=strategy)
    stage.settle()
    (stale,) = stage.timers
    call = stage.call("/team", "count_children")

    stage.do(Signal(stage.life("/team"), "kill"))
    stage.do(Due(stale))
    stage.settle()
    while stage.timers:
        ring(stage)
        stage.settle()

    assert stage.answers[call].kind == "exit"
    record = stage.tree.find("/team")
    assert record is not None
    assert list(record.children) == [f"w{n}" for n in range(ALL)]
    assert states(stage, "running") == ALL


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all"])
def test_told_to_end_between_two_parts_it_starts_no_more(strategy: str) -> None:
    """It stops those that run, and all of them come back with the next one."""
    stage = Stage(team("root", below(team("top", below(team("team", strategy=strategy)))), max_restarts=10))
    stage.settle()
    stage.ask("/top/team", "start_children", [worker(f"w{n}") for n in range(ALL)])
    stage.do(Signal(stage.life("/top/team"), "kill"))
    stage.settle()
    old = stage.tree.find("/top/team")
    assert old is not None
    kids = list(old.children.values())

    stage.do(Signal(stage.life("/top"), "kill"))  # the one below is told by its link
    while stage.timers:
        ring_first(stage)
        stage.settle()

    assert sum(kid.state == "undefined" and kid.life is None for kid in kids) == ALL
    assert len({life for life, record in stage.lives.items() if record in kids}) == 0
    new = stage.tree.find("/top/team")
    assert new is not None
    assert [kid.id for kid in new.children.values() if kid.state == "running"] == [f"w{n}" for n in range(ALL)]


def ring_first(stage: Stage) -> None:
    """One of the timers runs out."""
    stage.do(Due(min(stage.timers)))


# a lab


def test_an_agent_elsewhere_answers_while_very_many_come_back(lab: Lab) -> None:
    """Its answers lie between the return of the first child and that of the last, in the order of the log."""
    other = lab.start(Counter, id="other")
    other.trace()
    lab.start(child(Supervisor("many"), own_limit=Limit(1000, 1.0)))
    lab.start_many(Counter, MANY, under="/many")
    over = threading.Event()
    caller = threading.Thread(target=call_until, args=(other, over))
    caller.start()
    wait_for(lambda: other.state["count"] > 0)

    # On a busy machine the other's node, or who calls it, may be held up for as long as it takes.
    answered = any(answers_during_return(lab, life) for life in range(2, 12))
    over.set()
    caller.join(60)

    assert answered
    assert lab["/many"].count_children()["active"] == MANY


def answers_during_return(lab: Lab, life: int) -> bool:
    """Kill the supervisor of many; whether the other answered while they came back for their life of that number."""
    lab["/many"].kill()
    wait_for(lambda: lab["/many"].status == "running", 300)
    events = lab.events().reset_index()
    of_many = events["path"].str.startswith("/many/") & events["incarnation"].eq(life)
    back = events[of_many & events["kind"].eq("started")]["seq"]
    answers = events[events["path"].eq("/other") & events["kind"].eq("message")]["seq"]
    assert len(back) == MANY
    return bool(answers.between(back.min(), back.max()).any())


def call_until(ref: Ref, over: threading.Event) -> None:
    """Call, and call again."""
    while not over.is_set():
        ref.call.add(1).result(60)


def kill_in_the_middle(lab: Lab, path: str, above: str | None = None) -> None:
    """Kill a supervisor, and kill it (or the one above it) again when a part of its children is back."""

    async def go() -> None:
        runtime: Any = lab._runtime
        tree = runtime.desk.tree
        runtime.machine.feed(Signal(tree.find(path).life, "kill"))
        kids = tree.find(path).children.values()
        assert {kid.state for kid in kids} == {"running", "restarting"}
        runtime.machine.feed(Signal(tree.find(above or path).life, "kill"))

    assert lab._runtime is not None
    lab._runtime.submit(go).result()


@pytest.mark.parametrize("above", [None, "/outer"])
def test_a_supervisor_that_is_killed_in_the_middle_loses_nobody(lab: Lab, above: str | None) -> None:
    """All come back; every life starts once and ends once, and the states are those of the last commits."""
    lab.start(Supervisor("outer", Supervisor("many")))
    refs = lab.start_many(Counter, SOME, under="/outer/many")
    for ref in (refs[0], refs[-1]):
        ref.call.add(5).result(30)

    kill_in_the_middle(lab, "/outer/many", above)
    lab.wait_idle(120)

    assert lab["/outer/many"].count_children()["active"] == SOME
    assert [ref.call.add(1).result(30) for ref in (refs[0], refs[1], refs[-1])] == [6, 1, 6]
    events = lab.events()
    of_them = events[events["path"].str.startswith("/outer/many/")]
    started = of_them[of_them["kind"].eq("started")]
    ended = of_them[of_them["kind"].isin(["killed", "exited"])]
    assert not started.duplicated(["path", "incarnation"]).any()
    assert not ended.duplicated(["path", "incarnation"]).any()
    assert len(started) - len(ended) == SOME


def test_one_that_is_parked_in_the_middle_still_knows_all_of_them(tmp_path: Path) -> None:
    """Also those that it had not come to: they are down with it, come back with it, and are gone with it."""
    with Lab(tmp_path / "run.lab", nodes=1) as lab:
        lab.start(child(Supervisor("many"), own_limit=Limit(1, 1000.0)))
        refs = lab.start_many(Counter, SOME, under="/many")
        kill_in_the_middle(lab, "/many")
        lab.wait_idle(120)

        assert lab["/many"].status == "parked"
        assert {ref.status for ref in (refs[0], refs[-1])} == {"stopped"}
        lab["/many"].restart()
        lab.wait_idle(120)
        assert lab["/many"].count_children()["active"] == SOME
        assert refs[-1].call.add(1).result(30) == 1

        kill_in_the_middle(lab, "/many")
        lab.wait_idle(120)
        lab["/"].delete_child("many")
        lab.start(Supervisor("many"))
        assert lab.start(Counter, id=refs[-1].id, under="/many").state == {"count": 0}
    with Lab(tmp_path / "run.lab", nodes=1, resume=True) as lab:
        assert sorted(lab.agents()["path"]) == sorted(["/", "/many", refs[-1].path])


def test_a_lab_that_is_closed_in_the_middle_has_all_of_them_when_it_is_opened_again(tmp_path: Path) -> None:
    """Those that were not back yet run there too."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=1) as lab:
        lab.start(Supervisor("many"))
        refs = lab.start_many(Counter, SOME, under="/many")
        refs[-1].call.add(5).result(30)
        lab["/many"].kill()
    with Lab(path, nodes=1, resume=True) as lab:
        assert lab["/many"].count_children()["active"] == SOME
        assert lab[refs[-1].path].call.add(1).result(30) == 6
        assert lab[refs[-2].path].call.add(1).result(30) == 1
