"""Random scenarios over nested trees: what the pure machine says of each, and what a real lab does.

    python -m tests.oracle.fuzz [--seed N] [--count N]

The recordings have few supervisors in supervisors; here every tree has some, two or three deep, and workers that trap
exits and die slowly, so that an old life often still ends when its successor runs. The machine, which the
recordings hold to OTP, is the measure: its log of a scenario is a recording like those, replayed with the rules of
``tests/oracle/live.py``. In every second one supervisors bring back the children that were added to them; those start
side by side, so where a supervisor ended there, the order of events means nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
from collections.abc import Iterator
from typing import Any

from tests.oracle import replay as oracle
from tests.oracle.said import nodes
from tests.oracle.world import SimulatedWorld

Json = Any  # a term as the traces write it

STRATEGIES = ("one_for_one", "one_for_one", "one_for_all", "rest_for_one")
REASONS = ("kill", "kill", "boom", "shutdown", "normal")
DEEPEST = 3
STEPS = 8
DAWDLES = ((2000, 200), (250, 5000))
"""Milliseconds that a terminate callback takes, and the ``shutdown`` time: far too short, or long enough."""


class Author:
    """Writes one scenario."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._ids = itertools.count(1)
        self._seed = seed

    def scenario(self) -> dict[str, Json]:
        """A tree, some steps, and what the machine says of them."""
        root = self._supervisor("R", 1)
        steps = [self._step(root) for _ in range(STEPS)]
        return {"id": f"fuzz-{self._seed}", "root": root, "steps": steps, "trace": recorded(root, steps)}

    def _supervisor(self, id: str, depth: int) -> dict[str, Json]:
        most = 3 if depth == 1 else 2
        kids = [self._child(depth + 1) for _ in range(self._random.randint(1 if depth == 1 else 0, most))]
        if depth == 1:
            kids.insert(self._random.randrange(len(kids) + 1), self._supervisor(f"S{next(self._ids)}", 2))
        flags = {
            "strategy": self._random.choice(STRATEGIES),
            "intensity": self._random.choice((1, 2, 5, 50)),
            "period": 1_000_000,
            "bring_back": self._seed % 2 == 1,
            "children": kids,
        }
        return {"id": id, "restart": self._random.choice(("permanent", "permanent", "transient")), "sup": flags}

    def _child(self, depth: int) -> dict[str, Json]:
        if depth <= DEEPEST and self._random.random() < 0.5:
            return self._supervisor(f"S{next(self._ids)}", depth)
        return self._worker()

    def _worker(self) -> dict[str, Json]:
        chance = self._random
        node: dict[str, Json] = {"id": f"w{next(self._ids)}"}
        node["restart"] = chance.choice(("permanent", "permanent", "transient", "temporary"))
        node["trap"] = chance.random() < 0.5
        if node["trap"] and chance.random() < 0.5:
            node["slow"], node["shutdown"] = chance.choice(DAWDLES)
            node["ends"] = True  # by itself: whoever would kill it after its time may have been killed before
        return node

    def _step(self, root: dict[str, Json]) -> dict[str, Json]:
        chance = self._random
        known = list(nodes(root))
        supervisors = [node["id"] for node in known if "sup" in node]
        below = [(node["id"], kid["id"]) for node in known if "sup" in node for kid in node["sup"]["children"]]
        kind = chance.random()
        if kind < 0.4:
            return {"op": "exit", "target": chance.choice(supervisors[1:]), "via": "signal", "reason": "kill"}
        if kind < 0.65:
            workers = [node["id"] for node in known if "sup" not in node]
            target, reason = chance.choice(workers or supervisors[1:]), chance.choice(REASONS)
            via = "signal" if reason == "kill" or not workers else chance.choice(("signal", "stop"))
            return {"op": "exit", "target": target, "via": via, "reason": reason}
        if kind < 0.85:
            return {"op": "start_child", "sup": chance.choice(supervisors), "spec": self._child(DEEPEST)}
        if kind < 0.9:
            return {"op": "stop_sup", "sup": chance.choice(supervisors[1:]), "reason": chance.choice(REASONS[2:])}
        supervisor, child = chance.choice(below)
        return {"op": chance.choice(("terminate_child", "restart_child")), "sup": supervisor, "id": child}


def recorded(root: dict[str, Json], steps: list[dict[str, Json]]) -> list[Json]:
    """The trace of a scenario, as the machine has it."""
    world = SimulatedWorld(root)
    trace = [_record(world, world.start())]
    for step in steps:
        if trace[-1]["tree"] is None:
            return trace
        trace.append(_record(world, world.step(step)))
    if trace[-1]["tree"] is not None:
        world.shutdown()
        trace.append(_record(world, None))
    return trace


def _record(world: SimulatedWorld, result: Json) -> dict[str, Json]:
    back = world.root_node["sup"]["bring_back"]
    events, reports = world.take()
    supervisors = {event[1] for event in events if event[0] == "init"} | {
        id for id, process in world.newest.items() if "sup" in process.node
    }
    killed = any(event[0] == "exit" and event[1] in supervisors and (back or event[3] == "killed") for event in events)
    record = {"ev": events, "rep": reports, "res": result, "tree": world.tree()}
    return json.loads(json.dumps({**record, "unordered": True} if killed else record))  # type: ignore[no-any-return]


def scenarios(seed: int, count: int) -> Iterator[dict[str, Json]]:
    """So many, by seeds that follow each other."""
    for number in range(seed, seed + count):
        yield Author(number).scenario()


def main(arguments: list[str]) -> int:
    """Replay random scenarios on a lab; print what differs, then the count. The exit status: 1 if anything does."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the first scenario")
    parser.add_argument("--count", type=int, default=200, help="how many")
    options = parser.parse_args(arguments)
    tally = oracle.replay_live(scenarios(options.seed, options.count))
    print(f"{tally['passed']} passed, {tally['failed']} failed")
    return 1 if tally["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
