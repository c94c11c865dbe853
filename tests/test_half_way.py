"""Ends in the middle of something: a start that fails, a step in doubt, a lab that closes over its mail."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from agentlab import Agent, Lab, Supervisor, child
from agentlab.errors import AgentDown, NotRunning
from agentlab.supervision.child import Limit
from tests.conftest import wait_for
from tests.marks import mark, size


def refuse(folder: str) -> None:
    """A step that must not be repeated, and fails."""
    mark(folder, "refused")
    raise ValueError("refused")


refuse.once = True  # type: ignore[attr-defined]  # what @tool(once=True) sets


class Sink(Agent):
    """Is told, and waits."""

    got: list[str] = []

    async def note(self, word: str) -> None:
        """Keep a word."""
        self.got = [*self.got, word]

    async def wait(self, folder: str) -> None:
        """Never end, the first time."""
        if mark(folder, "waited") == 1:
            await anyio.sleep_forever()

    async def try_once(self, folder: str) -> str:
        """A step in doubt."""
        return str(await self.step(refuse, folder))


class Eager(Agent):
    """Sends when it starts, and starts at the third attempt only."""

    folder: str

    async def on_start(self) -> None:
        """Say so, and fail."""
        self.lab["/sink"].cast.note("hello")
        self.after(0.0).tick()
        if mark(self.folder, "starts") in {2, 3}:
            raise ValueError("not yet")

    async def tick(self) -> None:
        """The timer."""
        self.lab["/sink"].cast.note("tick")


def test_a_start_that_fails_sends_nothing(lab: Lab, tmp_path: Path) -> None:
    """Casts and timers of ``on_start`` leave when it has returned, as those of a message do."""
    sink = lab.start(Sink, id="sink")
    lab.start(Supervisor("team", child(Eager, id="eager", folder=str(tmp_path)), max_restarts=9))

    lab["/team/eager"].kill()

    wait_for(lambda: len(sink.state["got"]) == 4)
    lab.wait_idle(60)
    assert sorted(sink.state["got"]) == ["hello", "hello", "tick", "tick"]
    assert size(tmp_path, "starts") == 4


def test_a_doubt_outweighs_used_up_deliveries(lab: Lab, tmp_path: Path) -> None:
    """However often a person lets it run again, what is in doubt is never given up in silence."""
    sink = lab.start(Sink, id="sink")
    reply = sink.call.try_once(str(tmp_path))
    for attempt in range(1, 4):
        wait_for(lambda attempt=attempt: size(tmp_path, "refused") == attempt and sink.status == "parked")
        sink.settle("refuse", retry=True)
    wait_for(lambda: size(tmp_path, "refused") == 4 and sink.status == "parked")

    sink.settle("refuse", result="done by hand")

    assert reply.result(60) == "done by hand"


def test_a_restart_does_not_repeat_what_is_in_doubt(lab: Lab, tmp_path: Path) -> None:
    """Who would start the agent again without a word about its doubt is told of it, and it stays parked."""
    sink = lab.start(Sink, id="sink")
    sink.cast.try_once(str(tmp_path))
    wait_for(lambda: sink.status == "parked")

    with pytest.raises(NotRunning, match=r"in doubt: refuse began.*ref.settle"):
        sink.restart()

    assert sink.status == "parked"
    assert [doubt["name"] for doubt in sink.doubts()] == ["refuse"]
    assert size(tmp_path, "refused") == 1


@pytest.mark.parametrize("how", ["stopped", "given up"])
def test_who_waits_for_a_doubt_under_a_supervisor_that_ends_is_told(lab: Lab, tmp_path: Path, how: str) -> None:
    """The caller learns at once that the message waits for a person, and the message is finished when both came."""
    team = Supervisor("team", child(Sink, id="sink"), child(Sink, id="other"), max_restarts=0)
    lab.start(child(team, own_limit=Limit(0, 5.0)))
    sink = lab["/team/sink"]
    reply = sink.call.try_once(str(tmp_path))
    wait_for(lambda: sink.status == "parked")

    if how == "stopped":
        lab["/team"].stop("shutdown")
    else:
        lab["/team/other"].kill()

    with pytest.raises(AgentDown, match=r"waits for a person, in doubt: refuse began and did not finish"):
        reply.result(60)
    assert [doubt["name"] for doubt in sink.doubts()] == ["refuse"]
    sink.settle("refuse", result="done by hand")
    lab["/team"].restart()
    wait_for(lambda: sink.status == "running")
    lab.wait_idle(60)
    assert lab.messages(path="/team/sink")["outcome"].tolist() == ["ok"]
    assert size(tmp_path, "refused") == 1


def test_a_closed_lab_keeps_the_casts_that_it_accepted(tmp_path: Path) -> None:
    """They are handled when it is opened again, the one in hand first."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=1) as lab:
        sink = lab.start(Sink, id="sink")
        sink.cast.wait(str(tmp_path))
        sink.cast.note("kept")
        wait_for(lambda: size(tmp_path, "waited") == 1)

    with Lab(path, nodes=1, resume=True) as lab:
        wait_for(lambda: lab["/sink"].state["got"] == ["kept"])
        assert size(tmp_path, "waited") == 2
        assert lab.events().query("kind == 'dead_letter'").empty
