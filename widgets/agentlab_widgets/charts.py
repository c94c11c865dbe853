"""Charts of a lab that are drawn anew while it runs: ``lab.charts()``. A span of time that is brushed filters them all.

They are the charts of ``agentlab.charts``, drawn here from the lab's frames and sent as pictures. So they are the
same as still ones, of a million rows a picture travels, and a browser needs nothing from elsewhere. Above them a bar
chart of the lab's whole life is what one brushes.
"""

from __future__ import annotations

import functools
import json
import time
from typing import Any, ClassVar

from agentlab import charts
from agentlab.errors import InvalidArgument
from agentlab.events import Change
from agentlab.ground.given import shown
from agentlab.ground.still import FROM, WIDTHS, picture, still
from agentlab_widgets.live import LiveWidget, Message, Pane, Send, assets
from agentlab_widgets.parts import Parts
from agentlab_widgets.rates import CHARTS, LEAST, Brushed, Rates, bars_of, brushed_in
from agentlab_widgets.span import Span
from agentlab_widgets.stored import Elsewhere, looked_at

OF_A_LAB = (
    "restarts", "downtime", "lifelines", "intensity", "latency", "sequence", "flame", "faults", "breaker", "spend",
)  # fmt: skip
USUAL = ("restarts", "lifelines", "latency")
WHOLE = ("spend",)
"""What has no times, so no span of it can be drawn."""

REST = 5.0
"""A drawing is followed by a pause so many times as long, so charts never cost more than a sixth of a core."""


class Charts(Rates):
    """Draws, and tells pictures, at most once a second.

    Args:
        lab: What is followed.
        frames: Whose frames are drawn: a lab, or a stored one.
        names: Which charts.
        send: Sends one message to all browsers.
    """

    pause: ClassVar[float] = 1.0

    def __init__(self, lab: Any, frames: Any, names: tuple[str, ...], send: Send) -> None:
        super().__init__(lab, send)
        self._frames = frames
        self._names = names
        self._pictures: Parts = {}
        self._quiet = False
        self._wide = "wide"
        self._stale = True
        self._next = 0.0

    def read(self, change: Change | None) -> Parts | None:
        """Bars, the span, and the pictures as they are now, drawn anew if it is time to."""
        if super().read(change) is not None:
            self._stale = True
        self._draw()
        return self._parts()

    def rest(self) -> Message | None:
        """Time goes on, and what was put off is drawn."""
        self._draw()
        return super().rest()

    def brush(self, span: Brushed) -> None:
        """Draw only what was in a span of time, or everything again. From any thread."""
        self.post(lambda: self._now(_span=span))

    def be_wide(self, px: int) -> None:
        """Draw for a cell of so many pixels. From any thread."""
        fits = next((name for name, least in FROM.items() if px >= least), "narrow")
        if fits != self._wide:
            self.post(lambda: self._now(_wide=fits))

    def _now(self, **changed: Any) -> None:
        """Draw what somebody asked for, without a pause before; also of a lab that is closed."""
        if isinstance(self._lab, Elsewhere) and self._lab.closed:
            return
        self.__dict__.update(changed)
        self._stale, self._next = True, 0.0
        self._draw()
        self._push(self._board.put(self._parts()))

    def _draw(self) -> None:
        began = time.monotonic()
        if not self._stale or began < self._next:
            return
        self._stale = False
        edges = (None, None) if self._span is None else (self._span[0] * 1_000_000_000, self._span[1] * 1_000_000_000)
        source, width = Span(self._frames, *edges), WIDTHS[self._wide]
        for name in self._names:
            svg = picture(described(getattr(charts, name)(source).to_dict()), width)
            self._pictures[f"chart {name}"] = {"name": name, "svg": svg, "whole": name in WHOLE}
        self._quiet = self._span is not None and source.is_quiet()
        now = time.monotonic()
        self._next = now + REST * (now - began)

    def _parts(self) -> Parts:
        counts = self._counts["trouble"]
        over = self._lab.closed or isinstance(self._lab, Elsewhere)
        until = max((second for second, _ in counts), default=self._began) if over else int(time.time())
        bars = {**CHARTS["trouble"], **bars_of(counts, self._began, max(until, self._began + LEAST))}
        return {"bars": bars, "span": self._span and list(self._span), "quiet": self._quiet, **self._pictures}


class ChartsPane(Pane):
    """What the charts hear: how wide they are, and which span was brushed."""

    def __init__(self, lab: Any, frames: Any, names: tuple[str, ...], send: Send) -> None:
        super().__init__(lab, send)
        self._frames = frames
        self._names = names

    def _tell(self) -> Charts:
        return Charts(self._lab, self._frames, self._names, self.send)

    def _said(self, pusher: Charts, content: dict[str, Any]) -> None:
        if heard := brushed_in(content):
            pusher.brush(heard[0])
        elif content.get("t") == "wide" and isinstance(px := content.get("px"), int):
            pusher.be_wide(px)


class ChartsWidget(LiveWidget):
    """Charts of a lab, one below the other, drawn anew while it runs; a brushed span of time filters them all.

    Without a live browser they are still pictures of the whole time, and text.

    Args:
        lab: A lab, or what ``open_store`` gave.
        names: Which charts, by their names in ``agentlab.charts``; three of them if there is none.

    Raises:
        InvalidArgument: There is no such chart of a lab; names those that there are.
    """

    _esm = assets("live.js", "parts.js", "bars.js", "brush.js", "charts.js")
    _css = assets("live.css", "parts.css", "brush.css", "charts.css")

    def __init__(self, lab: Any, *names: str) -> None:
        for name in names:
            if not isinstance(name, str) or name not in OF_A_LAB:
                raise InvalidArgument(
                    f"charts: a name must be one of {', '.join(OF_A_LAB)}; got {shown(name)}.", argument="names"
                )
        self._names = tuple(dict.fromkeys(names)) or USUAL
        self._lab = lab
        super().__init__(functools.partial(ChartsPane, looked_at(lab), lab, self._names))

    def _specs(self) -> dict[str, dict[str, Any]]:
        source = Span(self._lab)
        return {name: getattr(charts, name)(source).to_dict() for name in self._names}

    def __repr__(self) -> str:
        return "\n".join(
            [f"Charts of {self._lab!r}", *(f"{name}: {_said(spec)}" for name, spec in self._specs().items())]
        )

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:  # IPython's protocol
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        pictures = "".join(still(spec)["text/html"] for spec in self._specs().values())
        return data | {"text/plain": repr(self), "text/html": pictures}, metadata


def described(spec: dict[str, Any]) -> dict[str, Any]:
    """A chart whose marks say what their tooltips would, line by line: pictures have none of their own."""
    for layer in spec.get("layer", [spec]):
        tips = layer["encoding"].get("tooltip")
        if isinstance(tips, list):
            lines = (f"{json.dumps(tip.get('title', tip['field']) + ': ')} + {_value(tip)}" for tip in tips)
            layer["encoding"]["description"] = {"value": {"expr": " + '\\n' + ".join(lines)}}
    return spec


def _value(tip: dict[str, Any]) -> str:
    value = f"datum[{json.dumps(tip['field'])}]"
    shown_as = f"format({value}, ',.4~g')" if tip["type"] == "quantitative" else value
    return f"(isValid({value}) ? {shown_as} : '')"


def _said(spec: dict[str, Any]) -> str:
    """A chart's title; of an empty one what it says instead."""
    title = spec.get("title")
    if title:
        return str(title["text"])
    (rows,) = spec["datasets"].values()
    return str(rows[0]["message"])
