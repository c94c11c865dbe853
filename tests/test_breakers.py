"""Breakers in a running lab: agents wait inside their steps, nothing of theirs is spent, and a person may say so."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentlab import Agent, Budget, Lab, Limit, child, open_store
from agentlab.errors import CallTimeout, InvalidArgument, InvalidSpec, ModelFailed
from agentlab.events import KINDS
from agentlab.faults import Action, fault
from agentlab.ground.limits import limits_of
from tests.conftest import wait_for


class Shop:
    """Something to depend on; the shop is down while a file says so."""

    dependency = "shop"
    __name__ = "order"

    def __call__(self, down: str) -> str:
        try:
            kind = Path(down).read_text("utf-8")
        except FileNotFoundError:
            return "bought"
        raise ModelFailed("the shop is down", fault(kind or "overloaded"))


class _Once(Shop):
    once = True


class Buyer(Agent):
    bought: int = 0

    async def buy(self, down: str = "/nowhere") -> str:
        said: str = await self.step(Shop(), down)
        self.bought += 1
        return said

    async def buy_once(self) -> str:
        said: str = await self.step(_Once(), "/nowhere")
        return said


class Manager(Agent):
    async def order(self, buyer: str, timeout: float) -> str:
        said: str = await self.lab[buyer].call(timeout=timeout).buy()
        return said


class Clock(Agent):
    async def tick(self) -> None:
        await asyncio.Event().wait()


QUICK = {"window": 60.0, "cooldown": 0.1, "longest": 0.5, "agents": 3}


@pytest.fixture
def lab():
    """One node, and a shop that somebody has bought from, so that its breaker is known; it is closed."""
    with Lab(nodes=1, stall_notice=60.0, stall_seconds=120.0) as made:  # a busy machine moves nobody
        assert made.start(Buyer, id="first").call.buy().result(60) == "bought"
        yield made


def test_who_calls_while_it_is_open_waits_in_the_step(lab):
    """Status waiting, no restart, no second delivery; closed, everybody goes on."""
    breaker = lab.breaker("shop")
    breaker.open()
    buyers = [lab.start(Buyer, id=f"b{n}") for n in range(4)]
    replies = [buyer.call.buy() for buyer in buyers]

    wait_for(lambda: breaker.waiting == 4)

    assert (breaker.state, breaker.why) == ("open", "opened by a person")
    assert {buyer.status for buyer in buyers} == {"waiting"}
    assert "4 calls waiting" in repr(breaker)
    breaker.close()
    assert [reply.result(60) for reply in replies] == ["bought"] * 4
    assert (breaker.state, breaker.waiting) == ("closed", 0)
    assert lab.messages().deliveries.tolist() == [1] * 5
    assert len(lab.restarts()) == 0


def test_an_outage_opens_it_and_every_task_is_done_when_it_is_over(lab, tmp_path):
    """No agent dies of it; the probes are few."""
    down = tmp_path / "down"
    down.touch()
    breaker = lab.breaker("shop")
    breaker.tune(**QUICK)
    buyers = [lab.start(Buyer, id=f"b{n}") for n in range(6)]

    replies = [buyer.call.buy(str(down)) for buyer in buyers]
    wait_for(lambda: "breaker_half_open" in set(lab.events().kind))
    down.unlink()

    assert [reply.result(60) for reply in replies] == ["bought"] * 6
    assert breaker.state == "closed"
    states = breaker.history().state.tolist()
    assert (states[:2], states[-1]) == (["open", "half_open"], "closed")
    assert len(lab.restarts()) == 0
    assert "agents failed within 60 s; the last: overloaded" in breaker.history().why[0]


HASTY = {
    "overloaded": Action("wait", first=0.01, maximum=0.02, same=3, total=0.1),
    "server_error": Action("retry_step", first=0.01, maximum=0.02, same=3, attempts=3),
}
"""Rules by which an agent gives up at once."""


@pytest.mark.parametrize("kind", HASTY)
def test_an_outage_that_lasts_parks_nobody(kind, tmp_path):
    """Whatever limits of attempts, waits and likeness there are: an attempt of an outage touches none of them."""
    down = tmp_path / "down"
    down.write_text(kind)
    with Lab(nodes=1, on_fault=HASTY) as lab:
        lab.start(Buyer, id="first").call.buy().result(60)
        lab.breaker("shop").tune(window=60.0, cooldown=0.01, longest=0.02, agents=3)
        buyers = [lab.start(Buyer, id=f"b{n}") for n in range(4)]
        replies = [buyer.call.buy(str(down)) for buyer in buyers]

        wait_for(lambda: lab.breakers().faults[0] > 30)

        wait_for(lambda: {buyer.status for buyer in buyers} == {"waiting"})  # one may be at its attempt
        down.unlink()
        assert [reply.result(60) for reply in replies] == ["bought"] * 4
        assert set(lab.messages().deliveries) == {1}
        assert len(lab.restarts()) == 0
        assert not lab.steps().query("fault.notna()").output.str.contains("no more").any()


def test_two_agents_whom_nobody_else_is_answered_wait_too(tmp_path):
    """A lab that is too small for its breaker to open: what fails for all of it blames no request."""
    down = tmp_path / "down"
    down.touch()
    with Lab(nodes=1, on_fault=HASTY) as lab:
        buyers = [lab.start(Buyer, id=f"b{n}") for n in range(2)]
        lab.breaker("sim")
        replies = [buyer.call.buy(str(down)) for buyer in buyers]

        wait_for(lambda: len(lab.steps()) > 20)

        assert lab.breakers().state.tolist() == ["closed"]
        down.unlink()
        assert [reply.result(60) for reply in replies] == ["bought"] * 2


def test_a_lone_agent_waits_for_an_outage_as_many_do(tmp_path):
    """It opens no breaker, but waits there; no request makes a provider say 529, so no limit is touched."""
    down = tmp_path / "down"
    down.touch()
    with Lab(nodes=1, on_fault=HASTY) as lab:
        lone = lab.start(Buyer, id="lone")
        reply = lone.call.buy(str(down))

        wait_for(lambda: lab.steps().fault.notna().sum() > 10)

        wait_for(lambda: lone.status == "waiting")  # it may be at its attempt
        assert lab.breaker("shop").state == "closed"
        down.unlink()
        assert reply.result(60) == "bought"
        assert lab.messages().deliveries.tolist() == [1]
        assert len(lab.restarts()) == 0


@pytest.mark.parametrize(("kind", "answered"), [("overloaded", True), ("server_error", False)])
def test_a_lone_agent_is_parked_for_what_may_be_its_own(kind, answered, tmp_path):
    """Others are answered meanwhile; or it is a fault that a request can bring about."""
    down = tmp_path / "down"
    down.write_text(kind)
    with Lab(nodes=1, on_fault=HASTY) as lab:
        lone, other = lab.start(Buyer, id="lone"), lab.start(Buyer, id="other")
        lone.cast.buy(str(down))

        def is_parked() -> bool:
            if answered:
                other.call.buy().result(60)
            return lone.status == "parked"

        wait_for(is_parked)


def test_attempts_of_an_outage_count_for_nothing_in_the_next_kernel_either(tmp_path):
    """Its breakers begin closed."""
    down = tmp_path / "down"
    down.touch()
    with Lab(str(tmp_path / "run.lab"), nodes=1, on_fault=HASTY) as lab:
        buyers = [lab.start(Buyer, id=f"b{n}") for n in range(3)]
        for buyer in buyers:
            buyer.cast.buy(str(down))
        wait_for(lambda: len(lab.steps()) > 20)
        lab.breaker("shop").open()
        wait_for(lambda: lab.breaker("shop").waiting == 3)

    down.unlink()
    with Lab(str(tmp_path / "run.lab"), nodes=1, on_fault=HASTY) as lab:
        lab.resume()
        lab.wait_idle(60)

        assert [lab[f"/b{n}"].state["bought"] for n in range(3)] == [1, 1, 1]
        assert lab.breaker("shop").state == "closed"


def test_nobody_is_late_who_asks_an_agent_that_waits_for_a_breaker(lab):
    """A cell's deadline, and that of an agent in between, stand still: another one of that length is over meanwhile."""
    breaker, manager, clock = lab.breaker("shop"), lab.start(Manager, id="manager"), lab.start(Clock, id="clock")
    buyers = [lab.start(child(Buyer, id=f"b{n}", budget=Budget(seconds=5.0), max_busy=5.0)) for n in (1, 2)]
    assert [buyer.call.buy().result(60) for buyer in buyers] == ["bought"] * 2
    breaker.open()
    direct, through = buyers[0].call(timeout=5.0).buy(), manager.call(timeout=5.0).order("/b2", 5.0)
    wait_for(lambda: breaker.waiting == 2)

    with pytest.raises(CallTimeout):
        clock.call(timeout=5.0).tick().result()

    assert not direct.done()
    assert not through.done()
    breaker.close()
    assert (direct.result(), through.result()) == ("bought", "bought")  # each within its own
    assert [buyer.budget.left.seconds > 0 for buyer in buyers] == [True, True]  # the wait was as long as all of it
    assert len(lab.restarts()) == 0  # nor was that time in which they were busy


@pytest.mark.parametrize("method", ["buy", "buy_once"])
def test_an_agent_that_dies_while_it_waits_leaves_its_place(lab, method):
    """The next life asks anew, and nobody is counted twice; nor is a once step in doubt, which has not begun."""
    breaker = lab.breaker("shop")
    breaker.open()
    buyer = lab.start(Buyer, id="b")
    reply = getattr(buyer.call, method)()
    wait_for(lambda: breaker.waiting == 1)

    buyer.kill()
    wait_for(lambda: buyer.incarnation == 2 and breaker.waiting == 1)
    breaker.close()

    assert reply.result(60) == "bought"
    assert breaker.waiting == 0


def test_one_agent_alone_opens_nothing(lab, tmp_path):
    """Its waits are those between its attempts."""
    down = tmp_path / "down"
    down.touch()
    buyer = lab.start(Buyer, id="b")

    reply = buyer.call.buy(str(down))
    wait_for(lambda: lab.breaker("shop").waiting == 1)
    down.unlink()

    assert reply.result(60) == "bought"
    assert (lab.breaker("shop").state, len(lab.breaker("shop").history())) == ("closed", 0)
    assert lab.breakers().faults[0] >= 1


def test_a_message_that_is_taken_back_waits_no_more(lab):
    """Its place in the line is free."""
    breaker = lab.breaker("shop")
    breaker.open()
    reply = lab.start(Buyer, id="b").call.buy()
    wait_for(lambda: breaker.waiting == 1)

    assert reply.cancel()

    wait_for(lambda: breaker.waiting == 0)


def test_a_frame_of_all_breakers_and_the_same_from_the_store(tmp_path):
    """As far as events tell."""
    with Lab(str(tmp_path / "run.lab"), nodes=1) as lab:
        none = lab.breakers()
        lab.breaker("anthropic").open(600)
        lab.breaker("openai").open()
        lab.breaker("openai").close()
        now = lab.breakers()
        assert now.name.tolist() == ["anthropic", "openai"]
        assert (len(none), none.columns.tolist()) == (0, now.columns.tolist())
        assert [*map(type, none.dtypes)] == [*map(type, now.dtypes)]
        assert now.state.tolist() == ["open", "closed"]
        assert now.opened.tolist() == [1, 1]
        assert now.next_probe.notna().tolist() == [True, False]

    with open_store(str(tmp_path / "run.lab")) as stored:
        then = stored.breakers()
    assert then.columns.tolist() == now.columns.tolist()
    assert then[["name", "state", "opened"]].values.tolist() == [["anthropic", "open", 1], ["openai", "closed", 1]]


def test_what_makes_no_sense_is_refused_by_name(lab):
    """A setting that there is not, a wait that is no time, a name that nothing depends on."""
    with pytest.raises(InvalidSpec, match="cool"):
        lab.breaker("shop").tune(cool=1)
    with pytest.raises(InvalidSpec, match=r"share=2; .* share is at most 1"):
        lab.breaker("shop").tune(share=2)
    with pytest.raises(ValueError, match="seconds"):
        lab.breaker("shop").open(-1)
    with pytest.raises(InvalidArgument, match=r"did you mean 'anthropic'\? there are shop, sim, anthropic, local"):
        lab.breaker("antropic")
    with pytest.raises(InvalidArgument, match="mcp:<id> for each MCP server"):
        lab.breaker("mcp:files")
    assert {"breaker_opened", "breaker_half_open", "breaker_closed"} <= KINDS.keys()


def test_the_headers_of_rate_limits_are_read():
    """What makes no sense in them is left out."""
    from datetime import UTC, datetime

    headers = {
        "anthropic-ratelimit-requests-limit": "50", "anthropic-ratelimit-requests-remaining": "7",
        "anthropic-ratelimit-requests-reset": "2026-11-27T03:00:30Z",
        "anthropic-ratelimit-tokens-remaining": "many", "anthropic-ratelimit-tokens-reset": "soon",
    }  # fmt: skip

    assert limits_of(headers, datetime(2026, 11, 27, 3, tzinfo=UTC)) == [("requests", 7.0, 50.0, 30.0)]


@pytest.fixture(scope="module")
def waits(tmp_path_factory):
    """A lab with two nodes, and the file while which is there the shop is down."""
    with Lab(nodes=2, stall_notice=60.0, stall_seconds=120.0) as made:  # as above
        made.start(Buyer, id="first").call.buy().result(60)
        made.breaker("shop").tune(**QUICK)
        yield made, tmp_path_factory.mktemp("shop") / "down"


NONE = Limit(0, 60.0)
"""Who is restarted once is given up."""

WAITED = ("held again", "another asks", "a node dies", "a probe fails", "another breaker", "tuned")
"""What may happen while agents wait."""


@settings(max_examples=8)
@given(agents=st.integers(1, 5), story=st.lists(st.sampled_from(WAITED), min_size=1, max_size=5))
def test_whatever_happens_nothing_of_an_agent_is_spent_while_it_waits(waits, agents, story):
    """No life, no delivery, no restart, nothing of a budget: each message is answered by its first delivery."""
    lab, down = waits
    breaker, tag = lab.breaker("shop"), uuid.uuid4().hex[:8]
    breaker.open()
    down.touch()
    buyers: list[Any] = []
    replies: list[Any] = []

    def ask() -> None:
        buyers.append(lab.start(child(Buyer, id=f"{tag}-{len(buyers)}", own_limit=NONE, budget=Budget(tokens=1))))
        replies.append(buyers[-1].call.buy(str(down)))
        wait_for(lambda: breaker.waiting == len(buyers))

    for _ in range(agents):
        ask()
    for what in story:
        if what == "held again":
            breaker.open()
        elif what == "another asks":
            ask()
        elif what == "a node dies":
            number = buyers[0].node
            os.kill(lab._runtime.desk.pool.nodes[number].process.pid, signal.SIGKILL)
            wait_for(lambda number=number: buyers[0].node not in (number, None) and breaker.waiting == len(buyers))
        elif what == "a probe fails":
            probes = breaker.history().state.tolist().count("half_open")
            breaker.open(0.001)
            wait_for(lambda probes=probes: breaker.history().state.tolist().count("half_open") > probes)
            breaker.open()
            wait_for(lambda: breaker.waiting == len(buyers))
        elif what == "another breaker":
            lab.breaker("anthropic").open()
            lab.breaker("anthropic").close()
        else:
            breaker.tune(**QUICK)

        assert {buyer.status for buyer in buyers} == {"waiting"}
        assert {buyer.info()["handled"] for buyer in buyers} == {0}
        assert {buyer.budget.used.tokens for buyer in buyers} == {0}

    down.unlink()
    breaker.close()
    assert [reply.result(60) for reply in replies] == ["bought"] * len(buyers)
    assert [buyer.state["bought"] for buyer in buyers] == [1] * len(buyers)
    mine = f"path.str.startswith('/{tag}-')"
    assert lab.messages().query(mine).deliveries.tolist() == [1] * len(buyers)
    assert set(lab.restarts().query(mine).reason) <= {"node_down"}  # which is counted against nobody
