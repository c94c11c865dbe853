"""Charts of agents' lives, and of how near their supervisors were to giving up."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agentlab.charts.drawing import (
    MOST,
    HasFrames,
    axis_of_names,
    by_number,
    finish,
    frame_of,
    label,
    legend_for,
    nothing,
    words_of,
)
from agentlab.ground.grammars import defer_grammars
from agentlab.ground.spans import seconds_since
from agentlab.ground.texts import clean
from agentlab.ground.words import counted
from agentlab.looks import CRASH, LOOKS

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

MOST_LIVES = 400  # bars: of more lives the last are drawn
MOST_LIMITS = 8  # lines in one picture
MOST_CHANGES = 500  # points of a line: of more changes the highest in each part of the time
ENDS = {
    "crashed": CRASH,
    "killed": LOOKS["backing_off"].colour,
    "linked exit": LOOKS["waiting"].colour,
    "exited": LOOKS["busy"].colour,
    "stopped": LOOKS["stopped"].colour,
    "goes on": LOOKS["running"].colour,
}
"""How a life ended, and its colour."""

BUDGET = re.compile(r"(\d+) of (\S+) restarts in (\S+) s")
"""What the event ``restarting`` says of a supervisor's limit."""


def lifelines(source: pd.DataFrame | HasFrames) -> alt.Chart | alt.LayerChart:
    """The lives of each agent, one after the other: a bar per incarnation, its colour how it ended.

    A gap is the time in which the agent was away. More than 20 agents: those with the most lives are drawn, and of
    more than 400 lives the last.

    Args:
        source: ``lab.events()`` or the lab. Read: ``kind``, ``at``, ``path``, ``incarnation``, ``reason``.
    """
    defer_grammars()
    import altair as alt

    rows = _lives(frame_of(source, "events", "kind", "at", "path", "incarnation", "reason"))
    if rows.empty:
        return nothing("Nobody has lived", source)
    names, ends = list(dict.fromkeys(rows["agent"])), [end for end in ENDS if end in set(rows["ended"])]
    colours = alt.Scale(domain=ends, range=[ENDS[end] for end in ends])
    time = alt.Scale() if rows["end"].max() > 0 else alt.Scale(domain=[0, 1])  # no time has passed yet
    bars = (
        alt.Chart(rows)
        .mark_bar(height={"band": 0.6}, minBandSize=2, strokeWidth=1)
        .encode(
            y=alt.Y("agent:N", title=None, sort=names, axis=axis_of_names()),
            x=alt.X("start:Q", title="seconds since the first began", axis=alt.Axis(tickCount=10), scale=time),
            x2="end:Q",
            color=alt.Color("ended:N", title=None, scale=colours, legend=legend_for(ends)),
            stroke=alt.Stroke("ended:N", scale=colours, legend=None),  # a life of no time is a line
            tooltip=["agent:N", "incarnation:Q", "ended:N", "why:N", "start:Q", "end:Q"],
        )
    )
    return finish(bars, counted(len(rows), "incarnation"), rows=len(names), names=names)


def intensity(source: pd.DataFrame | HasFrames) -> alt.Chart | alt.LayerChart:
    """How much of its limit each supervisor had used: restarts in its window, as a share of how many it bears.

    The line rises with each restart, and falls when one is older than the window. One more than the red line allows,
    and the supervisor gives up. More than 8 supervisors: those with the most restarts are drawn, and where
    one changed more than 500 times, the most that it had used in each of 500 parts of the time.

    Args:
        source: ``lab.events()`` or the lab. Read: ``kind``, ``at``, ``path``, ``detail``.
    """
    defer_grammars()
    import altair as alt
    import pandas as pd

    rows, restarts = _used(frame_of(source, "events", "kind", "at", "path", "detail"))
    if rows.empty:
        return nothing("No restarts", source)
    names = list(dict.fromkeys(rows["supervisor"]))
    highest = max(1.0, float(rows["share"].max())) * 1.05
    lines = (
        alt.Chart(rows)
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=alt.X("seconds:Q", title="seconds since the first restart", axis=alt.Axis(tickCount=10)),
            y=alt.Y("share:Q", title="used", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, highest])),
            color=alt.Color("supervisor:N", title=None, sort=names, legend=legend_for(names)),
            tooltip=["supervisor:N", "used:N", "seconds:Q"],
        )
    )
    limit = alt.Chart(pd.DataFrame({"share": [1.0]})).mark_rule(color=CRASH, strokeDash=[4, 4]).encode(y="share:Q")
    number = counted(restarts, "restart")
    return finish(alt.layer(lines, limit), number, "as a share of what each supervisor bears in its window", rows=8)


def _lives(events: pd.DataFrame) -> pd.DataFrame:
    """One row per life: ``agent``, ``incarnation``, ``ended``, ``why``, and its seconds ``start`` and ``end``."""
    import pandas as pd

    words = {word.replace(" ", "_"): word for word in ENDS}
    found = events[events["kind"].isin(["started", *words])] if len(events) else events
    if found.empty:
        return pd.DataFrame()
    times, last = seconds_since(found["at"], events["at"])
    found = pd.DataFrame(
        {
            "agent": words_of(found["path"]),
            "incarnation": pd.to_numeric(found["incarnation"], errors="coerce"),
            "kind": words_of(found["kind"]),
            "why": words_of(found["reason"], "", clean),
            "at": times,
        }
    )
    begun = found[found["kind"] == "started"].drop_duplicates(["agent", "incarnation"], keep="last")
    ended = found[found["kind"] != "started"].drop_duplicates(["agent", "incarnation"])
    lives = begun.merge(ended, on=["agent", "incarnation"], how="left", suffixes=("", "_end"))
    rows = pd.DataFrame(
        {
            "agent": lives["agent"],
            "incarnation": lives["incarnation"].astype("float64"),
            "ended": lives["kind_end"].map(words).fillna("goes on"),
            "why": lives["why_end"].fillna(""),
            "start": lives["at"],
            "end": lives["at_end"].fillna(last),
        }
    )
    kept = by_number(rows["agent"])[:MOST]
    rank = {agent: place for place, agent in enumerate(kept)}
    rows = rows[rows["agent"].isin(kept)].tail(MOST_LIVES)
    return rows.sort_values("agent", key=lambda agents: agents.map(rank), kind="stable")


def _used(events: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Points of a line per supervisor, its restarts in the window whenever they change; and how many there were."""
    import pandas as pd

    found = events[events["kind"] == "restarting"] if len(events) else events
    limits = {detail: BUDGET.match(str(detail)) for detail in found["detail"].unique()} if len(found) else {}
    told = {detail: (float(limit[2]), float(limit[3])) for detail, limit in limits.items() if limit is not None}
    found = found[found["detail"].isin(list(told))] if len(found) else found
    if found.empty:
        return pd.DataFrame(), 0
    times, _ = seconds_since(found["at"], events["at"])
    above = words_of(found["path"], make=lambda path: label(path.rpartition("/")[0] or "/"))
    bears, window = (found["detail"].map({detail: pair[n] for detail, pair in told.items()}) for n in (0, 1))
    rows = pd.DataFrame(
        {"supervisor": above, "at": times, "bears": bears.astype("float64"), "window": window.astype("float64")}
    )
    shown = by_number(rows["supervisor"])[:MOST_LIMITS]
    lines = [_line(supervisor, rows[rows["supervisor"] == supervisor]) for supervisor in shown]
    return pd.concat(lines, ignore_index=True), len(rows)


def _line(supervisor: str, rows: pd.DataFrame) -> pd.DataFrame:
    """What one supervisor had used, whenever that changed."""
    import pandas as pd

    begins = rows[["at", "bears"]].assign(change=1)
    ends = begins.assign(at=rows["at"] + rows["window"], change=-1)
    ends = ends[ends["at"] < float("inf")]  # a window may be for ever
    moments = pd.concat([begins, ends]).sort_values(["at", "change", "bears"])
    moments["used"] = moments["change"].cumsum()
    if len(moments) > MOST_CHANGES:
        moments = moments.reset_index(drop=True)
        parts = pd.cut(moments["at"], MOST_CHANGES - 1, labels=False)
        moments = moments.loc[[*moments.groupby(parts)["used"].idxmax(), len(moments) - 1]]
    told = [f"{used} of {bears:g}" for used, bears in zip(moments["used"], moments["bears"], strict=True)]
    share = moments["used"] / moments["bears"].where(moments["bears"] > 0, 1.0)
    return pd.DataFrame({"supervisor": supervisor, "seconds": moments["at"], "used": told, "share": share})
