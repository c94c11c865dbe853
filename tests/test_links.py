"""Links, monitors, exit signals, topics: between real agents on two nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentlab import Agent, Lab, Ref
from agentlab.books.links import Links
from agentlab.errors import AgentDown
from tests.agents import Counter
from tests.conftest import wait_for


class Linker(Agent):
    """Links and monitors on request; dies with its peers."""

    seen: list[str] = []

    async def tie(self, ref: Ref) -> None:
        """Link."""
        await self.link(ref)

    async def cut(self, ref: Ref) -> None:
        """Unlink."""
        await self.unlink(ref)

    async def watch(self, ref: Ref) -> None:
        """Monitor."""
        await self.monitor(ref)

    async def unwatch(self, ref: Ref) -> None:
        """Demonitor."""
        await self.demonitor(ref)

    async def on_down(self, ref: Ref, reason: Any) -> None:
        """Note."""
        self.seen.append(f"down {ref.path} {reason}")

    async def look(self) -> list[str]:
        """What was seen."""
        return self.seen

    async def back(self, ref: Ref) -> int:
        """Call an agent that calls back."""
        return await ref.call.back(self.ref)


class Trapper(Linker):
    """Traps exits."""

    trap_exit = True

    async def on_exit(self, ref: Ref, reason: Any) -> None:
        """Note."""
        self.seen.append(f"exit {ref.path} {reason}")


class Listener(Agent):
    """Hears topics."""

    heard: list[str] = []

    async def join(self, topic: str) -> None:
        """Subscribe."""
        await self.subscribe(topic)

    async def news(self, text: str) -> None:
        """Hear."""
        self.heard.append(text)

    async def tell(self, topic: str, text: str) -> int:
        """Publish from inside."""
        return await self.lab.publish(topic, "news", text)


def seen(ref: Ref, count: int) -> list[str]:
    """What a linker saw, once it saw so much."""
    wait_for(lambda: len(ref.state["seen"]) >= count)
    found: list[str] = ref.state["seen"]
    return found


def test_a_crash_takes_linked_agents_along(lab: Lab) -> None:
    """Both ways, across nodes, with the reason; a normal end takes nobody along."""
    one, other = lab.start(Linker, id="one"), lab.start(Counter, id="other")
    one.call.tie(other).result(60)
    other.crash(ValueError("tea"))
    lab.wait_idle(60)
    assert one.incarnation == 2
    assert "ValueError: tea" in lab.explain(one)

    one.call.tie(other).result(60)
    other.call.finish().result(60)
    lab.wait_idle(60)
    assert one.incarnation == 2


def test_a_trapped_exit_is_a_message(lab: Lab) -> None:
    """``on_exit`` gets ref and reason; a kill across a link is ``killed`` and can be trapped."""
    trapper, other = lab.start(Trapper, id="t"), lab.start(Counter, id="c")
    trapper.call.tie(other).result(60)
    other.kill()
    assert seen(trapper, 1) == ["exit /c killed"]
    lab.wait_idle(60)
    trapper.call.tie(other).result(60)
    other.call.finish().result(60)
    assert seen(trapper, 2)[1] == "exit /c normal"
    trapper.kill()
    lab.wait_idle(60)
    assert trapper.incarnation == 2


def test_linking_to_nobody_is_noproc(lab: Lab) -> None:
    """A trapping agent hears ``noproc``; another ends with it."""
    ghost = lab.start(Counter, id="ghost", restart="temporary")
    trapper, linker = lab.start(Trapper, id="t"), lab.start(Linker, id="l", restart="temporary")
    ghost.kill()
    lab.wait_idle(60)
    trapper.call.tie(ghost).result(60)
    assert seen(trapper, 1) == ["exit /ghost noproc"]
    linker.cast.tie(ghost)
    lab.wait_idle(60)
    assert lab.whereis("/l") is None


def test_unlink_and_linking_twice(lab: Lab) -> None:
    """A link is one however often it is made, and gone once it is cut."""
    trapper, other = lab.start(Trapper, id="t"), lab.start(Counter, id="c")
    trapper.call.tie(other).result(60)
    trapper.call.tie(other).result(60)
    trapper.call.cut(other).result(60)
    other.crash()
    lab.wait_idle(60)
    assert trapper.state["seen"] == []


def test_each_monitor_is_answered_once(lab: Lab) -> None:
    """Two monitors give two words; one taken back gives none; nobody there gives ``noproc``."""
    watcher, other = lab.start(Linker, id="w"), lab.start(Counter, id="c")
    for _ in range(3):
        watcher.call.watch(other).result(60)
    watcher.call.unwatch(other).result(60)
    other.crash(ValueError("x"))
    assert seen(watcher, 2) == ["down /c x", "down /c x"]
    lab.wait_idle(60)
    other.stop()
    watcher.call.watch(other).result(60)
    assert seen(watcher, 3)[2] == "down /c noproc"


@pytest.mark.parametrize("reason", ["normal", "shutdown", "boom", "killed", "kill"])
@pytest.mark.parametrize("trap", [False, True])
def test_signals_follow_the_matrix_of_otp(lab: Lab, reason: str, trap: bool) -> None:
    """What a stranger's exit signal does is what the real VM did (``exit2`` in signals.json)."""
    cases = json.loads((Path(__file__).parent / "oracle" / "signals.json").read_text())["matrix"]
    outcome = next(c["outcome"] for c in cases if (c["how"], c["reason"], c["trap"]) == ("exit2", reason, trap))
    victim = lab.start(Trapper if trap else Linker, id="v", restart="temporary")
    watcher = lab.start(Linker, id="w")
    watcher.call.watch(victim).result(60)

    victim.exit(reason)

    if outcome[0] == "dies":
        assert seen(watcher, 1) == [f"down /v {outcome[1]}"]
    elif outcome[0] == "message":
        assert seen(victim, 1) == [f"exit / {outcome[1]}"]
    else:
        assert outcome == ["ignored"]
        assert victim.call.look().result(60) == []


def test_topics(lab: Lab) -> None:
    """Subscribers get what is published, also after a restart; a stopped one is forgotten."""
    refs = [lab.start(Listener, id=name) for name in "abc"]
    for ref in refs[:2]:
        ref.call.join("tea").result(60)
    assert lab.publish("tea", "news", "one") == 2
    refs[0].kill()
    assert refs[2].call.tell("tea", "two").result(60) == 2
    lab.wait_idle(60)
    assert [ref.state["heard"] for ref in refs] == [["one", "two"], ["one", "two"], []]
    refs[1].stop()
    assert lab.publish("tea", "news", "three") == 1
    assert lab.publish("coffee", "news", "none") == 0


def test_a_circle_of_calls_is_refused(lab: Lab) -> None:
    """A call that would wait for its own caller fails at once and names the chain."""
    one, other = lab.start(Linker, id="one"), lab.start(Linker, id="two")
    with pytest.raises(AgentDown, match=r"CallCycle: /two calls /one.back, which waits for it: /two → /one → /two"):
        one.call(redeliver=False).back(other).result(60)


@given(st.lists(st.tuples(st.sampled_from("lumde"), st.integers(1, 6), st.integers(1, 6))))
def test_the_books_of_links_forget_what_has_ended(acts: list[tuple[str, int, int]]) -> None:
    """Links are symmetric, nobody hears of himself, and lives that end leave nothing behind."""
    links = Links()
    for act, one, other in acts:
        if act == "e":
            peers, watchers = links.end(one)
            assert one not in peers
            assert all(one not in links.linked(life) for life in range(1, 7))
            assert watchers == sorted(watchers)
        else:
            {"l": links.link, "u": links.unlink, "m": links.monitor, "d": links.demonitor}[act](one, other)
        assert all(one in links.linked(peer) for peer in links.linked(one))
    for life in range(1, 7):
        links.end(life)
    assert len(links) == 0
