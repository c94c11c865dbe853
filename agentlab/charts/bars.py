"""Charts of how often something happened, and of what came of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from agentlab.charts.drawing import (
    INK,
    MOST,
    HasFrames,
    axis_of_names,
    by_number,
    finish,
    frame_of,
    keep_most,
    label,
    legend_for,
    nothing,
    numbers_of,
    words_of,
)
from agentlab.ground.given import text_of
from agentlab.ground.grammars import defer_grammars
from agentlab.ground.still import SMALLEST
from agentlab.ground.texts import clean
from agentlab.ground.words import counted
from agentlab.looks import CRASH, LOOKS

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

REASONS = [CRASH, *(LOOKS[status].colour for status in (
    "backing_off", "waiting", "busy", "starting", "running", "parked", "suspended",
))]  # fmt: skip
OTHER_AGENTS, OTHER_REASONS, OTHER_FAULTS = "other agents", "other reasons", "other faults"
COLUMN = "the name of a column"
MOST_BRANCHES = 100  # bars side by side: more are not read


def restarts(source: pd.DataFrame | HasFrames) -> alt.Chart | alt.LayerChart:
    """How often each agent was restarted, and why: a bar per agent, a colour per kind of exit, most restarted first.

    Restarts are of one kind if their exceptions are of one class; what each of them said is in the tooltip. More than
    20 agents: the others are one bar at the end, which is cut where the longest of the 20 ends.

    Args:
        source: ``lab.restarts()`` or the lab. Read: ``path``, ``reason`` and, if it is there, ``fault``.
    """
    defer_grammars()
    frame = frame_of(source, "restarts", "path", "reason")
    if frame.empty:
        return nothing("No restarts", source)
    counts, kinds = _counts(frame)
    return _stacks(counts, kinds, "agent", "restart")


def faults(source: pd.DataFrame | HasFrames) -> alt.Chart | alt.LayerChart:
    """What attempts failed of: a bar per kind of fault, the most frequent first, a colour per model or tool.

    What is done about each kind says ``agentlab.faults.table()``.

    Args:
        source: ``lab.steps()`` or the lab. Read: ``fault`` and ``name``.
    """
    defer_grammars()
    frame = frame_of(source, "steps", "fault", "name")
    failed = frame.dropna(subset=["fault"]) if len(frame) else frame
    if failed.empty:
        return nothing("No attempt has failed", source)
    kinds = keep_most(words_of(failed["fault"]), MOST, OTHER_FAULTS)
    failed = failed[[]].assign(path=kinds, reason=failed["name"], fault=failed["name"])
    return _stacks(*_counts(failed), "fault", "failed attempt")


def outcomes(frame: pd.DataFrame, x: str, y: str) -> alt.Chart | alt.LayerChart:
    """What became of each branch: a bar per row, the highest one marked. More than 100: the highest are drawn.

    Args:
        frame: A row per agent, fork or sample; ``lab.checkpoints(SomeAgent)``, say, with its fields as columns.
        x: The column that says what was tried; a ``state.`` in front is not shown.
        y: The column with the numbers that came of it.
    """
    defer_grammars()
    import altair as alt
    import pandas as pd

    frame = frame_of(frame, "checkpoints", text_of(x, "outcomes: x", COLUMN), text_of(y, "outcomes: y", COLUMN))
    if frame.empty:
        return nothing("No outcomes")
    frame = frame.reset_index(drop=True)
    values = numbers_of(frame, y)
    kept = values.nlargest(MOST_BRANCHES).index.sort_values() if len(frame) > MOST_BRANCHES else frame.index
    bars = pd.DataFrame({"tried": frame[x].loc[kept].map(label).tolist(), "value": values.loc[kept].tolist()})
    bars["best"] = bars["value"] == bars["value"].max()
    colour = alt.condition("datum.best", alt.value(LOOKS["running"].colour), alt.value(INK))
    tried, value = x.removeprefix("state."), y.removeprefix("state.")
    return finish(
        alt.Chart(bars)
        .mark_bar(width={"band": 0.7})
        .encode(
            x=alt.X("tried:N", title=tried, sort=None, axis=alt.Axis(labelAngle=0, labelOverlap=True, labelLimit=120)),
            y=alt.Y("value:Q", title=value),
            color=colour,
            tooltip=[alt.Tooltip("tried:N", title=tried), alt.Tooltip("value:Q", title=value)],
        ),
        f"{value} by {tried}" + (f", the {len(bars)} highest of {len(frame):,}" if len(frame) > len(bars) else ""),
        rows=8,
    )


def _stacks(counts: pd.DataFrame, kinds: list[str], whose: str, what: str) -> alt.Chart | alt.LayerChart:
    """A bar per row of ``counts``, its parts by kind, its total at the end."""
    import altair as alt

    agents = list(dict.fromkeys(counts["agent"]))
    most, named = int(counts.loc[counts["agent"] != OTHER_AGENTS, "end"].max()), whose == "agent"
    ends = alt.Scale(domain=[0, most], nice=False)
    base = alt.Chart(counts).encode(y=alt.Y("agent:N", title=None, sort=agents, axis=axis_of_names()))
    about = [alt.Tooltip("agent:N", title=whose), "kind:N" if named else alt.Tooltip("kind:N", title="step")]
    bars = base.mark_bar(height={"band": 0.7}).encode(  # round corners need clip paths, whose numbers change each time
        x=alt.X("start:Q", title=f"{what}s", scale=ends, axis=alt.Axis(values=_whole(most), format="d")),
        x2="end:Q",
        color=alt.Color("kind:N", title=None, scale=_colours(kinds), legend=legend_for(kinds)),
        tooltip=[*about, *(["reason:N"] if named else []), alt.Tooltip("restarts:Q", title=f"{what}s")],
    )
    totals = base.mark_text(align="left", dx=5, color=INK, fontSize=SMALLEST).encode(x="end:Q", text="total:N")
    number = counted(int(counts["restarts"].sum()), what)
    return finish(alt.layer(bars, totals), number, rows=len(agents), names=agents)


def _counts(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Restarts per agent and kind, where their bars start and end, and the kinds, most frequent first."""
    import pandas as pd

    kinds = words_of(frame["reason"], make=lambda text: label(_kind(text)))
    if "fault" in frame:
        classes = words_of(frame["fault"], "")
        kinds = classes.where(classes != "", kinds)
    agents = keep_most(words_of(frame["path"], make=clean), MOST, OTHER_AGENTS)
    rows = pd.DataFrame({"agent": agents, "reason": words_of(frame["reason"], make=clean)})
    rows["kind"] = keep_most(kinds, len(REASONS), OTHER_REASONS)
    texts = rows.groupby(["agent", "kind", "reason"]).size().rename("restarts").reset_index()
    groups = texts.sort_values("restarts", ascending=False, kind="stable").groupby(["agent", "kind"])
    counts = groups.agg(reason=("reason", _said), restarts=("restarts", "sum")).reset_index()
    counts.loc[counts["kind"] == OTHER_REASONS, "reason"] = OTHER_REASONS
    return _stacked(counts), by_number(rows["kind"], OTHER_REASONS)


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
    """What restarts of one kind gave as their reason, each text once: the most frequent, and how many others."""
    first, others = str(reasons.iloc[0]), len(reasons) - 1
    return first if not others else f"{first} (and {counted(others, 'other text')})"


def _whole(most: int) -> list[int]:
    """At most ten ticks at whole numbers: half a restart is none."""
    return list(range(0, most + 1, max(1, -(-most // 10))))


def _colours(kinds: list[str]) -> alt.Scale:
    """A colour for each kind; grey for the rest of them."""
    import altair as alt

    colours = [REASONS[-1] if kind == OTHER_REASONS else REASONS[place] for place, kind in enumerate(kinds)]
    return alt.Scale(domain=kinds, range=colours)
