"""A night on one page: ``lab.report("night.html")``, a file that opens anywhere, without a network and without scripts.

What a person has to decide comes first: who is parked and why, which tools wait for a word, which messages nobody
could handle. Then what the night cost, what the providers did, the charts, and the tree. Whatever agents wrote is
escaped, and the page forbids itself to load or to run anything, should a browser see more in it than text.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from agentlab import charts, frames
from agentlab.errors import InvalidArgument
from agentlab.events import Row
from agentlab.ground.given import file_of
from agentlab.ground.still import still
from agentlab.ground.texts import clean, safe
from agentlab.ground.words import counted
from agentlab.looks import BREAKER, LOOKS
from agentlab_widgets.folded import folded_tree, glyph
from agentlab_widgets.live import assets

MOST = 100  # parked agents, letters, rows of a table; the others are counted
FORBID = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STATES = {look.word.replace(" ", "_"): look for look in BREAKER.values()}

AnyLab = Any  # agentlab.Lab or agentlab.StoredLab


def write_report(lab: AnyLab, path: str | os.PathLike[str]) -> Path:
    """Write the page; where it stands.

    Args:
        lab: A lab that runs, was closed or is only read.
        path: The file, which is replaced in one go: nobody opens half a page.

    Raises:
        InvalidArgument: There is no such folder, or the file is the store; nothing was written.
    """
    file = file_of(path, "report: path")
    store = lab._read().path
    if store is not None and Path(store).resolve() == file.resolve():
        raise InvalidArgument(f"report: {file} is the store of this lab. Give the page a name of its own.")
    text = page(lab).encode("utf-8", "replace")
    try:
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".report") as folder:
            half = Path(folder) / "half.html"
            half.write_bytes(text)
            half.replace(file)
    except OSError as error:
        raise InvalidArgument(f"report: {file} cannot be written: {error}. Nothing was.", argument="path") from error
    return file


def page(lab: AnyLab) -> str:
    """The whole page."""
    rows = lab._last if getattr(lab, "_last", None) else lab.rows()
    label = clean(repr(lab), 300)
    parts = [
        ("What waits for you", _parked(lab, rows) + _asked(lab) + _letters(lab)),
        ("What it cost", _spent(lab)),
        ("Providers", _breakers(lab)),
        ("How it went", _charts(lab)),
        ("The tree", folded_tree(rows)),
    ]
    body = "".join(f"<section><h2>{title}</h2>{text}</section>" for title, text in parts)
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{escape(label)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{FORBID}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{assets('report.css')}</style></head><body><main><header><h1>{escape(label)}</h1>"
        f"{_span(lab)}{_figures(lab, rows)}</header>{body}</main></body></html>\n"
    )


def _span(lab: AnyLab) -> str:
    ((first, last, n),) = lab._read().select("SELECT min(at), max(at), count(*) FROM event")
    told = f"{counted(n, 'event')}, {_time(first)} to {_time(last)}" if n else "nothing has happened yet"
    return f"<p>{told} · written {_time(datetime.now(UTC).timestamp() * 1e9)} UTC</p>"


def _figures(lab: AnyLab, rows: Sequence[Row]) -> str:
    """The night in one line: agents by status, messages, restarts, letters, money."""
    agents = [row for row in rows if row.kind == "agent"]
    chips = [
        f"{glyph(status)}{n:,} {status.replace('_', ' ')}"
        for status in LOOKS
        if (n := sum(row.status == status for row in agents))
    ]
    ((messages, failed),) = lab._read().select("SELECT count(*), coalesce(sum(outcome <> 'ok'), 0) FROM message")
    ((restarts,),) = lab._read().select("SELECT count(*) FROM restart")
    chips += [counted(messages, "message") + (f", {failed:,} of them failed" if failed else "")]
    chips += [counted(restarts, "restart")]
    return '<ul class="chips">' + "".join(f"<li>{chip}</li>" for chip in chips) + "</ul>"


def _parked(lab: AnyLab, rows: Iterable[Row]) -> str:
    parked = [row for row in rows if row.status == "parked"]
    if not parked:
        return "<p>Nobody is parked.</p>"
    told = "".join(_one_parked(lab, row) for row in parked[:MOST])
    more = f"<p>… and {len(parked) - MOST:,} more.</p>" if len(parked) > MOST else ""
    return f"<h3>{counted(len(parked), 'place')} parked</h3>{told}{more}"


def _one_parked(lab: AnyLab, row: Row) -> str:
    """Who it is, why it ended, the story, and the last traceback one click away."""
    found = lab._read().select(
        "SELECT at, coalesce(substr(detail, 1, 8000), '') FROM event WHERE path = ? AND kind IN ('crashed', 'gave_up')"
        " ORDER BY seq DESC LIMIT 1", (row.path,),
    )  # fmt: skip
    why = clean(row.reason or "no reason is known", 400)
    when = f" · {_time(found[0][0])}" if found else ""
    trace = f"<details><summary>its last crash</summary>{_pre(found[0][1])}</details>" if found and found[0][1] else ""
    return (
        f'<article>{glyph("parked")}<b>{_text(row.path, 200)}</b> <span class="dim">{_text(row.cls, 60)} · '
        f"{counted(row.restarts, 'restart')}{when}</span><p>{escape(why)}</p>{_story(lab, row.path)}{trace}</article>"
    )


def _story(lab: AnyLab, path: str) -> str:
    """What ``lab.explain`` tells; nobody can be asked where no lab runs."""
    if getattr(lab, "closed", True):
        return ""
    return f'<p class="dim">{escape(safe(lab.explain(path), 2000))}</p>'


def _asked(lab: AnyLab) -> str:
    waiting = frames.stored_approvals(lab._read())
    if waiting.empty:
        return ""
    rows = [
        (row.path, row.tool, row.input, f"ref.approve({row.step})")
        for row in waiting.head(MOST).itertuples(index=False)
    ]
    return f"<h3>{counted(len(waiting), 'tool call')} waiting for a word</h3>" + _table(
        ("agent", "tool", "what it would do", "your word"), rows
    )


def _letters(lab: AnyLab) -> str:
    select = lab._read().select
    ((n,),) = select("SELECT count(*) FROM dead")
    if not n:
        return "<p>No message was left over.</p>"
    rows = select("SELECT id, at, path, method, coalesce(reason, '') FROM dead ORDER BY id DESC LIMIT ?", (MOST,))
    shown = [(number, _time(at), path, method, why) for number, at, path, method, why in rows]
    head = ("number", "when", "for", "message", "why")
    more = f"<p>The newest {MOST}; all: <code>lab.dead_letters()</code>.</p>" if n > MOST else ""
    return f"<h3>{counted(n, 'message')} nobody could handle</h3>{_table(head, shown)}{more}"


def _spent(lab: AnyLab) -> str:
    """By supervisor and model, the dearest first."""
    spend = lab.spend("supervisor")
    if spend.empty:
        return "<p>No model was called.</p>"
    spend = spend.sort_values(["cost_usd", "tokens_in"], ascending=False, na_position="last")
    rows: list[tuple[str, ...]] = [
        (row.who, row.model, f"{row.calls:,}", f"{row.tokens_in:,}", f"{row.tokens_out:,}", _money(row.cost_usd),
         _money(row.wasted_usd))
        for row in spend.head(MOST).itertuples(index=False)
    ]  # fmt: skip
    rows.append(("all", "", *(f"{spend[name].sum():,}" for name in ("calls", "tokens_in", "tokens_out")),
                 _money(spend["cost_usd"].sum(min_count=1)), _money(spend["wasted_usd"].sum(min_count=1))))  # fmt: skip
    head = ("below", "model", "calls", "tokens in", "tokens out", "cost", "of it for nothing")
    return _table(head, rows, numbers=range(2, 7), last=True)


def _breakers(lab: AnyLab) -> str:
    found = lab.breakers()
    if found.empty:
        return "<p>No breaker was needed.</p>"
    rows = [
        (row.name, str(row.state).replace("_", " "), _time(row.since.value), f"{row.opened:,}", row.why)
        for row in found.head(MOST).itertuples(index=False)
    ]
    return _table(("provider", "its breaker", "since", "opened", "why"), rows)


def _charts(lab: AnyLab) -> str:
    """Those that have something to show."""
    select = lab._read().select
    drawn = []
    for table, where, chart in (
        ("restart", "1", charts.restarts), ("message", "1", charts.latency),
        ("step", "kind = 'model'", charts.spend), ("event", "kind = 'breaker_opened'", charts.breaker),
    ):  # fmt: skip
        if select(f"SELECT 1 FROM {table} WHERE {where} LIMIT 1"):  # noqa: S608  # the words above
            drawn.append(f"<figure>{still(chart(lab).to_dict())['text/html']}</figure>")
    return "".join(drawn) or "<p>Nothing has happened that a chart could show.</p>"


def _table(
    head: Sequence[str], rows: Iterable[Sequence[Any]], *, numbers: Iterable[int] = (), last: bool = False
) -> str:
    """A table; ``numbers``: columns that are set to the right; ``last``: whether the last row is the sum."""
    right = dict.fromkeys(numbers, ' class="number"')
    top = "".join(f"<th{right.get(n, '')}>{escape(name)}</th>" for n, name in enumerate(head))
    lines = [
        "<tr>" + "".join(f"<td{right.get(n, '')}>{_text(cell, 300)}</td>" for n, cell in enumerate(row)) + "</tr>"
        for row in rows
    ]
    foot = f"<tfoot>{lines.pop()}</tfoot>" if last else ""
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody>{foot}</table></div>'


def _text(value: object, limit: int) -> str:
    import pandas as pd

    return "" if pd.isna(value) else escape(clean(value, limit))  # type: ignore[call-overload]  # one value of a frame


def _pre(text: str) -> str:
    return f"<pre>{escape(safe(text, 8000))}</pre>"


def _money(usd: float) -> str:
    return "?" if usd != usd else f"{usd:,.4f} $"  # noqa: PLR0124  # NaN: nobody knows the price


def _time(ns: float) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")
