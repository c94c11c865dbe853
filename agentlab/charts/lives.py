"""Charts of agents' lives, and of how near their supervisors were to giving up."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

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
        return nothing("Nobody has lived yet")
    names, ends = list(dict.fromkeys(rows["agent"])), [end for end in ENDS if end in set(rows["ended"])]
    colours = alt.Scale(domain=ends, range=[ENDS[end] for end in ends])
    bars = (
        alt.Chart(rows)
        .mark_bar(height={"band": 0.6}, minBandSize=2)
        .encode(
            y=alt.Y("agent:N", title=None, sort=names, axis=axis_of_names()),
            x=alt.X("start:Q", title="seconds since the first began", axis=alt.Axis(tickCount=10)),
            x2="end:Q",
            color=alt.Color("ended:N", title=None, scale=colours, legend=legend_for(ends)),
            tooltip=["agent:N", "incarnation:Q", "ended:N", "why:N", "start:Q", "end:Q"],
        )
    )
    return finish(bars, counted(len(rows), "incarnation"), rows=len(names), names=names)


def intensity(source: pd.DataFrame | HasFrames) -> alt.Chart | alt.LayerChart:
    """How much of its limit each supervisor had used: restarts in its window, as a share of how many it bears.

    The line rises with each restart, and falls when one is older than the window. One more than the red line allows,
    and the supervisor gives up. More than 8 supervisors: those with the most restarts are drawn.

    Args:
        source: ``lab.events()`` or the lab. Read: ``kind``, ``at``, ``path``, ``detail``.
    """
    defer_grammars()
    import altair as alt
    import pandas as pd

    rows = _used(frame_of(source, "events", "kind", "at", "path", "detail"))
    if rows.empty:
        return nothing("No restarts yet")
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
    number = counted(int(rows["restart"].sum()), "restart")
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
            "agent": found["path"].astype("string").map(label),
            "incarnation": pd.to_numeric(found["incarnation"], errors="coerce"),
            "kind": found["kind"].astype("string"),
            "why": found["reason"].astype("string").fillna("").map(clean),
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


def _used(events: pd.DataFrame) -> pd.DataFrame:
    """Points of a line per supervisor: its restarts in the window after each one, and after each has left it."""
    import pandas as pd

    found = events[events["kind"] == "restarting"] if len(events) else events
    limits = [BUDGET.match(str(detail)) for detail in found["detail"]] if len(found) else []
    found = found[[limit is not None for limit in limits]] if len(found) else found
    if found.empty:
        return pd.DataFrame()
    times, _ = seconds_since(found["at"], events["at"])
    above = found["path"].astype("string").map(lambda path: label(path.rpartition("/")[0] or "/"))
    told = [(float(limit[2]), float(limit[3])) for limit in limits if limit is not None]
    rows = pd.DataFrame({"supervisor": above.tolist(), "at": times.tolist(), "told": told})
    points: list[dict[str, Any]] = []
    for supervisor in by_number(rows["supervisor"])[:MOST_LIMITS]:
        points += _line(supervisor, rows[rows["supervisor"] == supervisor])
    return pd.DataFrame(points)


def _line(supervisor: str, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """What one supervisor had used, whenever that changed."""
    moments = [(at, 1, bears) for at, (bears, _) in zip(rows["at"], rows["told"], strict=True)]
    moments += [(at + window, -1, bears) for at, (bears, window) in zip(rows["at"], rows["told"], strict=True)]
    points, used = [], 0
    moments = [moment for moment in moments if moment[0] < math.inf]  # a window may be for ever
    for at, change, bears in sorted(moments)[-2 * MOST_LIVES :]:
        used = max(0, used + change)
        share = used / bears if bears else float(used)
        told = {"used": f"{used} of {bears:g}", "share": share, "restart": change > 0}
        points.append({"supervisor": supervisor, "seconds": at, **told})
    return points
