"""``ref.skip()``: the message in hand is ended for good, wherever its code stands; the agent goes on with the next."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import anyio
import pytest

from agentlab import Agent, Backoff, Lab, Limit, Ref, Reply
from agentlab.control import skip
from agentlab.errors import AgentDown, NotRunning
from tests.conftest import wait_for
from tests.marks import mark, size
from tests.misbehave import hold_for_ever, loop, sleep

Where = Literal["awaits", "loops", "sleeps", "swallows", "is in C code"]


class Stuck(Agent):
    """Counts, and has messages that never end."""

    count: int = 0

    async def add(self) -> int:
        """Add one."""
        self.count += 1
        return self.count

    async def run(self, folder: str, where: Where) -> None:
        """Change the state, do a step, and stay."""
        self.count += 100
        self.ref.cast.add()
        await self.step(mark, folder, "begun")
        if where == "is in C code":
            stays = os.open(Path(folder, "stays"), os.O_WRONLY | os.O_CREAT)
            hold_for_ever(map(os.write, [stays], [b"x"]))
        elif where == "swallows":
            await self._swallow(folder)
        mark(folder, "stays")
        if where == "loops":
            loop()
        elif where == "sleeps":
            sleep(1000)
        await anyio.sleep_forever()

    async def _swallow(self, folder: str) -> None:
        marked = False
        while True:
            with contextlib.suppress(asyncio.CancelledError):  # it says that it stays where nothing gets out any more
                marked = marked or bool(mark(folder, "stays"))
                await anyio.sleep_forever()

    async def leave_behind(self, folder: str) -> None:
        """Start a task that keeps the node to itself once the named pipe ``gate`` is written to."""
        self._left = asyncio.create_task(self._hold(folder))

    async def _hold(self, folder: str) -> None:
        await anyio.Path(folder, "gate").read_bytes()
        file = os.open(Path(folder, "holds"), os.O_WRONLY | os.O_CREAT)
        hold_for_ever(map(os.write, [file], [b"."]))  # no line of Python between the mark and the holding

    async def doubt(self, folder: str) -> None:
        """Be in the middle of what must not happen twice."""
        await self.step(once_wait, folder)

    async def fail(self) -> None:
        """Raise."""
        raise ValueError("no tea")

    async def ask(self, other: Ref, folder: str) -> None:
        """Wait for somebody whose message never ends."""
        await other.call.run(folder, "awaits")

    async def end(self, other: Ref) -> None:
        """End somebody else's message."""
        await other.skip()

    async def end_own(self) -> None:
        """End the message that asks for it."""
        self.count += 100
        await self.ref.skip()
        await anyio.sleep_forever()


async def once_wait(folder: str) -> None:
    """Begin, and never finish."""
    mark(folder, "begun")
    await anyio.sleep_forever()


once_wait.once = True  # type: ignore[attr-defined]  # what @tool(once=True) sets


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler may take long to let go, and a node to begin: on a busy machine they do, and it is not their doing."""
    monkeypatch.setattr(skip, "PATIENCE_SECONDS", 20.0)


@pytest.fixture(params=["memory", "file"])
def anylab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """A lab in memory, and one with a file."""
    with Lab(None if request.param == "memory" else tmp_path / "run.lab", nodes=2) as made:
        yield made


def begun(stuck: Ref, folder: Path, where: Where) -> Reply:
    """A message that has begun and never ends."""
    reply: Reply = stuck.call.run(str(folder), where)
    wait_for(lambda: size(folder, "stays") == 1)
    return reply


@pytest.mark.parametrize("where", ["awaits", "loops", "sleeps", "swallows", "is in C code"])
def test_the_message_in_hand_ends_wherever_its_code_stands(anylab: Lab, tmp_path: Path, where: Where) -> None:
    """Its caller is told, it is a dead letter, its steps stay, and the next one finds the last checkpoint."""
    stuck = anylab.start(Stuck, id="s")
    stuck.call.add().result(60)
    reply = begun(stuck, tmp_path, where)
    behind = stuck.call.add()

    stuck.skip()

    with pytest.raises(AgentDown, match=r"/s.run was not answered: it was ended for good by ref.skip\(\)") as told:
        reply.result(60)
    assert told.value.reason == "skipped"
    assert behind.result(60) == 2
    anylab.wait_idle()
    assert stuck.state == {"count": 2}
    assert anylab.messages()["outcome"].tolist() == ["ok", "skipped", "ok"]
    assert anylab.steps()["name"].tolist() == ["mark"]
    assert size(tmp_path, "begun") == 1
    letters = anylab.dead_letters()
    assert (letters["method"].tolist(), letters["reason"].tolist()) == (["run"], ["skipped"])
    assert stuck.info()["restarts"] == 0
    assert "restarting" not in anylab.events()["kind"].tolist()


def test_an_agent_that_lets_go_keeps_its_life(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only code that does not let go costs an incarnation, and ``explain`` says so."""
    stuck = lab.start(Stuck, id="s")
    begun(stuck, tmp_path, "loops")
    with monkeypatch.context() as patience:
        patience.setattr(skip, "PATIENCE_SECONDS", 20.0)
        stuck.skip()
    assert stuck.incarnation == 1
    (tmp_path / "stays").unlink()
    begun(stuck, tmp_path, "swallows")
    stuck.skip()
    wait_for(lambda: stuck.incarnation == 2)
    assert "did not let go of a message that was skipped" in lab.explain(stuck)


@pytest.mark.usefixtures("patient")
def test_what_is_about_to_begin_is_skipped_as_if_it_had(lab: Lab, tmp_path: Path) -> None:
    """Who sends a message and skips it at once does not race with the agent's node."""
    awake, (asleep, *_) = lab.start(Stuck, id="s"), lab.start_many(Stuck, 2)
    for _ in range(10):
        for stuck in (awake, asleep):
            reply = stuck.call.run(str(tmp_path), "loops")
            stuck.skip()
            with pytest.raises(AgentDown, match=r"ended for good by ref.skip"):
                reply.result(60)
    assert (awake.call.add().result(60), awake.info()["restarts"], asleep.info()["restarts"]) == (1, 0, 0)


def test_with_nothing_in_hand_there_is_nothing_to_skip(lab: Lab) -> None:
    """What waits has not begun: it stays."""
    stuck = lab.start(Stuck, id="s")
    with pytest.raises(NotRunning, match=r"skip: '/s' has no message in hand\."):
        stuck.skip()
    stuck.suspend()
    replies = [stuck.call.add() for _ in range(2)]
    with pytest.raises(NotRunning, match=r"no message in hand; 2 wait"):
        stuck.skip()
    stuck.resume()
    assert [reply.result(60) for reply in replies] == [1, 2]
    with pytest.raises(NotRunning, match="is a supervisor"):
        lab["/"].skip()


def test_what_waits_behind_a_task_in_c_code_is_not_in_hand(lab: Lab, tmp_path: Path) -> None:
    """Its node answers nothing, and its word says that the code which holds it handles no message: nothing is ended."""
    os.mkfifo(tmp_path / "gate")
    stuck = lab.start(Stuck, id="s")
    stuck.call.leave_behind(str(tmp_path)).result(60)
    assert stuck.call.add().result(60) == 1
    (tmp_path / "gate").write_bytes(b".")
    wait_for(lambda: size(tmp_path, "holds") == 1)
    waits = stuck.call.add()

    with pytest.raises(NotRunning, match=r"skip: '/s' has no message in hand; 1 wait"):
        stuck.skip()

    stuck.kill()
    assert waits.result(60) == 2
    assert len(lab.dead_letters()) == 0


def test_a_message_in_doubt_is_ended_and_the_agent_goes_on(anylab: Lab, tmp_path: Path) -> None:
    """It was parked for that message alone, so it runs again; the doubt is over."""
    stuck = anylab.start(Stuck, id="s")
    reply = stuck.call.doubt(str(tmp_path))
    wait_for(lambda: size(tmp_path, "begun") == 1)
    stuck.kill()
    wait_for(stuck.doubts)
    assert stuck.status == "parked"

    stuck.skip()

    with pytest.raises(AgentDown):
        reply.result(60)
    assert stuck.call.add().result(60) == 1
    assert (stuck.doubts(), size(tmp_path, "begun")) == ([], 1)
    assert anylab.dead_letters()["reason"].tolist() == ["skipped"]


def test_a_message_that_waits_for_the_next_life_is_ended(lab: Lab) -> None:
    """While its agent waits before a restart, and while it is parked: it is the one that would begin again."""
    long = Backoff(initial=3600.0, maximum=3600.0, jitter=0.0)
    waits, parked = lab.start(Stuck, id="w", backoff=long), lab.start(Stuck, id="p", own_limit=Limit(0, 1000))
    reply = waits.call.fail()
    wait_for(lambda: waits.status == "backing_off")
    waits.skip()
    with pytest.raises(AgentDown, match=r"ref.skip\(\)"):
        reply.result(60)
    assert waits.status == "backing_off"
    lab["/"].terminate_child("w")  # who would wait for an hour?
    lab["/"].restart_child("w")
    assert waits.call.add().result(60) == 1

    parked.cast.fail()
    wait_for(lambda: parked.status == "parked")
    parked.skip()
    assert lab.dead_letters()["reason"].tolist() == ["skipped", "skipped"]
    assert parked.status == "parked"  # for its crashes: only a person brings it back
    parked.restart()
    assert parked.call.add().result(60) == 1


@pytest.mark.usefixtures("patient")
def test_who_waits_for_a_neighbour_is_told(lab: Lab, tmp_path: Path) -> None:
    """A call of an agent ends as one of a cell does; the agent that asked dies of it, as of any AgentDown."""
    stuck = lab.start(Stuck, id="s")
    boss = lab.start(Stuck, id="boss")
    reply = boss.call(redeliver=False).ask(stuck, str(tmp_path))
    wait_for(lambda: size(tmp_path, "begun") == 1)
    stuck.skip()
    with pytest.raises(AgentDown, match="AgentDown"):
        reply.result(60)
    assert stuck.call.add().result(60) == 1
    assert stuck.incarnation == 1


def test_agents_skip_too(lab: Lab, tmp_path: Path) -> None:
    """Another's message, as a step; and their own."""
    stuck, boss = lab.start(Stuck, id="s"), lab.start(Stuck, id="boss")
    reply = begun(stuck, tmp_path, "loops")
    boss.call.end(stuck).result(60)
    with pytest.raises(AgentDown, match=r"ref.skip\(\)"):
        reply.result(60)
    assert lab.steps(path="/boss")["name"].tolist() == ["/s.skip"]

    with pytest.raises(AgentDown, match=r"ref.skip\(\)"):
        boss.call.end_own().result(60)
    assert boss.call.add().result(60) == 1


def test_a_skipped_message_does_not_come_back_with_the_store(tmp_path: Path) -> None:
    """Its outcome is as durable as any: a lab that is opened again does not handle it."""
    with Lab(tmp_path / "run.lab", nodes=1) as lab:
        begun(lab.start(Stuck, id="s"), tmp_path, "awaits")
        lab["/s"].skip()
    with Lab(tmp_path / "run.lab", nodes=1, resume=True) as lab:
        lab.wait_idle()
        assert lab["/s"].state == {"count": 0}
        assert lab["/s"].call.add().result(60) == 1
        assert size(tmp_path, "begun") == 1


@pytest.mark.usefixtures("patient")
def test_a_kill_meanwhile_ends_both(lab: Lab, tmp_path: Path) -> None:
    """A death while the handler is being reached: the message is skipped all the same, and the kill counts."""
    stuck = lab.start(Stuck, id="s")
    reply = begun(stuck, tmp_path, "swallows")

    async def both() -> None:
        await asyncio.gather(asyncio.to_thread(stuck.skip), asyncio.to_thread(stuck.kill))

    asyncio.run(both())
    with pytest.raises(AgentDown, match=r"ref.skip\(\)"):
        reply.result(60)
    assert stuck.call.add().result(60) == 1
    assert size(tmp_path, "begun") == 1
