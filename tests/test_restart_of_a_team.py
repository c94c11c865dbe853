"""``restart()`` of a supervisor by a person: whoever comes back below it has its messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentlab import Agent, Lab, Limit, Ref, Supervisor, child
from agentlab.errors import AgentDown, NotRunning, StartFailed
from tests.agents import Counter
from tests.conftest import wait_for


class Barred(Agent):
    """Does not come up once its folder is barred."""

    place: str

    async def on_start(self) -> None:
        """Look."""
        if (Path(self.place) / "barred").exists():
            raise ValueError("barred")


def held(ref: Ref) -> Ref:
    """An agent that takes no message for now, so that what it is sent waits."""
    ref.suspend()
    return ref


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
@pytest.mark.parametrize("file", [False, True])
def test_casts_and_calls_that_wait_are_handled_by_the_next_lives(tmp_path: Path, strategy: str, file: bool) -> None:
    """Of declared children, of those in a team below, and of those that were added: nothing accepted is lost."""
    with Lab(tmp_path / "run.lab" if file else None, nodes=2) as lab:
        inner = Supervisor("inner", child(Counter, id="deep"))
        team = lab.start(Supervisor("team", child(Counter, id="a"), inner, strategy=strategy))
        lab.start(Counter, id="added", under="/team")
        refs = [held(lab[path]) for path in ("/team/a", "/team/inner/deep", "/team/added")]
        for ref in refs:
            ref.cast.add(1)
            ref.cast.add(10)
        replies = [ref.call.add(100) for ref in refs]

        team.restart()

        assert [reply.result(30) for reply in replies] == [111] * 3
        assert [ref.incarnation for ref in refs] == [2] * 3
        assert not len(lab.dead_letters())


def test_what_is_cast_while_a_team_restarts_is_handled(lab: Lab) -> None:
    """Between its end and its start nobody below it is called stopped."""
    team = lab.start(Supervisor("team", child(Counter, id="a"), child(Counter, id="b")))
    busy = lab["/team/b"]
    busy.cast.hang()
    wait_for(lambda: busy.status == "busy")
    a = held(lab["/team/a"])
    a.cast.add(1)

    team.restart()
    a.cast.add(1)

    wait_for(lambda: a.state == {"count": 2})
    assert not len(lab.dead_letters())
    busy.skip()


def test_a_team_that_does_not_come_up_again_leaves_dead_letters(lab: Lab, tmp_path: Path) -> None:
    """Nobody is about to handle them: who waits is told, and casts can be sent again."""
    team = lab.start(Supervisor("team", child(Barred, id="first", place=str(tmp_path)), child(Counter, id="a")))
    a = held(lab["/team/a"])
    a.cast.add(1)
    reply = a.call.add(1)
    (tmp_path / "barred").touch()

    with pytest.raises(StartFailed, match="barred"):
        team.restart()

    with pytest.raises(AgentDown):
        reply.result(30)
    assert lab.dead_letters()["path"].tolist() == ["/team/a"]
    (tmp_path / "barred").unlink()
    team.restart()
    assert lab.retry("/team/a") == 1
    wait_for(lambda: a.state == {"count": 1})


def test_stopping_a_team_for_good_still_leaves_dead_letters(lab: Lab) -> None:
    """``terminate_child`` promises no next life, whatever follows later."""
    lab.start(Supervisor("team", Supervisor("inner", child(Counter, id="a"))))
    a = held(lab["/team/inner/a"])
    a.cast.add(1)

    lab["/team"].terminate_child("inner")

    assert lab.dead_letters()["path"].tolist() == ["/team/inner/a"]
    lab["/team"].restart_child("inner")
    lab.wait_idle(30)
    assert lab["/team/inner/a"].call.add(1).result(30) == 1


def test_a_supervisor_counts_whoever_starts_it_again(lab: Lab) -> None:
    """A person, its supervisor after a crash, and that one's restart; who is started anew at its place begins anew."""
    team = lab.start(Supervisor("team", Supervisor("inner", child(Counter, id="a"))))
    inner = lab["/team/inner"]

    inner.restart()
    assert counts(lab, "/team/inner") == (2, 1)
    inner.kill()
    lab.wait_idle()
    assert counts(lab, "/team/inner") == (3, 2)
    team.restart()
    assert (counts(lab, "/team"), counts(lab, "/team/inner")) == ((2, 1), (4, 3))

    team.terminate_child("inner")
    team.delete_child("inner")
    team.start_child(child(Supervisor("inner"), id="inner"))
    assert counts(lab, "/team/inner")[1] == 0


def counts(lab: Lab, path: str) -> tuple[int, int]:
    """Incarnation and restarts, as the frame has them."""
    row = lab.agents().set_index("path").loc[path]
    return int(row["incarnation"]), int(row["restarts"])


def parked_team(lab: Lab) -> tuple[Ref, Ref, Ref]:
    """A team that needed too many restarts, one that it declares, and one that was added to it."""
    spec = child(Supervisor("team", child(Counter, id="a"), max_restarts=0), id="team", own_limit=Limit(3, 1000.0))
    team = lab.start(spec)
    added = lab.start(Counter, id="added", under=team)
    assert (lab["/team/a"].call.add(1).result(60), added.call.add(2).result(60)) == (1, 2)
    added.suspend()
    added.cast.add(10)
    while team.status != "parked":
        lab["/team/a"].kill()
        lab.wait_idle(60)
        held(added).cast.add(0) if team.status != "parked" else None
    return team, lab["/team/a"], added


def test_casts_wait_for_those_below_a_parked_team(lab: Lab) -> None:
    """As for a parked agent: what was accepted before and what comes meanwhile is handled when it is started again."""
    team, a, added = parked_team(lab)
    a.cast.add(100)
    added.cast.add(100)
    with pytest.raises(NotRunning, match=r"its supervisor '/team' is parked. That one's restart\(\) brings both back"):
        a.call.add(1).result(60)
    assert not len(lab.dead_letters())

    team.restart()

    assert (a.call.add(0).result(60), added.call.add(0).result(60)) == (101, 112)
    assert not len(lab.dead_letters())


def test_a_parked_team_is_whole_when_its_store_is_opened_again(tmp_path: Path) -> None:
    """Who was added comes back with it, and so do the casts; ``resume()`` leaves it parked."""
    with Lab(tmp_path / "run.lab", nodes=1) as lab:
        _, a, _ = parked_team(lab)
        a.cast.add(100)
    with Lab(tmp_path / "run.lab", nodes=1, resume=True) as lab:
        assert (lab["/team"].status, lab["/team/a"].status, lab["/team/added"].status) == ("parked",) * 3
        assert lab.resume() == []
        lab["/team/added"].cast.add(100)

        lab["/team"].restart()

        assert lab["/team/a"].call.add(0).result(60) == 101
        assert lab["/team/added"].call.add(0).result(60) == 112
        assert not len(lab.dead_letters())


@pytest.mark.parametrize("how", [True, "ask"])
def test_who_was_terminated_stays_so_when_the_store_is_opened_again(tmp_path: Path, how: bool | str) -> None:
    """As OTP keeps it: its spec and no process, whether it was declared or added, until somebody restarts it."""
    inner = Supervisor("inner", child(Counter, id="deep"))
    with Lab(tmp_path / "run.lab", nodes=1) as lab:
        team = lab.start(Supervisor("team", child(Counter, id="a"), child(Counter, id="b"), inner))
        lab.start(Counter, id="added", under=team)
        assert lab["/team/a"].call.add(7).result(60) == 7
        team.terminate_child("a")
        team.terminate_child("added")
        lab["/team/inner"].terminate_child("deep")
    with Lab(tmp_path / "run.lab", nodes=1, resume=how) as lab:
        lab.resume()
        team = lab["/team"]
        status = {path: lab[path].status for path in ("/team/a", "/team/b", "/team/added", "/team/inner/deep")}
        assert status == dict.fromkeys(status, "stopped") | {"/team/b": "running"}
        assert lab["/team/a"].state == {"count": 7}
        assert team.count_children()["active"] == 2
        assert team.restart_child("a").call.add(1).result(60) == 8
    with Lab(tmp_path / "run.lab", nodes=1, resume=True) as lab:
        assert (lab["/team/a"].status, lab["/team/inner/deep"].status) == ("running", "stopped")
