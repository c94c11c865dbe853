"""What a handler asks of its lab is done once for each message: starts, news, control, and what it looked up."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from agentlab import Agent, Lab, Ref, Supervisor, child
from agentlab.books.journal import Journal
from agentlab.errors import AgentDown, AlreadyStarted, CallCycle
from agentlab.ref.many import Refs
from tests.conftest import wait_for
from tests.test_kernel_life import read_line, start_script


def first(folder: str, word: str) -> bool:
    """Whether this is reached for the first time."""
    path = Path(folder, word)
    if path.exists():
        return False
    path.touch()
    return True


class Helper(Agent):
    """Is started."""

    heard: list[str] = []
    topic: str = "news"

    async def on_start(self) -> None:
        """Listen."""
        await self.subscribe(self.topic)

    async def note(self, text: str) -> None:
        """Write it down."""
        self.heard = [*self.heard, text]


class Boss(Agent):
    """Acts on the lab and dies."""

    done: list[str] = []
    downs: list[str] = []

    async def hire(self, folder: str, place: str, how: str) -> str:
        """Start a helper and publish, with a death in between."""
        await self._die_at(folder, "0", place, how)
        helper = await self.lab.start(Helper, id="helper")
        await self._die_at(folder, "1", place, how)
        heard = await self.lab.publish("news", "note", "hired")
        await self._die_at(folder, "2", place, how)
        self.done = [*self.done, helper.path]
        await self._die_at(folder, "3", place, how)
        return f"{helper.path} {heard}"

    async def _die_at(self, folder: str, here: str, place: str, how: str) -> None:
        if here == place and first(folder, f"{place} {how}"):
            if how == "raise":
                raise ValueError("planned")
            if how == "node":
                os.kill(os.getpid(), signal.SIGKILL)
            first(folder, "now")  # somebody outside kills it
            await anyio.sleep_forever()

    async def oneself(self, op: str) -> int:
        """Do something to oneself."""
        await getattr(self.ref, op)()
        return self.incarnation

    async def end(self, path: str, op: str, *args: str) -> str:
        """End something that one hangs on, and go on to the end of the message."""
        await getattr(self.lab[path], op)(*args)
        self.done = [*self.done, op]
        return op

    async def find_or_start(self, folder: str) -> str:
        """What handlers often do, with a death behind it."""
        helper = await self.lab.whereis("helper")
        if helper is None:
            helper = await self.lab.start(Helper, id="helper")
        if first(folder, "raise"):
            raise ValueError("planned")
        return helper.path

    async def look(self, folder: str, helper: Ref) -> list[str]:
        """What one has seen stays as it was."""
        seen = await helper.state
        if first(folder, "raise"):
            await helper.call.note("later")
            raise ValueError("planned")
        await helper.call.note("later")
        return list(seen["heard"])

    async def set_itself(self) -> None:
        """Wait for oneself."""
        await self.ref.replace_state(done=["set"])

    async def tell(self) -> None:
        """Nobody waits for it."""
        self.lab.publish("news", "note", "told")
        self.lab.start(Helper, id="late", topic="other")
        self.lab["/nobody"].kill()

    async def on_down(self, ref: Ref, reason: object) -> None:
        """Write it down."""
        self.downs = [*self.downs, ref.id]

    async def watch(self, folder: str, helper: Ref) -> None:
        """Monitor, and die behind it."""
        await self.monitor(helper)
        if first(folder, "raise"):
            raise ValueError("planned")

    async def start_in_a_step(self, folder: str) -> str:
        """The step's effect is a start."""
        helper = await self.step(self._start)
        if first(folder, "raise"):
            raise ValueError("planned")
        return str(helper.path)

    async def _start(self) -> Ref:
        return await self.lab.start(Helper, id="helper")

    async def copy(self, folder: str, helper: Ref) -> list[str]:
        """Fork, and die behind it."""
        forks: Refs = await helper.fork(n=2)
        if first(folder, "raise"):
            raise ValueError("planned")
        return [ref.path for ref in forks]

    async def grow(self, folder: str) -> list[str]:
        """Start children under a supervisor and read a child spec, which no journal can hold, and die behind it."""
        team = self.lab["/team"]
        found = [(await team.start_child(child(Helper, id=id))).path for id in ("a", "b")]
        spec = await team.get_childspec("a")
        if first(folder, "raise"):
            raise ValueError("planned")
        return [*found, spec.id]

    async def twice(self) -> str:
        """Start the same twice."""
        await self.lab.start(Helper, id="twin")
        try:
            await self.lab.start(Helper, id="twin")
        except AlreadyStarted:
            return "refused"
        return "both"


@pytest.fixture(params=["memory", "file"])
def anylab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """A lab in memory, and one with a file."""
    with Lab(tmp_path / "run.lab" if request.param == "file" else None, nodes=2) as made:
        yield made


def steps(lab: Lab, path: str = "/boss") -> list[tuple[str, str, str]]:
    """The steps that were not answered by the journal: kind, name, outcome."""
    frame = lab.steps(path=path).query("replayed == 0")
    return list(zip(frame["kind"], frame["name"], frame["outcome"], strict=True))


@pytest.mark.parametrize("how", ["raise", "outside", "node"])
@pytest.mark.parametrize("place", ["0", "1", "2", "3"])
def test_a_handler_that_dies_starts_and_publishes_once(anylab: Lab, tmp_path: Path, place: str, how: str) -> None:
    """Wherever it dies: one helper, in its first life, which hears the news once."""
    boss = anylab.start(Boss, id="boss")
    reply = boss.call.hire(str(tmp_path), place, how)
    if how == "outside":
        wait_for((tmp_path / "now").exists)
        boss.kill()
    assert reply.result(20) == "/helper 1"
    anylab.wait_idle()

    assert boss.state["done"] == ["/helper"]
    assert anylab["/helper"].state["heard"] == ["hired"]
    assert steps(anylab) == [("start", "Helper", "ok"), ("publish", "news.note", "ok")]


@pytest.mark.parametrize("op", ["kill", "crash", "exit", "restart"])
def test_what_a_handler_does_to_itself_happens_once(anylab: Lab, op: str) -> None:
    """It ends, and the next life, to which the message is delivered, goes on behind it."""
    boss = anylab.start(Boss, id="boss")
    if op == "restart":  # takes effect between two messages
        assert boss.call.oneself(op).result(20) == 1
    else:
        assert boss.call.oneself(op).result(20) == 2
    wait_for(lambda: boss.incarnation == 2 and boss.status == "running")
    assert steps(anylab) == [("control", f"/boss.{op}", "ok")]


@pytest.mark.parametrize(
    ("path", "op", "args"),
    [("/team/boss", "stop", ()), ("/team", "stop", ("shutdown",)), ("/team", "terminate_child", ("boss",))],
)
def test_ending_what_one_hangs_on_waits_for_nobody(lab: Lab, path: str, op: str, args: tuple[str, ...]) -> None:
    """An agent that asks for its own end, or its supervisor's, finishes its message first where it may."""

    class Patient(Boss):
        async def on_stop(self, reason: object) -> None:
            pass

    team = Supervisor("team", child(Patient, id="boss", shutdown="infinity", restart="temporary"))
    lab.start(child(team, restart="temporary", shutdown="infinity"))
    boss = lab["/team/boss"]
    assert boss.call.end(path, op, *args).result(20) == op
    wait_for(lambda: boss.status == "stopped")


def test_what_a_handler_looked_up_stays_as_it_was(anylab: Lab, tmp_path: Path) -> None:
    """A handler that decides by what it sees decides the same way when the message is delivered again."""
    boss = anylab.start(Boss, id="boss")
    assert boss.call.find_or_start(str(tmp_path)).result(20) == "/helper"
    assert steps(anylab) == [("look", "whereis", "ok"), ("start", "Helper", "ok")]
    assert "diverged" not in set(anylab.events()["kind"])

    (tmp_path / "raise").unlink()
    assert boss.call.look(str(tmp_path), anylab["/helper"]).result(20) == []
    assert anylab["/helper"].state["heard"] == ["later"]


def test_waiting_for_oneself_is_refused(lab: Lab) -> None:
    """What is done between two messages cannot be awaited in one."""
    boss = lab.start(Boss, id="boss")
    with pytest.raises(AgentDown) as down:
        boss.call(redeliver=False).set_itself().result(20)
    assert isinstance(down.value.__cause__, CallCycle)


def test_what_nobody_waits_for_is_done_all_the_same(anylab: Lab) -> None:
    """It is asked at once, before the handler returns; its failure is no crash."""
    helper, boss = anylab.start(Helper, id="helper"), anylab.start(Boss, id="boss")
    boss.call.tell().result(20)
    wait_for(lambda: anylab.whereis("late") is not None and anylab["/late"].status == "running")
    anylab.wait_idle()
    assert helper.state["heard"] == ["told"]
    assert boss.incarnation == 1
    wait_for(lambda: len(steps(anylab)) == 3)
    assert sorted(steps(anylab)) == [
        ("control", "/nobody.kill", "failed"), ("publish", "news.note", "ok"), ("start", "Helper", "ok"),
    ]  # fmt: skip
    assert anylab.steps(path="/boss")["message_seq"].tolist() == [1, 1, 1]


def test_ties_are_made_again_by_each_life(lab: Lab, tmp_path: Path) -> None:
    """A monitor ends with the life that made it; the next delivery makes it for the next life, once."""
    helper, boss = lab.start(Helper, id="helper"), lab.start(Boss, id="boss")
    boss.call.watch(str(tmp_path), helper).result(20)
    helper.kill()
    wait_for(lambda: boss.state["downs"] == ["helper"])
    lab.wait_idle()
    assert boss.state["downs"] == ["helper"]


def test_what_a_step_asks_belongs_to_the_step(anylab: Lab, tmp_path: Path) -> None:
    """A finished step is answered as a whole: nobody misses what it did inside."""
    boss = anylab.start(Boss, id="boss")
    assert boss.call.start_in_a_step(str(tmp_path)).result(20) == "/helper"
    assert "diverged" not in set(anylab.events()["kind"])
    assert ("start", "Helper", "ok") in steps(anylab)


def test_forks_are_made_once(anylab: Lab, tmp_path: Path) -> None:
    """Their refs are kept as a step's result is."""
    helper, boss = anylab.start(Helper, id="helper"), anylab.start(Boss, id="boss")
    assert boss.call.copy(str(tmp_path), helper).result(20) == ["/helper-fork-1", "/helper-fork-2"]
    assert anylab.whereis("helper-fork-3") is None


def test_children_are_started_once(anylab: Lab, tmp_path: Path) -> None:
    """Also under a supervisor, and where a result cannot be kept as JSON."""
    anylab.start(Supervisor("team"))
    boss = anylab.start(Boss, id="boss")
    assert boss.call.grow(str(tmp_path)).result(20) == ["/team/a", "/team/b", "a"]
    assert [kind for kind, *_ in steps(anylab)].count("start") == 2


def test_in_the_kernels_process_it_is_the_same(anylab: Lab, tmp_path: Path) -> None:
    """Refs among what a journal keeps are read back there too."""
    boss = anylab.start(Boss, id="boss", isolation="kernel")
    assert boss.call.hire(str(tmp_path), "2", "raise").result(20) == "/helper 1"
    assert boss.call.copy(str(tmp_path), anylab["/helper"]).result(20) == ["/helper-fork-1", "/helper-fork-2"]
    assert steps(anylab)[:2] == [("start", "Helper", "ok"), ("publish", "news.note", "ok")]


def test_the_same_start_twice_in_a_message_is_two(lab: Lab) -> None:
    """The journal answers another delivery, never the same one."""
    assert lab.start(Boss, id="boss").call.twice().result(20) == "refused"


def test_a_lab_that_was_changed_stops_a_rewind() -> None:
    """As a finished call does: others have seen it. What was only looked at is taken back."""
    for kind, taken in (("start", 0), ("publish", 0), ("control", 0), ("call", 0), ("look", 1), ("link", 1)):
        journal = Journal()
        journal.begin(1, (kind, "n", "", 0), False, 0)
        journal.end(1, b"jnull")
        assert len(journal.rewind(2)) == taken, kind


KERNEL = """
import os, signal, sys
from agentlab import Lab
from agentlab.store.database import Store
from agentlab.store.rows import ChildRow
from tests.test_acts import Boss

def commit(self, batch, real=Store.commit):
    real(self, batch)
    if any(table == "child" and ChildRow(*row).path == "/helper" for table, row in batch.rows):
        print("written", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

Store.commit = commit
with Lab(sys.argv[1], nodes=1, resume=True) as lab:
    lab.start(Boss, id="boss").cast.hire(sys.argv[2], "", "")
    lab.wait_idle(30)
"""


def test_a_start_whose_kernel_died_is_answered_by_the_next(tmp_path: Path) -> None:
    """The child was written down and nobody was told: who asks again gets its ref, and no ``AlreadyStarted``."""
    script = start_script(KERNEL, str(tmp_path / "run.lab"), str(tmp_path))
    assert read_line(script).strip() == "written"
    script.communicate(timeout=20)

    with Lab(tmp_path / "run.lab", nodes=1, resume=True) as lab:
        lab.wait_idle()
        assert lab["/boss"].state["done"] == ["/helper"]
        assert lab["/boss"].incarnation == 2
        assert lab["/helper"].state["heard"] == ["hired"]
        assert lab._store.select("SELECT * FROM answer") == []


def test_outside_a_message_it_just_happens(lab: Lab) -> None:
    """``on_start`` has no journal: what it starts is asked for again by each life."""

    class Founder(Agent):
        async def on_start(self) -> None:
            if await self.lab.whereis("helper") is None:
                await self.lab.start(Helper, id="helper")

    founder = lab.start(Founder, id="founder")
    founder.crash()
    wait_for(lambda: founder.incarnation == 2)
    assert lab["/helper"].incarnation == 1
    assert lab.steps().empty
