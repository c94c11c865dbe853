"""The lab as a person uses it: real nodes, real messages."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import threading
from collections import Counter as Tally
from pathlib import Path

import psutil
import pytest

from agentlab import Agent, Lab, Limit, Supervisor, child
from agentlab.errors import (
    AgentDown,
    AlreadyStarted,
    CallTimeout,
    ChildNotFound,
    ChildRunning,
    LabClosed,
    NotRunning,
)
from agentlab.kernel.idle import Idleness
from tests.agents import Boss, Counter, Keeper, Polite, Stillborn
from tests.conftest import wait_for


def test_the_cell_of_the_contract(lab: Lab) -> None:
    """A counter that crashed goes on from its last checkpoint."""
    counter = lab.start(Counter, id="counter")

    assert repr(lab) == "Lab('memory', 1 agent, 2 nodes)"
    assert repr(counter) == "Ref('/counter', Counter, running)"
    assert counter.call.add(5).result(60) == 5
    counter.crash()
    assert counter.call.add(1).result(60) == 6
    assert counter.incarnation == 2
    assert lab.events().query("path == '/counter'")["kind"].tolist() == ["started", "crashed", "restarting", "started"]


async def test_a_reply_is_awaited_in_a_running_loop() -> None:
    """``Lab()`` works inside a running loop, and its replies are awaited there."""
    async with Lab() as lab:
        counter = lab.start(Counter)
        assert await counter.call.add(2) == 2
        assert await asyncio.gather(*(counter.call.add() for _ in range(5))) == [3, 4, 5, 6, 7]


def test_two_labs_and_a_lab_in_a_thread() -> None:
    """Labs do not know of each other, whatever thread made them."""
    found: list[int] = []

    def work() -> None:
        with Lab(nodes=1) as other:
            found.append(other.start(Counter, id="c").call.add(7).result(20))

    thread = threading.Thread(target=work)
    with Lab(nodes=1) as lab:
        counter = lab.start(Counter, id="c")
        thread.start()
        counter.call.add(1).result(20)
        thread.join(60)
        assert found == [7]
        assert counter.state == {"count": 1}


def test_every_acknowledged_increment_counts_once_among_kills(lab: Lab) -> None:
    """100 agents, 1,000 calls, 20 kills: what was answered is in the state, once."""
    chance = random.Random(7)
    refs = lab.start_many(Counter, 100)
    victims = chance.sample(refs, 20)
    replies = []
    for number in range(1000):
        ref = chance.choice(refs)
        replies.append((ref.path, ref.call.add()))
        if number % 50 == 25:
            victims.pop().kill()

    answered = Tally(path for path, reply in replies if reply.result(30))
    lab.wait_idle(60)

    assert sum(answered.values()) == 1000
    assert {ref.path: ref.state["count"] for ref in refs} == {ref.path: answered[ref.path] for ref in refs}
    assert lab.events()["kind"].tolist().count("killed") == 20


def test_a_killed_node_costs_its_agents_no_state(lab: Lab) -> None:
    """SIGKILL for a node: its agents are back on another with their states, uncounted."""
    refs = lab.start_many(Counter, 20)
    refs.call.add(3).result(30)
    victim = refs[0].node
    pid = refs[0].call.pid().result(60)

    os.kill(pid, signal.SIGKILL)

    assert refs.call.add(1).result(30) == [4] * 20
    assert victim not in {ref.node for ref in refs}
    assert set(lab.agents()["restarts"]) == {0}
    wait_for(lambda: repr(lab) == "Lab('memory', 20 agents, 2 nodes)")


def test_a_message_in_hand_moves_with_its_agent(lab: Lab) -> None:
    """A call that hangs on a node that dies is delivered again elsewhere, and the caller hears nothing of it."""
    counter = lab.start(Counter)
    counter.call.add(1).result(60)
    pid = counter.call.pid().result(60)
    counter.cast.hang()
    later = counter.call.add(1)
    wait_for(lambda: counter.info()["message"] == "hang")

    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: counter.incarnation == 2 and counter.info()["message"] == "hang")

    assert not later.done()
    assert counter.state == {"count": 1}


def test_a_poisoned_message_fails_after_three_deliveries(lab: Lab) -> None:
    """The caller gets AgentDown with the crash as its cause; state and agent survive."""
    counter = lab.start(Counter)
    counter.call.add(1).result(60)

    with pytest.raises(AgentDown, match="no tea") as caught:
        counter.call.boom().result(60)

    assert isinstance(caught.value.__cause__, ValueError)
    assert "in boom" in caught.value.__cause__.__notes__[0]
    assert counter.call.add(1).result(60) == 2
    assert lab.messages().query("method == 'boom'")["deliveries"].tolist() == [3]


def test_without_redelivery_the_caller_hears_at_once(lab: Lab) -> None:
    """``redeliver=False`` is OTP's way: one death, one AgentDown."""
    counter = lab.start(Counter)

    with pytest.raises(AgentDown):
        counter.call(redeliver=False).boom().result(60)

    lab.wait_idle(60)
    assert counter.incarnation == 2


def test_messages_behind_a_crash_keep_their_order(lab: Lab) -> None:
    """What waits in the mailbox is handled by the next incarnation, in order."""
    counter = lab.start(Counter)
    counter.call(redeliver=False).boom()
    sums = [counter.call.add() for _ in range(50)]
    assert [reply.result(60) for reply in sums] == list(range(1, 51))


def test_a_permanent_agent_that_crashes_too_often_is_parked(lab: Lab) -> None:
    """Directly under the root the fourth crash within the limit parks the agent alone; of itself it is 3 in 5 s."""
    neighbour = lab.start(Counter, id="n")
    counter = lab.start(child(Counter, id="c", own_limit=Limit(3, 600.0)))  # on a busy machine 5 s may pass meanwhile
    for _ in range(4):
        wait_for(lambda: counter.status == "running")
        counter.crash(ValueError("again"))
        lab.wait_idle(60)

    assert lab._runtime is not None
    root = lab._runtime.desk.tree.root.spec.what
    assert isinstance(root, Supervisor)
    assert (root.max_restarts, root.max_seconds) == (3, 5.0)
    assert counter.status == "parked"
    with pytest.raises(NotRunning, match="parked"):
        counter.call.add().result(60)
    counter.cast.add(5)
    assert neighbour.call.add().result(60) == 1
    counter.restart()
    assert counter.call.add().result(60) == 6


def test_stop_is_orderly_and_for_good(lab: Lab) -> None:
    """``stop`` lets the message in hand finish, runs ``on_stop``, and nobody restarts the agent."""
    polite = lab.start(Polite, id="p")

    polite.stop("shutdown")

    assert polite.status == "stopped"
    assert "stopped: shutdown" in polite.log()
    with pytest.raises(NotRunning):
        polite.call.look().result(60)
    again = lab.start(Polite, id="p")
    assert again.call.look().result(60) == ["start 1"]


def test_restart_is_uncounted_and_keeps_the_state(lab: Lab) -> None:
    """``restart`` stops and starts again; the state goes on, the restart limit is not touched."""
    counter = lab.start(Counter)
    counter.call.add(4).result(60)
    for _ in range(6):
        counter.restart()
    assert counter.call.add().result(60) == 5
    assert counter.incarnation == 7


def test_on_start_that_fails_is_raised_and_leaves_nothing(lab: Lab) -> None:
    """``start`` raises what ``on_start`` raised; nothing is kept."""
    with pytest.raises(LookupError, match="no such kettle"):
        lab.start(Stillborn, id="s")
    assert lab.whereis("s") is None
    assert "/s" not in lab.agents()["path"].tolist()


def test_supervisors_nest_and_escalate(lab: Lab) -> None:
    """A supervisor past its intensity ends, and the one above starts it again with its children."""
    team = lab.start(
        Supervisor(
            "team",
            Supervisor("inner", child(Counter, id="a"), child(Counter, id="b"), max_restarts=1, max_seconds=600.0),
            child(Counter, id="c"),
        )
    )
    a, b, c = (lab[path] for path in ("/team/inner/a", "/team/inner/b", "/team/c"))
    b.call.add(2).result(60)
    a.crash()
    lab.wait_idle(60)
    a.crash()
    lab.wait_idle(60)

    assert (a.incarnation, b.incarnation, c.incarnation) == (3, 2, 1)
    assert b.state == {"count": 2}
    kinds = lab.events().query("path == '/team/inner'")["kind"].tolist()
    assert kinds == ["supervisor_started", "gave_up", "supervisor_exited", "restarting", "supervisor_started"]
    assert [kid[0] for kid in team.which_children()] == ["c", "inner"]


def test_restart_types_under_a_supervisor(lab: Lab) -> None:
    """A transient child that ends normally stays down; a temporary one that crashes is gone."""
    team = lab.start(
        Supervisor("t", child(Counter, id="tr", restart="transient"), child(Counter, id="te", restart="temporary"))
    )
    tr, te = lab["/t/tr"], lab["/t/te"]

    assert tr.call.finish().result(60) == "done"
    te.crash()
    lab.wait_idle(60)

    assert tr.status == te.status == "stopped"
    assert [kid[:2] for kid in team.which_children()] == [("tr", None)]
    assert team.restart_child("tr").call.add().result(60) == 1


def test_administration_calls_have_otps_errors(lab: Lab) -> None:
    """Errors are named for the fact and say what to do."""
    team = lab.start(Supervisor("t", child(Counter, id="a")))
    with pytest.raises(AlreadyStarted, match="'a' under '/t'"):
        team.start_child(child(Counter, id="a"))
    with pytest.raises(ChildRunning, match="terminate_child"):
        team.delete_child("a")
    with pytest.raises(ChildNotFound, match="which_children"):
        team.terminate_child("nobody")
    team.terminate_child("a")
    team.delete_child("a")
    assert team.count_children() == {"specs": 0, "active": 0, "supervisors": 0, "workers": 0}


def test_agents_start_and_call_each_other(lab: Lab) -> None:
    """From inside: start, call, cast; refs travel as arguments and results."""
    boss = lab.start(Boss)
    kid = boss.call.hire("kid").result(60)
    assert boss.call.ask(kid, 3).result(60) == 3
    boss.call.tell(kid, 4).result(60)
    lab.wait_idle(60)
    assert kid.state == {"count": 7}
    assert kid == lab["/kid"]


def test_a_cast_leaves_with_the_commit_only(lab: Lab) -> None:
    """A handler that crashes after a cast has sent nothing."""
    boss, counter = lab.start(Boss), lab.start(Counter, id="c")
    with pytest.raises(AgentDown):
        boss.call(redeliver=False).tell_then_crash(counter).result(60)
    lab.wait_idle(60)
    assert counter.state == {"count": 0}


def test_values_are_copied_between_agents(lab: Lab) -> None:
    """No list is shared, neither between agents nor with a cell."""
    boss, keeper = lab.start(Boss), lab.start(Keeper, id="k")
    mine = [5]
    keeper.call.keep(mine).result(60)
    assert mine == [5]
    assert boss.call.mutate(keeper).result(60) == [1, 2, 99]
    assert keeper.call.look().result(60) == [1, 2, 99]


def test_prints_go_to_the_agents_log(lab: Lab) -> None:
    """``print`` in an agent lands in that agent's log, nowhere else."""
    one, two = lab.start(Counter, id="one"), lab.start(Counter, id="two")
    one.call.say("hello\nworld").result(60)
    assert one.log() == "hello\nworld"
    assert two.log() == ""


def test_calls_to_the_dead_and_the_unknown(lab: Lab) -> None:
    """Nobody waits for an agent that is not there."""
    counter = lab.start(Counter, id="c", restart="temporary")
    counter.kill()
    lab.wait_idle(60)
    with pytest.raises(NotRunning, match="no agent '/c'"):
        counter.call.add().result(60)
    with pytest.raises(KeyError):
        lab["/nobody"]
    counter.cast.add()
    lab.wait_idle(60)
    assert lab.events()["kind"].tolist().count("dead_letter") == 1


def test_who_waits_for_idleness_looks_when_something_has_happened_only(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While an agent works, neither the waiting cell nor the lab does: no look makes the next one due."""
    looks = []
    look = Idleness.look_again
    monkeypatch.setattr(Idleness, "look_again", lambda idleness: (looks.append(1), look(idleness)))
    counter = lab.start(Counter)
    counter.cast.hang()

    with pytest.raises(CallTimeout, match="busy"):
        lab.wait_idle(0.5)

    assert len(looks) < 20


def test_a_closed_lab_says_so() -> None:
    """After ``close`` nothing hangs and nothing pretends."""
    lab = Lab(nodes=1)
    counter = lab.start(Counter)
    counter.call.add().result(20)
    waiting = counter.call.hang()
    wait_for(lambda: counter.status == "busy")
    lab.close()
    lab.close()
    with pytest.raises(AgentDown):
        waiting.result(60)
    with pytest.raises(LabClosed):
        counter.call.add()
    assert repr(lab) == "Lab('memory', closed)"
    assert counter.status == "stopped"
    assert lab.events()["kind"].iloc[-1] is not None


def test_a_lab_that_does_not_come_to_its_end_says_so_and_leaves_no_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever holds up the loop: close has a deadline, its error says what became of the lab, and nodes are gone."""
    monkeypatch.setattr("agentlab.kernel.runtime.UNDONE_SECONDS", 0.2)
    lab = Lab(nodes=1)
    lab.start(Counter, id="c")
    nodes = [psutil.Process(node.process.pid) for node in lab._runtime.desk.pool.nodes.values()]

    async def never(timeout: float) -> None:
        await asyncio.sleep(1000)

    monkeypatch.setattr(lab._runtime, "_close", never)
    with pytest.raises(CallTimeout, match=r"close: 1 agent had not ended after .* are ended all the same"):
        lab.close(0.1)

    assert lab._runtime.closed
    psutil.wait_procs(nodes, 30)
    assert not any(node.is_running() and node.status() != psutil.STATUS_ZOMBIE for node in nodes)


def test_close_stops_children_in_reverse_order(lab: Lab) -> None:
    """The tree ends from right to left, each through ``on_stop``."""
    lab.start(Supervisor("t", child(Polite, id="a"), child(Polite, id="b")))
    lab.close()
    exits = lab.events().query("kind == 'exited'")["path"].tolist()
    assert exits == ["/t/b", "/t/a"]


def test_a_stored_lab_comes_back(tmp_path: Path) -> None:
    """Tree, states and incarnations are those of the last commit."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=1) as lab:
        lab.start(Supervisor("t", child(Counter, id="a", count=10), child(Counter, id="b"), strategy="one_for_all"))
        lab.start(Counter, id="gone").stop()
        lab["/t/a"].call.add(1).result(20)
        before = lab.agents()["path"].tolist()
    with Lab(path, nodes=1) as lab:
        assert lab.agents()["path"].tolist() == before
        assert lab["/t/a"].state == {"count": 11}
        assert lab["/t/a"].call.add(1).result(20) == 12
        assert lab["/t/b"].incarnation == 2
        assert lab["/gone"].status == "stopped"
        assert lab.events()["seq"].is_monotonic_increasing


def test_a_stored_lab_may_wait_for_a_person(tmp_path: Path) -> None:
    """``resume="ask"`` parks everything until ``lab.resume()``."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=1) as lab:
        lab.start(Counter, id="a").call.add(3).result(20)
    with Lab(path, nodes=1, resume="ask") as lab:
        assert lab["/a"].status == "parked"
        assert lab["/a"].state == {"count": 3}
        assert [ref.path for ref in lab.resume()] == ["/a"]
        assert lab["/a"].call.add(1).result(20) == 4


def test_who_calls_an_agent_that_has_ended_with_its_lab_is_told_that_it_closes(lab: Lab, tmp_path: Path) -> None:
    """Not that there is no such agent: it was there, and comes back when a file is opened again."""

    class Lingers(Agent):
        """Ends when somebody lets it."""

        async def on_stop(self, reason: object) -> None:
            wait_for((tmp_path / "go").exists)

    lab.start(Lingers, id="last", shutdown=30.0)
    counter = lab.start(Counter, id="c")
    closing = threading.Thread(target=lambda: lab.close(30.0))
    closing.start()
    try:
        wait_for(lambda: "exited" in set(lab.events(path="/c")["kind"]))
        with pytest.raises(NotRunning, match="the lab is closing"):
            counter.call.add(1).result(20)
    finally:
        (tmp_path / "go").touch()
        closing.join()


def test_a_cell_that_computes_has_the_interpreter_no_longer_than_a_call_takes(lab: Lab) -> None:
    """The lab's loop insists on its turn after half a millisecond: Python's own five would slow every call down."""
    assert sys.getswitchinterval() <= 0.0005
