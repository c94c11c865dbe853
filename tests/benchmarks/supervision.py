"""What the supervision machine costs as it grows: one JSON line per figure.

    python tests/benchmarks/supervision.py [--rounds 5] [--most 100000]

``restart``: one child among n siblings crashes and comes back (two events); ``add_remove``: one is added and
stopped (four events). Microseconds of machine time per event, the median of rounds that visit every size in
turn. ``bulk``: microseconds per child of ``start_children``. ``bytes``: what the machine keeps per idle child,
beside its specification.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import statistics
import sys
import time
import tracemalloc
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from agentlab.child import Child, Supervisor
from agentlab.supervision import Call, Exited, Record, Start, Started, Tree

RESTARTS = 500


def grown(size: int, kind: str) -> tuple[Tree, float]:
    """A tree whose root has so many running children, and the seconds the bulk start took."""
    spec = Child(what="agent", id="agent", checked=True)
    children = (spec,) if kind == "simple_one_for_one" else ()
    strategy = "simple_one_for_one" if kind == "simple_one_for_one" else "one_for_one"
    root = Supervisor.unchecked("root", children, strategy=strategy, max_restarts=10**9)
    tree = Tree(root, independent_root=kind == "independent")
    tree.start(0.0)
    names = [f"a{number}" for number in range(size)]
    items = [(name, None) if children else (name, None, spec) for name in names]
    began = time.perf_counter()
    commands = tree.handle(Call(1, "/", "start_children", items), 0.0)
    for command in commands:
        if isinstance(command, Start):
            tree.handle(Started(command.life), 0.0)
    return tree, time.perf_counter() - began


def restart(tree: Tree) -> float:
    """Crash single children, spread over the siblings; each is back before the next."""
    records = list(tree.root.children.values())
    return statistics.median(crash(tree, records[number * 7919 % len(records)]) for number in range(RESTARTS))


def crash(tree: Tree, record: Record) -> float:
    """Machine time per event of one crash: the exit, and the start's answer."""
    began = time.perf_counter()
    for command in tree.handle(Exited(record.life or 0, "boom"), 0.0):
        if isinstance(command, Start):
            tree.handle(Started(command.life), 0.0)
    return (time.perf_counter() - began) / 2 * 1e6


def add_remove(tree: Tree) -> float:
    """Add a child, stop and delete it."""
    rounds = []
    for number in range(RESTARTS):
        item = Child(what="agent", id=f"more{number}", restart="temporary")
        began = time.perf_counter()
        life = next(c.life for c in tree.handle(Call(2, "/", "start_child", item), 0.0) if isinstance(c, Start))
        tree.handle(Started(life), 0.0)
        tree.handle(Call(3, "/", "terminate_child", item.id), 0.0)
        tree.handle(Exited(life, "shutdown"), 0.0)
        rounds.append((time.perf_counter() - began) / 4 * 1e6)
    return statistics.median(rounds)


def bytes_per_child(size: int, kind: str) -> float:
    """Traced memory of an idle tree, per child, without the specifications."""
    gc.collect()
    tracemalloc.start()
    specs = [Child(what="agent", id=f"a{number}") for number in range(size)]
    before = tracemalloc.get_traced_memory()[0]
    tree = Tree(Supervisor.unchecked("root", ()), independent_root=kind == "independent")
    tree.start(0.0)
    starts = [c.life for c in tree.handle(Call(1, "/", "start_children", specs), 0.0) if isinstance(c, Start)]
    for life in starts:
        tree.handle(Started(life), 0.0)
    del starts
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return used / size


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--most", type=int, default=100_000)
    options = parser.parse_args()
    sizes = [size for size in (10, 1_000, 100_000, 1_000_000) if size <= options.most]
    machine = {"python": platform.python_version(), "machine": platform.machine()}
    for kind in ("one_for_one", "simple_one_for_one", "independent"):
        trees = {size: grown(size, kind) for size in sizes}
        gc.freeze()
        actions = {"restart": restart} | ({} if kind == "simple_one_for_one" else {"add_remove": add_remove})
        for figure, action in actions.items():
            took: dict[int, list[float]] = {size: [] for size in sizes}
            for _ in range(options.rounds):
                for size in sizes:
                    took[size].append(action(trees[size][0]))
            for size in sizes:
                us = round(statistics.median(took[size]), 2)
                print(json.dumps({"figure": figure, "kind": kind, "siblings": size, "us_per_event": us} | machine))
        for size in sizes:
            us = round(trees[size][1] / size * 1e6, 2)
            print(json.dumps({"figure": "bulk", "kind": kind, "siblings": size, "us_per_child": us} | machine))
        del trees
        gc.unfreeze()
    for kind in ("one_for_one", "independent"):
        size = min(options.most, 100_000)
        used = round(bytes_per_child(size, kind))
        print(json.dumps({"figure": "bytes", "kind": kind, "siblings": size, "bytes_per_child": used} | machine))


if __name__ == "__main__":
    main()
