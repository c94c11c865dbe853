"""What the supervision machine costs as it grows: one JSON line per figure.

    python tests/benchmarks/supervision.py [--quick] [--rounds 5]

``restart``: one child among n siblings crashes and comes back (two events); ``add_remove``: one is added and
stopped (four events). Microseconds of machine time per event, the median of rounds that visit every size in
turn. ``bulk``: microseconds per child of ``start_children``. ``bytes``: what the machine keeps per idle child,
beside its specification.
"""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc

from kit.report import Found, Options, Report

from agentlab.supervision import Call, Exited, Record, Start, Started, Tree
from agentlab.supervision.child import Child, Supervisor

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
    options = Options(__doc__, rounds=5)
    report = Report(options)
    sizes = options.sizes(100_000)
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
                tell(report, (f"{figure}, an event", kind), size, statistics.median(took[size]))
        for size in sizes:
            tell(report, ("bulk, a child", kind), size, trees[size][1] / size * 1e6)
        del trees
        gc.unfreeze()
    for kind in ("one_for_one", "independent"):
        tell(report, ("bytes of an idle child", kind), sizes[-1], bytes_per_child(sizes[-1], kind), unit="bytes")


def tell(report: Report, what: tuple[str, str], size: int, value: float, *, unit: str = "us") -> None:
    """Print one figure."""
    figure = f"supervision machine: {', '.join(what)}; siblings"
    report.say(figure, Found({"agentlab": [{"is": value}]}, {}, 0.0), "is", unit, size=size)


if __name__ == "__main__":
    main()
