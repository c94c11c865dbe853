"""How agents know each other: fields that hold refs, written as paths where the tree is declared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest

from agentlab import Agent, Lab, Ref, Supervisor, child
from agentlab.errors import AgentDown, InvalidSpec, InvalidState
from tests.agents import Counter


class Planner(Agent):
    """Knows its workers."""

    workers: list[Ref] = []
    named: dict[str, Ref] = {}
    critic: Ref | None = None
    pair: tuple[Ref, int] | None = None
    left: Annotated[Ref, "beside it"] = "../left"  # type: ignore[assignment]  # a path stands for a ref

    async def spread(self, n: int) -> list[int]:
        """Ask each."""
        return [await worker.call.add(n) for worker in self.workers]

    async def paths(self) -> dict[str, list[str]]:
        """Who is where."""
        return {
            "workers": [ref.path for ref in self.workers],
            "named": [ref.path for ref in self.named.values()],
            "others": [ref.path for ref in (self.critic, self.left, self.pair[0] if self.pair else None) if ref],
        }

    async def ask(self, name: str, n: int) -> int:
        """Ask the one of that name."""
        return int(await self.named[name].call.add(n))

    async def forget_right(self) -> None:
        """A text is no ref."""
        self.critic = "../left"  # type: ignore[assignment]  # on purpose


def team(**fields: object) -> Supervisor:
    """A planner beside two counters."""
    return Supervisor("team", child(Planner, id="lead", **fields), child(Counter, id="w1"), child(Counter, id="left"))


def test_a_path_stands_for_a_ref(lab: Lab) -> None:
    """From the root, or from the agent itself; alone, in lists, dicts, tuples, and as a default."""
    lab.start(
        team(
            workers=["../w1", "/team/left"],
            named={"a": "../w1", "b": "../../solo"},
            critic="../left",
            pair=("/solo", 1),
        )
    )
    lead = lab["/team/lead"]

    assert lead.call.paths().result(60) == {
        "workers": ["/team/w1", "/team/left"], "named": ["/team/w1", "/solo"],
        "others": ["/team/left", "/team/left", "/solo"],
    }  # fmt: skip
    assert lead.call.spread(2).result(60) == [2, 2]
    assert lead.call.spread(1).result(60) == [3, 3]


def test_refs_and_paths_mix(lab: Lab) -> None:
    """A ref that is there already is as good."""
    solo = lab.start(Counter, id="solo")
    lead = lab.start(Planner, id="lead", workers=[solo, "../solo"])

    assert lead.call.spread(1).result(60) == [1, 2]


def test_a_path_is_resolved_when_it_is_used(lab: Lab) -> None:
    """Whoever is not there yet may come later; until then using it is an error that says so, and no other is."""
    lead = lab.start(Planner, id="lead", named={"late": "../late"})

    with pytest.raises(AgentDown, match=r"NotRunning: /late.add: there is no agent '/late' in this lab"):
        lead.call(redeliver=False).ask("late", 1).result(20)
    lab.wait_idle()
    lab.start(Counter, id="late")

    assert lead.call.ask("late", 1).result(60) == 1


@pytest.mark.parametrize("path", ["w1", "", "team/w1", "./w1", "/team/", "//w1"])
def test_a_text_that_is_no_path_is_refused_where_it_is_written(path):
    """With both ways to write one."""
    with pytest.raises(InvalidSpec, match=r"is no path of an agent; write '/team/w1' from the root, '../w1' for a"):
        child(Planner, workers=[path])
    with pytest.raises(InvalidSpec):
        child(Planner, workers=[5])


def test_a_default_that_is_no_path_is_refused_with_the_class():
    """As any default that does not fit."""
    with pytest.raises(InvalidSpec, match="no path of an agent"):

        class Wrong(Agent):
            """Knows nobody."""

            other: Ref = "other"  # type: ignore[assignment]  # on purpose


def test_a_crash_a_replacement_and_many_at_once_keep_them(lab: Lab) -> None:
    """Refs come back from checkpoints; paths are taken wherever a person gives fields."""
    lab.start(Counter, id="w1")
    lead = lab.start(Planner, id="lead", workers=["../w1"])
    lead.call.spread(1).result(60)
    lead.kill()
    lab.wait_idle()
    assert lead.call.spread(1).result(60) == [2]

    lead.replace_state(workers=["/w1", "../w1"])
    assert lead.call.spread(1).result(60) == [3, 4]

    many = lab.start_many(Planner, [{"workers": ["../w1"]}, {"workers": ["/w1"]}])
    assert [reply for ref in many for reply in ref.call.spread(1).result(60)] == [5, 6]
    fork = lead.fork(id="fork", workers=["../w1"])
    assert fork.call.spread(1).result(60) == [7]


def test_a_file_keeps_them(tmp_path: Path) -> None:
    """As paths; the next lab reads them back as its own refs."""
    path = tmp_path / "a.lab"
    with Lab(path, nodes=1) as lab:
        lab.start(team(workers=["../w1"]))
        assert lab["/team/lead"].call.spread(1).result(60) == [1]
    with Lab(path, nodes=1) as lab:
        assert lab["/team/lead"].state["workers"][0]["path"] in ("../w1", "/team/w1")
        assert lab["/team/lead"].call.spread(1).result(60) == [2]


def test_agents_start_others_with_paths(lab: Lab) -> None:
    """``self.lab.start`` takes them as ``lab.start`` does."""
    lab.start(Counter, id="w1")
    lab.start(Hirer, id="hirer").call.hire().result(60)

    assert lab["/hired"].call.spread(1).result(60) == [1]
    assert lab["/hired"].call.paths().result(60)["others"] == ["/w1", "/left"]


class Hirer(Agent):
    """Starts a planner."""

    async def hire(self) -> None:
        """With a worker that it knows by its path."""
        hired = await self.lab.start(Planner, id="hired", workers=["../nobody"])
        await hired.replace_state(workers=["../w1"], critic=self.lab["/w1"])


def test_a_text_that_an_agent_sets_is_no_ref(lab: Lab) -> None:
    """It would be one only after the next crash; a ref from a path is ``self.lab[path]``."""
    lab.start(team())

    with pytest.raises(AgentDown, match=r"InvalidState: Planner.critic is .*; got '../left'"):
        lab["/team/lead"].call(redeliver=False).forget_right().result(20)


def test_setting_a_field_on_a_ref_says_how_it_is_done(lab: Lab) -> None:
    """By a message, or between two of them; the ref is as it was."""
    counter = lab.start(Counter, id="c")

    with pytest.raises(AttributeError, match=r"'/c': a ref's 'count' cannot be set.*ref.replace_state\(count=...\)"):
        counter.count = 5  # type: ignore[attr-defined]  # on purpose
    with pytest.raises(AttributeError, match="cannot be set"):
        counter.path = "/d"

    assert counter.replace_state(count=5) == {"count": 5}
    assert counter.call.add(1).result(60) == 6
    with pytest.raises(InvalidState):
        counter.replace_state(count="/c")
