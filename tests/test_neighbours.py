"""Calls within a node: they do not wait for the kernel, and everything that holds of calls holds of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentlab import Agent, Lab, Ref, Supervisor, child
from agentlab.errors import AgentDown, CallCycle
from tests.conftest import wait_for
from tests.misbehave import hold
from tests.patience import sign_of


class Purse(Agent):
    """Coins go from one to another; no message makes or destroys any."""

    gate: str = ""
    coins: int = 100
    log: list[str] = []

    async def on_start(self) -> None:
        """The second life waits for a sign."""
        if self.incarnation > 1 and self.gate:
            await sign_of(self.gate)

    async def borrow(self, of: Ref, coins: int = 5) -> int:
        """Coins come with the answer."""
        self.coins += await of.call.lend(coins)
        return self.coins

    async def lend(self, coins: int) -> int:
        """Coins leave with the answer."""
        self.coins -= coins
        return coins

    async def look(self) -> int:
        """How many."""
        return self.coins

    async def ask_later(self, other: Ref, sign: str) -> int:
        """Call when there is a sign."""
        await sign_of(sign)
        seen: int = await other.call.look()
        return seen

    async def hold(self, seconds: float) -> None:
        """C code that holds the node."""
        hold(seconds)

    async def note(self, word: str) -> None:
        """Keep the order in which things came."""
        self.log = [*self.log, word]

    async def cast_it(self, to: Ref) -> None:
        """One message casts."""
        to.cast.note("cast")

    async def call_it(self, to: Ref) -> None:
        """The next one calls."""
        await to.call.note("call")

    async def both(self, to: Ref) -> None:
        """Two calls that are under way at once."""
        await asyncio.gather(to.call.note("first"), to.call.note("second"))


@pytest.fixture
def one() -> Iterator[Lab]:
    """A lab whose agents are all neighbours."""
    with Lab(nodes=1, stall_notice=0.1) as lab:
        yield lab


def test_a_call_is_a_step_with_its_message_on_record(one: Lab) -> None:
    """The frames show a call within the node as any other."""
    a, b = one.start(Purse, id="a"), one.start(Purse, id="b")

    assert a.call.borrow(b).result(60) == 105

    assert one.steps(path="/a")[["kind", "name", "outcome", "output"]].values.tolist() == [
        ["call", "/b.lend", "ok", "5"]
    ]
    assert one.messages(path="/b")[["method", "sender", "outcome"]].values.tolist() == [["lend", "/a", "ok"]]
    assert b.state["coins"] == 95


def test_what_one_sends_arrives_in_order(one: Lab) -> None:
    """A call does not overtake the cast of the message before it, nor one call another."""
    a, b = one.start(Purse, id="a"), one.start(Purse, id="b")
    for _ in range(50):
        a.cast.cast_it(b)
        a.cast.call_it(b)
        a.cast.both(b)
    one.wait_idle(30)

    assert b.state["log"] == ["cast", "call", "first", "second"] * 50


def test_who_was_moved_before_it_had_said_that_it_began_calls_once(one: Lab) -> None:
    """A stalled node's agents go on elsewhere; what it says of them when it is back is not heard."""
    bank, bad = one.start(Purse, id="bank"), one.start(Purse, id="bad")
    purses = one.start_many(Purse, 20)

    replies = [purse.call.borrow(bank) for purse in purses]
    holding = bad.call.hold(1.0)
    replies += [purse.call.borrow(bank) for purse in purses]
    for reply in [*replies, holding]:
        reply.result(20)
    one.wait_idle(20)

    assert bank.state["coins"] == 100 - 40 * 5
    assert [purse.state["coins"] for purse in purses] == [110] * 20


def test_a_circle_is_refused_also_between_two_lives(one: Lab, tmp_path: Path) -> None:
    """Who waits for an answer waits for it in its next life too: whoever would wait for it is told so."""
    gate, sign = tmp_path / "gate", tmp_path / "sign"
    a, b = one.start(Purse, id="a", gate=str(gate)), one.start(Purse, id="b")
    asking = b.call(redeliver=False).ask_later(a, str(sign))
    wait_for(lambda: b.info()["message"] == "ask_later")
    borrowing = a.call.borrow(b)
    wait_for(lambda: b.info()["mailbox"] == 2)
    a.crash()
    sign.touch()

    with pytest.raises(AgentDown) as down:
        asking.result(60)
    assert isinstance(down.value.__cause__, CallCycle)
    gate.touch()
    assert borrowing.result(60) == 105
    one.wait_idle()
    assert a.state["coins"] + b.state["coins"] == 200


def test_a_group_that_dies_with_its_node_comes_back_once(one: Lab) -> None:
    """One of the group is to blame, its siblings start again with it: nobody is placed a second time as innocent."""
    team = Supervisor("team", *(child(Purse, id=name) for name in "abc"), strategy="one_for_all")
    one.start(team)
    a, b = one["/team/a"], one["/team/b"]
    a.call.borrow(b).result(60)
    assert one._runtime is not None
    holding = b.call(redeliver=False).hold(60)
    wait_for(lambda: any(node.stalled for node in one._runtime.desk.pool.nodes.values()))
    for node in list(one._runtime.desk.pool.nodes.values()):
        node.process.kill()
    with pytest.raises(AgentDown):
        holding.result(30)
    one.wait_idle(20)

    placed = [entry.path for entry in one._runtime.desk.placed.values()]
    assert sorted(placed) == ["/team/a", "/team/b", "/team/c"]
    assert a.state["coins"] + b.state["coins"] == 200
