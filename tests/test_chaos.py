"""Chaos: a plan strikes the same places each time, what it strikes is on record, and what must hold does."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentlab import Agent, Assistant, Lab, Supervisor, child, open_store, tool
from agentlab.chaos import Plan, Report, corrupt, cut_stream, invariants, kill, kill_node, slow_disk, stall
from agentlab.chaos import invariants as invariants_of
from agentlab.errors import InvalidArgument, InvalidSpec, InvariantBroken
from agentlab.events import KINDS
from agentlab.node.struck import spoil
from agentlab.wire.blows import Place, read_where, where_text
from tests.patience import wait_for

places = st.builds(
    Place, st.sampled_from(["/a", "/team/b", "/evals/run/7.1"]), st.integers(1, 50), st.integers(0, 9),
    st.sampled_from(["message", "tool", "model", "step"]), st.sampled_from(["ask", "search", "claude"]),
)  # fmt: skip
EVERY_PLACE = [Place(f"/w{agent}", message, 0, "message", "add") for agent in range(20) for message in range(100)]


def add(total: int, n: int) -> int:
    """A step."""
    return total + n


@tool
def multiply(a: float, b: float) -> float:
    """Multiply two numbers."""
    return a * b


class Adder(Agent):
    """Adds in two steps a message."""

    total: int = 0

    async def add(self, n: int) -> int:
        """The total, twice ``n`` later."""
        self.total = await self.step(add, self.total, n)
        self.total = await self.step(add, self.total, n)
        return self.total


class Clerk(Assistant):
    """Answers by the simulator."""

    model = "sim"
    tools = [multiply]


class Leaver(Agent):
    """Starts a process that nobody ends."""

    async def leave(self) -> int:
        """Its number. It has a group of its own, so it does not end with its node."""
        return subprocess.Popen(["sleep", "600"], process_group=0).pid  # noqa: ASYNC220  # nobody shall wait for it


class Waiter(Agent):
    """Does nothing."""

    async def wait(self) -> None:
        """Nothing."""


# what strikes where


@given(places, st.integers(), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_rate_strikes_the_same_places_and_more(place: Place, seed: int, one: float, other: float) -> None:
    """Where a plan strikes is a hash of the place and the seed, held against the rate."""
    few, many = sorted([one, other])

    assert not Plan(kill(few), seed=seed).strikes_at(place) or Plan(kill(many), seed=seed).strikes_at(place)
    assert list(Plan(kill(one), seed=seed).strikes_at(place)) == list(Plan(kill(one), seed=seed).strikes_at(place))


@given(places, st.integers())
def test_another_strike_beside_it_changes_nothing(place: Place, seed: int) -> None:
    """What one strike does does not depend on the others of its plan."""
    alone = Plan(stall(0.3), seed=seed).strikes_at(place)
    together = Plan(kill(0.3), slow_disk(0.3), stall(0.3), corrupt("search", 0.5), seed=seed).strikes_at(place)

    assert [blow for blow in together if blow.strike == "stall"] == list(alone)


def test_about_the_share_that_was_asked_for_is_struck() -> None:
    """One of thirty, one in ten; another seed strikes elsewhere."""
    struck = {rate: [p for p in EVERY_PLACE if Plan(one, seed=7).strikes_at(p)] for rate, one in
              {30: kill_node(every=30), 10: kill(rate=0.1), 1: stall(1)}.items()}  # fmt: skip

    assert 40 < len(struck[30]) < 95
    assert 150 < len(struck[10]) < 250
    assert struck[1] == EVERY_PLACE
    assert [p for p in EVERY_PLACE if Plan(kill(rate=0.1), seed=8).strikes_at(p)] != struck[10]


def test_each_strike_has_its_own_places() -> None:
    """Tools are corrupted, model calls cut, the lab's own servers left alone unless they are named."""
    model, search, step = (Place("/a", 1, 1, *of) for of in (("model", "m"), ("tool", "search"), ("step", "search")))
    server = Place("/servers/sim", 1, 0, "message", "serve")

    assert [bool(Plan(cut_stream(1)).strikes_at(place)) for place in (model, search, step)] == [True, False, False]
    assert [bool(Plan(corrupt(rate=1)).strikes_at(place)) for place in (model, search, step)] == [False, True, False]
    assert [bool(Plan(corrupt("search", 1)).strikes_at(place)) for place in (search, step)] == [True, True]
    assert not Plan(corrupt("pay", 1)).strikes_at(search)
    assert [bool(Plan(kill(1, path=p)).strikes_at(server)) for p in (None, "*", "/servers/sim")] == [False, True, True]


@given(places)
def test_a_place_is_written_so_that_it_can_be_read(place: Place) -> None:
    """The event of a strike says where."""
    assert read_where(where_text(place)) == (place.message, place.step, place.name)


def test_a_plan_is_written_as_one_makes_it() -> None:
    """Its repr makes an equal one."""
    plan = Plan(
        kill(rate=0.01), kill_node(every=30), stall(0.1, seconds=2), corrupt(tool="search", rate=0.05),
        cut_stream(path="/team/*"), slow_disk(every=9), kill(counts=True), seed=7,
    )  # fmt: skip

    assert repr(plan).startswith("Plan(kill(rate=0.01), kill_node(every=30), stall(rate=0.1, seconds=2), corrupt(")
    assert eval(repr(plan)) == plan
    assert len({plan, eval(repr(plan)), Plan(seed=7)}) == 2


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: kill(rate=1.5), r"kill: rate must be a share from 0 to 1; got 1\.5"),
        (lambda: kill(rate=float("nan")), "kill: rate must be"),
        (lambda: kill(rate="often"), "kill: rate must be .* got 'often'"),
        (lambda: stall(rate=True), "stall: rate must be"),
        (lambda: kill_node(every=0), "kill_node: every must be a whole number of messages .* at least 1; got 0"),
        (lambda: kill_node(30, rate=0.1), "kill_node: rate=0.1 and every=30 say the same thing twice"),
        (lambda: slow_disk(seconds=-1), "slow_disk: seconds must be from 0 to 3600; got -1"),
        (lambda: corrupt(tool=7), "corrupt: tool must be the name of a tool"),
        (lambda: kill(path="team"), r"kill: path must be a path of agents, as path='/team/\*'; got 'team'"),
        (lambda: Plan("kill"), "Plan: give strikes, .* got 'kill'"),
        (lambda: Plan(kill), "Plan: give strikes"),
        (lambda: Plan(seed=0.5), "Plan: seed must be a whole number; got 0.5"),
    ],
)
def test_what_is_no_plan_is_refused_by_name(made: Any, says: str) -> None:
    """Where it is written, not in the middle of the night."""
    with pytest.raises(InvalidSpec, match=says):
        made()


@pytest.mark.parametrize(
    "value", ["", "tea", 0, 1.5, True, None, [], [1, 2], (1, "x"), {}, {"a": 1, "b": [2]}, b"x"], ids=repr
)
def test_what_is_spoilt_is_never_the_same(value: Any) -> None:
    """A corrupted result differs, and is of the same type where that can be."""
    assert spoil(value) != value
    assert type(spoil(value)) is type(value) or not value or isinstance(value, bytes)


# on a lab


def chased(plan: Plan, **options: Any) -> tuple[list[int], set[tuple[Any, ...]], Report]:
    """Six agents and five messages each, beside a plan: the answers, what was struck, what holds."""
    with Lab(nodes=2, **options) as lab:
        adders = [lab.start(Adder, id=f"a{n}") for n in range(6)]
        with lab.chaos(plan) as chaos:
            assert repr(chaos) == f"Chaos({plan!r}, on)"
            replies = [adder.call.add(n) for adder in adders for n in range(5)]
            answers = [reply.result(60) for reply in replies]
        assert repr(chaos).endswith("off: it strikes inside `with`)")
        log = lab.chaos_log()
        told = lab.events().query("kind == 'struck'")
        assert list(log["seq"]) == list(told["seq"])
        assert list(log["strike"]) == list(told["reason"])
        struck = set(zip(log["strike"], log["path"], log["message_seq"], log["step"], log["name"], strict=True))
        assert len(struck) == len(log)
        return answers, struck, invariants(lab)


def test_the_same_plan_strikes_the_same_messages_and_steps() -> None:
    """Deaths of agents and of nodes, stalls and a slow disk: the answers are as without, and nothing is done twice."""
    plan = Plan(kill(0.1), kill_node(every=60), stall(0.05, seconds=0.01), slow_disk(0.05, seconds=0.01), seed=5)

    (answers, struck, report), (_, again, _) = chased(plan), chased(plan)

    assert answers == [0, 2, 6, 12, 20] * 6
    assert struck == again
    assert {strike for strike, *_ in struck} == {"kill", "kill_node", "stall", "slow_disk"}
    assert report
    assert "nothing finished run twice: holds" in repr(report)


def test_each_place_is_struck_once(tmp_path: Path) -> None:
    """A message that is delivered again gets through, also when everything is struck; a later kernel knows it too."""
    with Lab(tmp_path / "run.lab", nodes=1) as lab, lab.chaos(Plan(kill(1))):
        adder = lab.start(Adder, id="adder")
        assert adder.call.add(1).result(60) == 2
        assert adder.incarnation == 4
        assert adder.status == "running"
        assert list(lab.chaos_log()["step"]) == [0, 1, 2]
    with Lab(tmp_path / "run.lab", nodes=1, resume=True) as lab:
        assert lab._runtime is not None
        with lab.chaos(Plan(kill(1))):
            assert ("/adder", 1, 2, "kill") in lab._runtime.strikes._struck
            assert lab["/adder"].call.add(1).result(60) == 4
    with open_store(tmp_path / "run.lab") as stored:
        assert list(stored.chaos_log()["message_seq"]) == [1, 1, 1, 2, 2, 2]
        assert invariants(stored)


def test_a_kill_that_counts_meets_the_limit_of_restarts() -> None:
    """By itself it does not: how many fall into some seconds is a matter of the clock."""
    with Lab(nodes=1) as lab, lab.chaos(Plan(kill(1, counts=True))):
        lab.start(Supervisor("team", child(Adder, id="adder"), max_restarts=1, max_seconds=3600.0))
        lab["/team/adder"].cast.add(1)
        lab.wait_idle(60)

        assert list(lab.events().query("kind == 'gave_up'")["path"])[:1] == ["/team"]
        assert list(lab.chaos_log()["step"])[:2] == [0, 1]


def test_what_a_tool_gives_is_spoilt_and_a_cut_stream_is_made_up_for() -> None:
    """The first attempt at a model call fails as a cut stream does; a corrupted result is what the model is told."""
    with Lab(nodes=1) as lab, lab.chaos(Plan(cut_stream(1), corrupt("multiply", 1))):
        clerk = lab.start(Clerk, id="clerk")
        answer = clerk.call.ask("What is 6 * 7?").result(60)
        steps = lab.steps()
        log = lab.chaos_log()

    model = steps.query("kind == 'model'")
    assert list(model["outcome"]) == ["failed", "ok"] * (len(model) // 2)
    assert set(model["fault"].dropna()) == {"cut_stream"}
    assert answer == "6 * 7 = 42"  # the simulator trusts nobody
    assert set(steps.query("name == 'multiply'")["output"]) == {"'42\ufffd\ufffd\ufffd'"}
    assert sorted(set(log["strike"])) == ["corrupt", "cut_stream"]


def test_outside_its_with_a_plan_strikes_nothing(lab: Lab) -> None:
    """Nor does a plan that is none, and a second one is refused."""
    adder = lab.start(Adder, id="adder")
    chaos = lab.chaos(Plan(kill(1)))
    assert adder.call.add(1).result(60) == 2
    with chaos:
        with pytest.raises(InvalidSpec, match="a plan is on already"), lab.chaos(Plan()):
            raise AssertionError
        assert adder.call.add(1).result(60) == 4
    assert adder.call.add(1).result(60) == 6

    assert list(lab.chaos_log()["message_seq"]) == [2, 2, 2]
    with pytest.raises(InvalidArgument, match="chaos: give a plan"):
        lab.chaos("kill")  # type: ignore[arg-type]
    assert "struck" in KINDS


def test_a_plan_may_outlive_its_lab() -> None:
    """A lab that is closed inside is no error."""
    lab = Lab(nodes=1)
    with lab.chaos(Plan(kill(1))):
        lab.start(Adder, id="adder").call.add(1).result(60)
        lab.close()

    assert invariants(lab)


# what must hold


def broken(lab: Lab, **options: Any) -> str:
    """What does not hold."""
    with pytest.raises(InvariantBroken) as caught:
        invariants_of(lab, **options)
    assert not caught.value.report
    return str(caught.value)


def test_who_waits_is_found(lab: Lab) -> None:
    """A suspended agent keeps a caller waiting."""
    waiter = lab.start(Waiter, id="waiter")
    waiter.suspend()
    reply = waiter.call.wait()
    wait_for(lambda: waiter.info()["mailbox"] == 1)

    assert "/waiter (suspended): 1 message undecided (wait)" in broken(lab, timeout=0.1)

    waiter.resume()
    reply.result(60)
    assert invariants(lab, timeout=60)


def test_what_was_lost_or_done_twice_is_found(lab: Lab) -> None:
    """A store that does not have what was answered, and one that has a step twice."""
    adder = lab.start(Adder, id="adder")
    adder.call.add(1).result(60)
    assert invariants(lab)

    columns = "path, message_seq, step, name, outcome, replayed, message_key, mark"
    lab._store._db.execute(f"INSERT INTO step ({columns}) SELECT {columns} FROM step WHERE step = 1")
    lab._store._db.execute("DELETE FROM message")
    lab._store._db.execute("DELETE FROM field WHERE seq > 0")

    told = broken(lab)
    assert "/adder: step 1 (add) of message 1 finished 2 times" in told
    assert "/adder has handled 1 messages, and the store knows of 0" in told
    assert "/adder: its state is not the one that was committed last" in told


def test_a_process_that_a_dead_node_left_is_found(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the session of a node that is gone."""
    monkeypatch.setattr("agentlab.chaos.checks.GONE_SECONDS", 0.0)
    leaver = lab.start(Leaver, id="leaver")
    pid = leaver.call.leave().result(60)
    try:
        assert invariants(lab)
        lab.close()

        assert f"process {pid} (sleep) is left of the node" in broken(lab)
    finally:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: bool(invariants_holds(lab)))


def invariants_holds(lab: Lab) -> bool:
    """Whether all is well by now."""
    try:
        return bool(invariants(lab))
    except InvariantBroken:
        return False
