"""``restart()`` of a supervisor by a person: whoever comes back below it has its messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentlab import Agent, Lab, Ref, Supervisor, child
from agentlab.errors import AgentDown, StartFailed
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
