"""Whoever was told that a message failed finds it so in the next kernel; and what "handled once" covers."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterator
from pathlib import Path

import pytest

import tests.mortal  # noqa: F401  # a lab that is opened again asks for its agents' classes
from agentlab import Agent, Lab, Limit, Ref
from agentlab.errors import AgentDown
from tests.conftest import wait_for
from tests.marks import mark, size
from tests.patience import sign_of
from tests.test_kernel_life import read_line, start_script

FULL = """
    import os, resource, signal, sys
    from pathlib import Path
    from agentlab import Lab
    from tests.patience import wait_for
    from tests.mortal import Grower

    lab = Lab(sys.argv[1], nodes=1)
    grower = lab.start(Grower, id="grower")
    lab.wait_idle(60)
    reply = grower.call.grow(sys.argv[2])
    wait_for(lambda: len(lab.steps()) == 1)
    lab._live.run(lab._live.flush)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.stat(sys.argv[1] + "-wal").st_size, unlimited))
    Path(sys.argv[2], "gate").touch()
    wait_for(lambda: lab._live.desk.ledger.refused)
    if sys.argv[3] == "space again":
        resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, unlimited))
        wait_for(reply.done)
    else:  # an answer that should not come would come before the store is asked again
        refused = lab._live.desk.ledger.refused
        wait_for(lambda: lab._live.desk.ledger.refused is not refused)
    print("told" if reply.done() else "not told", flush=True)
    signal.pause()
"""
"""A kernel whose quota of the disk is used up by an outcome; it is killed."""


@pytest.mark.parametrize("disk", ["full", "space again"])
def test_who_was_told_that_a_message_failed_finds_it_so(tmp_path: Path, disk: str) -> None:
    """A message that the store has for the next kernel is given up when that is stored, not before."""
    path = tmp_path / "run.lab"
    script = start_script(FULL, str(path), str(tmp_path), disk)
    said = read_line(script).strip()
    script.kill()
    script.communicate(timeout=60)

    with Lab(path, nodes=1, resume=True) as lab:
        lab.wait_idle(60)
        grown = len(lab["/grower"].state["text"])

    assert (said, grown) == (("not told", 2_000_000) if disk == "full" else ("told", 0))
    assert size(tmp_path, "step") == 1


class Middle(Agent):
    """Asks, is asked, or does the work."""

    done: int = 0

    async def boss(self, middle: Ref, worker: Ref, folder: str) -> None:
        """Ask once more when there is no answer."""
        try:
            await middle.call.ask(worker, folder)
        except AgentDown:
            await middle.call.ask(worker, folder)

    async def ask(self, worker: Ref, folder: str) -> None:
        """Ask in turn."""
        await worker.call.work(folder)

    async def work(self, folder: str) -> None:
        """Take until there is a sign."""
        self.done += 1
        mark(folder, "begun")
        await sign_of(f"{folder}/gate")


@pytest.fixture
def patient() -> Iterator[Lab]:
    """A lab that leaves a stalled node alone: on a busy machine one may stall, and who has hardly begun would move."""
    with Lab(nodes=2, stall_notice=60.0, stall_seconds=120.0) as lab:
        yield lab


def test_a_call_is_once_for_the_message_that_makes_it(patient: Lab, tmp_path: Path) -> None:
    """Deaths of its caller repeat no call. One that is given up leaves its calls; whoever asks anew makes new ones."""
    boss, middle, worker = (patient.start(Middle, id=name) for name in ("boss", "middle", "worker"))
    reply = boss.call.boss(middle, worker, str(tmp_path))
    wait_for(lambda: worker.info()["message"] == "work")

    middle.kill()
    wait_for(lambda: middle.incarnation == 2 and middle.info()["message"])
    assert worker.info()["mailbox"] == 1  # the second life joined the call of the first

    middle.skip()
    wait_for(lambda: worker.info()["mailbox"] == 2)  # asked anew, it is another message, and its call another call

    (tmp_path / "gate").touch()
    reply.result(60)
    patient.wait_idle(60)
    assert worker.state == {"done": 2}
    assert patient.messages(path="/middle")["outcome"].tolist() == ["skipped", "ok"]


class Clerk(Agent):
    """Hands on what it is asked, and may die of it."""

    async def order(self, worker: Ref, folder: str, number: int, *, dies: bool) -> str:
        """Have the order done by another, under its number."""
        doing = worker.call.do(folder, number)
        if dies:
            await sign_of(f"{folder}/asked")  # a call leaves a turn later, which the dead do not have
            raise ValueError("lost the form")
        return str(await doing)


class Worker(Agent):
    """Does what it is asked; an order whose number it knows is done already."""

    orders: list[int] = []

    async def do(self, folder: str, number: int) -> str:
        """Take until there is a sign."""
        mark(folder, "asked")
        await sign_of(f"{folder}/gate")
        if number in self.orders:
            return "done before"
        self.orders.append(number)
        return "done"


@pytest.mark.parametrize("how", ["three deaths", "skip", "cancel"])
def test_however_a_message_is_given_up_its_calls_go_on_and_the_next_makes_them_anew(
    patient: Lab, tmp_path: Path, how: str
) -> None:
    """Deaths repeat no call; who asks anew calls anew; a number that names the work is found again."""
    clerk, worker = (patient.start(cls, own_limit=Limit(100, 1.0)) for cls in (Clerk, Worker))
    first = clerk.call.order(worker, str(tmp_path), 17, dies=how == "three deaths")
    wait_for(lambda: worker.info()["message"] == "do")
    if how == "cancel":
        assert first.cancel()
    elif how == "skip":
        clerk.skip()
    with pytest.raises((AgentDown, concurrent.futures.CancelledError)):
        first.result(60)
    assert worker.info()["mailbox"] == 1  # it goes on, and was asked once, however often its caller died

    second = clerk.call.order(worker, str(tmp_path), 17, dies=False)
    wait_for(lambda: worker.info()["mailbox"] == 2)
    (tmp_path / "gate").touch()

    assert second.result(60) == "done before"
    assert worker.state == {"orders": [17]}
    assert size(tmp_path, "asked") == 2
