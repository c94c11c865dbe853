"""A chart of what model calls have cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentlab.charts.drawing import INK, MOST, HasFrames, axis_of_names, finish, frame_of, nothing, words_of
from agentlab.ground.grammars import defer_grammars
from agentlab.ground.still import SMALLEST
from agentlab.ground.words import counted
from agentlab.looks import CRASH, LOOKS

if TYPE_CHECKING:
    import altair as alt
    import pandas as pd

NUMBERS = ("calls", "tokens_in", "tokens_out", "tokens_cached", "cost_usd", "replayed", "wasted_usd")
OTHERS = "all others"

MONEY = {"used": LOOKS["running"].colour, "wasted": CRASH}
TOKENS = {
    "read": LOOKS["busy"].colour,
    "read from the cache": LOOKS["starting"].colour,
    "written": LOOKS["waiting"].colour,
}


def spend(source: pd.DataFrame | HasFrames) -> alt.Chart | alt.LayerChart:
    """What model calls have cost: a bar each, the dearest first, in US dollars; what was for nothing is set apart.

    Wasted is what was paid for answers that nobody used: cut short, refused, or taken back. Where nobody knows a price
    the bars are tokens: read, read from the provider's cache, and written. Over a bar one sees how many calls it was,
    and how many the journal answered for nothing. More than 20: the others are one bar.

    Args:
        source: ``lab.spend()``, or ``lab.spend(by="model")`` and so on, or the lab. Read: ``who``, ``calls``,
            ``tokens_in``, ``tokens_out``, ``tokens_cached``, ``cost_usd``, ``replayed`` and ``wasted_usd``.
    """
    defer_grammars()
    import altair as alt

    frame = frame_of(source, "spend", "who", *NUMBERS)
    if frame.empty:
        return nothing("No model was called")
    rows = _summed(frame)
    priced = bool(rows["cost_usd"].notna().any())
    looks = MONEY if priced else TOKENS
    parts = _parts(rows, priced=priced)
    names = list(rows["who"])
    colour = alt.Color("part:N", title=None, scale=alt.Scale(domain=list(looks), range=list(looks.values())))
    room = alt.Scale(domain=[0, 1.2 * float(parts["end"].max()) or 1], nice=False)
    form = "~g" if priced else "~s"
    base = alt.Chart(parts).encode(y=alt.Y("who:N", title=None, sort=names, axis=axis_of_names()))
    bars = base.mark_bar(height={"band": 0.7}).encode(
        x=alt.X(
            "start:Q", title="US dollars" if priced else "tokens", scale=room, axis=alt.Axis(format=form, tickCount=5)
        ),
        x2="end:Q",
        color=colour,
        tooltip=["who:N", "part:N", "amount:N", "calls:Q", "replayed:Q"],
    )
    totals = base.mark_text(align="left", dx=5, color=INK, fontSize=SMALLEST).encode(x="end:Q", text="total:N")
    return finish(alt.layer(bars, totals), _heading(rows, priced=priced), rows=len(names), names=names)


def _summed(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per bar, the longest first; what nobody knows the price of has none."""
    import pandas as pd

    rows = frame[list(NUMBERS)].apply(pd.to_numeric, errors="coerce").astype("float64")
    rows["who"] = words_of(frame["who"])
    sums = rows.groupby("who", sort=False).sum(min_count=1).reset_index()
    order = ["cost_usd", "tokens_in", "who"]
    most = sums.sort_values(order, ascending=[False, False, True], na_position="last")
    if len(most) > MOST:
        rest = most.iloc[MOST - 1 :][list(NUMBERS)].sum(min_count=1).to_frame().T.assign(who=OTHERS)
        most = pd.concat([most.iloc[: MOST - 1], rest], ignore_index=True)
    made: pd.DataFrame = most.fillna({name: 0.0 for name in NUMBERS if not name.endswith("_usd")})
    return made


def _parts(rows: pd.DataFrame, *, priced: bool) -> pd.DataFrame:
    """Each bar's parts end to end, and at the end of the last one its total."""
    import pandas as pd

    made: list[dict[str, Any]] = []
    for row in rows.to_dict("records"):
        at = 0.0
        said = _amounts(row, priced=priced)
        for part, amount in said.items():
            end, total = at + amount, _total(row, priced=priced) if part == list(said)[-1] else ""
            shown = _dollars(amount) if priced else f"{amount:,.0f} tokens"
            about = {"who": row["who"], "calls": row["calls"], "replayed": row["replayed"]}
            made.append({**about, "part": part, "amount": shown, "start": at, "end": end, "total": total})
            at = end
    return pd.DataFrame(made)


def _amounts(row: dict[Any, Any], *, priced: bool) -> dict[str, float]:
    if priced:
        cost, wasted = (0.0 if row[name] != row[name] else float(row[name]) for name in ("cost_usd", "wasted_usd"))
        return {"used": max(0.0, cost - wasted), "wasted": wasted}
    return {
        "read": max(0.0, row["tokens_in"] - row["tokens_cached"]), "read from the cache": row["tokens_cached"],
        "written": row["tokens_out"],
    }  # fmt: skip


def _total(row: dict[Any, Any], *, priced: bool) -> str:
    """What stands at the end of a bar: short, for there is little room in a narrow cell."""
    if not priced:
        return _short(row["tokens_in"] + row["tokens_out"])
    return _dollars(row["cost_usd"]) if row["cost_usd"] == row["cost_usd"] else "no price"


def _short(tokens: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if tokens >= size:
            return f"{float(f'{tokens / size:.3g}'):g}{unit}"
    return f"{tokens:g}"


def _heading(rows: pd.DataFrame, *, priced: bool) -> str:
    calls = counted(int(rows["calls"].sum()), "model call")
    if not priced:
        return f"{rows[['tokens_in', 'tokens_out']].sum().sum():,.0f} tokens in {calls}"
    wasted = float(rows["wasted_usd"].sum())
    return f"{_dollars(float(rows['cost_usd'].sum()))} in {calls}" + (
        f", {_dollars(wasted)} of it wasted" if wasted else ""
    )


def _dollars(amount: float) -> str:
    """As a person says it: ``$12.30``, ``$0.0042``."""
    return f"${amount:,.2f}" if amount >= 0.1 or not amount else f"${float(f'{amount:.2g}'):.6f}".rstrip("0")
