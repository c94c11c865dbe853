"""Charts of how long something took, and of when it was."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from agentlab.charts.drawing import (
    INK,
    MOST,
    HasFrames,
    axis_of_names,
    by_number,
    finish,
    frame_of,
    label,
    legend_for,
    nothing,
    numbers_of,
    words_of,
)
from agentlab.ground.grammars import defer_grammars
from agentlab.ground.spans import spans
from agentlab.ground.still import SMALLEST
from agentlab.ground.texts import clean
from agentlab.ground.words import counted
from agentlab.looks import BREAKER, LOOKS

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

PARTS = {"wait_s": "waiting", "took_s": "handling"}

UNITS = (
    "datum.value < 1 ? format(datum.value * 1000, '~g') + ' µs'"
    " : datum.value < 1000 ? format(datum.value, '~g') + ' ms' : format(datum.value / 1000, '~g') + ' s'"
)


QUANTILES = {"p50": 0.5, "p95": 0.95, "most": 1.0}
ROOM = 60  # pixels left and right of the marks, for the numbers at their ends
MOST_SPANS = 400  # bars of a breaker's states: of more the last are drawn
SHORTEST_MS = 0.001  # a logarithm has no zero; no clock here sees less than a microsecond


def latency(source: pd.DataFrame | HasFrames) -> alt.Chart | alt.LayerChart:
    """How long messages waited in the mailbox and how long their handlers took, by method, on a logarithmic axis.

    A dot is the median, the thick line reaches from there to the 95th percentile, the thin one to the slowest.

    Args:
        source: ``lab.messages()`` or the lab. Read: ``method``, ``wait_s``, ``took_s``, both in seconds.
    """
    defer_grammars()
    import altair as alt

    frame = frame_of(source, "messages", "method", "wait_s", "took_s")
    marks = _quantiles(frame, "method", "messages", PARTS) if len(frame) else frame
    if marks.empty:
        return nothing("No messages", source)
    words = list(PARTS.values())
    parts = alt.Scale(domain=words, range=[INK, LOOKS["busy"].colour])
    places = alt.Scale(paddingInner=0.1, paddingOuter=0.35)
    base = alt.Chart(marks).encode(
        yOffset=alt.YOffset("part:N", sort=words, scale=places), color=alt.Color("part:N", title=None, scale=parts)
    )
    title = counted(len(frame), "message")
    return _whiskers(base, marks, ["method:N", "part:N", "messages:Q"], title, rows=2 * marks["method"].nunique())


def downtime(source: pd.DataFrame | HasFrames) -> alt.Chart | alt.LayerChart:
    """How long agents were away between two lives, by what ended the first, on a logarithmic axis.

    A dot is the median, the thick line reaches from there to the 95th percentile, the thin one to the longest.

    Args:
        source: ``lab.restarts()`` or the lab. Read: ``reason``, ``downtime_s`` (seconds), and ``fault`` if it is there.
    """
    defer_grammars()
    import altair as alt

    frame = frame_of(source, "restarts", "reason", "downtime_s")
    if len(frame):
        ended = words_of(frame["reason"])
        faults = words_of(frame["fault"], "") if "fault" in frame else ended
        frame = frame[["downtime_s"]].assign(ended=faults.where(faults != "", ended))
    marks = _quantiles(frame, "ended", "restarts", {"downtime_s": "away"}) if len(frame) else frame
    if marks.empty:
        return nothing("No restarts", source)
    base = alt.Chart(marks).encode(color=alt.value(LOOKS["backing_off"].colour))
    title = counted(int(marks["restarts"].sum()), "restart")
    return _whiskers(base, marks, ["ended:N", "restarts:Q"], title, rows=marks["ended"].nunique())


def _whiskers(
    base: alt.Chart, marks: pd.DataFrame, about: list[str], title: str, *, rows: int
) -> alt.Chart | alt.LayerChart:
    """A dot, a thick and a thin line per mark, from its median to its 95th percentile and its longest."""
    import altair as alt

    named = about[0].removesuffix(":N")
    names = list(dict.fromkeys(marks[named]))
    base = base.encode(y=alt.Y(about[0], title=None, sort=names, axis=axis_of_names(between=True)))
    decades = _decades(marks)
    ticks = alt.Axis(values=decades, labelExpr=UNITS, labelOverlap=True, labelSeparation=6)
    scale = alt.Scale(type="log", domain=[decades[0], decades[-1]], padding=ROOM)
    axis = alt.X("p50:Q", title="time, each step ten times the last", scale=scale, axis=ticks)
    tooltip = [*about, *(alt.Tooltip(f"{q}_shown:N", title=q) for q in QUANTILES)]
    return finish(
        alt.layer(
            base.mark_rule(strokeWidth=1.5).encode(x=axis, x2="most:Q"),
            base.mark_rule(strokeWidth=5, strokeCap="round").encode(x=axis, x2="p95:Q"),
            base.mark_point(filled=True, size=100, opacity=1).encode(x=axis, tooltip=tooltip),
            base.mark_text(align="left", dx=6, fontSize=SMALLEST).encode(x="most:Q", text="most_shown:N"),
            base.mark_text(align="right", dx=-9, fontSize=SMALLEST).encode(x="p50:Q", text="dot:N"),
        ),
        title,
        "dot: median · thick line: to the 95th percentile · thin line: to the slowest",
        rows=rows,
        names=names,
    )


def breaker(source: pd.DataFrame | HasFrames) -> alt.Chart | alt.LayerChart:
    """When calls to each dependency went through: a bar per state of its breaker, from its first opening on.

    More than 20 dependencies: those whose breakers changed most are drawn, and of more than 400 changes the last.

    Args:
        source: ``lab.events()`` or the lab. Read: ``kind``, ``at``, ``reason`` (the dependency), ``detail`` (why).
    """
    defer_grammars()
    import altair as alt

    events = frame_of(source, "events", "kind", "at", "reason", "detail")
    rows = spans(events, {kind: look.word for kind, look in BREAKER.items()})
    if rows.empty:
        return nothing("No breaker has opened", source)
    openings = counted(int((rows["state"] == "open").sum()), "opening")
    rows = rows[rows["name"].isin(by_number(rows["name"])[:MOST])].tail(MOST_SPANS)
    rows = rows.assign(name=rows["name"].map(label), why=rows["why"].map(clean, na_action="ignore"))
    looks, names = list(BREAKER.values()), list(dict.fromkeys(rows["name"]))
    scale = alt.Scale(domain=[look.word for look in looks], range=[look.colour for look in looks])
    bars = (
        alt.Chart(rows)
        .mark_bar(height={"band": 0.7})
        .encode(
            y=alt.Y("name:N", title=None, sort=names, axis=axis_of_names()),
            x=alt.X("start:Q", title="seconds since the first opened"),
            x2="end:Q",
            color=alt.Color("state:N", title=None, scale=scale, legend=legend_for([*scale.domain])),
            tooltip=["name:N", "state:N", "start:Q", "end:Q", "why:N"],
        )
    )
    return finish(bars, openings, rows=len(names), names=names)


def _quantiles(frame: pd.DataFrame, by: str, what: str, parts: dict[str, str]) -> pd.DataFrame:
    """One row per word in ``by`` and part of its time, in milliseconds, ``what`` of them; the slowest words first."""
    import pandas as pd

    found, words = [], words_of(frame[by])
    for column, part in parts.items():
        seconds = pd.DataFrame({by: words, "s": numbers_of(frame, column)})
        groups = seconds.dropna(subset=["s"]).groupby(by)["s"]
        marks = pd.DataFrame({name: groups.quantile(q) for name, q in QUANTILES.items()})
        marks = (marks * 1000).clip(lower=SHORTEST_MS)
        found.append(marks.assign(part=part, **{what: groups.size()}).reset_index())
    marks = pd.concat(found, ignore_index=True)
    slowest = marks.groupby(by)["most"].max().sort_values(ascending=False).head(MOST).index
    marks = marks[marks[by].isin(slowest)]
    for quantile in QUANTILES:
        marks[f"{quantile}_shown"] = marks[quantile].map(_time)
    marks["dot"] = marks["p50_shown"].where(marks["p50_shown"] != marks["most_shown"], "")
    rank = {name: place for place, name in enumerate(slowest)}
    return marks.sort_values(by, key=lambda names: names.map(rank), kind="stable")


def _time(ms: float) -> str:
    """Milliseconds as a person says them: ``250 µs``, ``3.1 ms``, ``12 s``."""
    for unit, factor in (("µs", 1000.0), ("ms", 1.0)):
        if ms * factor < 1000 and float(f"{ms * factor:.2g}") < 1000:
            return f"{float(f'{ms * factor:.2g}'):g} {unit}"
    return f"{float(f'{ms / 1000:.2g}'):g} s"


def _decades(marks: pd.DataFrame) -> list[float]:
    """The powers of ten around the marks, two at least."""
    low, high = math.floor(math.log10(marks["p50"].min())), math.ceil(math.log10(marks["most"].max()))
    return [10.0**power for power in range(low, max(high, low + 1) + 1)]
