"""Altair charts from the frames of a lab.

A chart takes a frame (``lab.restarts()``, ``lab.messages()``) or the lab itself. Rows are counted here, before they
reach Altair: a chart of a million messages is as small as one of ten. Nothing is fetched from another host: in a
notebook a chart is drawn as SVG by vl-convert (``ground/still``), unless another renderer was chosen before.

The first chart of a process imports Altair, which takes some seconds. Nothing is printed meanwhile, and nothing imports
it earlier: a line would stay in the notebook, or clearing it would take along what the cell has printed, and three
seconds of imports in a thread of the kernel would slow every call of those who never draw.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from agentlab.errors import InvalidArgument
from agentlab.ground.given import shown, text_of
from agentlab.ground.grammars import defer_grammars
from agentlab.ground.spans import spans
from agentlab.ground.still import SMALLEST, WIDTHS, still
from agentlab.ground.words import counted
from agentlab.looks import BREAKER, CRASH, LOOKS, clean

if TYPE_CHECKING:  # both cost more than the rest of the package together, and most programs draw nothing
    import altair as alt
    import pandas as pd

MOST = 20  # bars in one chart: more are not read
WIDTH = WIDTHS["wide"]  # pixels at which a still picture is drawn; a page makes it as wide as its cell
LONGEST = 40  # characters of a label on an axis; of a longer path the end is shown, where paths differ
FONT = "Arial, 'Liberation Sans', Helvetica, sans-serif"  # measured here, drawn in a browser: these differ least
INK = "#737b87"  # text and axes: as legible on a light page as on a dark one
REASONS = [CRASH, "#e39a12", "#8e6bd8", "#2f7fdb", "#3fb0c9", "#2a9d6f", "#d46aa8", "#8b929c"]


def __dir__() -> list[str]:
    """What TAB shows: the charts."""
    return ["breaker", "latency", "outcomes", "restarts"]


class HasFrames(Protocol):
    """What a chart needs of a lab, or of a stored one."""

    def restarts(self) -> pd.DataFrame:
        """One row per restart."""

    def messages(self) -> pd.DataFrame:
        """One row per handled message."""

    def events(self) -> pd.DataFrame:
        """One row per committed event."""


def restarts(source: pd.DataFrame | HasFrames) -> alt.Chart | alt.LayerChart:
    """How often each agent was restarted, and why: a bar per agent, a colour per kind of exit, most restarted first.

    Restarts are of one kind if their exceptions are of one class; what each of them said is in the tooltip. More than
    20 agents: the others are one bar at the end, which is cut where the longest of the 20 ends.

    Args:
        source: ``lab.restarts()`` or the lab. Read: ``path``, ``reason`` and, if it is there, ``fault``.
    """
    defer_grammars()
    import altair as alt

    frame = _frame(source, "restarts", "path", "reason")
    if frame.empty:
        return _nothing("No restarts yet")
    counts, kinds = _counts(frame)
    agents = list(dict.fromkeys(counts["agent"]))
    most = int(counts.loc[counts["agent"] != OTHER_AGENTS, "end"].max())
    ends = alt.Scale(domain=[0, most], nice=False)
    base = alt.Chart(counts).encode(y=alt.Y("agent:N", title=None, sort=agents, axis=_names()))
    bars = base.mark_bar(height={"band": 0.7}).encode(  # round corners need clip paths, whose numbers change each time
        x=alt.X("start:Q", title="restarts", scale=ends, axis=alt.Axis(values=_whole(most), format="d")),
        x2="end:Q",
        color=alt.Color("kind:N", title=None, scale=_colours(kinds), legend=_columns_for(kinds)),
        tooltip=["agent:N", "kind:N", "reason:N", "restarts:Q"],
    )
    totals = base.mark_text(align="left", dx=5, color=INK, fontSize=SMALLEST).encode(x="end:Q", text="total:N")
    return _finish(alt.layer(bars, totals), counted(len(frame), "restart"), rows=len(agents), names=agents)


def latency(source: pd.DataFrame | HasFrames) -> alt.Chart | alt.LayerChart:
    """How long messages waited in the mailbox and how long their handlers took, by method, on a logarithmic axis.

    A dot is the median, the thick line reaches from there to the 95th percentile, the thin one to the slowest.

    Args:
        source: ``lab.messages()`` or the lab. Read: ``method``, ``wait_s``, ``took_s``, both in seconds.
    """
    defer_grammars()
    import altair as alt

    frame = _frame(source, "messages", "method", "wait_s", "took_s")
    marks = _quantiles(frame) if len(frame) else frame
    if marks.empty:
        return _nothing("No messages yet")
    parts = alt.Scale(domain=PARTS, range=[INK, LOOKS["busy"].colour])
    base = alt.Chart(marks).encode(
        y=alt.Y("method:N", title=None, sort=list(dict.fromkeys(marks["method"])), axis=_names(between=True)),
        yOffset=alt.YOffset(
            "part:N", sort=["waiting", "handling"], scale=alt.Scale(paddingInner=0.1, paddingOuter=0.35)
        ),
        color=alt.Color("part:N", title=None, scale=parts),
    )
    decades = _decades(marks)
    ticks = alt.Axis(values=decades, labelExpr=UNITS, labelOverlap=True, labelSeparation=6)
    scale = alt.Scale(type="log", domain=[decades[0], decades[-1]], padding=ROOM)
    axis = alt.X("p50:Q", title="time, each step ten times the last", scale=scale, axis=ticks)
    tooltip = ["method:N", "part:N", "messages:Q", *(alt.Tooltip(f"{q}_shown:N", title=q) for q in QUANTILES)]
    return _finish(
        alt.layer(
            base.mark_rule(strokeWidth=1.5).encode(x=axis, x2="most:Q"),
            base.mark_rule(strokeWidth=5, strokeCap="round").encode(x=axis, x2="p95:Q"),
            base.mark_point(filled=True, size=100, opacity=1).encode(x=axis, tooltip=tooltip),
            base.mark_text(align="left", dx=6, fontSize=SMALLEST).encode(x="most:Q", text="most_shown:N"),
            base.mark_text(align="right", dx=-9, fontSize=SMALLEST).encode(x="p50:Q", text="dot:N"),
        ),
        counted(len(frame), "message"),
        "dot: median · thick line: to the 95th percentile · thin line: to the slowest",
        rows=2 * marks["method"].nunique(),
        names=marks["method"],
    )


def breaker(source: pd.DataFrame | HasFrames) -> alt.Chart | alt.LayerChart:
    """When calls to each dependency went through: a bar per state of its breaker, from its first opening on.

    Args:
        source: ``lab.events()`` or the lab. Read: ``kind``, ``at``, ``reason`` (the dependency), ``detail`` (why).
    """
    defer_grammars()
    import altair as alt

    events = _frame(source, "events", "kind", "at", "reason", "detail")
    rows = spans(events, {kind: look.word for kind, look in BREAKER.items()})
    if rows.empty:
        return _nothing("No breaker has opened yet")
    looks, names = list(BREAKER.values()), list(dict.fromkeys(rows["name"]))
    scale = alt.Scale(domain=[look.word for look in looks], range=[look.colour for look in looks])
    bars = (
        alt.Chart(rows)
        .mark_bar(height={"band": 0.7})
        .encode(
            y=alt.Y("name:N", title=None, sort=names, axis=_names()),
            x=alt.X("start:Q", title="seconds since the first opened"),
            x2="end:Q",
            color=alt.Color("state:N", title=None, scale=scale, legend=_columns_for([*scale.domain])),
            tooltip=["name:N", "state:N", "start:Q", "end:Q", "why:N"],
        )
    )
    return _finish(bars, counted(int((rows["state"] == "open").sum()), "opening"), rows=len(names), names=names)


def outcomes(frame: pd.DataFrame, x: str, y: str) -> alt.Chart | alt.LayerChart:
    """What became of each branch: a bar per row, the highest one marked.

    Args:
        frame: A row per agent, fork or sample; ``lab.checkpoints(SomeAgent)``, say, with its fields as columns.
        x: The column that says what was tried; a ``state.`` in front is not shown.
        y: The column with the numbers that came of it.
    """
    defer_grammars()
    import altair as alt
    import pandas as pd

    frame = _frame(frame, "checkpoints", text_of(x, "outcomes: x", COLUMN), text_of(y, "outcomes: y", COLUMN))
    if frame.empty:
        return _nothing("No outcomes yet")
    bars = pd.DataFrame({"tried": frame[x].map(_label).tolist(), "value": _numbers(frame, y).tolist()})
    bars["best"] = bars["value"] == bars["value"].max()
    colour = alt.condition("datum.best", alt.value(LOOKS["running"].colour), alt.value(INK))
    tried, value = x.removeprefix("state."), y.removeprefix("state.")
    return _finish(
        alt.Chart(bars)
        .mark_bar(width={"band": 0.7})
        .encode(
            x=alt.X("tried:N", title=tried, sort=None, axis=alt.Axis(labelAngle=0, labelOverlap=True, labelLimit=120)),
            y=alt.Y("value:Q", title=value),
            color=colour,
            tooltip=[alt.Tooltip("tried:N", title=tried), alt.Tooltip("value:Q", title=value)],
        ),
        f"{value} by {tried}",
        rows=8,
    )


PARTS = ["waiting", "handling"]


OTHER_AGENTS, OTHER_REASONS = "other agents", "other reasons"


UNITS = (
    "datum.value < 1 ? format(datum.value * 1000, '~g') + ' µs'"
    " : datum.value < 1000 ? format(datum.value, '~g') + ' ms' : format(datum.value / 1000, '~g') + ' s'"
)


QUANTILES = {"p50": 0.5, "p95": 0.95, "most": 1.0}
ROOM = 60  # pixels left and right of the marks, for the numbers at their ends
SHORTEST_MS = 0.001  # a logarithm has no zero; no clock here sees less than a microsecond
COLUMN = "the name of a column"


def _frame(source: pd.DataFrame | HasFrames, name: str, *columns: str) -> pd.DataFrame:
    """The frame that was given, or the lab's of that name; it has these columns, or no rows."""
    import pandas as pd

    frame = source if isinstance(source, pd.DataFrame) else getattr(source, name, None)
    if frame is None or isinstance(source, type):
        raise InvalidArgument(f"charts draw a DataFrame or a lab; got {shown(source)}. Try lab.{name}().")
    frame = frame if isinstance(frame, pd.DataFrame) else frame()
    missing = [column for column in columns if column not in frame]
    if missing and len(frame):
        has = ", ".join(map(str, frame.columns[:20]))
        raise InvalidArgument(f"the frame to draw has no column {shown(missing[0])}; it has {has}. Try lab.{name}().")
    return frame


def _numbers(frame: pd.DataFrame, column: str) -> pd.Series[Any]:
    import pandas as pd

    try:
        numbers: pd.Series[Any] = pd.to_numeric(frame[column])
    except (TypeError, ValueError) as error:
        raise InvalidArgument(
            f"column {column!r} of the frame to draw must hold numbers; got others: {error}"
        ) from None
    return numbers


def _counts(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Restarts per agent and kind, where their bars start and end, and the kinds, most frequent first."""
    import pandas as pd

    texts = frame["reason"].astype("string").fillna("unknown")
    classes = frame["fault"].astype("string") if "fault" in frame else pd.Series(pd.NA, frame.index, dtype="string")
    agents = frame["path"].astype("string").fillna("unknown")
    rows = pd.DataFrame({"agent": agents.map(clean), "reason": texts.map(clean)})
    rows["kind"] = _keep_most(classes.fillna(texts.map(_kind)).map(_label), len(REASONS), OTHER_REASONS)
    rows["agent"] = _keep_most(rows["agent"], MOST, OTHER_AGENTS)
    groups = rows.groupby(["agent", "kind"])["reason"]
    counts = groups.agg([_said, "size"]).set_axis(["reason", "restarts"], axis=1).reset_index()
    counts.loc[counts["kind"] == OTHER_REASONS, "reason"] = OTHER_REASONS
    return _stacked(counts), _by_number(rows["kind"], OTHER_REASONS)


def _stacked(counts: pd.DataFrame) -> pd.DataFrame:
    """Put each agent's parts end to end; the bar that stands for many agents may not set the scale."""
    counts["all"] = counts.groupby("agent")["restarts"].transform("sum")
    others = counts["agent"] == OTHER_AGENTS
    order = {"last": True, "all": False, "agent": True, "kind": True}
    counts = counts.assign(last=others).sort_values(list(order), ascending=list(order.values()))
    longest = counts.loc[~counts["last"], "all"].max()
    beyond = counts["last"] & (counts["all"] > longest)
    ends = counts.groupby("agent")["restarts"].cumsum()
    scale = (longest / counts["all"]).where(beyond, 1.0)
    counts["start"], counts["end"] = (ends - counts["restarts"]) * scale, ends * scale
    totals = counts["all"].map("{:,}".format) + beyond.map({True: " (the bar is cut)", False: ""})
    counts["total"] = totals.where(~counts["agent"].duplicated(keep="last"), "")
    return counts[["agent", "kind", "reason", "restarts", "start", "end", "total"]]


def _kind(reason: str) -> str:
    """The class or the word with which a reason begins; of another text what does not name a place or count."""
    begins = reason.split(":", 1)[0]
    return begins if begins.replace(".", "").isidentifier() else re.sub(r"/\S+|\d+", "…", reason)


def _said(reasons: pd.Series[Any]) -> str:
    """What restarts of one kind gave as their reason: the most frequent text, and how many others there are."""
    first, others = str(reasons.mode().iloc[0]), reasons.nunique() - 1
    return first if not others else f"{first} (and {counted(others, 'other text')})"


def _keep_most(words: pd.Series[Any], most: int, rest: str) -> pd.Series[Any]:
    """The frequent words as they are, the others as ``rest``."""
    return words if words.nunique() <= most else words.where(words.isin(_by_number(words)[: most - 1]), rest)


def _by_number(words: pd.Series[Any], rest: str = "") -> list[str]:
    """Each word once, the most frequent first, and ``rest`` last."""
    counts = words.value_counts().reset_index().set_axis(["word", "n"], axis=1)
    counts["rest"] = counts["word"] == rest
    return [str(word) for word in counts.sort_values(["rest", "n", "word"], ascending=[True, False, True])["word"]]


def _quantiles(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per method and part of its time, in milliseconds; the slowest methods first."""
    import pandas as pd

    parts = []
    for column, part in (("wait_s", "waiting"), ("took_s", "handling")):
        groups = frame.assign(
            **{column: _numbers(frame, column)}, method=frame["method"].astype("string").map(_label)
        ).dropna(subset=[column])
        seconds = groups.groupby("method")[column]
        marks = pd.DataFrame({name: seconds.quantile(q) for name, q in QUANTILES.items()})
        marks = (marks * 1000).clip(lower=SHORTEST_MS)
        parts.append(marks.assign(messages=seconds.size(), part=part).reset_index())
    marks = pd.concat(parts, ignore_index=True)
    slowest = marks.groupby("method")["most"].max().sort_values(ascending=False).head(MOST).index
    marks = marks[marks["method"].isin(slowest)]
    for quantile in QUANTILES:
        marks[f"{quantile}_shown"] = marks[quantile].map(_time)
    marks["dot"] = marks["p50_shown"].where(marks["p50_shown"] != marks["most_shown"], "")
    rank = {method: place for place, method in enumerate(slowest)}
    return marks.sort_values("method", key=lambda names: names.map(rank), kind="stable")


def _label(text: object) -> str:
    return clean(text, 60)


def _whole(most: int) -> list[int]:
    """At most ten ticks at whole numbers: half a restart is none."""
    return list(range(0, most + 1, max(1, -(-most // 10))))


def _time(ms: float) -> str:
    """Milliseconds as a person says them: ``250 µs``, ``3.1 ms``, ``12 s``."""
    for unit, factor in (("µs", 1000.0), ("ms", 1.0)):
        if ms * factor < 1000 and float(f"{ms * factor:.2g}") < 1000:
            return f"{float(f'{ms * factor:.2g}'):g} {unit}"
    return f"{float(f'{ms / 1000:.2g}'):g} s"


def _names(*, between: bool = False) -> alt.Axis:
    """An axis of names; of a long one the end is shown. With lines between the rows if asked for."""
    import altair as alt

    cut = f"length(datum.label) > {LONGEST} ? '…' + slice(datum.label, 1 - {LONGEST}) : datum.label"
    return alt.Axis(labelExpr=cut, labelLimit=0, grid=between, tickBand="extent" if between else "center")


def _colours(kinds: list[str]) -> alt.Scale:
    """A colour for each kind; grey for the rest of them."""
    import altair as alt

    colours = [REASONS[-1] if kind == OTHER_REASONS else REASONS[place] for place, kind in enumerate(kinds)]
    return alt.Scale(domain=kinds, range=colours)


def _columns_for(labels: list[str]) -> alt.Legend:
    """A legend with as many columns as have room side by side."""
    import altair as alt

    widest = 60 + 8 * max(map(len, labels))  # symbol, gap, and letters of 12 pixels in a wide font
    return alt.Legend(
        rowPadding=6, columnPadding=24 + max(map(len, labels)), columns=max(1, min(len(labels), int(WIDTH // widest)))
    )


def _decades(marks: pd.DataFrame) -> list[float]:
    """The powers of ten around the marks, two at least."""
    low, high = math.floor(math.log10(marks["p50"].min())), math.ceil(math.log10(marks["most"].max()))
    return [10.0**power for power in range(low, max(high, low + 1) + 1)]


def _finish(
    chart: Any, title: str, subtitle: str = "", *, rows: int, names: Iterable[str] = ()
) -> alt.Chart | alt.LayerChart:  # base is private
    """The look that all charts share, with room to the left of ``names`` for a browser whose letters are wider."""
    import altair as alt

    _draw_offline()
    spare = min(LONGEST, max(map(len, names), default=0))
    heading = alt.TitleParams(title, subtitle=subtitle or alt.Undefined)
    small = {"labelColor": INK, "titleColor": INK, "labelFontSize": SMALLEST, "titleFontSize": SMALLEST}
    finished: alt.Chart | alt.LayerChart = (
        chart.properties(title=heading, width="container", height=max(60, 26 * rows))
        .properties(padding={"left": 5 + spare, "right": 20, "top": 5, "bottom": 5})
        .configure(background="transparent", font=FONT)
        .configure_view(stroke=None, continuousWidth=WIDTH, discreteWidth=WIDTH)
        .configure_title(
            color=INK, fontWeight=600, fontSize=14, subtitleColor=INK, subtitleFontSize=SMALLEST,
            anchor="start", frame="group", offset=10,
        )
        .configure_axis(gridColor="#88888833", domain=False, ticks=False, labelPadding=6, **small)
        .configure_legend(orient="bottom", symbolType="square", labelLimit=400, columnPadding=24, **small)
    )  # fmt: skip
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
        .properties(width="container", height=60)
        .configure(background="transparent", font=FONT)
        .configure_view(stroke=None, continuousWidth=WIDTH)
    )
    return chart


def _draw_offline() -> None:
    """Altair's own default asks another host for its scripts; SVG is drawn here, the same bytes every time."""
    import altair as alt

    if alt.renderers.active == "default":
        alt.renderers.register("agentlab", still)
        alt.renderers.enable("agentlab")
