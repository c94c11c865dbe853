"""What looking costs in a real browser, at 10,000 and at 100,000 agents (P12, P13), and while 200 agents stream tokens.

    python tests/benchmarks/crowd.py [--quick] [--rounds 3] [idle] [busy] [frames] [idle-100,000] ...

A headless Chromium shows a notebook of a real JupyterLab, whose kernel holds the lab. P12 is the processor time of the
kernel with an open tree and nothing to do. P13: 3,000 agents of the crowd change their status (busy, running) so often
that together they do it 3,000 times a second; what the view costs is the kernel's time with the tree in sight above
that with the tree scrolled away, which sends nothing. Frames a second are counted with the tree alone, then with the
inspector and the transcript of an agent that streams tokens above it, then while 200 agents stream 20 tokens a second
each. Browser, server and kernel share the machine's cores.
"""

from __future__ import annotations

import functools
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kit.browser import frames_a_second
from kit.report import Found, Options, Report, Values, in_turn, measure

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
CHANGES = 3_000  # a second
UNIT = "% of a core"
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


def idle(full: int, report: Report, options: Options) -> None:
    """P12: nothing to do, and a tree to look at."""
    size = options.size(full)
    with browsed() as write:
        sight = _sight(write, options, _crowd(size), "lab.tree()")
        sight.scroll(".agentlab-tree")
        sight.notebook.expect("live")
        found = in_turn(options.rounds, sure=["idle"], agentlab=lambda: {"idle": sight.percent()})
    report.say("P12 kernel CPU, idle, a tree open in a browser; agents", found, "idle", UNIT,
               target="≤ 0.5 %", most=0.5, size=size)  # fmt: skip


def busy(full: int, report: Report, options: Options) -> None:
    """P13: windows with the tree in sight and scrolled away, one after the other."""
    size = options.size(full)

    def look() -> Values:
        sight.scroll(".jp-Cell", away=True)
        without = sight.percent()
        sight.scroll(".agentlab-tree")
        with_tree = sight.percent()
        return {"view": max(0.0, with_tree - without), "without": without, "with_tree": with_tree}

    changes, most = min(CHANGES, size), 3.0 if full == 10_000 else 5.0
    with browsed() as write:
        sight = _sight(write, options, _crowd(size - changes), _beaters(changes), FAR, "lab.tree()")
        sight.scroll(".agentlab-tree")
        sight.notebook.expect("live")
        found = in_turn(options.rounds, sure=["with_tree"], agentlab=look)
    parts = {name: round(found["agentlab"].get(name, 0.0), 1) for name in ("without", "with_tree")}
    report.say("P13 kernel CPU for a tree in a browser, 3,000 changes a second; agents", found, "view", UNIT,
               by="with_tree", target=f"≤ {most:g} %", most=most, size=size, **parts)  # fmt: skip


def frames(full: int, report: Report, options: Options) -> None:
    """P13: the tree alone, then all views at once, then with 200 agents that stream."""
    size = options.size(full)

    def look() -> Values:
        return {"frames": sight.frames()}

    changes = min(CHANGES, size)
    with browsed() as write:
        sight = _sight(write, options, _crowd(size - changes), _beaters(changes), "lab.tree()")
        sight.scroll(".agentlab-tree")
        sight.notebook.expect("live")
        _say_frames(report, in_turn(options.rounds, agentlab=look), "the tree", size)
        sight = _sight(write, options, _crowd(size - changes), _beaters(changes), _TOGETHER)
        for view in ("inspector", "transcript", "tree"):
            sight.notebook.page.wait_for_selector(f".agentlab-{view}[data-painted][data-mood='live']")
        found = in_turn(options.rounds, agentlab=look)
        _say_frames(report, found, "tree, inspector and streaming transcript", size)
        sight.notebook.python("for ref in lab.start_many(Teller, 199): ref.cast.tell()\ntime.sleep(3)")
        found = in_turn(options.rounds, agentlab=look)
        _say_frames(report, found, "the same, 200 agents stream tokens", size)


def _say_frames(report: Report, found: Found, what: str, size: int) -> None:
    figure = f"P13 frames a second in a browser, 3,000 changes a second, {what}; agents"
    report.say(figure, found, "frames", "frames/s", target="60", least=58.0, size=size)


def _sight(write: Callable[..., Any], options: Options, *cells: str) -> Sight:
    return Sight(write(TELLERS, *cells), 2.0 if options.quick else 5.0)


def _crowd(size: int) -> str:
    return f"refs = lab.start_many(Idler, {size}, under=group)"


def _beaters(changes: int) -> str:
    return f"beaters = lab.start_many(Beater, [{{'period': 2.0}}] * {changes}, under=group); time.sleep(6)"


FAR = "\n".join(["1"] + ["#"] * 90)
"""A cell that is taller than the page."""

_TOGETHER = """
from ipywidgets import HBox, VBox
first.cast.tell()
VBox([HBox([first.watch(), first.transcript()]), lab.tree()])
"""


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


PARTS = {
    "idle": functools.partial(idle, 10_000),
    "idle-100,000": functools.partial(idle, 100_000),
    "busy": functools.partial(busy, 10_000),
    "busy-100,000": functools.partial(busy, 100_000),
    "frames": functools.partial(frames, 10_000),
    "frames-100,000": functools.partial(frames, 100_000),
}

if __name__ == "__main__":
    measure(__doc__, PARTS)
