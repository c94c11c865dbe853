"""One agent seen closely, without a browser: what travels, what is bounded, what buttons do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from agentlab import Agent, Lab, Supervisor, Transcript, child, open_store, tool
from agentlab.errors import InvalidArgument
from agentlab_widgets.asks import asks_of
from agentlab_widgets.stored import Elsewhere
from agentlab_widgets.values import Allowance, difference, field_node, node_of
from tests.conftest import wait_for
from tests.test_transcript_widget import HOSTILE, Browser, watched


@tool(once=True)
def pay(amount: int) -> str:
    """Pay, and do not say whether."""
    raise RuntimeError(f"the line went dead after {amount}")


class Clerk(Agent):
    """Has state, and works slowly."""

    count: int = 0
    name: str = "clerk"
    pages: Transcript = Transcript()

    async def add(self, n: int = 1) -> None:
        """Count."""
        self.count += n

    async def work(self) -> None:
        """Change the state and do not end."""
        self.count = 1000
        self.pages.append("a draft")
        print("working")
        await asyncio.sleep(600)

    async def fail(self) -> None:
        """Die."""
        raise ValueError("no tea")

    async def buy(self) -> str:
        """Pay once."""
        return str(await self.step(pay, amount=5))

    async def fill(self, text: str) -> None:
        """Keep a large text."""
        self.name = text


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One lab for all of these."""
    with Lab(nodes=1) as lab:
        yield lab


def did(browser: Browser, code: str) -> None:
    """Wait until a click was carried out, and well."""
    wait_for(lambda: any(said.get("code") == code and said["t"] == "did" for said in browser.heard))
    (said,) = [said for said in browser.heard if said.get("code") == code and said["t"] == "did"]
    assert said["ok"], said


def test_what_came_of_a_click_is_said_when_it_is_seen(lab):
    """Who reads that it is done may go on with what can be done now; else the next key meets the picture of before."""
    view = lab.start(Clerk, id="rests").watch()
    browser = watched(view)
    can = []
    browser.hear = lambda content, _=(), hear=browser.hear: (
        can.append("resume" in browser.parts["head"]["can"]) if content["t"] == "did" else None, hear(content)
    )  # fmt: skip
    view.send = browser.hear
    for _ in range(4):
        for what in ("suspend", "resume"):
            told = len(can)
            view._hear(view, {"t": "do", "what": what}, [])
            wait_for(lambda told=told: len(can) > told)

    assert can == [True, False] * 4


def test_the_draft_stands_beside_what_is_committed(lab):
    """While a message is handled its changes are a draft, with the mailbox behind it and what it prints."""
    clerk = lab.start(Clerk, id="busy")
    clerk.call.add(5).result(60)
    widget = clerk.watch()
    browser = watched(widget)
    assert browser.parts["state"]["changed"] == ["count"]
    clerk.cast.work()
    clerk.cast.add(1)
    wait_for(lambda: browser.parts["hand"] and browser.parts["mailbox"]["count"] == 1)
    wait_for(lambda: browser.parts["log"]["text"] == "working")
    wait_for(lambda: browser.parts["state"]["draft"])

    committed = {field["n"]: field.get("v") for field in browser.parts["state"]["fields"]}
    draft = {field["n"]: field.get("v", field.get("c")) for field in browser.parts["state"]["draft"]}
    assert committed["count"] == "5"
    assert draft["count"] == "1000"
    assert [item["v"] for item in draft["pages"]] == ["a draft"]
    assert browser.parts["hand"]["method"] == "work"
    assert [letter["method"] for letter in browser.parts["mailbox"]["letters"]] == ["add"]
    clerk.skip()
    widget.close()


def test_each_life_keeps_the_traceback_of_its_end(lab):
    """Lives are a line, the last one lives."""
    clerk = lab.start(Clerk, id="mortal")
    widget = clerk.watch()
    browser = watched(widget)
    clerk.crash()
    wait_for(lambda: [life["how"] for life in browser.parts["lives"]] == ["crashed", ""])
    clerk.call(redeliver=False).fail()
    wait_for(lambda: [life["how"] for life in browser.parts["lives"]] == ["crashed", "crashed", ""])

    assert [life["n"] for life in browser.parts["lives"]] == [1, 2, 3]
    assert "no tea" in browser.parts["lives"][1]["why"]
    assert "raise ValueError" in browser.parts["lives"][1]["trace"]
    widget.close()


def test_checkpoints_are_compared_rewound_to_and_forked_from(lab):
    """The buttons do what code does, and say which."""
    clerk = lab.start(Clerk, id="past")
    for _ in range(3):
        clerk.call.add(1).result(60)
    widget = clerk.watch()
    browser = watched(widget)
    points = [point["seq"] for point in browser.parts["checkpoints"]]

    widget._hear(widget, {"t": "compare", "before": points[2], "after": points[0]}, [])
    wait_for(lambda: browser.parts["diff"])
    assert browser.parts["diff"]["fields"] == [{"n": "count", "was": "1", "is": "3"}]
    widget._hear(widget, {"t": "do", "what": "rewind", "n": points[2]}, [])
    did(browser, f"lab['/past'].rewind({points[2]})")
    assert clerk.state["count"] == 1
    widget._hear(widget, {"t": "do", "what": "fork", "n": points[0]}, [])
    did(browser, f"lab['/past'].fork({points[0]})")
    assert lab["/past-fork-1"].state["count"] == 3
    widget._hear(widget, {"t": "do", "what": "__class__", "n": 1}, [])
    widget._hear(widget, {"t": "do", "what": "crash"}, [])
    did(browser, "lab['/past'].crash()")
    widget.close()


def test_a_doubt_is_settled_by_its_button(lab):
    """A person says what a step gave, and the message goes on with that."""
    clerk = lab.start(Clerk, id="doubtful")
    reply = clerk.call(timeout=600).buy()
    wait_for(clerk.doubts)
    widget = clerk.watch()
    browser = watched(widget)
    wait_for(lambda: browser.parts["asks"]["doubts"])
    (doubt,) = browser.parts["asks"]["doubts"]

    settled = {"t": "do", "what": "settle", "n": doubt["step"], "text": "paid"}
    widget._hear(widget, {**settled, "asks": {**doubt, "began": "1"}}, [])
    wait_for(lambda: any("does not wait any more" in said.get("text", "") for said in browser.heard))
    assert clerk.doubts()
    browser.heard.clear()
    widget._hear(widget, {**settled, "asks": doubt}, [])
    did(browser, f"lab['/doubtful'].settle({doubt['step']}, ...)")

    assert reply.result(60) == "paid"
    wait_for(lambda: not browser.parts["asks"]["doubts"])
    widget.close()


@tool(approve=True)
def send(text: str) -> str:
    """Send it, if somebody allows it."""
    return text


class Sender(Agent):
    """Asks before it sends."""

    async def send(self) -> str:
        """Ask."""
        return str(await self.step(send, text="tea"))


@pytest.mark.parametrize("allowed", [True, False])
def test_a_tool_that_asks_is_answered_by_its_buttons(lab, allowed):
    """The tool runs, or the agent hears that it may not; nothing waits any more."""
    sender = lab.start(Sender, id=f"sender-{allowed}")
    reply = sender.call(timeout=600).send()
    wait_for(sender.approvals)
    widget = sender.watch()
    browser = watched(widget)
    wait_for(lambda: browser.parts["asks"]["approvals"])
    (ask,) = browser.parts["asks"]["approvals"]

    word = {"t": "do", "what": "approve" if allowed else "refuse", "n": ask["step"], "asks": ask}
    widget._hear(widget, word, [])
    did(browser, f"lab['/sender-{allowed}'].approve({ask['step']}{'' if allowed else ', yes=False'})")

    if allowed:
        assert reply.result(60) == "tea"
    else:
        wait_for(lambda: "not_approved" in set(lab.events().query(f"path == '{sender.path}'")["kind"]))
    wait_for(lambda: not browser.parts["asks"]["approvals"])
    widget.close()


def test_who_only_reads_sees_what_waits_for_a_person(tmp_path):
    """Approvals and steps in doubt, as their own lab tells them; of an agent of which nothing waits there is none."""
    with Lab(tmp_path / "asks.lab", nodes=1) as lab:
        doubtful, asking = lab.start(Clerk, id="doubtful"), lab.start(Sender, id="asking")
        doubtful.cast.buy()
        asking.cast.send()
        wait_for(lambda: doubtful.doubts() and asking.approvals())
        with open_store(tmp_path / "asks.lab") as stored:
            elsewhere = Elsewhere(stored)
            wait_for(elsewhere["/doubtful"].doubts)
            doubts, approvals = asks_of(elsewhere["/doubtful"]), asks_of(elsewhere["/asking"])
        known = asks_of(lab["/asking"])["approvals"]

    assert doubts["approvals"] == approvals["doubts"] == []
    assert [ask["name"] for ask in doubts["doubts"]] == ["pay"]
    assert [{**ask, "began": ""} for ask in approvals["approvals"]] == [{**ask, "began": ""} for ask in known]
    assert [ask["input"] for ask in known] == ["text='tea'"]


def test_what_travels_of_a_value_is_bounded():
    """Ten megabytes, a thousand levels and hostile names are a few thousand bytes that can be drawn."""
    deep: Any = 0
    for _ in range(300):
        deep = [deep, HOSTILE[:50]]
    wide = {HOSTILE[:200] + str(n): {str(m): m for m in range(100)} for n in range(1000)}
    allowance = Allowance()

    nodes = [
        node_of("deep", deep, allowance),
        node_of("wide", wide, allowance),
        node_of("text", HOSTILE * 10, allowance),
    ]
    nodes.append(field_node("big", json.dumps("x" * 10_000_000), 0, allowance))
    nodes.append(field_node("items", ['"a"'] * 200, 5_000, allowance))
    sent = json.dumps(nodes, ensure_ascii=False)

    assert len(sent.encode()) < 200_000
    assert not set("\x00\x1b\u202e\ud800") & set(sent)
    assert nodes[-1]["more"] == 5_000 - len(nodes[-1].get("c", ()))


def test_a_large_state_stays_readable(lab):
    """Ten megabytes in a field: less than a hundred kilobytes travel."""
    clerk = lab.start(Clerk, id="large")
    clerk.call.fill("x" * 10_000_000).result(60)
    widget = clerk.watch()
    browser = watched(widget)

    assert len(json.dumps(browser.parts)) < 100_000
    assert {field["n"]: field["t"] for field in browser.parts["state"]["fields"]}[
        "name"
    ] == "10,000,002 characters of JSON"
    widget.close()


def test_a_difference_says_what_a_transcript_gained():
    """Fields that are new, gone, changed; of a transcript the items that came."""
    found = difference({"a": "1", "t": ["1"], "gone": "0"}, {"a": "2", "t": ["1", "2"], "new": "3"})

    assert [(each["n"], each["was"], each["is"]) for each in found] == [
        ("a", "1", "2"), ("t", "1 items", "2 items … + 1: 2"), ("gone", "0", "(none)"), ("new", "(none)", "3"),
    ]  # fmt: skip


def test_who_is_no_agent_is_not_watched(lab):
    """A supervisor is shown by the tree; the text form needs no browser."""
    team = lab.start(Supervisor("team", child(Clerk, id="a")))

    with pytest.raises(InvalidArgument, match=r"lab\.tree"):
        team.watch()
    assert repr(lab["/team/a"].watch()).splitlines()[:2] == [
        "/team/a: Clerk, running, incarnation 1, 0 in the mailbox",
        "  count = 0",
    ]
