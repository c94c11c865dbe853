"""Tools that a person must allow: what is asked, what waits meanwhile, and that it is asked once."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agentlab import Agent, Assistant, Lab, Ref, open_store, tool
from agentlab.errors import AgentDown, CallTimeout, StepFailed, ToolFailed
from tests.conftest import wait_for


@tool(approve=True)
def pay(path: str, amount: int = 1) -> str:
    """Pay."""
    with Path(path).open("a") as file:
        file.write(f"{amount}\n")
    return f"paid {amount}"


@tool(approve=True)
async def multiply(a: float, b: float) -> float:
    """Multiply two numbers."""
    return a * b


def pay_inside(path: str) -> str:
    """A step that calls a tool which needs a person."""
    return str(pay(path))


class Buyer(Agent):
    """Pays, if it may."""

    paid: list[str] = []
    lives: int = 0

    async def on_start(self) -> None:
        """Count."""
        self.lives += 1

    async def buy(self, path: str, amount: int = 1) -> str:
        """Pay; a refusal is an answer."""
        try:
            told = str(await self.step(pay, path, amount))
        except ToolFailed as error:
            told = str(error)
        self.paid.append(told)
        return told

    async def dawdle(self) -> None:
        """Take longer than anybody waits, for no person."""
        await asyncio.Event().wait()

    async def buy_inside(self, path: str) -> str:
        """As one would get round it."""
        return str(await self.step(pay_inside, path))

    async def wrong(self) -> str:
        """What does not fit is asked of nobody."""
        return str(await self.step(pay, {"road": 1}))


class Relay(Agent):
    """Calls another, with little patience."""

    async def order(self, buyer: Ref, path: str, timeout: float = 1.0, approved: bool = True) -> str:
        """Have it buy; or have it sleep for longer than is waited."""
        if approved:
            return str(await buyer.call(timeout=timeout).buy(path))
        try:
            return str(await buyer.call(timeout=timeout).dawdle())
        except CallTimeout as error:
            return type(error).__name__


class Boss(Agent):
    """Decides for another."""

    async def decide(self, buyer: Ref, yes: bool) -> list[Any]:
        """Look, and say."""
        seen = await buyer.approvals()
        await buyer.approve(seen[0]["step"], yes)
        return [seen[0]["tool"], seen[0]["input"]]


class Clerk(Assistant):
    """Reckons, if it may."""

    system = "Use the tools."
    tools = (multiply,)


@pytest.fixture(scope="module")
def lab():
    """One lab for all."""
    with Lab(nodes=1, stall_notice=60.0, stall_seconds=120.0) as made:  # a busy machine moves nobody
        yield made


def test_a_tool_waits_for_a_person_and_then_runs(lab, tmp_path):
    """Status, tree, frame and explanation say so; the lab is idle meanwhile."""
    buyer = lab.start(Buyer, id="buyer")
    place = tmp_path / "account"
    reply = buyer.call.buy(str(place), 5)
    wait_for(buyer.approvals)
    lab.wait_idle(60)

    (waits,) = buyer.approvals()
    assert (waits["tool"], waits["message"], waits["input"]) == ("pay", "buy", f"{str(place)!r}, 5")
    assert buyer.status == "waiting"
    assert lab.agents().query("path == '/buyer'")["status"].item() == "waiting"
    assert "waiting (for approval)" in lab.tree()._repr_mimebundle_()[0]["text/plain"]
    assert f"to allow pay({str(place)!r}, 5): ref.approve({waits['step']})" in lab.explain(buyer)
    assert not place.exists()
    assert lab.approvals()[["path", "step", "tool"]].to_numpy().tolist() == [["/buyer", waits["step"], "pay"]]

    buyer.approve(waits["step"])

    assert reply.result(60) == "paid 5"
    assert place.read_text() == "5\n"
    assert buyer.approvals() == []
    kinds = [kind for kind in lab.events()["kind"] if kind in ("approval_asked", "approved")]
    assert kinds == ["approval_asked", "approved"]
    steps = lab.steps().query("path == '/buyer'")
    assert list(zip(steps["kind"], steps["output"], strict=True)) == [
        ("approval", "allowed by a person"), ("tool", "'paid 5'"),
    ]  # fmt: skip


@pytest.mark.parametrize("yes", [True, False])
def test_a_person_answers_in_the_tree(lab, tmp_path, yes):
    """The row has the call whole, a button is the same as ``approve``; a word about another call is refused."""
    buyer, heard = lab.start(Buyer, id=f"seen-{yes}"), []
    place = tmp_path / "account<b>"
    reply = buyer.call.buy(str(place), 5)
    wait_for(buyer.approvals)
    (waits,) = lab.approvals().query(f"path == '{buyer.path}'").to_dict("records")
    tree = lab.tree()
    tree.send = lambda content, buffers=None: heard.append(content)
    tree._hear(tree, {"t": "hello", "looker": "me"}, [])
    wait_for(lambda: rows_heard(heard, buyer))
    row = rows_heard(heard, buyer)[-1]
    word = {"t": "answer", "epoch": heard[0]["epoch"], "slot": row["slot"], "yes": yes}

    tree._hear(tree, {**word, "asks": {"step": waits["step"], "call": "pay('all')"}}, [])
    wait_for(lambda: any("does not wait any more" in each.get("text", "") for each in heard))
    assert row["asks"] == {"step": waits["step"], "call": f"pay({waits['input']})"}
    assert len(buyer.approvals()) == 1

    tree._hear(tree, {**word, "asks": row["asks"]}, [])

    assert reply.result(60).startswith("paid 5" if yes else "pay was not run")
    assert place.exists() == yes
    wait_for(lambda: any(each.get("ok") and each["t"] == "did" for each in heard))
    done = next(each for each in heard if each.get("ok") and each["t"] == "did")
    assert done["code"].endswith(f".approve({waits['step']}{'' if yes else ', yes=False'})")
    wait_for(lambda: rows_heard(heard, buyer)[-1]["asks"] is None)
    tree.close()


def rows_heard(heard: list[dict[str, Any]], ref: Ref) -> list[dict[str, Any]]:
    """What a browser was told of an agent."""
    return [row for each in list(heard) for row in each.get("rows", []) if row["path"] == ref.path]


def test_a_refusal_is_told_and_nothing_runs(lab, tmp_path):
    """By an agent, too; what is not waited for cannot be approved."""
    buyer, boss = lab.start(Buyer, id="refused"), lab.start(Boss, id="boss")
    reply = buyer.call.buy(str(tmp_path / "account"))
    wait_for(buyer.approvals)

    assert boss.call.decide(buyer, yes=False).result(60) == ["pay", f"{str(tmp_path / 'account')!r}, 1"]

    assert reply.result(60).startswith("pay was not run: a person was asked and refused.")
    assert not (tmp_path / "account").exists()
    with pytest.raises(StepFailed, match=r"approve: 'pay' names no single step of '/refused'.*what waits: nothing"):
        buyer.approve("pay")


def test_the_model_is_told_of_a_refusal(lab):
    """As of a tool's failure; it answers."""
    clerk = lab.start(Clerk, id="clerk")
    reply = clerk.call.ask("What is 6 * 7?")
    wait_for(clerk.approvals)
    (first,) = clerk.approvals()
    clerk.approve(first["step"], yes=False)
    wait_for(lambda: [row for row in clerk.approvals() if row["step"] != first["step"]])  # it asks again
    clerk.approve("multiply")

    assert reply.result(60) == "6 * 7 = 42"
    told = clerk.state["messages"][2]["content"][0]
    assert told["is_error"]
    assert "a person was asked and refused" in told["content"]


def test_a_person_is_asked_once_whoever_dies(lab, tmp_path):
    """Killed while it waits: the next life waits for the same word, and no delivery is charged."""
    buyer = lab.start(Buyer, id="mortal")
    reply = buyer.call.buy(str(tmp_path / "account"))
    wait_for(buyer.approvals)
    before = buyer.approvals()
    for life in (2, 3, 4):
        buyer.kill()
        wait_for(lambda life=life: buyer.incarnation == life and buyer.status == "waiting")

    assert buyer.approvals() == before
    buyer.approve("pay")
    assert reply.result(60) == "paid 1"
    assert (tmp_path / "account").read_text() == "1\n"
    events = lab.events().query("path == '/mortal'")["kind"]
    assert list(events).count("approval_asked") == 1


def test_the_deadlines_of_callers_stand_still(lab, tmp_path):
    """Of a cell and of an agent in between: both are over long before the person comes."""
    buyer, relay = lab.start(Buyer, id="slow"), lab.start(Relay, id="relay")
    reply = relay.call(timeout=5.0).order(buyer, str(tmp_path / "account"), timeout=5.0)
    with ThreadPoolExecutor() as pool:
        waits = pool.submit(reply.result)
        wait_for(buyer.approvals)
        asked = time.monotonic()
        wait_for(lambda: time.monotonic() > asked + 6.0)
        buyer.approve("pay")

        assert waits.result(60) == "paid 1"
    assert relay.call.order(buyer, "/", timeout=0.2, approved=False).result(60) == "CallTimeout"
    wait_for(lambda: buyer.info()["message"] == "dawdle")
    buyer.skip()


def test_there_is_no_way_round_a_person(lab, tmp_path):
    """Inside another step, or without one, it is refused; arguments that do not fit are asked of nobody."""
    buyer = lab.start(Buyer, id="sly")

    with pytest.raises(AgentDown, match=r"pay needs a person's word .* Write in the handler: await self.step\(pay"):
        buyer.call(redeliver=False).buy_inside(str(tmp_path / "account")).result(60)
    with pytest.raises(AgentDown, match="pay was not run, its input does not fit"):
        buyer.call(redeliver=False).wrong().result(60)

    assert not (tmp_path / "account").exists()


def test_it_waits_on_in_the_next_kernel(tmp_path):
    """A lab opened again from its file: asked once, answered before it is resumed, and run once."""
    place, file = tmp_path / "account", tmp_path / "run.lab"
    with Lab(file, nodes=1) as lab:
        buyer = lab.start(Buyer, id="buyer")
        buyer.cast.buy(str(place), 7)
        wait_for(buyer.approvals)
        asked = buyer.approvals()
        assert list(open_store(file).approvals()["input"]) == [asked[0]["input"]]

    with Lab(file, nodes=1, resume="ask") as lab:
        assert lab["/buyer"].approvals() == asked
        lab["/buyer"].approve("pay")
        lab.resume()
        wait_for(place.exists)
        lab.wait_idle(60)
        assert lab["/buyer"].state["paid"] == ["paid 7"]

    assert place.read_text() == "7\n"
