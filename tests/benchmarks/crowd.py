"""What looking costs in a real browser, at 10,000 and at 100,000 agents (P12, P13), and while 200 agents stream tokens.

    python tests/benchmarks/crowd.py [--quick]

A headless Chromium shows a notebook of a real JupyterLab, whose kernel holds the lab. P12 is the processor time of the
kernel with an open tree and nothing to do. P13: 3,000 agents of the crowd change their status (busy, running) so often
that together they do it 3,000 times a second; what the view costs is the kernel's time with the tree in sight above
that with the tree scrolled away, which sends nothing. Frames a second are counted with the tree alone, then with the
inspector and the transcript of an agent that streams tokens above it, then while 200 agents stream 20 tokens a second
each. The machine's load stands beside each figure: browser, server and kernel share its cores.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kit.browser import frames_a_second
from kit.report import Found, Options, Report, Values, in_turn

sys.path.insert(0, str(Path(__file__).parents[2]))

TELLERS = f"""
import asyncio, sys, time
from agentlab import Agent, Lab, Supervisor, Transcript
sys.path.insert(0, {str(Path(__file__).parent)!r})
from kit.agents import Beater

class Idler(Agent):
    count: int = 0

class Teller(Agent):
    pages: Transcript = Transcript()

    async def tell(self) -> None:
        self.pages.append({{"role": "user", "content": "Tell me."}})
        while True:
            self.emit("token ")
            await asyncio.sleep(0.05)

lab = Lab()
first = lab.start(Teller, id="first")
group = lab.start(Supervisor("crowd", max_restarts=10**6))
"""
FRAMES_OF = {
    "frames": "the tree",
    "frames_with_all": "tree, inspector and streaming transcript",
    "frames_streaming": "the same, 200 agents stream tokens",
}
PERCENT = """
used, began = time.process_time(), time.monotonic()
time.sleep({seconds})
print(100 * (time.process_time() - used) / (time.monotonic() - began))
"""


class Sight:
    """A notebook in a browser, looked at for some seconds at a time."""

    def __init__(self, notebook: Any, seconds: float) -> None:
        self.notebook = notebook
        self._seconds = seconds

    def percent(self) -> float:
        """Of a core, that the kernel uses."""
        return float(self.notebook.python(PERCENT.format(seconds=self._seconds)))

    def frames(self) -> float:
        """A second."""
        return frames_a_second(self.notebook.page, self._seconds)

    def scroll(self, view: str, away: bool = False) -> None:
        """Bring a view into sight, or out of it; the kernel hears of that after two seconds."""
        where = self.notebook.page.locator(".jp-Cell" if away else view).first
        where.evaluate("place => place.scrollIntoView()")
        self.notebook.page.wait_for_timeout(4000)


def watched(size: int, seconds: float) -> Values:
    """All figures of a crowd of one size; ``load`` is the machine's, in its last minute, before it began."""
    changes = min(3000, size)
    found: Values = {"load": os.getloadavg()[0]}
    crowd = f"refs = lab.start_many(Idler, {size - changes}, under=group)"
    far = "\n".join(["1"] + ["#"] * 90)  # a cell that is taller than the page
    with browsed() as write:
        _tree(Sight(write(TELLERS, crowd, far, "lab.tree()"), seconds), changes, found)
        _all(Sight(write(TELLERS, crowd, _beaters(changes), _TOGETHER), seconds), found)
    return found


def _beaters(changes: int) -> str:
    return f"beaters = lab.start_many(Beater, [{{'period': 2.0}}] * {changes}, under=group); time.sleep(6)"


_TOGETHER = """
from ipywidgets import HBox, VBox
first.cast.tell()
VBox([HBox([first.watch(), first.transcript()]), lab.tree()])
"""


def _tree(sight: Sight, changes: int, found: Values) -> None:
    sight.scroll(".agentlab-tree")
    sight.notebook.expect("live")
    found["idle"] = sight.percent()
    sight.notebook.python(_beaters(changes))
    found["frames"] = sight.frames()
    shown, hidden = [], []
    for _ in range(2):
        sight.scroll(".jp-Cell", away=True)
        hidden.append(sight.percent())
        sight.scroll(".agentlab-tree")
        shown.append(sight.percent())
    found |= {"with_tree": min(shown), "without": min(hidden), "view": max(0.0, min(shown) - min(hidden))}


def _all(sight: Sight, found: Values) -> None:
    for view in ("inspector", "transcript", "tree"):
        sight.notebook.page.wait_for_selector(f".agentlab-{view}[data-painted][data-mood='live']")
    found["frames_with_all"] = sight.frames()
    sight.notebook.python("for ref in lab.start_many(Teller, 199): ref.cast.tell()\ntime.sleep(3)")
    found["frames_streaming"] = sight.frames()


@contextmanager
def browsed() -> Iterator[Callable[..., Any]]:
    """A browser with a JupyterLab of its own: a function that shows a notebook of some cells, which have run."""
    from playwright.sync_api import sync_playwright

    from tests.browser.install_browser import NONE_FOUND, find_browser
    from tests.browser.jupyter import Notebook, Server

    path = find_browser()
    if path is None:
        raise RuntimeError(NONE_FOUND)
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        server = Server(Path(home))
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=flags)
        page = browser.new_page(viewport={"width": 1280, "height": 2000})
        page.set_default_timeout(120_000)
        shown: list[Any] = []

        def write(*cells: str) -> Any:
            for notebook in shown:
                notebook.close()
            shown[:] = [Notebook(page, server)]
            shown[0].write(*cells).run_all()
            return shown[0]

        try:
            yield write
        finally:
            browser.close()
            server.close()


def main() -> None:
    """Print the figures."""
    options = Options(__doc__, rounds=1)
    report = Report(options)
    for full in (10_000, 100_000):
        size, seconds = options.size(full), 2.0 if options.quick else 6.0
        _say(report, size, full, in_turn(1, agentlab=functools.partial(watched, size, seconds)))


def _say(report: Report, size: int, full: int, found: Found) -> None:
    ours, unit = found["agentlab"], "% of a core"
    known: dict[str, Any] = {"size": size, "load": round(ours.get("load", 0.0), 1)}
    parts = {name: round(ours[name], 1) for name in ("without", "with_tree") if name in ours}
    most = 3.0 if full == 10_000 else 5.0
    report.say("P12 kernel CPU, idle, a tree open in a browser; agents", found, "idle", unit,
               target="≤ 0.5 %", most=0.5, **known)  # fmt: skip
    report.say("P13 kernel CPU for a tree in a browser, 3,000 changes a second; agents", found, "view", unit,
               target=f"≤ {most:g} %", most=most, **known, **parts)  # fmt: skip
    for value, what in FRAMES_OF.items():
        figure = f"P13 frames a second in a browser, 3,000 changes a second, {what}; agents"
        report.say(figure, found, value, "frames/s",
                   target="60", least=58.0, **known)  # fmt: skip


if __name__ == "__main__":
    main()
