"""One life of a kernel: open the lab, send what it does not know of yet, wait for the end, or die as planned.

    python -m tests.crashes.kernel

Each line that it reads is a life, in a process of its own that has everything imported already: a JSON list of the
store, the world, when it dies and a number. It dies at a ``statement`` (before the store's n-th of SQL), at a
``commit`` (right after the n-th, before anybody is told) or ``never``. Its exit code is a line of the answer.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

from agentlab import Lab, Ref
from agentlab.store.database import Store
from agentlab.wire.packing import unpack
from tests.crashes.books import ORDERS, check_aides, check_states, settle
from tests.crashes.family import family
from tests.crashes.watch import Watch
from tests.crashes.world import KERNEL, count, write


def die() -> None:
    """End this kernel as the system would."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_before_statement(number: int) -> None:
    """Have SQLite end the process when the writer's n-th statement begins."""
    connect = sqlite3.connect
    left = [number]

    def traced(statement: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            die()

    def connected(database: str, **options: Any) -> sqlite3.Connection:
        made = connect(database, **options)
        if "mode=rw" in database:
            made.set_trace_callback(traced)
        return made

    sqlite3.connect = connected  # type: ignore[assignment]  # in this process only


def watch_stores(folder: str, last: int | None) -> None:
    """Watch every store that is opened to write, and die after its ``last`` commit."""
    init = Store.__init__

    def opened(store: Store, *args: Any, **options: Any) -> None:
        init(store, *args, **options)
        watch = Watch(store)
        watch.begin(folder, lambda commits: die() if commits == last else None)
        watch.recall()

    Store.__init__ = opened  # type: ignore[method-assign]  # in this process only


def unknown(lab: Lab) -> list[str]:
    """Orders that the lab neither has nor has handled."""
    assert lab._runtime is not None
    entry = lab._runtime.desk.entries["/f/clerk"]
    waiting = [unpack(message.payload)[0][0] for message in entry.pending if message.method == "work"]
    done = entry.state()["done"]
    return [order for order in ORDERS if order not in waiting and order not in done]


def main(path: str, folder: str, when: str, number: int) -> None:
    """One life."""
    Path(folder, KERNEL).write_text(str(os.getpid()))
    if when == "statement":
        die_before_statement(number)
    watch_stores(folder, number if when == "commit" else None)
    once = Path(folder, "once").exists()
    with Lab(path, nodes=2, resume=True) as lab:
        assert lab._runtime is not None
        if lab.whereis("/f") is None:
            lab.start(family("f", folder, "one_for_one"))
        clerk = lab["/f/clerk"]
        for order in lab._runtime.run(unknown, lab):
            assert not count(folder, "accepted", order), f"{order} was accepted, and is lost"
            if order == "o1":
                clerk.call.work(order, once)
            else:
                clerk.cast.work(order, once)
        finish(lab, clerk, folder)
        check_states({name: lab[f"/f/{name}"].state for name in ("clerk", "bank", "book")}, in_order=False)
        check_aides(lab.agents(), "/f")
        assert lab.events().query("kind == 'dead_letter'").empty
        write(folder, "over")


def finish(lab: Lab, clerk: Ref, folder: str) -> None:
    """Wait for the end; settle what is in doubt."""
    end = time.monotonic() + 60
    while len(clerk.state["done"]) < 2 * len(ORDERS):
        lab.wait_idle(60)
        if clerk.status == "parked":
            settle(clerk, folder)
        assert time.monotonic() < end, f"not over: {clerk.info()} {lab.events().tail(30)}"
        time.sleep(0.001)  # a timer that is due has not fired yet
    lab.wait_idle(60)


def live() -> None:
    """One life after the other, as they are asked for."""
    for line in sys.stdin:
        life = os.fork()
        if not life:
            signal.alarm(300)  # none may last longer
            main(*json.loads(line))
            return
        print(os.waitstatus_to_exitcode(os.waitpid(life, 0)[1]), flush=True)


if __name__ == "__main__":
    live()
