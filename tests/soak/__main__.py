"""Run the soak: traffic and deeds until the time is over, then the audit.

Exit code 0 if nothing was lost, doubled, leaked or left behind; the last line is the summary as JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from agentlab import Lab, Ref, Supervisor, child
from tests.soak.deeds import STALL_SECONDS, Deeds
from tests.soak.gauges import Left, Memory, left, newest, pids
from tests.soak.ledger import PATIENCE, Ledger
from tests.soak.members import Member

NODES = 2
ROUNDS_A_SECOND = 10
MESSAGES_A_ROUND = 40
PLENTY = {"max_restarts": 1_000_000, "max_seconds": 1.0}


class Soak:
    """One run."""

    def __init__(self, lab: Lab, agents: int, seed: int) -> None:
        self.lab, self._rng = lab, random.Random(seed)
        groups = populate(lab, agents)
        self.everybody = [ref for group in groups.values() for ref in group]
        self.ledger = Ledger(self.everybody)
        self.deeds = Deeds(lab, self.ledger, self._rng, **groups)
        self.memory = Memory(lab, NODES)

    def go(self, seconds: float) -> None:
        """Rounds at a steady rate, a look at the memory every second, a line every ten; longer if a deed is missing."""
        pace, began = threading.Event(), time.monotonic()
        number = 0
        while ((passed := time.monotonic() - began) < seconds or self.deeds.missing) and not self.faults:
            number += 1
            self.traffic()
            self.deeds.one(number)
            owed = self.ledger.settle()
            if number % ROUNDS_A_SECOND == 0:
                self.memory.look()
            if number % (10 * ROUNDS_A_SECOND) == 0:
                self.say(passed, owed)
            pace.wait(max(0.0, began + number / ROUNDS_A_SECOND - time.monotonic()))

    def traffic(self) -> None:
        """Messages to anybody, half of them calls."""
        rng, ledger = self._rng, self.ledger
        for _ in range(MESSAGES_A_ROUND):
            # Who borrows stands before who lends, so that no circle of agents waits for each other.
            one, other = sorted(rng.sample(range(len(self.everybody)), 2))
            method = rng.choice(["add", "add", "work", "remind", "give", "borrow"])
            args = (self.everybody[other], rng.randint(1, 5)) if method in {"give", "borrow"} else ()
            send = ledger.call if rng.random() < 0.5 else ledger.cast
            send(self.everybody[one], method, *args)

    @property
    def faults(self) -> list[str]:
        """What went wrong so far."""
        return self.ledger.faults + self.deeds.faults

    def say(self, passed: float, owed: int) -> None:
        """The progress line."""
        sample, books = self.memory.samples[-1], self.ledger.books
        failed = sum(count for method, count in books.items() if method.startswith("failed"))
        print(
            f"{passed:6.0f} s  {self.ledger.acknowledged:,} acknowledged, {failed} given up, {owed} agents owe answers;"
            f" {sum(self.deeds.done.values()) - self.deeds.done['nothing']} deeds; {len(pids(self.lab))} nodes;"
            f" kernel {sample.kernel:.0f} MB, nodes {sample.nodes:.0f} MB",
            flush=True,
        )

    def finish(self) -> None:
        """Everything that was accepted comes to its end."""
        end = time.monotonic() + PATIENCE
        while (self.ledger.settle() or self.rings_missing()) and time.monotonic() < end:
            self.deeds.end_loops()
            time.sleep(0.05)  # between two looks, with a deadline
        self.lab.wait_idle(PATIENCE)

    def rings_missing(self) -> bool:
        """Whether a timer is still to ring."""
        return any(a.ref.state["rings"] < a.rings for a in self.ledger.accounts.values() if a.rings)


FEW: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "audience": ({}, {}),
    "hogs": ({}, {"max_busy": 0.5}),
    "rogues": ({}, {}),
    "family": ({"strategy": "one_for_all"}, {}),
}
"""Supervisors of four agents each, with options of the supervisor and of its children."""


def populate(lab: Lab, agents: int) -> dict[str, list[Ref]]:
    """The few with a part of their own, and a herd."""
    groups = {}
    for name, (options, own) in FEW.items():
        children = [child(Member, id=f"{name}-{number}", **own) for number in range(4)]
        lab.start(Supervisor(name, *children, **options, **PLENTY))
        groups[name] = [lab[f"/{name}/{one.id}"] for one in children]
    lab.start(Supervisor("herd", **PLENTY))
    groups["members"] = list(lab.start_many(Member, agents - 4 * len(FEW), under="/herd"))
    return groups


GROWTH, SLACK_MB = 0.10, 12.0


def grown(growth: dict[str, tuple[float, float]]) -> list[str]:
    """What grew by more than a tenth and 12 MB: what allocators and a young node's first garbage come to."""
    return [
        f"{kind}: {first} MB after the warm-up, {last} MB at the end"
        for kind, (first, last) in growth.items()
        if last > first * (1 + GROWTH) + SLACK_MB
    ]


def run(folder: str, agents: int, minutes: float, seed: int) -> dict[str, Any]:
    """The whole: warm up what outlives a lab, soak, audit, close, audit what is stored, and look what is left."""
    with Lab(nodes=1) as first:
        first.start(Member, id="first").call.add(1).result(60)
    before, seconds = left(), minutes * 60
    with Lab(Path(folder, "soak.lab"), nodes=NODES, keep=20, stall_seconds=STALL_SECONDS) as lab:
        soak = Soak(lab, agents, seed)
        soak.go(seconds)
        soak.finish()
        faults = soak.faults + soak.ledger.audit(lab)
        show(lab, faults)
        growth = soak.memory.growth(min(120.0, seconds / 4))
        restarts = int(lab.agents()["restarts"].sum())
        started, own = newest(lab), len(pids(lab)) - NODES
    with Lab(Path(folder, "soak.lab"), nodes=1, resume=True) as again:
        faults += [] if faults else [f"stored: {fault}" for fault in soak.ledger.audit(again)]
    after = settled(before)
    return {
        "seed": seed, "minutes": minutes, "agents": agents, "acknowledged": soak.ledger.acknowledged,
        "messages": dict(soak.ledger.books), "deeds": dict(soak.deeds.done), "restarts": restarts,
        "nodes_started": started, "own_nodes": own, "memory_mb": growth,
        "left": {"before": before._asdict(), "after": after._asdict()},
        "faults": [*faults, *grown(growth), *left_behind(before, after)],
    }  # fmt: skip


def show(lab: Lab, faults: list[str]) -> None:
    """The last of what the lab knows about those with whom something is wrong."""
    paths = dict.fromkeys(fault.split(":")[0] for fault in faults if fault.startswith("/"))
    for path in list(paths)[:3]:
        print(path, lab.messages(path=path).to_string(), lab.events(path=path).to_string(), sep="\n")


def left_behind(before: Left, after: Left) -> list[str]:
    """What there is more of than before."""
    return [
        f"{name}: {was} before, {now} after"
        for name, was, now in zip(Left._fields, before, after, strict=True)
        if now > was
    ]


def settled(before: Left) -> Left:
    """What is left once the system has done its part; at most a minute later."""
    end = time.monotonic() + 60
    while (now := left()) != before and time.monotonic() < end:
        time.sleep(0.05)  # between two looks, with a deadline
    return now


def main() -> int:
    """Read the options, run, print the summary."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--agents", type=int, default=2000)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background a shell has it ignored
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        summary = run(folder, options.agents, options.minutes, options.seed)
    for fault in summary["faults"][:20]:
        print("FAULT", fault)
    print(json.dumps(summary))
    return 1 if summary["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
