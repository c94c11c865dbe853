"""Charts of a run of an eval: its scores, each sample's, when they were worked on, and what they cost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from agentlab.charts.drawing import (
    WIDTH,
    HasRun,
    axis_of_names,
    finish,
    frame_of,
    label,
    legend_for,
    nothing,
    numbers_of,
    words_of,
)
from agentlab.charts.spending import spend
from agentlab.errors import InvalidArgument
from agentlab.ground.given import shown
from agentlab.ground.grammars import defer_grammars
from agentlab.ground.spans import seconds_since
from agentlab.ground.still import SMALLEST, WORDS
from agentlab.ground.words import counted
from agentlab.looks import CRASH, LOOKS

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

MOST_SAMPLES = 60  # rows of the heat map, and of the timeline: more are not read
MOST_EPOCHS = 40  # columns of the heat map
MOST_SAID = 60  # cells of the heat map of which a click shows what was said
MOST_METRICS = 20  # rows of dots
ENDS = {
    "scored": LOOKS["running"].colour,
    "failed": CRASH,
    "over_budget": LOOKS["backing_off"].colour,
    "timed_out": LOOKS["waiting"].colour,
    "poisoned": LOOKS["parked"].colour,
    "stopped": LOOKS["stopped"].colour,
    "under way": LOOKS["busy"].colour,
}
"""How a sample ended, and its colour."""

SPENT = {
    "turns": "calls", "tokens_in": "tokens_in", "tokens_out": "tokens_out", "cost_usd": "cost_usd",
    "wasted_usd": "wasted_usd",
}  # fmt: skip
"""What ``samples()`` calls that which ``spend()`` counts."""


def scores(source: pd.DataFrame | HasRun, *others: pd.DataFrame | HasRun) -> alt.Chart | alt.LayerChart:
    """The metrics of runs side by side: a dot is the mean, the line its interval. More than 20: the first are drawn.

    Args:
        source: A run, or its ``run.summary()``. Read: ``metric``, ``mean``, ``ci_low``, ``ci_high``, ``n``.
        others: More of them.
    """
    defer_grammars()
    import altair as alt
    import pandas as pd

    named = _named(source, *others)
    rows = pd.concat([_means(run, name) for name, run in named.items()], ignore_index=True)
    if rows.empty:
        return nothing("Nothing is scored")
    names, metrics = list(named), list(dict.fromkeys(rows["metric"]))[:MOST_METRICS]
    rows = rows[rows["metric"].isin(metrics)]
    span = alt.Scale(domain=[min(0.0, float(rows["low"].min())), max(1.0, float(rows["high"].max()))], nice=False)
    base = alt.Chart(rows).encode(
        y=alt.Y("metric:N", title=None, sort=metrics, axis=axis_of_names(between=True)),
        yOffset=alt.YOffset("run:N", sort=names, scale=alt.Scale(paddingInner=0.1, paddingOuter=0.35)),
        color=alt.Color("run:N", title=None, sort=names, legend=legend_for(names) if len(names) > 1 else None),
        tooltip=["run:N", "metric:N", "mean:Q", "low:Q", "high:Q", "n:Q"],
    )
    x = alt.X("mean:Q", title="mean, and the interval of 95 in 100", scale=span, axis=alt.Axis(tickCount=10))
    return finish(
        alt.layer(
            base.mark_rule(strokeWidth=3).encode(x=alt.X("low:Q", scale=span), x2="high:Q"),
            base.mark_point(filled=True, size=100, opacity=1).encode(x=x),
            base.mark_text(dy=-11, fontSize=SMALLEST).encode(x=x, text="said:N"),
        ),
        counted(len(metrics), "metric") + (f" of {counted(len(names), 'run')}" if len(names) > 1 else ""),
        rows=max(2, 2 * len(metrics) * len(names)),
        names=metrics,
    )


def by_sample(source: pd.DataFrame | HasRun, metric: str | None = None) -> alt.Chart | alt.LayerChart:
    """A heat map of samples and epochs: the colour is the score, red what was not scored; the lowest come first.

    Of a run, a click on one of the first 60 cells (or Tab, to go from one to the next) shows below the chart what the
    agent and its model said; the whole of it is ``run.transcript(id, epoch)``, whose arguments the cell's tooltip has
    beside the path of its agent. More than 60 samples: those with the lowest scores are drawn; more than 40 epochs:
    the first, though all count.

    Args:
        source: A run, or its ``run.samples()``. Read: ``id``, ``epoch``, ``disposition``, ``score.<metric>``.
        metric: Which score; the first if None.
    """
    defer_grammars()
    import altair as alt

    frame = frame_of(source, "samples", "id", "epoch", "disposition")
    if frame.empty:
        return nothing("No samples")
    rows = _cells(frame, _column(frame, metric))
    ids, epochs = list(dict.fromkeys(rows["sample"])), sorted(set(rows["epoch"]))
    wide = max(20.0, min(90.0, 0.8 * WIDTH / len(epochs)))
    base = alt.Chart(rows).encode(
        y=alt.Y("sample:N", title=None, sort=ids, axis=axis_of_names()),
        x=alt.X("epoch:O", title="epoch", sort=epochs, axis=alt.Axis(labelAngle=0)),
        tooltip=["sample:N", "epoch:O", "score:Q", "ended:N", "path:N"],
    )
    shades = alt.Scale(scheme="viridis", domain=[min(0.0, float(rows["score"].min(skipna=True) or 0)), 1.0])
    scored = alt.Color("score:Q", title=None, scale=shades, legend=alt.Legend(gradientLength=int(2 * wide)))
    cells = base.transform_filter("datum.ended == 'scored'").mark_rect(stroke="white").encode(color=scored)
    failed = base.transform_filter("datum.ended != 'scored'").mark_rect(stroke="white", color=CRASH)
    words = base.transform_filter("datum.ended != 'scored'").mark_text(fontSize=SMALLEST, color="white")
    title = counted(int(frame["id"].nunique()), "sample")
    cut = f", the {MOST_SAMPLES} lowest" if frame["id"].nunique() > len(ids) else ""
    drawn = alt.layer(failed, words.encode(text="ended:N"), cells)
    said = _said(source, frame, rows)
    if said:
        drawn = drawn.properties(usermeta={WORDS: said})
    return finish(drawn, title + cut, rows=len(ids) + 1, names=ids)


def timeline(source: HasRun) -> alt.Chart | alt.LayerChart:
    """When each sample was worked on: a bar from its first message to its last, its colour how it ended.

    Red dots are attempts that failed; where many stand below one another, a provider was away. Of more than 60 samples
    and epochs those that took longest are drawn.

    Args:
        source: A run: ``samples()``, ``messages()`` and ``steps()`` are read.
    """
    defer_grammars()
    import altair as alt

    if not all(hasattr(source, name) for name in ("samples", "messages", "steps")):
        raise InvalidArgument(
            f"timeline draws a run, whose samples(), messages() and steps() it reads; got {shown(source)}."
        )
    messages = frame_of(source, "messages", "id", "epoch", "started_at", "ended_at")
    if messages.empty or messages["started_at"].isna().all():
        return nothing("No sample was worked on")
    bars, dots = _worked(source, messages)
    names, ends = list(bars["who"]), [end for end in ENDS if end in set(bars["ended"])]
    colours = alt.Scale(domain=ends, range=[ENDS[end] for end in ends])
    y = alt.Y("who:N", title=None, sort=names, axis=axis_of_names())
    x = alt.X("start:Q", title="seconds since the run began", axis=alt.Axis(tickCount=10))
    drawn = alt.Chart(bars).mark_bar(height={"band": 0.6}).encode(
        y=y, x=x, x2="end:Q", tooltip=["who:N", "ended:N", "start:Q", "end:Q"],
        color=alt.Color("ended:N", title=None, scale=colours, legend=legend_for(ends)),
    )  # fmt: skip
    struck = alt.Chart(dots).mark_point(filled=True, size=40, opacity=1, color=CRASH, stroke="white").encode(
        y=y, x=alt.X("start:Q"), tooltip=["who:N", "fault:N", "start:Q"]
    )  # fmt: skip
    number = counted(len(bars), "agent")
    return finish(alt.layer(drawn, struck), number, "red dots: attempts that failed", rows=len(names), names=names)


def cost(source: pd.DataFrame | HasRun, *others: pd.DataFrame | HasRun) -> alt.Chart | alt.LayerChart:
    """What runs cost: a bar per run, or of one run a bar per way in which samples ended; what was wasted set apart.

    US dollars; tokens, where nobody knows a price.

    Args:
        source: A run, or its ``run.samples()``. Read: ``disposition``, ``turns``, ``tokens_in``, ``tokens_out``,
            ``cost_usd``, ``wasted_usd``.
        others: More of them.
    """
    defer_grammars()
    import pandas as pd

    named = _named(source, *others)
    parts = []
    for name, run in named.items():
        frame = frame_of(run, "samples", "disposition", *SPENT)
        if len(frame):
            spent = pd.DataFrame({ours: numbers_of(frame, theirs) for theirs, ours in SPENT.items()})
            who = [name] * len(frame) if others else frame["disposition"].astype("string").fillna("under way").tolist()
            parts.append(spent.assign(who=who, tokens_cached=0, replayed=0))
    return spend(pd.concat(parts, ignore_index=True)) if parts else nothing("No samples")


def _named(*runs: pd.DataFrame | HasRun) -> dict[str, pd.DataFrame | HasRun]:
    """Each run by its name; of two with one name the second has a number."""
    found: dict[str, pd.DataFrame | HasRun] = {}
    for place, run in enumerate(runs, 1):
        name = getattr(run, "name", None)
        name = label(name) if isinstance(name, str) else f"run {place}"
        found[f"{name} ({place})" if name in found else name] = run
    return found


def _means(run: pd.DataFrame | HasRun, name: str) -> pd.DataFrame:
    import pandas as pd

    frame = frame_of(run, "summary", "metric", "mean", "ci_low", "ci_high", "n")
    if frame.empty:
        return pd.DataFrame()
    mean, low, high = (numbers_of(frame, column) for column in ("mean", "ci_low", "ci_high"))
    rows = pd.DataFrame({"run": name, "metric": frame["metric"].map(label), "mean": mean, "n": numbers_of(frame, "n")})
    bare = [side.where(side.map(math.isfinite), mean) for side in (low, high)]  # one sample has none
    rows = rows.assign(low=bare[0], high=bare[1], said=mean.map("{:.3g}".format))
    return rows[rows["mean"].notna()]


def _column(frame: pd.DataFrame, metric: str | None) -> str:
    has = [str(column).removeprefix("score.") for column in frame.columns if str(column).startswith("score.")]
    if metric is None and has:
        return f"score.{has[0]}"
    if metric not in has:
        told = ", ".join(has) or "none"
        raise InvalidArgument(f"by_sample: metric must be one of the run's scores ({told}); got {shown(metric)}.")
    return f"score.{metric}"


def _cells(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """One row per cell, the samples with the lowest scores first."""
    import pandas as pd

    rows = pd.DataFrame(
        {
            "sample": words_of(frame["id"]),
            "epoch": numbers_of(frame, "epoch").astype("int64"),
            "score": numbers_of(frame, column).astype("float64"),
            "ended": words_of(frame["disposition"], "under way"),
            "path": frame["path"].astype("string").fillna("") if "path" in frame else "",
        }
    )
    lowest = rows.fillna({"score": 0.0}).groupby("sample", sort=False)["score"].mean().sort_values(kind="stable")
    rank = {sample: place for place, sample in enumerate(lowest.index[:MOST_SAMPLES])}
    shown = rows["sample"].isin(rank) & rows["epoch"].isin(sorted(rows["epoch"].unique())[:MOST_EPOCHS])
    cells = rows[shown].drop_duplicates(["sample", "epoch"], keep="last")
    return cells.sort_values("sample", key=lambda ids: ids.map(rank), kind="stable")


def _said(source: Any, frame: pd.DataFrame, rows: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """The words of the first cells, by how their labels end; a frame knows only what is in its columns."""
    if not hasattr(source, "_said"):
        return {}
    first = rows[rows["path"] != ""].head(MOST_SAID)
    keys = [(str(frame["id"][at]), int(frame["epoch"][at])) for at in first.index]
    said = source._said(keys)
    return {
        f"path: {path}": (f"{id_}, epoch {epoch}: run.transcript({id_!r}, {epoch})", said[id_, epoch])
        for path, (id_, epoch) in zip(first["path"], keys, strict=True)
        if said.get((id_, epoch))
    }


def _worked(run: HasRun, messages: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A bar per sample and epoch, in the order of their starts, and a dot per attempt that failed."""
    import pandas as pd

    samples, steps = run.samples(), run.steps()
    groups = messages.groupby(["id", "epoch"], observed=True)
    spans = pd.DataFrame({"at": groups["started_at"].min(), "over": groups["ended_at"].max()}).dropna().reset_index()
    spans["start"], _ = seconds_since(spans["at"], spans["over"])
    first = spans["at"].min()
    spans["end"] = (spans["over"] - first).dt.total_seconds()
    longest = (spans["end"] - spans["start"]).nlargest(MOST_SAMPLES, keep="first").index
    spans = spans.loc[longest]
    kept = samples[samples["id"].astype("string").isin(spans["id"].astype("string"))]
    ended = {
        (str(id_), epoch): how for id_, epoch, how in zip(kept["id"], kept["epoch"], kept["disposition"], strict=True)
    }
    keys = [(str(id_), epoch) for id_, epoch in zip(spans["id"], spans["epoch"], strict=True)]
    who = [label(f"{id_}.{epoch}") for id_, epoch in keys]
    bars = pd.DataFrame({"who": who, "start": spans["start"].tolist(), "end": spans["end"].tolist()})
    bars["ended"] = ["under way" if pd.isna(ended.get(key)) else str(ended[key]) for key in keys]
    bars = bars.sort_values(["start", "who"])
    dots = steps.dropna(subset=["fault", "started_at"]) if len(steps) else steps
    dots = dots[dots["id"].astype("string").isin([id_ for id_, _ in keys])]
    who = [label(f"{id_}.{epoch}") for id_, epoch in zip(dots["id"], dots["epoch"], strict=True)]
    since = (dots["started_at"] - first).dt.total_seconds() if len(dots) else []
    struck = pd.DataFrame({"who": who, "fault": dots["fault"].astype("string").tolist(), "start": list(since)})
    return bars, struck[struck["who"].isin(bars["who"])].tail(10 * MOST_SAMPLES)
