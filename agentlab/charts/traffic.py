"""Charts of messages: who sent what to whom, and where their time went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentlab.charts.drawing import INK, HasFrames, finish, frame_of, label, nothing, numbers_of, words_of
from agentlab.errors import InvalidArgument
from agentlab.ground.given import shown
from agentlab.ground.grammars import defer_grammars
from agentlab.ground.still import SMALLEST
from agentlab.ground.words import counted
from agentlab.looks import CRASH, LOOKS

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

MOST_MESSAGES = 40  # arrows below one another: more are not read
MOST_PEOPLE = 12  # columns
MOST_METHODS = 12  # blocks in the top row of a flame
CELL = "cell"  # who sends what a notebook's cell asks for
LEVELS = ["method", "part", "step"]
COLOURS = {
    "method": LOOKS["running"].colour,
    "waiting": INK,
    "handling": LOOKS["busy"].colour,
    "step": LOOKS["waiting"].colour,
}


def sequence(source: pd.DataFrame | HasFrames, last: int = MOST_MESSAGES) -> alt.Chart | alt.LayerChart:
    """Who sent what to whom: a column per agent, an arrow per message, in the order in which they were sent.

    A red arrow is a message that failed. Of more than 12 agents those that are drawn have the most messages.

    Args:
        source: ``lab.messages()`` or the lab. Read: ``path``, ``sender``, ``method``, ``sent_at``, ``outcome``.
        last: So many messages are drawn, the last ones; 40 at most.
    """
    defer_grammars()
    import altair as alt

    if isinstance(last, bool) or not isinstance(last, int) or last < 1:
        raise InvalidArgument(f"sequence: last must be a number of messages, 1 or more; got {shown(last)}.")
    frame = frame_of(source, "messages", "path", "sender", "method", "sent_at", "outcome")
    rows = _arrows(frame, min(last, MOST_MESSAGES)) if len(frame) else frame
    if rows.empty:
        return nothing("No messages", source)
    people = list(dict.fromkeys([*rows["sender"], *rows["receiver"]]))
    people.sort(key=lambda who: (who != CELL, who))
    y = alt.Y("place:O", title=None, axis=alt.Axis(labels=False, grid=False))
    across = alt.Scale(domain=people, paddingOuter=0.5)
    head = alt.Axis(orient="top", labelAngle=0, labelLimit=90, grid=True, tickBand="center")
    colour = alt.condition("datum.failed", alt.value(CRASH), alt.value(LOOKS["busy"].colour))
    base = alt.Chart(rows).encode(y=y, tooltip=["sender:N", "receiver:N", "method:N", "outcome:N", "sent:N"])
    return finish(
        alt.layer(
            base.mark_rule(strokeWidth=2).encode(
                x=alt.X("sender:N", title=None, scale=across, axis=head), x2="receiver:N", color=colour
            ),
            base.mark_point(filled=True, size=70, opacity=1).encode(x=alt.X("receiver:N", scale=across), color=colour),
            base.mark_text(dy=-13, fontSize=SMALLEST, color=INK).encode(
                x=alt.X("receiver:N", scale=across), text="method:N"
            ),
        ),
        counted(len(rows), "message") + (f", the last of {len(frame):,}" if len(frame) > len(rows) else ""),
        "a dot: who got it · red: it failed",
        rows=len(rows) + 2,
    )


def flame(source: HasFrames) -> alt.Chart | alt.LayerChart:
    """Where messages' time went: methods, below each its waiting and handling, below that the steps of its handlers.

    The widths are seconds, added over all messages of a method. What no step is below is the handler's own code.
    More than 12 methods: those that took longest are drawn.

    Args:
        source: The lab, or a stored one: ``messages()`` and ``steps()`` are read.
    """
    defer_grammars()
    import altair as alt

    if not hasattr(source, "steps"):
        raise InvalidArgument(f"flame draws a lab, whose messages() and steps() it reads; got {shown(source)}.")
    messages = frame_of(source, "messages", "path", "seq", "method", "wait_s", "took_s")
    if messages.empty:
        return nothing("No messages", source)
    steps = frame_of(source, "steps", "path", "message_seq", "name", "took_s")
    rows = _blocks(_times(messages, steps))
    colours = alt.Scale(domain=list(COLOURS), range=list(COLOURS.values()))
    base = alt.Chart(rows).encode(
        y=alt.Y("level:N", title=None, sort=LEVELS, axis=alt.Axis(grid=False)), tooltip=["what:N", "seconds:Q", "of:N"]
    )
    x = alt.X("start:Q", title="seconds, of all messages together", axis=alt.Axis(tickCount=10))
    wide = rows["seconds"] > 0.06 * float(rows["end"].max())
    blocks = base.mark_bar(height={"band": 0.92}, stroke="white", strokeWidth=1).encode(
        x=x, x2="end:Q", color=alt.Color("looks:N", title=None, scale=colours, legend=None)
    )
    names = (
        base.transform_filter("datum.wide")
        .mark_text(align="left", dx=4, color="white", fontSize=SMALLEST)
        .encode(x=x, text="shown:N")
    )
    blocks, names = (part.properties(data=rows.assign(wide=wide)) for part in (blocks, names))
    return finish(alt.layer(blocks, names), counted(len(messages), "message"), rows=6)


def _arrows(frame: pd.DataFrame, most: int) -> pd.DataFrame:
    """The last messages, one row each, in the order in which they were sent."""
    import pandas as pd

    frame = frame.sort_values("sent_at", kind="stable")
    rows = pd.DataFrame(
        {
            "sender": words_of(frame["sender"], CELL, lambda path: label(path or CELL)),
            "receiver": words_of(frame["path"]),
            "method": words_of(frame["method"], ""),
            "outcome": words_of(frame["outcome"], "in hand"),
            "sent": frame["sent_at"],
        }
    )
    busiest = pd.concat([rows["sender"], rows["receiver"]]).value_counts().index[:MOST_PEOPLE]
    rows = rows[rows["sender"].isin(busiest) & rows["receiver"].isin(busiest)].tail(most)
    sent = rows["sent"].astype("string").fillna("")
    return rows.assign(sent=sent, place=range(len(rows)), failed=~rows["outcome"].isin(["ok", "in hand"]))


def _times(messages: pd.DataFrame, steps: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Per method its seconds: ``waiting``, ``handling``, and those of each step's name in ``steps``."""
    import pandas as pd

    methods = words_of(messages["method"])
    waits, took = (numbers_of(messages, column).fillna(0) for column in ("wait_s", "took_s"))
    times = pd.DataFrame({"method": methods, "waiting": waits, "handling": took})
    sums = times.groupby("method", sort=False).sum().astype("float64")
    found: dict[str, dict[str, Any]] = {
        str(method): {"waiting": waited, "handling": handled, "steps": {}}
        for method, waited, handled in zip(sums.index, sums["waiting"], sums["handling"], strict=True)
    }
    if len(steps):
        paths, _ = pd.factorize(pd.concat([steps["path"], messages["path"]], ignore_index=True).astype("string"))
        spent = pd.DataFrame(
            {"path": paths[: len(steps)], "seq": steps["message_seq"], "name": words_of(steps["name"])}
        )
        spent["took"] = numbers_of(steps, "took_s").fillna(0)
        keys = pd.DataFrame({"path": paths[len(steps) :], "seq": messages["seq"], "method": methods})
        joined = spent.merge(keys, on=["path", "seq"]).groupby(["method", "name"], sort=False)["took"].sum()
        for method, name, seconds in joined.reset_index().itertuples(index=False):
            found[str(method)]["steps"][str(name)] = float(seconds)
    return found


def _blocks(times: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """One row per block: its level, what it is, and where it begins and ends."""
    import pandas as pd

    made: list[dict[str, Any]] = []
    at = 0.0
    order = sorted(times, key=lambda method: (-times[method]["waiting"] - times[method]["handling"], method))
    for method in order[:MOST_METHODS]:
        waited, handled = float(times[method]["waiting"]), float(times[method]["handling"])
        made.append(_block("method", method, method, at, waited + handled))
        made.append(_block("part", "waiting", method, at, waited))
        at += waited
        made.append(_block("part", "handling", method, at, handled))
        inside, left = at, handled
        for name, seconds in sorted(times[method]["steps"].items(), key=lambda item: (-item[1], item[0])):
            width = min(float(seconds), left)  # parallel steps may take longer together than their handler
            made.append(_block("step", name, method, inside, width))
            inside, left = inside + width, left - width
        at += handled
    rows = pd.DataFrame(made)
    return rows[rows["seconds"] > 0] if (rows["seconds"] > 0).any() else rows


def _block(level: str, what: str, of: str, start: float, seconds: float) -> dict[str, Any]:
    shown_as = what if len(what) <= 16 else what[:15] + "…"
    looks = what if level == "part" else level
    about = {"level": level, "looks": looks, "what": what, "of": of, "shown": shown_as}
    return {**about, "start": start, "end": start + seconds, "seconds": seconds}
