"""What looking costs: an idle lab with an open tree (P12), a busy one (P13).

    python tests/benchmarks/view.py [--quick] [--rounds 3] [idle] [busy]

The tree is the widget that a cell shows; a looker says hello to it as a browser does, so it sends every change. P12 is
all processor time of this process, which is the kernel's. P13: agents tick so often that together they change their
status 3,000 times a second (busy, running); what the view costs is the kernel's time with an open tree above that
without one, windows of both in turn. What the widget sends ends at its comm, before a server's socket; ``crowd.py``
has a real JupyterLab in a browser.
"""

from __future__ import annotations

import functools
import time
from typing import Any

import psutil
from kit import machine
from kit.agents import Beater, family
from kit.report import Options, Report, Values, in_turn, measure

from agentlab import Lab, Supervisor

CHANGES = 3000  # a second


def looked_at(lab: Lab) -> Any:
    """The lab's tree with one looker."""
    tree = lab.tree()
    tree._hear(tree, {"t": "hello", "looker": "benchmark"}, [])
    return tree


def share_of_a_core(seconds: float) -> float:
    """Percent of a core that this process uses in a window."""
    used = machine.cpu([psutil.Process()])
    began = time.monotonic()
    time.sleep(seconds)
    return (machine.cpu([psutil.Process()]) - used) / (time.monotonic() - began) * 100


def idle(report: Report, options: Options) -> None:
    """P12."""
    seconds = 2 if options.quick else 6
    for size in options.sizes(10_000):
        with Lab() as lab:
            family(lab, size)
            tree = looked_at(lab)
            time.sleep(2)
            found = in_turn(options.rounds, sure=["percent"], agentlab=lambda: {"percent": share_of_a_core(seconds)})
            tree.close()
        report.say("P12 kernel CPU of an idle lab with an open tree; agents", found, "percent", "% of a core",
                   size=size, target="≤ 0.5 %", most=0.5)  # fmt: skip


def beating(lab: Lab, size: int, changes: float) -> None:
    """So many agents that together change so often a second."""
    group = lab.start(Supervisor("beaters", max_restarts=10**6))
    lab.start_many(Beater, [{"period": 2 * size / changes}] * size, under=group)


def windows(lab: Lab, seconds: float) -> Values:
    """Percent of a core without and with an open tree, one after the other, and the difference."""
    handled, began = lab.agents().messages.sum(), time.monotonic()
    without = share_of_a_core(seconds)
    tree = looked_at(lab)
    time.sleep(1)
    with_tree = share_of_a_core(seconds)
    tree.close()
    time.sleep(0.5)
    rate = 2 * float(lab.agents().messages.sum() - handled) / (time.monotonic() - began)
    seen = max(0.0, with_tree - without)
    return {"percent": seen, "without": without, "with_tree": with_tree, "changes_a_second": rate}


def busy(report: Report, options: Options) -> None:
    """P13, the kernel's part."""
    for size in options.sizes(10_000):
        changes = min(CHANGES, 10 * size)
        with Lab() as lab:
            beating(lab, size, changes)
            time.sleep(2 * size / changes + 1)  # until all beat
            measured = functools.partial(windows, lab, 2 if options.quick else 4)
            found = in_turn(options.rounds, sure=["with_tree"], agentlab=measured)
        names = ("changes_a_second", "without", "with_tree")
        about = {name: round(found["agentlab"].get(name, 0.0), 2) for name in names}
        report.say("P13 kernel CPU for the view of a tree that changes; agents", found, "percent", "% of a core",
                   size=size, judged=size == options.size(10_000), by="with_tree", target="≤ 3 %", most=3.0,
                   **about)  # fmt: skip


PARTS = {"idle": idle, "busy": busy}

if __name__ == "__main__":
    measure(__doc__, PARTS)
