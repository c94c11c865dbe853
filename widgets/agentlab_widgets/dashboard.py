"""A whole lab at once: ``lab.dashboard()``. Tree, the agent that is selected in it, what happens, and two charts.

Each part is the view that also stands alone, with its own teller; here they share one line to the browser, on which
each word says whose it is (``pane``). The parts of an agent are named by its place in the tree: ``inspector:1:17``.
"""

from __future__ import annotations

import functools
import html
import re
import threading
from collections.abc import Sequence
from typing import Any

import traitlets

from agentlab.ground.texts import clean
from agentlab_widgets.inspector import InspectorPane
from agentlab_widgets.live import LiveWidget, Pane, Send, assets, module
from agentlab_widgets.look import seen
from agentlab_widgets.player import PlayerPane
from agentlab_widgets.rates import RatesPane
from agentlab_widgets.stored import looked_at
from agentlab_widgets.stream import EventsPane
from agentlab_widgets.text import tree_html, tree_text
from agentlab_widgets.transcript import TranscriptPane, fields_of
from agentlab_widgets.tree import DRAWN, last_rows

OPEN = 16
"""Parts of agents that are kept open, those that were asked for last."""

PARTS: dict[str, type[Pane]] = {"tree": PlayerPane, "events": EventsPane, "rates": RatesPane}
AGENT = re.compile(r"(inspector|transcript):(\d{1,9}):(\d{1,9})")


class Board(Pane):
    """Hands each word to the part that it is for, and opens the parts of an agent when a browser asks for them."""

    def __init__(self, lab: Any, send: Send) -> None:
        super().__init__(lab, send)
        self._lock = threading.Lock()
        self._parts = {name: make(lab, functools.partial(self._speak, name)) for name, make in PARTS.items()}
        self._agents: dict[str, Pane] = {}
        self._moment: int | None = None
        tree = self._parts["tree"]
        events, rates = self._parts["events"], self._parts["rates"]
        assert isinstance(tree, PlayerPane)
        assert isinstance(events, EventsPane)
        assert isinstance(rates, RatesPane)
        tree.told = self._turn_to
        rates.brushed = events.brush

    def _speak(self, name: str, content: dict[str, Any], buffers: Sequence[bytes]) -> None:
        self.send(content | {"pane": name}, buffers)

    def hear(self, content: dict[str, Any]) -> None:
        """A browser said something to one of the parts."""
        name = str(content.get("pane"))
        if name in self._parts:
            self._parts[name].hear(content)
        elif found := self._agents.get(name):
            with self._lock:
                self._agents[name] = self._agents.pop(name, found)  # the last one that was asked for
            found.hear(content)
        elif content.get("t") == "hello" and AGENT.fullmatch(name):
            self._parts["tree"]._push().post(functools.partial(self._open, name, content))

    def end(self) -> None:
        """End all parts."""
        for part in [*self._parts.values(), *self._agents.values()]:
            part.end()

    def _open(self, name: str, content: dict[str, Any]) -> None:
        """Open a part of an agent; in the tree's thread, which knows the places that the browser names."""
        there = self._agents.get(name)  # it was opened while the browser, which had heard nothing, asked once more
        if there is not None:
            there.hear(content)
            return
        try:
            part = self._made(name)
        except Exception as error:  # the tree's thread must go on; the person who selected it reads why
            part = clean(f"{type(error).__name__}: {error}", 300)
        if isinstance(part, str):
            self._speak(name, {"t": "absent", "why": part}, [])
            return
        with self._lock:
            self._agents[name] = part
            gone = [self._agents.pop(old) for old in list(self._agents)[:-OPEN]]
        for each in gone:
            each.end()
        part.hear(content)

    def _turn_to(self, at: int | None) -> None:
        """The tree shows a moment now: so do inspectors; in the tree's thread."""
        self._moment = at
        for each in list(self._agents.values()):
            if isinstance(each, InspectorPane):
                each.turn_to(at)

    def _made(self, name: str) -> Pane | str:
        """The part, or why there is none."""
        kind, epoch, slot = AGENT.fullmatch(name).groups()  # type: ignore[union-attr]  # ``hear`` has matched it
        path = self._parts["tree"]._push().path(int(epoch), int(slot))
        send = functools.partial(self._speak, name)
        then = kind == "inspector" and self._moment is not None
        if path is None or (not then and seen(self._lab, path) is None):
            return "There is no such agent any more."
        if kind == "inspector":
            pane = InspectorPane(self._lab, path, send)
            pane.turn_to(self._moment)
            return pane
        fields = fields_of(self._lab, path)
        if not fields:
            return f"{clean(path)} has no conversation: none of its fields is a Transcript."
        return TranscriptPane(self._lab, path, fields[0], send)


class DashboardWidget(LiveWidget):
    """A lab in one picture: tree, inspector and transcript of who is selected, events, charts.

    Of a lab that runs elsewhere, or ran once, it shows what the store has; nothing can be done to it then. Without a
    live browser it is text and static HTML: the tree, and how often what happened.

    Args:
        lab: A lab, or what ``open_store`` gave.
    """

    _esm = "\n".join(
        [
            assets("live.js", "parts.js"),
            module("Tree", *DRAWN),
            module("Inspector", "inspector.js"),
            module("Transcript", "markdown.js", "asks.js", "transcript.js"),
            module("Stream", "stream.js"),
            module("Rates", "bars.js", "brush.js", "rates.js"),
            assets("player.js", "dashboard.js"),
        ]
    )
    chosen = traitlets.List(traitlets.Unicode(), ["", "inspector"]).tag(sync=True)  # who is selected, and which part
    _css = assets("live.css", "parts.css", "tree.css", "inspector.css", "transcript.css", "brush.css", "dashboard.css")

    def __init__(self, lab: Any) -> None:
        self._lab = looked_at(lab)
        super().__init__(functools.partial(Board, self._lab))

    def _happened(self) -> list[tuple[str, int]]:
        """How often what happened to places of the tree: the same in each run of a notebook that waits."""
        counted = "SELECT kind, count(*) FROM event WHERE path > '/' GROUP BY kind ORDER BY kind"
        return [(kind, n) for kind, n in self._lab._read().select(counted)]

    def __repr__(self) -> str:
        told = ", ".join(f"{n} {kind}" for kind, n in self._happened()) or "nothing"
        return f"{tree_text(repr(self._lab), last_rows(self._lab))}\nhappened: {told}"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:  # IPython's protocol
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        counts = "".join(f"<li>{n} {html.escape(kind)}</li>" for kind, n in self._happened())
        shown = f"{tree_html(repr(self._lab), last_rows(self._lab))}<p>What happened:</p><ul>{counts}</ul>"
        return data | {"text/plain": repr(self), "text/html": shown}, metadata
