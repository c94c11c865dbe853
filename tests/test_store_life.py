"""The kernel's violent life with one store: killed again and again under load, and a disk that fills up."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import random
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from agentlab import Agent, Lab, Ref, Supervisor, Transcript, child, open_store
from agentlab.errors import AgentDown, InvalidSpec, StoreFull
from tests.conftest import wait_for
from tests.marks import mark
from tests.mortal import Clerk
from tests.patience import LONG

ROUNDS = 40 if LONG else 8
LANES = 6
LIFE = 10_000 * LANES  # numbers that one life may use up


KERNEL = """
    import json, sys, threading
    from agentlab import Lab
    from tests.mortal import Clerk, Front

    path, folder, first, LANES = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    sys.stdin.readline()  # what takes long is done: the life before this one may still go on meanwhile
    lab = Lab(path, nodes=2)
    lab.wait_idle(60)
    fronts = [lab.whereis(f"f{n}") or lab.start(Front, id=f"f{n}") for n in range(3)]
    clerks = [lab.whereis(f"c{n}") or lab.start(Clerk, id=f"c{n}") for n in range(2)]
    said = threading.Lock()

    def say(what):
        with said:
            sys.stdout.write(json.dumps(what) + "\\n")
            sys.stdout.flush()

    def load(lane):
        number = first + lane
        while True:
            clerk, other = clerks if number % 2 else clerks[::-1]
            if lane == 5:
                clerk.call.note(number).result(60)
            else:
                fronts[lane % 3].call.take(number, folder, clerk, other).result(60)
            say(number)
            number += LANES

    say({ref.id: {"status": ref.status, **ref.state} for ref in fronts + clerks})
    for lane in range(LANES):
        threading.Thread(target=load, args=(lane,), daemon=True).start()
    threading.Event().wait()
"""


def lines_of(kernel: subprocess.Popen[str]) -> queue.Queue[str]:
    """What it says, as it comes; an empty text at the end. A line that was cut by its death was not said."""
    found: queue.Queue[str] = queue.Queue()

    def read() -> None:
        assert kernel.stdout is not None
        for line in kernel.stdout:
            found.put(line if line.endswith("\n") else "")
        found.put("")

    threading.Thread(target=read, daemon=True).start()
    return found


def prepared(path: Path, folder: Path, life: int) -> subprocess.Popen[str]:
    """A kernel that waits for a word before it opens its lab."""
    script = textwrap.dedent(KERNEL)
    return subprocess.Popen(
        [sys.executable, "-c", script, str(path), str(folder), str(life * LIFE), str(LANES)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent,
    )  # fmt: skip


def one_life(
    kernel: subprocess.Popen[str], life: int, chance: random.Random
) -> tuple[dict[str, Any] | None, list[int]]:
    """Let a kernel work under load and kill it: the states that it came back with, and what it acknowledged."""
    assert kernel.stdin is not None
    with kernel.stdin as line:
        line.write("go\n")
    said = lines_of(kernel)
    early = life and chance.random() < 0.2  # while it comes back; else when it has answered a few, or is about to
    # Beside busy processes its zygote's imports alone take half a minute: that is slow, and no more.
    found = [] if early else [said.get(timeout=100) for _ in range(chance.randrange(1, 12))]
    time.sleep(chance.uniform(0.1, 0.9) if early else chance.uniform(0.0, 0.1))  # the moment of its death
    kernel.kill()
    kernel.wait(60)
    while line := said.get(timeout=60):
        found.append(line)
    assert kernel.stdout is not None
    kernel.stdout.close()
    words = [json.loads(line) for line in found]
    return (words[0], words[1:]) if words else (None, [])


def balance(states: dict[str, Any], acknowledged: set[int], folder: Path, kills: int) -> None:
    """Nothing acknowledged is lost, nothing is doubled, no message is there by half."""
    done = [number for n in range(3) for number in states[f"f{n}"]["done"]]
    seen = Counter(number for n in range(2) for number in states[f"c{n}"]["seen"])
    told = Counter(number for n in range(2) for number in states[f"c{n}"]["told"])
    direct = {number for number in acknowledged if number % LANES == 5}
    assert {state["status"] for state in states.values()} == {"running"}
    assert acknowledged - direct <= set(done)
    assert direct <= set(seen)
    assert len(done) == len(set(done))
    assert set(seen.values()) | set(told.values()) <= {1}
    assert set(told) == set(done)
    assert {number for number in seen if number % LANES != 5} == set(done)
    effects = {file.name: file.stat().st_size for file in folder.iterdir() if int(file.name[1:]) < kills * LIFE}
    assert set(effects) >= {f"{step}{number}" for number in done for step in "ab"}
    assert sum(effects.values()) - 2 * len(done) <= 3 * kills  # of each front the step in hand may have run unseen


@pytest.mark.slow
@pytest.mark.timeout(400)  # forty kernels start one after the other; on a machine with other work that takes minutes
def test_a_kernel_killed_again_and_again_under_load_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Calls between agents, steps and casts, one store: after each death the books balance and the work goes on."""
    seed = int(os.environ.get("AGENTLAB_SEED", "0")) or random.SystemRandom().randrange(10**6)
    print(f"AGENTLAB_SEED={seed}")
    chance = random.Random(seed)
    path, folder = tmp_path / "run.lab", tmp_path / "world"
    folder.mkdir()
    acknowledged: set[int] = set()

    with contextlib.ExitStack() as ends:

        def begin(life: int) -> subprocess.Popen[str]:
            kernel = ends.enter_context(prepared(path, folder, life))
            ends.callback(kernel.kill)
            return kernel

        following = begin(0)
        for life in range(ROUNDS):
            kernel, following = following, begin(life + 1)
            states, said = one_life(kernel, life, chance)
            if states is not None and life:
                balance(states, acknowledged, folder, life)
            acknowledged |= set(said)
    with Lab(path, nodes=2) as lab:
        lab.wait_idle(60)
        balance({ref.id: {"status": ref.status, **ref.state} for ref in lab}, acknowledged, folder, ROUNDS)
        assert lab.start(Clerk, id="new").call.note(1).result(60) == 1
    assert len(acknowledged) > ROUNDS


# a disk that fills up


class Saver(Agent):
    """Keeps what it is given."""

    kept: Transcript = Transcript()
    beats: int = 0

    async def save(self, text: str, other: Ref | None = None) -> int:
        """Keep a text; tell another, and oneself later."""
        self.kept.append(text)
        if other is not None:
            other.cast.beat()
            self.after(0.01).beat()
        return len(self.kept)

    async def work(self, folder: str, text: str) -> int:
        """Two steps, then keep a text."""
        await self.step(mark, folder, "one")
        await self.step(str.upper, text)
        await self.step(mark, folder, "two")
        self.kept.append(text)
        return len(self.kept)

    async def beat(self) -> None:
        """Count."""
        self.beats += 1


def filled(disk: Path) -> Path:
    """Fill a disk up to the last page; delete what is returned to have space again."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return ballast


def test_on_a_full_disk_messages_fail_and_the_lab_goes_on_when_there_is_space(small_disk: Path) -> None:
    """State stays at the last commit, nothing of a failed message shows, nobody is restarted for it or given up."""
    with Lab(small_disk / "a.lab", nodes=1) as lab:
        saver, other = lab.start(Saver, id="saver"), lab.start(Saver, id="other")
        assert saver.call.save("before").result(60) == 1
        ballast = filled(small_disk)

        for number in range(8):
            with pytest.raises(
                AgentDown, match=r"save was handled, but its outcome could not be stored: .*full"
            ) as down:
                saver.call.save("x" * 300_000, other).result(60)
            assert isinstance(down.value.__cause__, StoreFull), number
        lab.wait_idle(60)
        assert (saver.status, saver.state) == ("running", {"kept": ["before"], "beats": 0})
        assert other.state["beats"] == 0
        ballast.unlink()
        wait_for(lambda: _goes(saver))

        assert saver.call.save("after", other).result(60) == 3
        lab.wait_idle(60)
        wait_for(lambda: saver.state["beats"] == other.state["beats"] == 1)
        assert saver.state["kept"] == ["before", "again", "after"]
        assert lab.messages(path="/saver")["outcome"].tolist()[:2] == ["ok", "failed"]
        seqs = lab.events()["seq"].tolist()
        assert seqs == sorted(set(seqs))
    with Lab(small_disk / "a.lab", nodes=1) as lab:
        assert lab["/saver"].state["kept"] == ["before", "again", "after"]


def _goes(saver: Ref) -> bool:
    try:
        return bool(saver.call.save("again").result(60))
    except AgentDown:
        return False


def test_steps_wait_while_the_disk_is_full(small_disk: Path, tmp_path: Path) -> None:
    """A step whose end cannot be stored is not acted on; the handler goes on when there is space, repeating nothing."""
    with Lab(small_disk / "a.lab", nodes=1) as lab:
        saver = lab.start(Saver, id="saver")
        saver.call.save("before").result(60)
        ballast = filled(small_disk)
        reply = saver.call.work(str(tmp_path), "x" * 50_000)
        wait_for((tmp_path / "one").exists)
        wait_for(lambda: lab._runtime is not None and lab._runtime.desk.ledger._refused is not None)
        assert not (tmp_path / "two").exists()
        ballast.unlink()

        assert reply.result(60) == 2
        assert {(tmp_path / word).stat().st_size for word in ("one", "two")} == {1}
        assert lab.steps()["outcome"].tolist() == ["ok", "ok", "ok"]
        assert saver.incarnation == 1


def test_a_lab_on_a_full_disk_closes(small_disk: Path, tmp_path: Path) -> None:
    """Who waits is told, nothing is left behind, the error says what is lost; the last commit stands."""
    path = small_disk / "a.lab"
    lab = Lab(path, nodes=1)
    saver, worker = lab.start(Saver, id="saver"), lab.start(Saver, id="worker")
    assert saver.call.save("before").result(60) == 1
    worker.cast.work(str(tmp_path), "z").result(60)
    lab.wait_idle(60)
    ballast = filled(small_disk)
    waits = worker.call.work(str(tmp_path), "x" * 50_000)
    wait_for(lambda: lab._runtime is not None and lab._runtime.desk.ledger._refused is not None)
    with pytest.raises(StoreFull):
        saver.cast.save("y" * 50_000).result(60)

    with pytest.raises(StoreFull, match=r"The lab is closed, its store is as its last commit left it: \d+ rows"):
        lab.close()

    with pytest.raises(AgentDown):
        waits.result(60)
    assert lab.closed
    lab.close()
    with open_store(path) as store:
        assert store.steps()["outcome"].tolist() == ["ok"] * 3
    ballast.unlink()
    with Lab(path, nodes=1) as again:
        assert again["/saver"].state["kept"] == ["before"]
        assert again["/worker"].call.work(str(tmp_path), "x").result(60) == 2


def test_a_lab_that_is_told_to_goes_on_in_memory_while_the_disk_is_full(small_disk: Path) -> None:
    """What it tells is not durable, which an event says; all of it is written when there is space again."""
    path = small_disk / "a.lab"
    with pytest.raises(InvalidSpec, match="on_full must be 'fail' or 'memory'; got 'memroy'"):
        Lab(path, on_full="memroy")  # type: ignore[arg-type]  # what it is about
    with Lab(path, nodes=1, on_full="memory") as lab:
        saver, other = lab.start(Saver, id="saver"), lab.start(Saver, id="other")
        feed = lab.feed()
        ballast = filled(small_disk)
        assert saver.call.save("x" * 200_000, other).result(60) == 1
        saver.kill()
        assert saver.call.save("after").result(60) == 2
        wait_for(lambda: saver.state["beats"] == other.state["beats"] == 1)
        assert "store_full" in [event.kind for event in feed.take()[0]]
        with open_store(path) as store:
            assert store.messages().empty
        ballast.unlink()
        wait_for(lambda: "store_written" in [event.kind for event in feed.take()[0]])
        assert lab.messages(path="/saver")["outcome"].tolist() == ["ok"] * 3
    with Lab(path, nodes=1) as lab:
        assert [len(text) for text in lab["/saver"].state["kept"]] == [200_000, 5]


def test_what_is_only_in_memory_is_lost_with_the_lab_and_it_says_so(small_disk: Path) -> None:
    """A lab that goes on in memory and is closed before there is space."""
    path = small_disk / "a.lab"
    lab = Lab(path, nodes=1, on_full="memory")
    saver = lab.start(Saver, id="saver")
    ballast = filled(small_disk)
    assert saver.call.save("x" * 200_000).result(60) == 1

    with pytest.raises(StoreFull, match="rows of what happened since are lost"):
        lab.close()

    ballast.unlink()
    with Lab(path, nodes=1) as lab:
        assert lab["/saver"].state["kept"] == []


def test_a_lab_that_was_only_looked_at_is_as_it_was(tmp_path: Path) -> None:
    """Opened with "ask" and closed without a resume: the next kernel runs what ran, what was started later included."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=1) as lab:
        lab.start(Supervisor("team", child(Clerk, id="first"), strategy="one_for_one"))
        lab["/team"].start_child(child(Clerk, id="later"))
        lab.start(Clerk, id="alone")
        lab.start(Clerk, id="stopped").stop()
    with Lab(path, nodes=1, resume="ask") as lab:
        assert lab["/alone"].status == "parked"
    with Lab(path, nodes=1, resume=True) as lab:
        found = {row.path: row.status for row in lab.rows() if row.kind == "agent"}
    assert found == {"/team/first": "running", "/team/later": "running", "/alone": "running", "/stopped": "stopped"}
