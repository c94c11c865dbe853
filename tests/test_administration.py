"""Administration calls and restarts where timing shows: what the recordings made us look at, one by one."""

from __future__ import annotations

import threading

import anyio
import pytest

from agentlab import Agent, Backoff, Exit, Lab, Supervisor, child
from agentlab.errors import AgentDown, ChildNotFound, StartFailed
from tests.agents import Counter
from tests.conftest import wait_for


class Lingerer(Agent):
    """Takes its time to end."""

    seconds: float = 0.3

    async def on_stop(self, reason: str) -> None:
        """Linger."""
        print("ending")
        await anyio.sleep(self.seconds)


class Unborn(Agent):
    """Comes up the first time only."""

    async def on_start(self) -> None:
        """Fail in later lives."""
        if self.incarnation > 1:
            raise Exit("boom")


def test_a_life_that_ends_beside_its_successor_keeps_its_number(lab: Lab) -> None:
    """A killed supervisor's child may still clean up while the next one runs; both are counted and waited for."""
    top = lab.start(Supervisor("top", child(Supervisor("team", child(Lingerer, id="w")), id="team")))

    lab[f"{top.path}/team"].kill()
    lab.wait_idle()

    events = lab.events(path="/top/team/w").query("kind in ('started', 'log', 'killed')")
    assert sorted(zip(events["kind"], events["incarnation"], strict=True)) == [
        ("killed", 1),
        ("log", 1),
        ("started", 1),
        ("started", 2),
    ]
    assert lab["/top/team/w"].log() == "ending"


def test_idle_after_a_group_restart_that_was_never_finished(lab: Lab) -> None:
    """A supervisor that gives up in the middle leaves nothing to wait for, though the crashed child never ran again."""
    first = child(Unborn, id="first")
    lab.start(child(Supervisor("team", first, Counter, strategy="one_for_all", max_restarts=1), restart="transient"))

    lab["/team/counter"].crash()
    lab.wait_idle()

    assert lab["/team"].status == "stopped"


def test_an_instance_between_two_lives_is_terminated_by_its_id(lab: Lab) -> None:
    """``terminate_child`` cancels the wait of an instance of ``simple_one_for_one``, and it is gone."""
    template = child(Counter, backoff=Backoff(60.0, maximum=60.0))
    team = lab.start(Supervisor("team", template, strategy="simple_one_for_one"))
    one = lab.start(Counter, id="one", under=team)
    one.crash()
    wait_for(lambda: one.status == "backing_off")

    team.terminate_child("one")

    assert team.which_children() == []
    lab.wait_idle()


def test_an_instance_has_its_templates_spec(lab: Lab) -> None:
    """``get_childspec`` answers for the template and for its instances, and for nobody else."""
    team = lab.start(Supervisor("team", child(Counter, id="any"), strategy="simple_one_for_one"))
    lab.start(Counter, id="one", under=team)

    assert team.get_childspec("one") == team.get_childspec("any")
    with pytest.raises(ChildNotFound):
        team.get_childspec("two")
    with pytest.raises(ChildNotFound):
        team.terminate_child("two")


def test_a_failed_start_keeps_its_reason(lab: Lab) -> None:
    """``StartFailed.reason`` is what the supervisor saw, down to the child that failed."""
    with pytest.raises(StartFailed, match="shutdown: failed_to_start_child: w: boom") as caught:
        lab.start(Supervisor("team", child(Refuser, id="w")))

    assert caught.value.reason == ("shutdown", ("failed_to_start_child", "w", "boom"))


class Refuser(Agent):
    """Never comes up."""

    async def on_start(self) -> None:
        """Refuse."""
        raise Exit("boom")


def test_a_call_that_a_supervisor_does_not_live_to_answer_says_why(lab: Lab) -> None:
    """A call that waits while its supervisor ends raises ``AgentDown`` with the supervisor's reason."""
    team = lab.start(
        child(Supervisor("team", child(Lingerer, id="w", seconds=60.0, shutdown=60.0)), restart="temporary")
    )
    caught: list[BaseException] = []

    def ask() -> None:
        try:
            team.terminate_child("w")
        except AgentDown as down:
            caught.append(down)

    asking = threading.Thread(target=ask)
    asking.start()
    wait_for(lambda: lab["/team/w"].log() == "ending")
    team.kill()
    asking.join(20)

    assert [(type(error), getattr(error, "reason", None)) for error in caught] == [(AgentDown, "killed")]
