"""Looking into agents and steering them: info, draft, suspend, replace, trace, explain, back-off, limits."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from agentlab import Agent, Backoff, Lab, Limit, Supervisor, child
from agentlab.errors import AgentDown, InvalidState, MaxChildren, NotRunning, SimpleOneForOne
from tests.agents import Counter
from tests.conftest import wait_for


class Slow(Agent):
    """Changes its state, then waits."""

    count: int = 0

    async def work(self) -> None:
        """Change, do a step, then wait for ever."""
        self.count += 1
        await self.step(anyio.sleep, 0.01)
        await anyio.sleep_forever()

    async def add(self) -> int:
        """Add one."""
        self.count += 1
        return self.count


def test_state_and_draft_of_a_busy_agent(lab: Lab) -> None:
    """While a message is handled, ``state`` is the last commit and ``draft`` what is in hand."""
    slow = lab.start(Slow)
    slow.call.add().result(60)
    slow.cast.work()
    wait_for(lambda: len(lab.steps()) == 1)  # its step is over, so it waits for nothing that its kernel knows of
    wait_for(lambda: slow.draft["count"] == 2)  # where a node does not answer soon the draft is the last commit,
    seen: list[dict[str, Any]] = []
    wait_for(lambda: seen.append(slow.info()) or seen[-1]["memory"] is not None)  # type: ignore[func-returns-value]  # and this is None
    assert slow.state == {"count": 1}
    info = seen[-1]
    assert (info["status"], info["message"], info["mailbox"]) == ("busy", "work", 1)
    assert info["message_age_s"] > 0
    assert info["cpu_s"] > 0
    assert info["memory"] > 0


def test_suspend_and_resume(lab: Lab) -> None:
    """A suspended agent takes no message, keeps them all, and goes on in order; idle does not wait for it."""
    counter = lab.start(Counter)
    counter.suspend()
    replies = [counter.call.add() for _ in range(3)]
    lab.wait_idle(60)
    assert counter.status == "suspended"
    assert not replies[0].done()
    counter.resume()
    assert [reply.result(60) for reply in replies] == [1, 2, 3]
    assert counter.status == "running"


def test_replace_state_is_checked_and_committed(lab: Lab) -> None:
    """A value that does not fit is refused; one that fits is a checkpoint that survives a crash."""
    counter = lab.start(Counter)
    with pytest.raises(InvalidState, match=r"Counter.count is int; got 'x'"):
        counter.replace_state(count="x")
    with pytest.raises(InvalidState, match="no field 'cuont'"):
        counter.replace_state(cuont=1)
    assert counter.replace_state(count=41) == {"count": 41}
    counter.crash()
    assert counter.call.add().result(60) == 42
    assert "state_replaced" in lab.events()["kind"].tolist()
    counter.stop()
    assert counter.replace_state(count=7) == {"count": 7}
    counter.restart()
    assert counter.call.add().result(60) == 8


def test_trace_shows_each_message(lab: Lab) -> None:
    """Traced messages are events with their arguments, also after a restart, until it is switched off."""
    counter = lab.start(Counter)
    counter.call.add(1).result(60)
    counter.trace()
    counter.call.add(2).result(60)
    counter.kill()
    counter.call.add(n=3).result(60)
    counter.trace(False)
    counter.call.add(4).result(60)
    assert lab.events().query("kind == 'message'")["detail"].tolist() == ["add(2)", "add(n=3)"]


def test_backoff_waits_and_is_cancelled_by_terminate(lab: Lab) -> None:
    """A delayed restart shows as ``backing_off``; ``terminate_child`` cancels it; messages wait for it."""
    short_then_long = Backoff(initial=0.1, factor=9000.0, maximum=900.0, jitter=0.0)
    team = lab.start(Supervisor("t", child(Counter, id="c", backoff=short_then_long)))
    counter = lab["/t/c"]
    counter.crash()
    assert counter.call.add().result(60) == 1
    assert counter.incarnation == 2
    counter.crash()
    wait_for(lambda: counter.status == "backing_off")
    assert team.which_children() == [("c", "restarting", "worker")]
    team.terminate_child("c")
    assert counter.status == "stopped"
    lab.wait_idle(60)
    assert lab.events().query("kind == 'backing_off'")["detail"].tolist() == ["waits 0.1 s", "waits 900 s"]


def test_own_limit_parks_one_child_alone(lab: Lab) -> None:
    """One bad child is parked, its siblings and its supervisor's intensity are untouched, and explain says why."""
    lab.start(
        Supervisor("t", child(Counter, id="bad", own_limit=Limit(1, 60.0)), child(Counter, id="good"), max_restarts=0)
    )
    bad, good = lab["/t/bad"], lab["/t/good"]
    for _ in range(2):
        wait_for(lambda: bad.status == "running")
        bad.crash(ValueError("no tea"))
        lab.wait_idle(60)
    assert bad.status == "parked"
    assert good.incarnation == 1
    told = " ".join(lab.explain(bad).split())
    assert "It ended twice, each time by a crash or a kill. Last," in told
    assert "gave up after 2 crashes in" in told
    assert "ValueError: no tea" in told
    with pytest.raises(NotRunning, match="no tea"):
        bad.call.add().result(60)


def test_explain_tells_what_is_in_hand_from_what_waits(lab: Lab) -> None:
    """The message in hand is not counted among those behind it."""
    counter = lab.start(Counter, id="c")
    counter.cast.hang()
    wait_for(lambda: counter.info()["message"])
    assert " ".join(lab.explain(counter).split()).endswith("It never ended by itself. In hand: hang.")
    counter.cast.add()
    wait_for(lambda: counter.info()["mailbox"] == 2)
    assert "In hand: hang; behind it 1 more waits in the mailbox." in " ".join(lab.explain(counter).split())


def test_explain_tells_asked_to_stop_from_gave_up(lab: Lab) -> None:
    """The reason of every stop is kept and told."""
    counter = lab.start(Counter, id="c")
    assert "never ended" in lab.explain(counter)
    counter.stop()
    assert "asked to stop (normal)" in lab.explain(counter)
    team = lab.start(Supervisor("t", child(Counter, id="a"), max_restarts=0), restart="temporary")
    lab["/t/a"].crash(ValueError("x"))
    lab.wait_idle(60)
    gave_up = lab.events().query("kind == 'gave_up'")
    assert gave_up["path"].tolist() == ["/t"]
    assert "ValueError: x" in gave_up["detail"].iloc[0]
    assert team.status == "stopped"


def test_dynamic_children(lab: Lab) -> None:
    """Instances of a template have ids, a bound, and OTP's refusals."""
    team = lab.start(Supervisor("t", child(Counter, id="c"), strategy="simple_one_for_one", max_children=3))
    refs = [lab.start(Counter, id=name, under=team, count=n) for n, name in enumerate("ab")]
    third = lab.start(Counter, under="/t")
    assert [ref.path for ref in [*refs, third]] == ["/t/a", "/t/b", "/t/c-1"]
    assert refs[1].call.add().result(60) == 2
    with pytest.raises(MaxChildren):
        lab.start(Counter, id="d", under=team)
    refs[1].crash()
    assert refs[1].call.add().result(60) == 3
    with pytest.raises(SimpleOneForOne):
        team.restart_child("a")
    team.terminate_child("a")
    assert refs[0].status == "stopped"
    assert team.count_children() == {"specs": 1, "active": 2, "supervisors": 0, "workers": 2}


def test_many_dynamic_children(lab: Lab) -> None:
    """A thousand agents start in one go, answer, and one of them restarts alone."""
    team = lab.start(Supervisor("many", strategy="one_for_one"))
    refs = lab.start_many(Counter, [{"count": n} for n in range(1000)], under=team)
    assert refs.call.add().result(60) == list(range(1, 1001))
    refs[500].kill()
    assert refs[500].call.add().result(60) == 502
    assert lab.agents()["incarnation"].value_counts().to_dict() == {1: 1001, 2: 1}
    assert repr(refs) == "Refs(1000 agents: /many/counter-1 … /many/counter-1000)"


def test_on_start_may_decline(lab: Lab) -> None:
    """``Exit("normal")`` in ``on_start`` is OTP's ignore: the record stays, nothing runs, nothing is an error."""
    from tests.agents import Shy

    shy = lab.start(Shy, id="shy")
    assert shy.status == "stopped"
    with pytest.raises(NotRunning):
        shy.call.hello().result(60)


def test_a_crash_reaches_a_waiting_handler(lab: Lab) -> None:
    """``crash(error)`` is raised inside a handler that waits; the caller gets it as the cause."""
    counter = lab.start(Counter)
    reply = counter.call(redeliver=False).hang()
    wait_for(lambda: counter.info()["message"] == "hang")
    counter.crash(KeyError("tea"))
    with pytest.raises(AgentDown) as caught:
        reply.result(60)
    assert isinstance(caught.value.__cause__, KeyError)


def test_explain_says_where_a_message_went_that_was_given_up(lab: Lab) -> None:
    """Its frame is named."""
    counter = lab.start(Counter, id="c")
    hanging = counter.call.hang()
    counter.skip()
    with pytest.raises(AgentDown):
        hanging.result(60)

    assert "1 of its messages is a dead letter: lab.dead_letters(path='/c')" in " ".join(lab.explain(counter).split())


def test_a_supervisor_is_there_since_its_present_life_began(lab: Lab) -> None:
    """Not since the lab was opened."""
    team = lab.start(Supervisor("team", child(Counter, id="c")))
    first = dict(lab.agents().set_index("path")["since"])

    team.restart()
    second = dict(lab.agents().set_index("path")["since"])

    assert first["/"] < first["/team"] < second["/team"]
    assert second["/"] == first["/"]
