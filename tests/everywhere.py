"""Every public method of Lab and Ref, as a table, and loops of every make in which they are used.

``python -m tests.everywhere LOOP...`` uses all of them in a running loop of each make, and prints what failed.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agentlab import Lab, Ref, Supervisor, child
from agentlab.chaos import Plan
from agentlab.errors import AgentLabError
from tests.agents import Counter

_numbers = itertools.count()


def unique() -> str:
    """An id that nobody has."""
    return f"x{next(_numbers)}"


def team(lab: Lab) -> Ref:
    """A supervisor with one child, ``a``."""
    return lab.start(Supervisor(unique(), child(Counter, id="a")))


def ended(lab: Lab) -> Ref:
    """The same, its child ended."""
    found = team(lab)
    found.terminate_child("a")
    return found


def rewound(ref: Ref) -> object:
    """Back to its last checkpoint."""
    ref.call.add(1).result(60)
    return ref.rewind(int(ref.checkpoints().reset_index()["seq"].iloc[-1]))


def reported(lab: Lab) -> object:
    """A page in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return lab.report(Path(folder) / "night.html").stat().st_size


def refused(work: Callable[[], object]) -> None:
    """It has no meaning here, and says so."""
    try:
        work()
    except (AgentLabError, LookupError) as error:
        if type(error).__name__ in {"LabClosed", "CallCycle"}:
            raise
    else:
        raise AssertionError("not refused")


LAB: dict[str, Callable[[Lab, Ref], object]] = {
    "agents": lambda lab, ref: lab.agents(),
    "approvals": lambda lab, ref: lab.approvals(),
    "breaker": lambda lab, ref: lab.breaker("sim").state,
    "breakers": lambda lab, ref: lab.breakers(),
    "budget": lambda lab, ref: lab.budget.used,
    "chaos": lambda lab, ref: lab.chaos(Plan()),  # one at a time may be on
    "chaos_log": lambda lab, ref: lab.chaos_log(),
    "checkpoints": lambda lab, ref: lab.checkpoints(ref),
    "close": lambda lab, ref: Lab(nodes=1).close(),
    "closed": lambda lab, ref: lab.closed,
    "dead_letters": lambda lab, ref: lab.dead_letters(),
    "endpoint": lambda lab, ref: lab.simulator() == lab.endpoint("/servers/sim"),
    "events": lambda lab, ref: lab.events(),
    "explain": lambda lab, ref: lab.explain(ref),
    "feed": lambda lab, ref: lab.feed().close(),
    "messages": lambda lab, ref: lab.messages(),
    "publish": lambda lab, ref: lab.publish("news", "add", 1),
    "report": lambda lab, ref: reported(lab),
    "restarts": lambda lab, ref: lab.restarts(),
    "resume": lambda lab, ref: lab.resume(),
    "retry": lambda lab, ref: lab.retry(ref),
    "rows": lambda lab, ref: lab.rows(),
    "sim": lambda lab, ref: lab.sim.struck(),
    "simulator": lambda lab, ref: lab.simulator(),
    "start": lambda lab, ref: lab.start(Counter, id=unique()),
    "start_many": lambda lab, ref: lab.start_many(Counter, 2, under=lab.start(Supervisor(unique()))),
    "spend": lambda lab, ref: lab.spend(),
    "steps": lambda lab, ref: lab.steps(),
    "charts": lambda lab, ref: lab.charts(),
    "dashboard": lambda lab, ref: lab.dashboard(),
    "tree": lambda lab, ref: lab.tree(),
    "upgrade": lambda lab, ref: lab.upgrade(Counter),
    "wait_idle": lambda lab, ref: lab.wait_idle(100),
    "watch": lambda lab, ref: lab.watch(ref),
    "whereis": lambda lab, ref: lab.whereis(ref.path),
}

REF: dict[str, Callable[[Lab, Ref], object]] = {
    "approvals": lambda lab, ref: ref.approvals(),
    "approve": lambda lab, ref: refused(lambda: ref.approve(1)),  # nothing waits
    "budget": lambda lab, ref: ref.budget.used,
    "call": lambda lab, ref: ref.call.add(1).result(100),
    "cast": lambda lab, ref: ref.cast.add(1),
    "checkpoints": lambda lab, ref: ref.checkpoints(),
    "count_children": lambda lab, ref: team(lab).count_children(),
    "crash": lambda lab, ref: ref.crash(),
    "delete_child": lambda lab, ref: ended(lab).delete_child("a"),
    "doubts": lambda lab, ref: ref.doubts(),
    "draft": lambda lab, ref: ref.draft,
    "exit": lambda lab, ref: ref.exit(),
    "fork": lambda lab, ref: ref.fork(),
    "get_childspec": lambda lab, ref: team(lab).get_childspec("a"),
    "id": lambda lab, ref: ref.id,
    "incarnation": lambda lab, ref: ref.incarnation,
    "info": lambda lab, ref: ref.info(),
    "kill": lambda lab, ref: ref.kill(),
    "log": lambda lab, ref: ref.log(),
    "node": lambda lab, ref: ref.node,
    "path": lambda lab, ref: ref.path,
    "replace_state": lambda lab, ref: ref.replace_state(count=3),
    "restart": lambda lab, ref: ref.restart(),
    "restart_child": lambda lab, ref: ended(lab).restart_child("a"),
    "resume": lambda lab, ref: ref.resume(),
    "rewind": lambda lab, ref: rewound(ref),
    "settle": lambda lab, ref: refused(lambda: ref.settle(1, 5)),
    "skip": lambda lab, ref: refused(ref.skip),  # nothing is in hand
    "stream": lambda lab, ref: ref.stream.add(1).result(100),
    "start_child": lambda lab, ref: team(lab).start_child(child(Counter, id="b")),
    "state": lambda lab, ref: ref.state,
    "status": lambda lab, ref: ref.status,
    "stop": lambda lab, ref: ref.stop(),
    "suspend": lambda lab, ref: ref.suspend(),
    "terminate_child": lambda lab, ref: ended(lab),
    "trace": lambda lab, ref: ref.trace(),
    "transcript": lambda lab, ref: refused(ref.transcript),  # it has none
    "watch": lambda lab, ref: ref.watch(),
    "which_children": lambda lab, ref: team(lab).which_children(),
}

USES = {**{f"lab.{name}": use for name, use in LAB.items()}, **{f"ref.{name}": use for name, use in REF.items()}}


class Stock:
    """A lab, and agents of which each use takes one of its own."""

    def __init__(self, lab: Lab, size: int) -> None:
        self.lab = lab
        self._refs = iter(lab.start_many(Counter, size, under=lab.start(Supervisor("stock", max_restarts=10_000))))
        self._lock = threading.Lock()

    def take(self) -> Ref:
        """One that nobody has used."""
        with self._lock:
            return next(self._refs)

    def attempt(self, name: str, ref: Ref | None = None) -> str:
        """Use one method; what was raised, or "works"."""
        try:
            USES[name](self.lab, ref or self.take())
        except BaseException as error:
            return f"{type(error).__name__}: {error}"
        return "works"


async def cell(stock: Stock) -> dict[str, str]:
    """A cell that uses everything, and awaits."""
    found = {name: stock.attempt(name) for name in USES}
    ref = stock.take()
    assert await ref.call.add(2) == 2
    await ref.cast.add(3)
    assert [await reply for reply in [ref.call.add(1) for _ in range(3)]] == [6, 7, 8]
    try:
        await ref.call(timeout=0.3).hang()
    except TimeoutError:
        found["await that is late"] = "works"
    ref.skip()
    async with Lab(nodes=1) as other:
        assert await other.start(Counter, id="c").call.add(1) == 1
    return {name: what for name, what in found.items() if what != "works"}


def in_loop(make: str, stock: Stock) -> dict[str, str]:
    """The cell, in a loop of that make."""
    if make == "trio":
        result: dict[str, str] = importlib.import_module("trio").run(cell, stock)
        return result
    if make == "uvloop":
        uvloop: Any = importlib.import_module("uvloop")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(cell(stock))
    if make == "nest":
        importlib.import_module("nest_asyncio2").apply()

        async def nested() -> dict[str, str]:
            return asyncio.get_running_loop().run_until_complete(cell(stock))

        return asyncio.run(nested())
    return asyncio.run(cell(stock))


if __name__ == "__main__":
    for each in sys.argv[1:]:
        if each == "policy":
            importlib.import_module("uvloop").install()
        if each == "nest":  # before a lab is there, as a notebook's first cell does
            importlib.import_module("nest_asyncio2").apply()
        with Lab(nodes=2) as opened:
            print(each, in_loop(each, Stock(opened, 200)), flush=True)
