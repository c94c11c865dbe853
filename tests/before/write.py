"""Write the stored lab, with the code of the checkout that is first on the path.

    PYTHONPATH=OLD:OLD/widgets python -m tests.before.write tests/before

It is not run by the tests: they read what it wrote once, at commit 3a54e31. Beside the store, whose lab is cut off in
the middle of its work as by ``kill -9``, it writes what that commit itself read there, before and after it resumed.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

from agentlab import Assistant, Backoff, Lab, Limit, Supervisor, child
from agentlab.errors import AgentLabError
from tests.before.people import THINGS, WRITES, Alarm, Box, Clerk, Founder, Payer, Reckoner, Slow
from tests.before.reading import LAB, RESUMED, STORED, resumed, stored, write_down
from tests.conftest import wait_for

LATE_S = 20.0
"""A timer is due so long after it was set: when the lab is read here, and when the tests read it, it is overdue."""

HOUSE = Supervisor(
    "house",
    child(
        Clerk, id="desk", restart="transient", shutdown="infinity", significant=True, restore="fresh",
        backoff=Backoff(initial=0.05, factor=3.0, maximum=0.2, jitter=0.0), own_limit=Limit(7, 70.0),
        isolation="process", max_memory=2_000_000_000, max_busy=30.0, count=5,
    ),
    child(Clerk, id="door", restart="temporary", shutdown="brutal_kill"),
    Supervisor(
        "team", child(Payer, id="payer"), child(Alarm, id="alarm", boss="../payer"), strategy="rest_for_one",
        max_restarts=9, max_seconds=90.0, bring_back=False,
    ),
    Supervisor("crew", child(Clerk, id="hand", shutdown=1.5, count=1), strategy="simple_one_for_one", max_children=9),
    strategy="one_for_one", max_restarts=4, max_seconds=40.0, auto_shutdown="any_significant",
)  # fmt: skip


def build(lab: Lab) -> None:
    """Everybody does what leaves something in a store."""
    lab.start(HOUSE)
    desk, crew, team = lab["/house/desk"], lab["/house/crew"], lab["/house/team"]
    for n in range(3):
        lab.start(Clerk, under=crew, count=n)
    team.start_child(child(Clerk, id="added", restart="transient", count=3))
    lab.start_many(Clerk, 5)
    desk.call.look_up("tea").result(60)
    desk.call.add(2).result(60)
    lab["/house/team/alarm"].call.wind(1e9).result(60)
    lab.start(Founder, id="founder").call.found("founded").result(60)
    lab.start(Reckoner, id="reckoner").call.ask("What is 2 * 21?").result(60)
    lab.start(Assistant, id="assistant").call.ask("Hello").result(60)
    fork_and_rewind(lab)
    fail(lab)


def fork_and_rewind(lab: Lab) -> None:
    """One agent goes back; others begin with a part of its past."""
    origin = lab.start(Clerk, id="origin")
    for n in range(1, 4):
        origin.call.add(n).result(60)
    origin.call.look_up("harbour").result(60)
    origin.fork(2, id="early")
    origin.fork((4, 1), id="middle")
    lab.wait_idle(60)
    origin.rewind(3)


def fail(lab: Lab) -> None:
    """A restart, a dead letter, an agent that gave up, one that was stopped, one that is suspended."""
    lab["/house/desk"].crash()
    lab.wait_idle(60)
    poor = lab.start(child(Clerk, id="poor", own_limit=Limit(9, 1.0), count=11))
    with contextlib.suppress(AgentLabError):
        poor.call.boom().result(60)
    lost = lab.start(child(Clerk, id="lost", own_limit=Limit(0, 60.0), count=13))
    lost.call.add(1).result(60)
    lost.crash()
    wait_for(lambda: lost.status == "parked")
    lost.cast.add(1)
    lab.start(Clerk, id="gone").stop()
    lab.wait_idle(60)


def hang(lab: Lab) -> None:
    """Messages in the middle and behind them: what the kernel's death cuts off."""
    lab.start(Clerk, id="asked")
    slow = lab.start(Slow, id="slow")
    for what in ("first", "second", "third"):
        slow.cast.take(what, lab["/asked"])
    payer = lab["/house/team/payer"]
    payer.cast.settle_up(9)
    box = lab.start(
        Box, id="box", sent=THINGS[8], names={"tea"}, raw=b"\xff\x00", pair=(4, "four"), parcel=THINGS[-1], owner=slow
    )
    box.cast.put(*THINGS, slow)
    box.cast.put(slow, *THINGS)
    quiet = lab.start(Clerk, id="quiet", count=50)
    quiet.suspend()
    quiet.cast.add(5)
    wait_for(lambda: slow.status == box.status == payer.status == "waiting")
    lab.start(Alarm, id="late").call.wind(LATE_S).result(60)
    wait_for(lambda: slow.info()["mailbox"] >= 2 and quiet.info()["mailbox"] >= 1)


def snapshot(store: Path, copy: Path) -> None:
    """What a killed kernel would leave, as one file."""
    copy.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(store)) as live, contextlib.closing(sqlite3.connect(copy)) as target:
        live.backup(target)
        target.execute("VACUUM")
    copy.with_name(f"{copy.name}-wal").touch()


def main(folder: Path) -> None:
    """Write the store, and what today's code (the old one, that is) reads in it."""
    with tempfile.TemporaryDirectory() as place:
        store, copy = Path(place, "live.lab"), Path(place, "before.lab")
        os.environ[WRITES] = "1"
        with Lab(store, nodes=2, resume=True) as lab:
            build(lab)
            hang(lab)
            snapshot(store, copy)
        del os.environ[WRITES]
        Path(folder, LAB).write_bytes(gzip.compress(copy.read_bytes(), 9, mtime=0))
        write_down(Path(folder, STORED), stored(copy))
        time.sleep(LATE_S)
        write_down(Path(folder, RESUMED), resumed(copy))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
