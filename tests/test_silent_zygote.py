"""The process from which nodes are forked does not answer, or a node never speaks: others go on meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentlab import Lab
from agentlab.errors import AgentDown, LabClosed, NotRunning
from agentlab.kernel.watch import Patience
from agentlab.pool import fork
from tests.agents import Counter
from tests.conftest import wait_for
from tests.held import nodes
from tests.test_isolation import Bad, Quiet, is_held, kinds
from tests.test_starts import no_zygote

__all__ = ["no_zygote"]

LONG = 600.0
"""Seconds that no test waits for: it ends only if nobody does."""


class Silent(fork.Zygote):
    """A zygote that a test stops and lets go on."""

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """It answers nobody from here on."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """It answers what it was asked meanwhile."""
        os.kill(self.pid, signal.SIGCONT)


@pytest.fixture
def begin(no_zygote: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Silent], Silent]]:
    """Have this process's next labs use a zygote of the test's."""
    begun: list[Silent] = []

    def use(zygote: Silent) -> Silent:
        monkeypatch.setattr(fork, "_shared", zygote)
        begun.append(zygote)
        zygote.wait_ready()
        return zygote

    yield use
    for zygote in begun:
        with contextlib.suppress(ProcessLookupError):
            zygote.go_on()
        zygote.close()


def started_aside(lab: Lab, id: str) -> threading.Thread:
    """Start an agent with a node of its own, in another thread."""

    def start() -> None:
        with contextlib.suppress(AgentDown, LabClosed, NotRunning):  # a test may close the lab meanwhile
            lab.start(Counter, id=id, isolation="process")

    thread = threading.Thread(target=start)
    thread.start()
    return thread


def test_others_are_answered_while_a_start_waits_for_the_zygote(begin: Callable[[Silent], Silent]) -> None:
    """However long that may be; the start goes on when the zygote does."""
    zygote = begin(Silent(answer_seconds=LONG))
    with Lab(nodes=1) as lab:
        other = lab.start(Counter, id="other")
        zygote.stop()
        starting = started_aside(lab, "late")
        wait_for(lambda: lab.whereis("/late") is not None)

        counts = [other.call.add(1).result(60) for _ in range(3)]
        waits = starting.is_alive()
        zygote.go_on()
        starting.join(60)

        assert (counts, waits) == ([1, 2, 3], True)
        assert lab["/late"].call.add(1).result(60) == 1


def test_others_are_answered_while_the_end_of_a_node_is_not_known(begin: Callable[[Silent], Silent]) -> None:
    """How it ended only the zygote can say; its agents come back when it does, and nothing is lost."""
    zygote = begin(Silent(answer_seconds=LONG))
    with Lab(nodes=1) as lab:
        other = lab.start(Counter, id="other")
        dies = lab.start(Counter, id="dies", isolation="process")
        pid = dies.call.pid().result(60)
        zygote.stop()
        os.kill(pid, signal.SIGKILL)
        reply = dies.call.add(1)

        counts = [other.call.add(1).result(60) for _ in range(3)]
        zygote.go_on()

        assert counts == [1, 2, 3]
        assert reply.result(60) == 1
        lab.wait_idle(60)
        assert "killed by signal 9" in lab.events().query("kind == 'node_down'")["reason"].tolist()


def test_a_zygote_that_stays_silent_is_given_up_and_said(begin: Callable[[Silent], Silent]) -> None:
    """The event has the seconds and the process; the start goes on from another zygote."""
    zygote = begin(Silent(answer_seconds=LONG))
    with Lab(nodes=1) as lab:
        zygote.stop()
        zygote._answer_seconds = 1.0  # from here on: its first nodes may take long to fork on a busy machine

        late = lab.start(Counter, id="late", isolation="process")

        assert late.call.add(1).result(60) == 1
        why = " ".join(lab.events().query("kind == 'no_node'")["reason"])
        assert f"gave no answer within 1 s (process {zygote.pid})" in why
        assert "Another is started" in why


class Mute(Silent):
    """Its first node of an agent's own is a process that holds its line and never speaks."""

    mute: subprocess.Popen[bytes] | None = None

    def _fork(self, request: dict[str, object], line: socket.socket, word: int) -> int:
        if self.mute is not None or request["kind"] != "own":
            self.ready_seconds = LONG
            return super()._fork(request, line, word)
        self.ready_seconds = 0.2
        self.mute = subprocess.Popen(
            [sys.executable, "-ISc", "import time; time.sleep(1000)"], pass_fds=[line.fileno(), word]
        )
        os.close(word)
        return self.mute.pid


def test_a_node_that_never_says_that_it_is_ready_has_a_deadline(begin: Callable[[Silent], Silent]) -> None:
    """It is killed, the event says why, and who was to live there starts on another, uncounted."""
    zygote = Mute()
    begin(zygote)
    with Lab(nodes=1) as lab:
        lab.start(Counter, id="first").call.add(1).result(60)

        late = lab.start(Counter, id="late", isolation="process", restart="temporary")

        assert late.call.add(1).result(60) == 1
        assert zygote.mute is not None
        assert zygote.mute.wait(60) == -signal.SIGKILL
        why = " ".join(lab.events().query("kind == 'node_down'")["reason"])
        assert "it said nothing within 0.2 s of its start" in why
        assert late.info()["restarts"] == 0


def test_a_lab_closes_while_a_fork_is_under_way(begin: Callable[[Silent], Silent]) -> None:
    """No node is left."""
    zygote = begin(Silent(answer_seconds=LONG))
    lab = Lab(nodes=1)
    zygote.stop()
    starting = started_aside(lab, "late")
    wait_for(lambda: lab.whereis("/late") is not None)
    closing = threading.Thread(target=lab.close, args=(1.0,))
    closing.start()
    zygote.go_on()

    closing.join(60)
    starting.join(60)

    assert lab.closed
    assert not closing.is_alive()
    assert not starting.is_alive()
    wait_for(lambda: nodes() == [])


class Full(Silent):
    """A zygote for whose requests there is no room, while a test says so."""

    full = False

    def later(self, work, *args):  # type: ignore[no-untyped-def]  # as its base
        """Refuse what a system without room for a thread refuses."""
        if self.full and work == self._fork:
            raise RuntimeError("can't start new thread")
        return super().later(work, *args)


def test_who_waits_beside_a_stalled_node_waits_where_no_other_can_be_started(
    begin: Callable[[Silent], Silent], tmp_path: Path
) -> None:
    """It is said once a second, nobody is moved in vain, and the kernel goes on looking at its nodes."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    zygote = Full()
    begin(zygote)
    with Lab(nodes=1, stall_notice=LONG, stall_seconds=2 * LONG) as lab:
        bad, good = lab.start(Bad, id="bad"), lab.start(Quiet, id="good")
        zygote.full = True
        bad.call.hold_until(str(gate))
        wait_for(lambda: is_held(lab, bad))
        waiting = good.call.add()
        # From here on a stall is noticed soon: the one that is meant, and none of a node that got no processor.
        lab._live.watch._patience = Patience(0.05, LONG)
        wait_for(lambda: "no_node" in kinds(lab, "/"))
        zygote.full = False
        assert waiting.result(60) == 1
        gate.write_bytes(b"!")

        wait_for(lambda: "node_back" in kinds(lab, "/"))
        assert kinds(lab, "/good").count("node_stalled") <= 1
        assert "new thread" in lab.events().query("kind == 'no_node'")["reason"].iloc[0]
