"""What looking costs: an idle lab with an open tree (P12), a busy one (P13).

    python tests/benchmarks/view.py [--quick] [--rounds 2]

The tree is the widget that a cell shows; a looker says hello to it as a browser does, so it sends every change. P12 is
all processor time of this process, which is the kernel's. P13: agents tick so often that together they change their
status 3,000 times a second (busy, running); what the view costs is the kernel's time with an open tree above that
without one, windows of both in turn. In this script what the widget sends ends at
its comm, before a server's socket. Frames a second are those of a headless Chromium with a real JupyterLab.
"""

from __future__ import annotations

import functools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from kit import machine
from kit.agents import Beater, family
from kit.browser import frames_a_second
from kit.report import Options, Report, Values, in_turn

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
    seconds = 2 if options.quick else 10
    for size in options.sizes(10_000):
        with Lab() as lab:
            family(lab, size)
            tree = looked_at(lab)
            time.sleep(2)
            found = in_turn(1, agentlab=lambda: {"percent": share_of_a_core(seconds)})
            tree.close()
        report.say("P12 kernel CPU of an idle lab with an open tree; agents", found, "percent", "% of a core",
                   size=size, target="≤ 1 %", most=1.0)  # fmt: skip


def beating(lab: Lab, size: int, changes: float) -> None:
    """So many agents that together change so often a second."""
    group = lab.start(Supervisor("beaters", max_restarts=10**6))
    lab.start_many(Beater, [{"period": 2 * size / changes}] * size, under=group)


def windows(lab: Lab, rounds: int, seconds: float) -> Values:
    """Percent of a core without and with an open tree, in turn, and the difference."""
    without, with_tree = [], []
    handled, began = lab.agents().messages.sum(), time.monotonic()
    for _ in range(rounds):
        without.append(share_of_a_core(seconds))
        tree = looked_at(lab)
        time.sleep(1)
        with_tree.append(share_of_a_core(seconds))
        tree.close()
        time.sleep(0.5)
    rate = 2 * float(lab.agents().messages.sum() - handled) / (time.monotonic() - began)
    base, seen = statistics.median(without), statistics.median(with_tree)
    return {"percent": max(0.0, seen - base), "without": base, "with_tree": seen, "changes_a_second": rate}


def busy(report: Report, options: Options) -> None:
    """P13, the kernel's part."""
    for size in options.sizes(10_000):
        changes = min(CHANGES, 10 * size)
        with Lab() as lab:
            beating(lab, size, changes)
            time.sleep(2 * size / changes + 1)  # until all beat
            measure = functools.partial(windows, lab, options.rounds, 2 if options.quick else 4)
            found = in_turn(1, agentlab=measure)
        names = ("changes_a_second", "without", "with_tree")
        about = {name: round(found["agentlab"].get(name, 0.0), 2) for name in names}
        report.say("P13 kernel CPU for the view of a tree that changes; agents", found, "percent", "% of a core",
                   size=size, judged=size == options.size(10_000), target="≤ 5 %", most=5.0, **about)  # fmt: skip


def frames(report: Report, options: Options) -> None:
    """P13, the browser's part."""
    size = options.size(10_000)
    changes = min(CHANGES, 10 * size)
    found = in_turn(1, agentlab=functools.partial(_frames, size, changes))
    report.say("P13 frames a second in a browser while the tree changes; agents", found, "frames", "frames/s",
               size=size, target="≥ 50", least=50.0, changes_a_second=changes)  # fmt: skip


def _frames(size: int, changes: int) -> Values:
    root = Path(__file__).parents[2]
    sys.path.insert(0, str(root))
    try:
        from playwright.sync_api import sync_playwright

        from tests.browser.install_browser import find_browser
    except ImportError as error:
        return {"missing": f"{error}: pip install 'jupyter-agentlab[test]'"}
    path = find_browser()
    if path is None:
        return {"missing": "there is no Chromium: python tests/browser/install_browser.py"}
    cells = [
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})",
        f"from agentlab import Lab\nfrom view import beating\nlab = Lab()\nbeating(lab, {size}, {changes})",
        "lab.tree()",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, headless=True, args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            return _watched(browser.new_page(viewport={"width": 1280, "height": 1000}), cells)
        finally:
            browser.close()


def _watched(page: Any, cells: list[str]) -> Values:
    from tests.browser.jupyter import Notebook, Server

    with tempfile.TemporaryDirectory() as home:
        server = Server(Path(home))
        try:
            notebook = Notebook(page, server)
            notebook.write(*cells).run_all()
            notebook.expect("live")
            page.wait_for_timeout(5000)
            return {"frames": frames_a_second(page, 5)}
        finally:
            server.close()


def main() -> None:
    """Print the figures."""
    options = Options(__doc__, rounds=2)
    report = Report(options)
    parts: list[Callable[[Report, Options], None]] = [idle, busy, frames]
    for part in parts:
        part(report, options)


if __name__ == "__main__":
    main()
