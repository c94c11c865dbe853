"""Children that were added to a running supervisor come back with it: who, in which order, from where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentlab import Agent, Backoff, Exit, Lab, Limit, Supervisor, child
from agentlab.books.phase import Phase
from agentlab.errors import AgentDown, InvalidSpec, MaxChildren
from agentlab.supervision import Exited, Failed, Signal, Started, Tree
from agentlab.supervision.child import Child
from tests.agents import Counter
from tests.conftest import wait_for
from tests.test_supervision import Stage, below, team, worker


class Sample(Agent):
    """One of many; some crash."""

    number: int = 0
    done: int = 0

    async def work(self, bad: bool = False) -> int:
        """Do it, or crash."""
        if bad and self.done == 0:
            raise ValueError(f"sample {self.number} is bad")
        self.done += 1
        return self.number

    async def leave(self) -> None:
        """End well."""
        raise Exit("normal")


class Starter(Counter):
    """Has something to do whenever it comes up."""

    async def on_start(self) -> None:
        """Nothing much."""
        self._up = True


# the machine


def names(stage: Stage, path: str) -> list[str]:
    """The children of a supervisor, in start order."""
    record = stage.tree.find(path)
    assert record is not None
    return list(record.children)


def filled(*, how: str = "kill", **flags: Any) -> Stage:
    """A supervisor with a child of its own and three that were added, ended and started again."""
    stage = Stage(team("root", below(team("team", worker("s"), **flags)), max_restarts=10))
    stage.settle()
    for name in ("c", "a", "b"):
        stage.ask("/team", "start_child", worker(name))
    if how == "kill":
        stage.do(Signal(stage.life("/team"), "kill"))
    else:
        stage.do(Exited(stage.life("/team/a"), "boom"))
    return stage


@pytest.mark.parametrize("how", ["kill", "gives up"])
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_added_children_come_back_after_the_declared_in_their_order(how: str, strategy: str) -> None:
    """Whether the supervisor was killed or gave up; nothing is said to be removed."""
    stage = filled(how=how, strategy=strategy, max_restarts=0)

    stage.settle()

    assert names(stage, "/team") == ["s", "c", "a", "b"]
    assert {stage.state(f"/team/{name}") for name in "scab"} == {"running"}
    assert [kind for kind in stage.kinds() if kind.startswith("removed")] == []


def test_they_come_back_again_and_again() -> None:
    """Also when the supervisor dies before all of them have come up."""
    stage = filled()
    stage.do(Signal(stage.life("/team"), "kill"))

    stage.settle()

    assert names(stage, "/team") == ["s", "c", "a", "b"]
    assert {stage.state(f"/team/{name}") for name in "scab"} == {"running"}


def test_who_was_down_stays_down_and_temporary_children_are_gone() -> None:
    """Stopped by hand, ended well, parked by its own limit: as it was. What was between two restarts is started."""
    slow = Backoff(initial=10.0, jitter=0.0)
    stage = Stage(team("root", below(team("team"))))
    stage.settle()
    for spec in (
        worker("stopped"), worker("ended", restart="transient"), worker("parked", own_limit=Limit(0, 1.0)),
        worker("waits", backoff=slow), worker("once", restart="temporary"),
    ):  # fmt: skip
        stage.ask("/team", "start_child", spec)
    stage.ask("/team", "terminate_child", "stopped")
    stage.do(Exited(stage.life("/team/ended"), "normal"))
    stage.do(Exited(stage.life("/team/parked"), "boom"))
    stage.do(Exited(stage.life("/team/waits"), "boom"))

    stage.do(Signal(stage.life("/team"), "kill"))
    stage.settle()

    assert [(name, stage.state(f"/team/{name}")) for name in names(stage, "/team")] == [
        ("stopped", "undefined"), ("ended", "undefined"), ("parked", "parked"), ("waits", "running"),
    ]  # fmt: skip
    assert "removed /team/once" in stage.kinds()
    assert stage.ask("/team", "restart_child", "parked").life is not None


def test_one_that_does_not_come_up_holds_up_nobody() -> None:
    """The supervisor comes up with the others; the failed start is retried, and counted."""
    stage = filled()
    for life in [life for life in stage.lives if stage.signals.get(life)]:
        stage.do(Exited(life, "killed"))
    stage.do(Started(stage.life("/team/s")))

    stage.do(Failed(stage.life("/team/a"), "boom"))
    stage.settle()

    assert stage.state("/team") == "running"
    assert {stage.state(f"/team/{name}") for name in "scab"} == {"running"}
    assert stage.kinds().count("restarting /team/a") == 1


def test_supervisors_below_bring_back_theirs() -> None:
    """Declared and added ones, when the one above both is killed or stops them in order."""
    for how in ("kill", "stop"):
        stage = Stage(team("root", below(team("top", below(team("inner")))), max_restarts=9))
        stage.settle()
        stage.ask("/top", "start_child", below(team("more")))
        for path in ("/top/inner", "/top/more"):
            stage.ask(path, "start_child", worker("x"))
        if how == "kill":
            stage.do(Signal(stage.life("/top"), "kill"))
        else:
            stage.ask("/", "terminate_child", "top")
            stage.ask("/", "restart_child", "top")
        stage.settle()

        assert [record.path for record in stage.tree.records()] == [
            "/", "/top", "/top/inner", "/top/inner/x", "/top/more", "/top/more/x",
        ]  # fmt: skip


def test_instances_come_back_under_their_names() -> None:
    """Of a ``simple_one_for_one`` supervisor too, each with its fields; new ones get numbers that nobody has."""
    stage = Stage(team("root", below(team("pool", worker("w"), strategy="simple_one_for_one", max_children=3))))
    stage.settle()
    stage.ask("/pool", "start_children", [(None, {"n": 1}), ("x", {"n": 2})])

    stage.do(Signal(stage.life("/pool"), "kill"))
    stage.settle()
    third = stage.ask("/pool", "start_child", None, None)
    fourth = stage.ask("/pool", "start_child", None, None)

    pool = stage.tree.find("/pool")
    assert pool is not None
    assert [(kid.id, kid.fields, kid.state) for kid in pool.children.values()][:2] == [
        ("w-1", {"n": 1}, "running"), ("x", {"n": 2}, "running"),
    ]  # fmt: skip
    assert third.record.id not in ("w-1", "x")
    assert fourth.kind == "max_children"


def test_a_supervisor_that_is_gone_for_good_takes_them_along() -> None:
    """A later one of that name starts with none."""
    stage = filled()
    stage.settle()
    stage.ask("/", "terminate_child", "team")
    stage.ask("/", "delete_child", "team")

    stage.ask("/", "start_child", below(team("team", worker("s"))))

    assert names(stage, "/team") == ["s"]


def test_bring_back_is_checked() -> None:
    """True or False."""
    with pytest.raises(InvalidSpec, match="bring_back must be True or False; got 'no'"):
        Supervisor("team", bring_back="no")  # type: ignore[arg-type]
    assert isinstance(Tree(team("root")).root.spec, Child)


# a lab


def test_they_go_on_from_their_checkpoints_and_their_messages_wait(lab: Lab) -> None:
    """A supervisor gives up because of one of them: the others' states and what was sent to them are kept."""
    lab.start(Supervisor("team", max_restarts=0))
    refs = [
        lab.start(cls, id=f"c{n}", under="/team", count=10 * n) for n, cls in enumerate((Counter, Starter, Counter))
    ]
    for ref in refs:
        ref.call.add(1).result(30)
    refs[2].suspend()
    waiting = refs[2].call(timeout=60).add(5)

    refs[0].kill()
    lab.wait_idle(60)

    assert [ref.state["count"] for ref in refs] == [1, 11, 26]
    assert waiting.result(30) == 26
    assert [ref.incarnation for ref in refs] == [2, 2, 2]
    assert [ref.call.add(1).result(30) for ref in refs] == [2, 12, 27]
    assert [kid for kid, _, _ in reversed(lab["/team"].which_children())] == ["c0", "c1", "c2"]


def test_without_bring_back_they_are_forgotten(lab: Lab) -> None:
    """OTP's way: the supervisor comes back with what it declares, and who waits is told."""
    lab.start(Supervisor("team", child(Counter, id="own"), bring_back=False))
    added = lab.start(Counter, id="added", under="/team")
    added.suspend()
    waiting = added.call(timeout=60).add(1)

    lab["/team"].kill()
    lab.wait_idle(60)

    with pytest.raises(AgentDown):
        waiting.result(30)
    assert [kid for kid, _, _ in lab["/team"].which_children()] == ["own"]
    assert lab.start(Counter, id="added", under="/team").state["count"] == 0


def test_five_hundred_samples_of_which_many_crash_are_all_accounted_for(lab: Lab) -> None:
    """An eval by hand under one supervisor whose limit they share: it gives up as often as it must, and loses none."""
    lab.start(child(Supervisor("eval", max_restarts=3, max_seconds=5.0), own_limit=Limit(1000, 1.0)))
    samples = lab.start_many(Sample, [{"number": n} for n in range(500)], under="/eval")

    replies = [ref.call(timeout=300).work(bad=n % 10 == 0) for n, ref in enumerate(samples)]
    outcomes = []
    for reply in replies:
        try:
            outcomes.append(reply.result(300))
        except Exception as error:  # the sample's own, or what its supervisor makes of it
            outcomes.append(error)

    lab.wait_idle(300)
    assert len(lab["/eval"].which_children()) == 500
    assert [n for n, outcome in enumerate(outcomes) if outcome != n] == list(range(0, 500, 10))
    assert all(ref.state["number"] == n for n, ref in enumerate(samples))


def test_a_supervisor_that_was_parked_has_them_when_it_is_restarted(lab: Lab) -> None:
    """It gave up too often: its children wait with it, with their states and what was cast to them."""
    team = lab.start(child(Supervisor("team", max_restarts=0), own_limit=Limit(0, 1.0)))
    refs = lab.start_many(Counter, 20, under=team)
    refs[3].call.add(7).result(30)
    refs[4].kill()
    wait_for(lambda: team.status == "parked")

    team.restart()

    assert len(team.which_children()) == 20
    assert refs[3].call.add(1).result(30) == 8
    assert refs[4].call.add(1).result(30) == 1


def test_dormant_children_come_back_dormant(lab: Lab) -> None:
    """Who was never reached for needs no node to come back."""
    lab.start(Supervisor("many", max_restarts=3))
    refs = lab.start_many(Counter, 1000, under="/many")

    lab["/many"].kill()
    lab.wait_idle(60)

    agents = lab.agents().set_index("path")
    assert agents.loc["/many", "status"] == "running"
    assert lab["/many"].count_children()["active"] == 1000
    assert lab._runtime is not None
    assert sum(entry.phase is Phase.DORMANT for entry in lab._runtime.desk.entries.values()) == 1000
    assert refs[999].call.add(1).result(30) == 1
    assert refs[999].incarnation == 2


def test_max_children_holds_for_those_that_came_back(lab: Lab) -> None:
    """They keep their places."""
    lab.start(Supervisor("team", max_children=2))
    for name in ("a", "b"):
        lab.start(Counter, id=name, under="/team")
    lab["/team"].kill()
    lab.wait_idle(60)

    with pytest.raises(MaxChildren):
        lab.start(Counter, id="c", under="/team")
    assert lab["/team"].count_children()["active"] == 2


def test_who_was_stopped_or_ended_stays_so(lab: Lab) -> None:
    """A restart of its supervisor wakes nobody who was to rest; ``restart()`` does."""
    lab.start(Supervisor("team"))
    stopped = lab.start(Counter, id="stopped", under="/team")
    ended = lab.start(child(Sample, id="ended", restart="transient"), under="/team")
    stopped.call.add(3).result(30)
    stopped.stop()
    ended.cast.leave()
    wait_for(lambda: ended.status == "stopped")

    lab["/team"].kill()
    lab.wait_idle(60)

    assert (stopped.status, ended.status) == ("stopped", "stopped")
    assert stopped.state == {"count": 3}
    stopped.restart()
    assert stopped.call.add(1).result(30) == 4


def test_they_come_back_in_a_lab_that_is_opened_again(tmp_path: Path) -> None:
    """The flag and the children are in the store: a supervisor of the second kernel brings back those of the first."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=2) as lab:
        for name, flag in (("keeps", True), ("forgets", False)):
            lab.start(Supervisor(name, bring_back=flag))
            lab.start(Starter, id="added", under=f"/{name}", count=1)
    with Lab(path, nodes=2, resume=True) as lab:
        for name in ("keeps", "forgets"):
            lab[f"/{name}"].kill()
        lab.wait_idle(60)

        assert [kid for kid, _, _ in lab["/keeps"].which_children()] == ["added"]
        assert lab["/forgets"].which_children() == []
        assert lab["/keeps/added"].state["count"] == 1
    with Lab(path, nodes=2, resume=True) as lab:
        assert lab["/keeps/added"].call.add(1).result(30) == 2
        assert lab["/forgets"].which_children() == []


def test_who_was_down_is_down_in_a_lab_that_is_opened_again(tmp_path: Path) -> None:
    """A child of a team that was stopped stays so over the kernel's end too."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=2) as lab:
        lab.start(Supervisor("team"))
        lab.start(Counter, id="runs", under="/team")
        lab.start(Counter, id="rests", under="/team").stop()
    with Lab(path, nodes=2, resume=True) as lab:
        assert (lab["/team/runs"].status, lab["/team/rests"].status) == ("running", "stopped")
        lab["/team/rests"].restart()
        assert lab["/team/rests"].call.add(1).result(30) == 1
