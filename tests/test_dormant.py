"""Agents that were started by the thousand and that nobody has reached for: no node has them, and nothing shows it."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentlab import Agent, Lab, Ref, Supervisor, Transcript, child
from agentlab.books.agents import Entry
from agentlab.books.phase import Phase
from agentlab.control.many import AT_ONCE, start_many
from agentlab.errors import AgentDown, ChildRunning, InvalidSpec, MaxChildren, NotRunning, SimpleOneForOne
from agentlab.ref.many import Refs
from tests.agents import Counter
from tests.conftest import wait_for
from tests.held import nodes_of
from tests.test_links import Linker


class Diary(Agent):
    """Has fields of many kinds, and says that it stops."""

    title: str = "none"
    tags: set[str] = {"red", "green", "blue", "black"}
    pages: Transcript = Transcript()
    told: list[str] = []

    async def write(self, text: str) -> int:
        """Add a page; say how many there are."""
        self.pages.append(text)
        return len(self.pages)

    async def on_stop(self, reason: str) -> None:
        """Say why."""
        print(f"{self.id} stops: {reason}")


class Early(Agent):
    """Does something when it starts."""

    pid: int = 0

    async def on_start(self) -> None:
        """Note where."""
        self.pid = os.getpid()


@pytest.fixture(params=["memory", "file"])
def anylab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """A lab with and one without a file."""
    with Lab(tmp_path / "x.lab" if request.param == "file" else None, nodes=2) as made:
        yield made


def entry(lab: Lab, path: str) -> Entry | None:
    """The entry of an agent, if it has one."""
    runtime = lab._runtime
    assert runtime is not None
    return runtime.desk.entries.peek(path)


def dormant(lab: Lab, ref: Ref) -> bool:
    """Whether no node has the agent."""
    found = entry(lab, ref.path)
    return found is None or found.phase is Phase.DORMANT


def kinds(lab: Lab, path: str) -> list[str]:
    """What happened to an agent, in order."""
    return lab.events(path=path)["kind"].tolist()


def test_a_dormant_agent_looks_as_one_on_a_node_does(anylab: Lab) -> None:
    """Rows, events, checkpoints and children say the same; but for the node, which is none."""
    anylab.start(Counter, id="single")
    anylab.start_many(Counter, 3)

    agents = anylab.agents().set_index("path")
    told = ["kind", "status", "incarnation", "restarts", "mailbox", "messages"]
    assert agents.loc["/counter-3", told].to_dict() == agents.loc["/single", told].to_dict()
    assert agents.loc["/counter-3", "since"] > agents.loc["/single", "since"]
    assert str(agents.loc["/counter-3", "node"]) == "<NA>"
    events = anylab.events()
    assert events.index.is_monotonic_increasing
    paths = ["/single", *(f"/counter-{n}" for n in (2, 3, 4))]
    assert events.query("kind == 'started'")["path"].tolist() == paths
    columns = ["incarnation", "reason", "detail"]
    first, last = (events.query(f"path == '{path}'")[columns].to_dict("records") for path in ("/single", "/counter-4"))
    assert first == last
    states = anylab.checkpoints(Counter).set_index("path")
    told = ["seq", "incarnation", "bytes", "state.count"]
    assert states.loc["/counter-4", told].to_dict() == states.loc["/single", told].to_dict()
    assert entry(anylab, "/counter-4") is None


def test_a_dormant_agent_answers_what_is_asked_of_it(lab: Lab) -> None:
    """State, draft, status, info, log, checkpoints: all is known without a node."""
    diary = lab.start_many(Diary, [{}, {"title": "mine", "pages": [{"a": 1}, "b"]}])[1]

    assert (diary.status, diary.incarnation, diary.node, diary.log()) == ("running", 1, None, "")
    state = diary.state
    assert state == diary.draft
    assert (state["title"], state["pages"], sorted(state["tags"])) == ("mine", [{"a": 1}, "b"], sorted(Diary.tags))
    info = diary.info()
    assert (info["status"], info["cpu_s"], info["mailbox"], info["handled"], info["links"]) == ("running", 0.0, 0, 0, 0)
    assert info["memory"] > 50
    assert diary.checkpoints()["seq"].tolist() == [0]
    assert "is running, incarnation 1. It never ended by itself." in lab.explain(diary)
    assert lab.whereis(diary.id) == diary
    assert dormant(lab, diary)


def test_a_message_wakes_an_agent_and_counts_no_start(anylab: Lab) -> None:
    """It goes on from its first checkpoint on a node, as the same incarnation."""
    refs = anylab.start_many(Counter, [{"count": n} for n in range(5)])

    assert [ref.call.add(1).result(60) for ref in refs] == [1, 2, 3, 4, 5]
    assert kinds(anylab, "/counter-5") == ["started"]
    assert (refs[4].incarnation, refs[4].state, refs[4].call.life().result(60)) == (1, {"count": 5}, 1)
    assert anylab.checkpoints(Counter).query("path == '/counter-5'")["state.count"].tolist() == [4, 5]
    assert anylab.restarts().empty
    assert {ref.node for ref in refs} <= {1, 2}


def test_what_is_given_is_not_shared(lab: Lab) -> None:
    """Whoever changes a value after the start changes no agent; a value that does not fit starts none."""
    told = ["a"]
    refs = lab.start_many(Diary, [{"told": told}, {"told": told}])
    told.append("b")

    assert [ref.state["told"] for ref in refs] == [["a"], ["a"]]
    refs[1].kill()
    lab.wait_idle(60)
    assert refs[1].state["told"] == ["a"]
    with pytest.raises(InvalidSpec, match=r"Counter.count is int; got 'x'"):
        lab.start_many(Counter, [{}, {"count": 1}, {"count": "x"}])
    with pytest.raises(InvalidSpec, match="no field 'cuont'"):
        lab.start_many(Counter, [{}, {"cuont": 1}])
    assert lab.whereis("counter-3") is None


def test_options_of_a_child_are_taken_too(lab: Lab) -> None:
    """A mapping may say how its agent is kept; such ones are started on nodes, one by one."""
    refs = lab.start_many(Counter, [{"restart": "temporary"}, {"count": 3}])
    refs[0].kill()
    lab.wait_idle(60)

    assert lab.whereis("counter-1") is None
    assert refs[1].state == {"count": 3}


class Sample(Agent):
    """Has a field that each of many must be given."""

    number: int
    label: str = ""

    async def read(self) -> int:
        """Its number."""
        return self.number


def test_what_has_no_default_is_given_to_each(anylab: Lab) -> None:
    """What many share need not be a whole state; who is given too little starts nobody."""
    fields = [{"number": number} for number in range(3)]
    for _ in range(2):
        refs = anylab.start_many(Sample, fields, exist_ok=True)
        assert [ref.call.read().result(60) for ref in refs] == [0, 1, 2]
    assert refs[1].state == {"number": 1, "label": ""}
    with pytest.raises(InvalidSpec, match="needs a value for number"):
        anylab.start_many(Sample, [{"number": 3}, {}])
    assert anylab.agents()["path"].tolist() == ["/", *(ref.path for ref in refs)]


def test_who_has_something_to_do_at_its_start_is_not_dormant(lab: Lab) -> None:
    """``on_start`` runs before ``start_many`` returns."""
    refs = lab.start_many(Early, 3)

    assert {ref.state["pid"] for ref in refs} <= set(nodes_of(lab))
    assert {ref.node for ref in refs} == {1, 2}


def test_a_class_that_no_node_can_load_starts_nobody(lab: Lab, tmp_path: Path, monkeypatch: Any) -> None:
    """The first agent is started on a node: what fails there fails before the others are in the books."""
    (tmp_path / "fleeting.py").write_text("from agentlab import Agent\n\n\nclass Gone(Agent):\n    count: int = 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    from fleeting import Gone

    (tmp_path / "fleeting.py").unlink()
    for compiled in (tmp_path / "__pycache__").glob("*"):
        compiled.unlink()

    with pytest.raises(Exception, match="could not be loaded in a node"):
        lab.start_many(Gone, 1_000)
    assert lab.agents()["path"].tolist() == ["/"]


@pytest.mark.parametrize("end", ["kill", "crash"])
def test_a_dormant_agent_that_dies_starts_again(anylab: Lab, end: str) -> None:
    """Its next incarnation begins from the same state; the restart is counted and told as any other."""
    refs = anylab.start_many(Counter, [{"count": 7}] * 3)
    getattr(refs[2], end)()
    anylab.wait_idle(60)

    assert (refs[2].incarnation, refs[2].state, refs[2].status) == (2, {"count": 7}, "running")
    assert refs[2].call.add().result(60) == 8
    assert kinds(anylab, "/counter-3") == ["started", f"{end}ed", "restarting", "started"]
    assert anylab.restarts()["path"].tolist() == ["/counter-3"]
    assert dormant(anylab, refs[1])


def test_a_dormant_agent_is_stopped_restarted_suspended_and_set(anylab: Lab) -> None:
    """What may be asked of an agent may be asked of one that sleeps."""
    refs = anylab.start_many(Counter, 6)
    refs[1].stop()
    refs[2].restart()
    refs[3].suspend()
    reply = refs[3].call.add()
    refs[4].replace_state(count=40)
    refs[5].trace()

    assert (refs[1].status, refs[1].incarnation) == ("stopped", 1)
    with pytest.raises(NotRunning):
        refs[1].call.add().result(60)
    assert (refs[2].incarnation, refs[2].call.add().result(60)) == (2, 1)
    assert (refs[3].status, refs[3].info()["mailbox"]) == ("suspended", 1)
    refs[3].resume()
    assert reply.result(60) == 1
    assert (refs[4].state, refs[4].call.add().result(60)) == ({"count": 40}, 41)
    assert refs[4].rewind(0) == {"count": 0}
    assert refs[5].call.add(2).result(60) == 2
    assert anylab.events(path="/counter-6").query("kind == 'message'")["detail"].tolist() == ["add(2)"]


def test_a_fork_of_a_dormant_agent_goes_on_from_its_first_state(anylab: Lab) -> None:
    """Its fields are those of the one it left, also what only that one was given."""
    refs = anylab.start_many(Counter, [{"count": n} for n in (1, 5)])
    fork, other = refs[1].fork(), refs[1].fork(0, id="other", count=9)

    assert (fork.state, other.state) == ({"count": 5}, {"count": 9})
    assert fork.call.add().result(60) == 6
    fork.kill()
    anylab.wait_idle(60)
    assert (fork.state, refs[1].state) == ({"count": 6}, {"count": 5})


def test_lives_are_linked_to_dormant_ones(lab: Lab) -> None:
    """A monitor hears of the end, a linked agent ends too, whichever of them sleeps."""
    watcher, tied = lab.start(Linker, id="watcher"), lab.start(Linker, id="tied")
    refs = lab.start_many(Counter, 4)
    watcher.call.watch(refs[1]).result(60)
    tied.call.tie(refs[2]).result(60)
    tied.call.tie(refs[3]).result(60)

    refs[1].kill()
    refs[2].crash(ValueError("no tea"))
    wait_for(lambda: watcher.call.look().result(60) == ["down /counter-4 killed"])
    wait_for(lambda: tied.incarnation == 2 and refs[3].incarnation == 2)
    assert refs[3].call.add().result(60) == 1


AGAIN = [("one_for_one", [2]), ("rest_for_one", [2, 3]), ("one_for_all", [1, 2, 3])]


@pytest.mark.parametrize(("strategy", "again"), AGAIN)
def test_strategies_hold_for_dormant_children(lab: Lab, strategy: Any, again: list[int]) -> None:
    """Who starts again with a sibling does so in its sleep, from its state."""
    team = lab.start(Supervisor("team", strategy=strategy))
    refs = lab.start_many(Counter, 3, under=team)
    refs[1].crash()
    wait_for(lambda: all(refs[n - 1].incarnation == 2 for n in again))
    lab.wait_idle(60)

    assert [n for n, ref in enumerate(refs, 1) if ref.incarnation == 2] == again
    assert [ref.call.add().result(60) for ref in refs] == [1, 1, 1]


def test_a_supervisor_administers_dormant_children(lab: Lab) -> None:
    """OTP's calls see children that run; a limit holds; a template takes no other class."""
    team = lab.start(Supervisor("team", max_children=4))
    with pytest.raises(MaxChildren):
        lab.start_many(Counter, 5, under=team)
    refs = [lab[f"/team/counter-{n}"] for n in range(1, 5)]

    assert team.count_children() == {"specs": 4, "active": 4, "supervisors": 0, "workers": 4}
    assert team.which_children() == [(ref.id, ref, "worker") for ref in reversed(refs)]
    assert team.get_childspec("counter-3") == child(Counter, id="counter-3")
    with pytest.raises(ChildRunning):
        team.delete_child("counter-3")
    team.terminate_child("counter-3")
    assert (refs[2].status, kinds(lab, refs[2].path)) == ("stopped", ["started", "exited", "stopped"])
    assert team.restart_child("counter-3").incarnation == 2
    team.terminate_child("counter-4")
    team.delete_child("counter-4")
    assert lab.whereis("/team/counter-4") is None
    assert lab.start_many(Counter, 1, under=team)[0].incarnation == 1
    crowd = lab.start(Supervisor("crowd", child(Counter), strategy="simple_one_for_one"))
    with pytest.raises(SimpleOneForOne):
        lab.start_many(Counter, 5, under=crowd)


def test_a_supervisor_that_goes_takes_its_dormant_children_along(anylab: Lab) -> None:
    """They are gone for good, and later ones with their ids start fresh."""
    team = anylab.start(Supervisor("team", bring_back=False))
    refs = anylab.start_many(Counter, [{"count": 3}] * 3, under=team)
    team.kill()
    wait_for(lambda: team.status == "running")
    anylab.wait_idle(60)

    assert kinds(anylab, refs[2].path) == kinds(anylab, refs[0].path) == ["started", "removed", "killed"]
    with pytest.raises(NotRunning):
        refs[2].call.add().result(60)
    again = anylab.start_many(Counter, 3, under=team)
    assert [ref.state for ref in again] == [{"count": 0}] * 3
    assert repr(anylab).endswith(", 3 agents, 2 nodes)")


def test_no_dormant_agent_notices_that_a_node_dies(lab: Lab) -> None:
    """They were on none. While there is no node at all, what is sent to them waits for one."""
    refs = lab.start_many(Counter, 100)
    for pid in nodes_of(lab):
        os.kill(pid, signal.SIGKILL)
    replies = [ref.call.add() for ref in refs[50:]]

    assert [reply.result(20) for reply in replies] == [1] * 50
    assert {ref.incarnation for ref in refs[1:50]} == {1}
    assert kinds(lab, "/counter-40") == ["started"]


def test_who_is_at_rest_when_its_node_dies_sleeps_until_somebody_calls(anylab: Lab) -> None:
    """The move is told and counted as any other; the next incarnation is a node's business when it has a message."""
    refs = anylab.start_many(Counter, 20)
    refs.call.add(3).result(20)
    early = anylab.start(Early, id="early")
    pids = nodes_of(anylab)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not {*nodes_of(anylab)} & {*pids} and early.incarnation == 2)
    anylab.wait_idle(60)

    assert [(ref.status, ref.incarnation, ref.node, ref.state["count"]) for ref in refs] == [
        ("running", 2, None, 3)
    ] * 20
    assert kinds(anylab, refs[3].path) == ["started", "node_down", "started"]
    assert early.state["pid"] in nodes_of(anylab)
    assert refs.call.add().result(20) == [4] * 20
    assert refs.call.life().result(20) == [2] * 20
    assert set(anylab.agents()["restarts"]) == {0}


def test_a_node_that_dies_while_it_wakes_agents_costs_nothing(lab: Lab) -> None:
    """Those that it had go on elsewhere, and every call is answered."""
    refs = lab.start_many(Counter, 200)
    replies = [ref.call.add() for ref in refs]
    os.kill(nodes_of(lab)[0], signal.SIGKILL)

    assert [reply.result(20) for reply in replies] == [1] * 200
    assert {ref.state["count"] for ref in refs} == {1}


def test_on_stop_runs_also_for_who_slept(lab: Lab) -> None:
    """An orderly stop, and that of its supervisor, wake who has something to say."""
    team = lab.start(Supervisor("team"))
    refs = lab.start_many(Diary, 3, under=team)
    refs[1].stop()
    team.stop("shutdown")
    wait_for(lambda: len(lab.events().query("kind == 'log'")) == 3)

    said = sorted(lab.events().query("kind == 'log'")["detail"])
    assert said == ["diary-1 stops: shutdown", "diary-2 stops: normal", "diary-3 stops: shutdown"]


def test_a_closed_lab_tells_of_its_dormant_agents(lab: Lab) -> None:
    """Each has ended in good order; rows and events say so, though no entry was ever made."""
    refs = lab.start_many(Counter, 5)
    lab.close()

    assert {row.status for row in lab.rows()} == {"stopped"}
    assert kinds(lab, "/counter-4") == ["started", "exited", "removed"]
    assert lab.events()["reason"].dropna().unique().tolist() == ["shutdown"]
    assert lab.events().index.tolist() == sorted(set(lab.events().index))
    assert entry(lab, refs[3].path) is None


def test_a_stored_lab_brings_its_dormant_agents_back(tmp_path: Path) -> None:
    """With their states, as their next incarnations, in the order in which they were; they sleep again."""
    with Lab(tmp_path / "x.lab", nodes=2) as lab:
        team = lab.start(Supervisor("team"))
        refs = lab.start_many(Counter, [{"count": n} for n in range(4)], under=team)
        lab.start_many(Diary, 2)
        assert refs[3].call.add().result(60) == 4
        whole = refs[2].state
    with Lab(tmp_path / "x.lab", nodes=2, resume=True) as lab:
        back = [lab[f"/team/counter-{n}"] for n in range(1, 5)]
        assert [ref.state["count"] for ref in back] == [0, 1, 2, 4]
        assert [(ref.node, ref.status) for ref in back] == [(None, "running")] * 4
        assert kinds(lab, back[2].path)[-1] == "started"
        assert [id for id, *_ in lab["/team"].which_children()] == [ref.id for ref in reversed(back)]
        assert [ref.call.add().result(60) for ref in back] == [1, 2, 3, 5]
        assert lab["/diary-2"].call.write("x").result(60) == 1
        assert {ref.incarnation for ref in back} == {2}
        assert whole == {"count": 2}
        assert lab["/team"].get_childspec("counter-2").fields == {"count": 1}


def test_a_watcher_hears_of_all_that_start(lab: Lab) -> None:
    """A feed gets an event for each, in order, and every place that changed."""
    feed = lab.feed()
    feed.take()
    refs = lab.start_many(Counter, 50)
    heard: list[Any] = []
    places: set[str] = set()

    def complete() -> bool:
        change = feed.take()
        heard.extend(change.events)
        places.update(change.paths or ())
        return len(heard) >= 50

    wait_for(complete)
    assert [event.path for event in heard if event.kind == "started"] == [ref.path for ref in refs]
    assert {ref.path for ref in refs} < places
    assert [event.seq for event in heard] == list(range(heard[0].seq, heard[0].seq + len(heard)))


def test_twenty_thousand_agents_answer_whoever_calls(lab: Lab) -> None:
    """Random ones of them are called, some are killed; the others sleep on, and all are counted."""
    refs = lab.start_many(Counter, 20_000)
    chosen = random.Random(3).sample(range(20_000), 500)
    replies = [refs[number].call.add(number) for number in chosen]
    for number in chosen[:20]:
        refs[number].kill()

    assert [reply.result(30) for reply in replies] == chosen
    lab.wait_idle(60)
    assert (len(refs), refs[19_999].path, refs[-1]) == (20_000, "/counter-20000", refs[19_999])
    assert isinstance(refs[10:20], Refs)
    assert [ref.id for ref in refs[10:12]] == ["counter-11", "counter-12"]
    runtime = lab._runtime
    assert runtime is not None
    assert runtime.desk.entries.dormant >= 20_000 - 501
    assert len(lab.agents()) == 20_001
    assert repr(lab) == "Lab('memory', 20000 agents, 2 nodes)"
    assert len(lab.events().query("kind == 'started' and incarnation == 1")) == 20_000


def test_a_lab_that_is_busy_starting_still_answers(lab: Lab) -> None:
    """A bulk start leaves the loop to others in between: whatever comes in at a part is done before the next."""
    order: list[str] = []

    async def many(runtime: Any) -> Refs:
        def progress(started: int) -> None:
            if started > 1:  # the first one of all is started on a node, and alone
                order.append("part")
                runtime.desk.loop.call_soon(order.append, "other")

        return await start_many(runtime, Counter, [{}] * (3 * AT_ONCE + 1), None, progress)

    assert len(lab._live.submit(many, lab._live).result(60)) == 3 * AT_ONCE + 1
    assert order == ["part", "other"] * 3


def test_a_dormant_agent_that_nobody_can_wake_fails_as_a_crash(lab: Lab) -> None:
    """What its state does to its class is found out when it wakes: its caller learns it, its supervisor reacts."""
    refs = lab.start_many(Counter, 2)
    runtime = lab._runtime
    assert runtime is not None

    def spoil() -> None:
        found = runtime.desk.entries.get(refs[1].path)
        assert found is not None
        found.fields["count"] = '"many"'

    runtime.run(spoil)
    with pytest.raises(AgentDown, match="count is int"):
        refs[1].call(timeout=20).add().result(20)
    assert "crashed" in kinds(lab, refs[1].path)
