"""Breakers in a running lab: agents wait inside their steps, nothing of theirs is spent, and a person may say so."""

from __future__ import annotations

import pytest

from agentlab import Agent, Lab, open_store
from agentlab.errors import InvalidSpec, ModelFailed
from agentlab.events import KINDS
from agentlab.faults import fault
from agentlab.ground.limits import limits_of
from tests.conftest import wait_for


class Shop:
    """Something to depend on; the shop is down while a file says so."""

    dependency = "shop"
    __name__ = "order"

    def __call__(self, down: str) -> str:
        try:
            with open(down):  # noqa: PTH123  # the marker of the test
                raise ModelFailed("the shop is down", fault("overloaded"))
        except FileNotFoundError:
            return "bought"


class Buyer(Agent):
    bought: int = 0

    async def buy(self, down: str = "/nowhere") -> str:
        said: str = await self.step(Shop(), down)
        self.bought += 1
        return said


class Manager(Agent):
    async def order(self, buyer: str) -> str:
        said: str = await self.lab[buyer].call.buy()
        return said


QUICK = {"window": 60.0, "cooldown": 0.1, "longest": 0.5, "agents": 3}


@pytest.fixture
def lab():
    """One node, and all of its breakers closed."""
    with Lab(nodes=1) as made:
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
    assert lab.messages().deliveries.tolist() == [1] * 4
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
    assert "3 of" in breaker.history().why[0]


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


def test_an_agent_that_dies_while_it_waits_leaves_its_place(lab):
    """The next life asks anew; nobody is counted twice."""
    breaker = lab.breaker("shop")
    breaker.open()
    buyer = lab.start(Buyer, id="b")
    reply = buyer.call.buy()
    wait_for(lambda: breaker.waiting == 1)

    buyer.kill()
    wait_for(lambda: buyer.incarnation == 2 and breaker.waiting == 1)
    breaker.close()

    assert reply.result(60) == "bought"
    assert breaker.waiting == 0


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
        lab.breaker("shop").open(600)
        lab.breaker("mcp:files").open()
        lab.breaker("mcp:files").close()
        now = lab.breakers()
        assert now.name.tolist() == ["shop", "mcp:files"]
        assert now.state.tolist() == ["open", "closed"]
        assert now.opened.tolist() == [1, 1]
        assert now.next_probe.notna().tolist() == [True, False]

    with open_store(str(tmp_path / "run.lab")) as stored:
        then = stored.breakers()
    assert then.columns.tolist() == now.columns.tolist()
    assert then[["name", "state", "opened"]].values.tolist() == [["shop", "open", 1], ["mcp:files", "closed", 1]]


def test_what_makes_no_sense_is_refused_by_name(lab):
    """A setting that there is not, a wait that is no time."""
    with pytest.raises(InvalidSpec, match="cool"):
        lab.breaker("shop").tune(cool=1)
    with pytest.raises(ValueError, match="seconds"):
        lab.breaker("shop").open(-1)
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
