"""Altair charts from the frames of a lab, and how a status looks wherever it is drawn.

A chart takes a frame (``lab.restarts()``, ``lab.messages()``) or the lab itself. Rows are counted here, before they
reach Altair: a chart of a million messages is as small as one of ten. Nothing is fetched from another host: in a
notebook a chart is drawn as SVG by vl-convert, unless another renderer was chosen before.
"""

from __future__ import annotations

import math
import unicodedata
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:  # both cost more than the rest of the package together, and most programs draw nothing
    import altair as alt
    import pandas as pd

MOST = 20  # bars in one chart: more are not read

INK = "#7a828e"  # text and axes: legible on a light and on a dark page


class Look(NamedTuple):
    """How one status is drawn: never by colour alone.

    Attributes:
        colour: CSS colour.
        glyph: One character, for text and static HTML.
        shape: SVG path inside the box from -1 to 1; Vega, canvas and SVG all read it.
    """

    colour: str
    glyph: str
    shape: str


LOOKS: dict[str, Look] = {
    "running": Look("#2a9d6f", "●", "M-0.8,0A0.8,0.8,0,1,1,0.8,0A0.8,0.8,0,1,1,-0.8,0Z"),
    "busy": Look("#2f7fdb", "◆", "M0,-1L1,0L0,1L-1,0Z"),
    "waiting": Look("#8e6bd8", "⧗", "M-0.8,-0.9L0.8,-0.9L-0.8,0.9L0.8,0.9Z"),
    "starting": Look("#3fb0c9", "+", "M-0.25,-0.9H0.25V-0.25H0.9V0.25H0.25V0.9H-0.25V0.25H-0.9V-0.25H-0.25Z"),
    "backing_off": Look("#e39a12", "▲", "M0,-0.95L0.95,0.8L-0.95,0.8Z"),
    "suspended": Look("#8b929c", "‖", "M-0.75,-0.85H-0.2V0.85H-0.75ZM0.2,-0.85H0.75V0.85H0.2Z"),
    "parked": Look("#d4552a", "■", "M-0.8,-0.8H0.8V0.8H-0.8Z"),
    "stopped": Look(
        "#6d7480",
        "✕",
        "M-0.9,-0.55L-0.55,-0.9L0,-0.35L0.55,-0.9L0.9,-0.55L0.35,0L0.9,0.55L0.55,0.9L0,0.35L-0.55,0.9L-0.9,0.55L-0.35,0Z",
    ),
}

CRASH = "#e5484d"
REASONS = [CRASH, "#e39a12", "#8e6bd8", "#2f7fdb", "#3fb0c9", "#2a9d6f", "#d46aa8", "#8b929c"]


def clean(text: object, limit: int = 120) -> str:
    """One line that is safe to draw: no control, direction or half characters, at most ``limit`` long."""
    shown = str(text)[: limit + 1]
    shown = "".join(" " if c in "\t\n\r" else "\ufffd" if unicodedata.category(c)[0] == "C" else c for c in shown)
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


class HasFrames(Protocol):
    """What a chart needs of a lab, or of a stored one."""

    def restarts(self) -> pd.DataFrame:
        """One row per restart."""

    def messages(self) -> pd.DataFrame:
        """One row per handled message."""


def restarts(source: pd.DataFrame | HasFrames) -> alt.Chart | alt.LayerChart:
    """Who was restarted how often, and why: a bar per agent, a colour per reason, most restarted first.

    Args:
        source: ``lab.restarts()`` or the lab. Read: ``path``, ``reason``.
    """
    import altair as alt

    frame = _frame(source, "restarts")
    if frame.empty:
        return _nothing("No restarts yet")
    counts = _counts(frame)
    order, most = list(dict.fromkeys(counts["agent"])), counts.groupby("agent")["restarts"].sum().max()
    return _finish(
        alt.Chart(counts)
        .mark_bar(height={"band": 0.7})  # round corners need clip paths, whose numbers change at every drawing
        .encode(
            x=alt.X("restarts:Q", title="restarts", axis=alt.Axis(values=_whole(most), format="d")),
            y=alt.Y("agent:N", title=None, sort=order),
            color=alt.Color("reason:N", title="reason", scale=alt.Scale(range=REASONS)),
            order=alt.Order("reason:N"),
            tooltip=["agent:N", "reason:N", "restarts:Q"],
        ),
        f"{len(frame):,} {'restart' if len(frame) == 1 else 'restarts'}",
        rows=len(order),
    )


def latency(source: pd.DataFrame | HasFrames) -> alt.Chart | alt.LayerChart:
    """How long messages waited in the mailbox and how long their handlers took, by method, on a logarithmic axis.

    A dot is the median, the thick line reaches from there to the 95th percentile, the thin one to the slowest.

    Args:
        source: ``lab.messages()`` or the lab. Read: ``method``, ``wait_s``, ``took_s``, both in seconds.
    """
    import altair as alt

    frame = _frame(source, "messages")
    marks = _quantiles(frame) if len(frame) else frame
    if marks.empty:
        return _nothing("No messages yet")
    colour = alt.Color(
        "part:N", title=None, scale=alt.Scale(domain=["waiting", "handling"], range=[INK, LOOKS["busy"].colour])
    )
    y = alt.Y("method:N", title=None, sort=list(dict.fromkeys(marks["method"])))
    base = alt.Chart(marks).encode(y=y, yOffset=alt.YOffset("part:N", sort=["waiting", "handling"]), color=colour)
    ticks = alt.Axis(format="~g", values=_decades(marks))
    axis = alt.X("p50:Q", title="milliseconds", scale=alt.Scale(type="log"), axis=ticks)
    tooltip = ["method:N", "part:N", "messages:Q", *(alt.Tooltip(f"{q}:Q", format=".3g") for q in QUANTILES)]
    return _finish(
        alt.layer(
            base.mark_rule(strokeWidth=1).encode(x=axis, x2="most:Q"),
            base.mark_rule(strokeWidth=4, strokeCap="round").encode(x=axis, x2="p95:Q"),
            base.mark_point(filled=True, size=90, opacity=1).encode(x=axis, tooltip=tooltip),
        ),
        f"{len(frame):,} {'message' if len(frame) == 1 else 'messages'}: median, 95th percentile, slowest",
        rows=2 * marks["method"].nunique(),
    )


def outcomes(frame: pd.DataFrame, x: str, y: str) -> alt.Chart | alt.LayerChart:
    """What became of each branch: a bar per row, the highest one marked.

    Args:
        frame: A row per agent, fork or sample; ``lab.checkpoints(SomeAgent)``, say, with its fields as columns.
        x: The column that says what was tried; a ``state.`` in front is not shown.
        y: The column with the numbers that came of it.
    """
    import altair as alt
    import pandas as pd

    if frame.empty:
        return _nothing("No outcomes yet")
    bars = pd.DataFrame({"tried": frame[x].map(_label).tolist(), "value": pd.to_numeric(frame[y]).tolist()})
    bars["best"] = bars["value"] == bars["value"].max()
    colour = alt.condition("datum.best", alt.value(LOOKS["running"].colour), alt.value(INK))
    tried, value = x.removeprefix("state."), y.removeprefix("state.")
    return _finish(
        alt.Chart(bars)
        .mark_bar(width={"band": 0.7})
        .encode(
            x=alt.X("tried:N", title=tried, sort=None, axis=alt.Axis(labelAngle=0)),
            y=alt.Y("value:Q", title=value),
            color=colour,
            tooltip=[alt.Tooltip("tried:N", title=tried), alt.Tooltip("value:Q", title=value)],
        ),
        f"{value} by {tried}",
        rows=8,
    )


QUANTILES = {"p50": 0.5, "p95": 0.95, "most": 1.0}
SHORTEST_MS = 0.001  # a logarithm has no zero; no clock here sees less than a microsecond


def _frame(source: pd.DataFrame | HasFrames, name: str) -> pd.DataFrame:
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        return source
    read = getattr(source, name, None)
    if read is None:
        raise TypeError(f"charts draw a DataFrame or a lab; got {type(source).__name__}. Try lab.{name}().")
    frame: pd.DataFrame = read()
    return frame


def _counts(frame: pd.DataFrame) -> pd.DataFrame:
    """Restarts per agent and reason: the most restarted agents, the others as one, at most eight reasons."""
    words = frame[["path", "reason"]].astype("string").fillna("unknown").map(_label)
    words["path"] = _keep_most(words["path"], MOST, "other agents")
    words["reason"] = _keep_most(words["reason"], len(REASONS), "other reasons")
    counts = words.value_counts(["path", "reason"]).rename("restarts").reset_index()
    counts["all"] = counts.groupby("path")["restarts"].transform("sum")
    counts = counts.sort_values(["all", "path", "reason"], ascending=[False, True, True])
    return counts.rename(columns={"path": "agent"})[["agent", "reason", "restarts"]]


def _keep_most(words: pd.Series[Any], most: int, rest: str) -> pd.Series[Any]:
    """The frequent words as they are, the others as ``rest``."""
    if words.nunique() <= most:
        return words
    counts = words.value_counts().reset_index().set_axis(["word", "n"], axis=1)
    names = counts.sort_values(["n", "word"], ascending=[False, True])["word"]
    return words.where(words.isin(names.head(most - 1)), rest)


def _quantiles(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per method and part of its time, in milliseconds; the slowest methods first."""
    import pandas as pd

    parts = []
    for column, part in (("wait_s", "waiting"), ("took_s", "handling")):
        groups = frame.assign(method=frame["method"].astype("string").map(_label)).dropna(subset=[column])
        seconds = groups.groupby("method")[column]
        marks = pd.DataFrame({name: seconds.quantile(q) for name, q in QUANTILES.items()})
        marks = (marks * 1000).clip(lower=SHORTEST_MS)
        parts.append(marks.assign(messages=seconds.size(), part=part).reset_index())
    marks = pd.concat(parts, ignore_index=True)
    slowest = marks.groupby("method")["most"].max().sort_values(ascending=False).head(MOST).index
    marks = marks[marks["method"].isin(slowest)]
    rank = {method: place for place, method in enumerate(slowest)}
    return marks.sort_values("method", key=lambda names: names.map(rank), kind="stable")


def _label(text: object) -> str:
    return clean(text, 60)


def _whole(most: int) -> list[int]:
    """At most ten ticks at whole numbers: half a restart is none."""
    return list(range(0, most + 1, max(1, -(-most // 10))))


def _decades(marks: pd.DataFrame) -> list[float]:
    """A tick at every power of ten that the marks reach."""
    low, high = marks["p50"].min(), marks["most"].max()
    return [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]


def _finish(chart: Any, title: str, *, rows: int) -> alt.Chart | alt.LayerChart:  # their common base is private
    """The look that all charts share."""
    _draw_offline()
    finished: alt.Chart | alt.LayerChart = (
        chart.properties(title=title, width=480, height=max(60, 26 * rows))
        .configure(background="transparent", font="system-ui, sans-serif")
        .configure_view(stroke=None)
        .configure_title(color=INK, fontWeight=600, fontSize=13, anchor="start", offset=10)
        .configure_axis(labelColor=INK, titleColor=INK, gridColor="#88888833", domain=False, ticks=False)
        .configure_legend(labelColor=INK, titleColor=INK, orient="bottom", symbolType="square", labelLimit=400)
    )
    return finished


def _nothing(message: str) -> alt.Chart:
    """A chart that says that there is nothing to draw."""
    import altair as alt
    import pandas as pd

    _draw_offline()
    chart: alt.Chart = (
        alt.Chart(pd.DataFrame({"message": [message]}))
        .mark_text(color=INK, fontSize=14)
        .encode(text="message:N")
        .properties(width=480, height=60)
        .configure(background="transparent", font="system-ui, sans-serif")
        .configure_view(stroke=None)
    )
    return chart


def _draw_offline() -> None:
    """Altair's own default asks another host for its scripts; SVG is drawn here, the same bytes every time."""
    import altair as alt

    if alt.renderers.active == "default":
        alt.renderers.enable("svg")
