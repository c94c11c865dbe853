"""A message is a transaction: steps, redelivery, rewinding, doubt, calls answered once, timers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentlab import Agent, Lab, Ref
from agentlab.books.journal import Journal
from agentlab.errors import AgentDown, NotRunning
from tests.conftest import wait_for
from tests.held import nodes_of
from tests.marks import mark, size
from tests.test_kernel_life import read_line, start_script


def note(folder: str, line: str) -> None:
    """A line, unjournaled: what the world sees of a delivery."""
    with Path(folder, "chance").open("a") as file:
        file.write(line + "\n")


def once_mark(folder: str, word: str) -> int:
    """The same, never to be repeated."""
    found = mark(folder, word)
    if Path(folder, "kill").exists():
        Path(folder, "kill").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return found


once_mark.once = True  # type: ignore[attr-defined]  # what @tool(once=True) sets


class Worker(Agent):
    """Does steps and dies between them."""

    done: list[int] = []
    beats: int = 0

    async def three(self, folder: str, die: int) -> list[int]:
        """Three steps; before the die-th life is over it raises after the second."""
        found = [await self.step(mark, folder, "a"), await self.step(mark, folder, "b")]
        if self.incarnation <= die:
            raise ValueError("not yet")
        found.append(await self.step(mark, folder, "c"))
        self.done = found
        return found

    async def same_again(self, folder: str) -> list[int]:
        """The same step twice, then wait to be killed, the first time."""
        found = [await self.step(mark, folder, "a"), await self.step(mark, folder, "a")]
        if mark(folder, "tries") == 1:
            await self.hang()
        return found

    async def hang(self) -> None:
        """Wait for ever."""
        await anyio.sleep_forever()

    async def poisoned(self, folder: str) -> str:
        """Choke on what the first run of a step gave."""
        good = await self.step(mark, folder, "good")
        bad = await self.step(mark, folder, "bad")
        if bad == 1:
            raise ValueError("garbage")
        return f"{good} {bad}"

    async def pay(self, folder: str) -> int:
        """A step that must not be repeated."""
        await self.step(mark, folder, "before")
        return int(await self.step(once_mark, folder, "paid"))

    async def pay_wrongly(self) -> None:
        """With arguments that it does not take."""
        await self.step(once_mark, nothing=1)

    async def ask(self, folder: str, other: Ref) -> int:
        """Call another, then die the first time."""
        found = await other.call.count(folder)
        if mark(folder, "asked") == 1:
            raise ValueError("after the call")
        return int(found)

    async def count(self, folder: str) -> int:
        """Answer, and count how often."""
        self.beats += 1
        return mark(folder, "counted")

    async def chance(self, folder: str) -> list[Any]:
        """Time and chance, before and after a death."""
        found = [self.now().isoformat(), self.random.random(), str(self.uuid())]
        await self.step(mark, folder, "seen")
        note(folder, repr(found))
        if mark(folder, "tries") == 1:
            await self.hang()
        return found

    async def wander(self, folder: str) -> str:
        """Ask for another step the second time."""
        word = "first" if mark(folder, "tries") == 1 else "second"
        await self.step(mark, folder, word)
        if word == "first":
            await self.hang()
        return word

    async def remind(self, seconds: float, fail: bool = False) -> None:
        """Set a timer, and perhaps die before the commit."""
        self.after(seconds).beat()
        if fail:
            raise ValueError("before the commit")

    async def rhythm(self, seconds: float) -> None:
        """Beat."""
        self.every(seconds).beat()

    async def beat(self) -> None:
        """One beat."""
        self.beats += 1


@pytest.fixture(params=["memory", "file"])
def anylab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """A lab in memory, and one with a file: the same holds in both."""
    with Lab(None if request.param == "memory" else tmp_path / "run.lab", nodes=2) as made:
        yield made


def test_finished_steps_are_not_run_again(anylab: Lab, tmp_path: Path) -> None:
    """A kill between two steps repeats neither; the journal answers, also for the same step twice."""
    worker = anylab.start(Worker, id="w")
    reply = worker.call.same_again(str(tmp_path))
    wait_for(lambda: size(tmp_path, "tries") == 1)
    worker.kill()
    assert reply.result(20) == [1, 2]
    assert size(tmp_path, "a") == 2
    steps = anylab.steps()
    assert steps["replayed"].tolist() == [0, 0, 1, 1]


def test_a_killed_node_repeats_no_finished_step(anylab: Lab, tmp_path: Path) -> None:
    """The same when the whole node dies."""
    worker = anylab.start(Worker, id="w")
    reply = worker.call.same_again(str(tmp_path))
    wait_for(lambda: size(tmp_path, "tries") == 1)
    for pid in nodes_of(anylab):
        os.kill(pid, signal.SIGKILL)
    assert reply.result(20) == [1, 2]
    assert size(tmp_path, "a") == 2


def test_a_poisoned_step_is_taken_back(anylab: Lab, tmp_path: Path) -> None:
    """The handler's own death re-runs the newest finished step; what came before it is answered by the journal."""
    worker = anylab.start(Worker, id="w")
    assert worker.call.poisoned(str(tmp_path)).result(20) == "1 2"
    assert (size(tmp_path, "good"), size(tmp_path, "bad")) == (1, 2)
    assert anylab.restarts()["rewound"].tolist() == [1]
    assert "rewound" in anylab.steps()["outcome"].tolist()


def test_each_death_takes_back_one_more(anylab: Lab, tmp_path: Path) -> None:
    """The second delivery re-runs the last step, the third the last two."""
    worker = anylab.start(Worker, id="w")
    assert worker.call.three(str(tmp_path), 2).result(20) == [2, 3, 1]
    assert (size(tmp_path, "a"), size(tmp_path, "b")) == (2, 3)


def test_a_once_step_that_did_not_finish_is_in_doubt(anylab: Lab, tmp_path: Path) -> None:
    """It is neither repeated nor skipped: the agent waits for a person, who says that it happened."""
    (tmp_path / "kill").touch()
    worker = anylab.start(Worker, id="w")
    reply = worker.call.pay(str(tmp_path))
    wait_for(lambda: worker.status == "parked")
    assert [doubt["name"] for doubt in worker.doubts()] == ["once_mark"]
    with pytest.raises(NotRunning, match="in doubt"):
        worker.call.count(str(tmp_path)).result(60)
    assert "in doubt: once_mark began" in anylab.explain(worker)
    with pytest.raises(NotRunning, match=r"in doubt.*ref.settle"):
        worker.restart()
    worker.settle("once_mark", result=1)
    anylab.wait_idle(60)
    assert reply.done()
    assert size(tmp_path, "paid") == 1
    assert size(tmp_path, "before") == 1
    assert worker.doubts() == []


def test_a_doubt_that_nobody_is_asked_about_is_a_dead_letter(anylab: Lab, tmp_path: Path) -> None:
    """``redeliver=False`` waits for no person: the caller is told, and what may have happened stays on record."""
    (tmp_path / "kill").touch()
    worker = anylab.start(Worker, id="w")
    with pytest.raises(AgentDown):
        worker.call(redeliver=False).pay(str(tmp_path)).result(20)
    (letter,) = anylab.dead_letters()["reason"]
    assert "once_mark began and did not finish" in letter
    anylab.wait_idle(60)
    assert worker.status == "running"


def test_a_once_step_that_cannot_begin_is_in_no_doubt(anylab: Lab) -> None:
    """Arguments that do not fit are refused before it is written down that it began."""
    worker = anylab.start(Worker, id="w")
    with pytest.raises(AgentDown, match="TypeError"):
        worker.call.pay_wrongly().result(20)
    assert worker.doubts() == []


def test_a_once_step_may_be_retried_by_a_person(anylab: Lab, tmp_path: Path) -> None:
    """``retry=True`` says that it did not happen."""
    (tmp_path / "kill").touch()
    worker = anylab.start(Worker, id="w")
    worker.cast.pay(str(tmp_path))
    wait_for(lambda: worker.status == "parked")
    worker.settle(worker.doubts()[0]["step"], retry=True)
    anylab.wait_idle(60)
    assert size(tmp_path, "paid") == 2
    assert worker.status == "running"


def test_a_call_is_answered_once_however_often_its_caller_dies(anylab: Lab, tmp_path: Path) -> None:
    """The callee does not handle it again when the caller's message is delivered again."""
    one, other = anylab.start(Worker, id="one"), anylab.start(Worker, id="other")
    assert one.call.ask(str(tmp_path), other).result(20) == 1
    assert size(tmp_path, "counted") == 1
    assert other.state["beats"] == 1
    assert anylab._runtime is not None
    assert anylab._runtime.undecided.answers == {}


def test_time_and_chance_are_the_same_again(anylab: Lab, tmp_path: Path) -> None:
    """``now``, ``random`` and ``uuid`` give a redelivered handler what they gave before."""
    worker = anylab.start(Worker, id="w")
    reply = worker.call.chance(str(tmp_path))
    wait_for(lambda: size(tmp_path, "tries") == 1)
    worker.kill()
    reply.result(20)
    first, second = (tmp_path / "chance").read_text().splitlines()
    assert first == second


def test_divergence_is_an_event(anylab: Lab, tmp_path: Path) -> None:
    """A handler that asks for something else runs it live, and an event says so."""
    worker = anylab.start(Worker, id="w")
    reply = worker.call.wander(str(tmp_path))
    wait_for(lambda: anylab.steps()["outcome"].tolist() == ["ok"])  # before that, no journal tells what it asked for
    worker.kill()
    assert reply.result(20) == "second"
    assert "diverged" in anylab.events()["kind"].tolist()


def test_timers_leave_with_the_commit_and_survive_restarts(anylab: Lab) -> None:
    """A timer of a message that failed was never set; one that was committed fires after a crash too."""
    worker = anylab.start(Worker, id="w")
    with pytest.raises(AgentDown):
        worker.call(redeliver=False).remind(0.01, fail=True).result(20)
    worker.call.remind(0.3).result(20)
    worker.kill()
    wait_for(lambda: worker.state["beats"] == 1)
    worker.call.rhythm(0.05).result(20)
    wait_for(lambda: worker.state["beats"] >= 4)
    worker.stop()


def test_a_stored_message_is_handled_after_the_kernels_death(tmp_path: Path) -> None:
    """A cast that was accepted, its finished steps and its timers outlive the kernel that took them."""
    path = tmp_path / "run.lab"
    script = start_script(
        """
        import sys, time
        from pathlib import Path
        from agentlab import Lab
        from tests.marks import size
        from tests.test_journal import Worker

        lab = Lab(sys.argv[1], nodes=1)
        worker = lab.start(Worker, id="w")
        worker.call.remind(1.5).result(20)
        worker.cast.same_again(sys.argv[2])
        worker.cast.beat()
        while size(Path(sys.argv[2]), "tries") < 1:  # its two steps are behind it
            time.sleep(0.01)
        print("ready", flush=True)
        time.sleep(600)
        """,
        str(path),
        str(tmp_path),
    )
    assert read_line(script).strip() == "ready"
    script.kill()
    script.communicate(timeout=60)

    with Lab(path, nodes=1) as lab:
        lab.wait_idle(60)
        assert size(tmp_path, "a") == 2
        assert lab.steps()["replayed"].tolist() == [0, 0, 1, 1]
        wait_for(lambda: lab["/w"].state["beats"] == 2)


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from(["step", "call"]), st.booleans()), max_size=8), st.integers(0, 9)
)
def test_rewinding_stops_at_what_cannot_be_taken_back(steps: list[tuple[bool, str, bool]], count: int) -> None:
    """Only finished plain steps are taken back, newest first, never past a ``once`` step or a finished call."""
    journal = Journal()
    for number, (once, kind, finished) in enumerate(steps, 1):
        journal.begin(number, (kind, "n", "", number), once, 0)
        if finished:
            journal.end(number, b"jnull")
    before = [s for s in journal.steps.values() if s.finished]
    taken = journal.rewind(count)
    assert len(taken) <= count
    assert taken == before[::-1][: len(taken)]
    assert not any(step.once or step.is_call for step in taken)
    left = before[: len(before) - len(taken)]
    assert len(taken) == count or not left or left[-1].once or left[-1].is_call
