"""The tree without a live browser: text for terminals, static HTML for nbconvert and GitHub.

Both depend on the rows alone: no times, no nodes, no addresses, nothing that runs out by itself. So the same tree
gives the same output, and a notebook can be tested by comparing it.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Sequence

from agentlab.events import Row
from agentlab.ground.texts import clean
from agentlab.looks import LOOKS
from agentlab_widgets.breakers import Seen, cells

HEADINGS = ("agent", "kind", "status", "incarnation", "last exit")
CHILDREN = 40  # children of one supervisor that are listed; the others are counted


def per(seconds: float) -> str:
    """A length of time as short as it goes: ``5 s``, ``0.5 s``."""
    return f"{seconds:g} s"


def tree_text(label: str, rows: Sequence[Row], breakers: Sequence[Seen] = ()) -> str:
    """The tree as lines of text, one per agent, supervisor or breaker, in columns."""
    lines = [
        (prefix + _name(row), kind(row), status(row), incarnation(row), reason(row)) for prefix, row in outline(rows)
    ]
    lines += [cells(breaker) for breaker in breakers]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    body = ["  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([clean(label), *body])


def tree_html(label: str, rows: Sequence[Row], breakers: Sequence[Seen] = ()) -> str:
    """The tree as one HTML table without script and without style sheets; every text escaped."""
    body = "".join(_html_row(prefix, row) for prefix, row in outline(rows))
    body += "".join(_html_cells("", f"color:{breaker.colour};", *cells(breaker)) for breaker in breakers)
    head = "".join(f'<th style="text-align:left">{name}</th>' for name in HEADINGS)
    return f"<table><caption>{html.escape(clean(label))}</caption><tr>{head}</tr>{body}</table>"


def outline(rows: Sequence[Row]) -> Iterable[tuple[str, Row]]:
    """Each row with the lines that join it to its supervisor; long families are cut and counted."""
    children: dict[str, list[Row]] = {}
    known = {row.path for row in rows}
    for row in rows:
        children.setdefault(row.parent if row.parent in known and row.parent != row.path else "", []).append(row)
    yield from _branch(children, "", "", top=True)


def _branch(children: dict[str, list[Row]], parent: str, indent: str, *, top: bool) -> Iterable[tuple[str, Row]]:
    family = children.get(parent, [])
    shown = family if len(family) <= CHILDREN else [*family[: CHILDREN - 1], _rest(family[CHILDREN - 1 :])]
    for row in shown:
        last = row is shown[-1]
        yield ("" if top else indent + ("└── " if last else "├── ")), row
        below = "" if top else indent + ("    " if last else "│   ")
        if row.path:  # the row that stands for the others has none
            yield from _branch(children, row.path, below, top=False)


def _rest(rows: Sequence[Row]) -> Row:
    """A row that stands for the ones left out."""
    counts = ", ".join(f"{n:,} {status}" for status, n in sorted(Counter(row.status for row in rows).items()))
    return rows[0]._replace(path="", id=f"… {len(rows):,} more", kind="", cls="", status=counts)


def _name(row: Row) -> str:
    return clean(row.id or "/", 60)


def kind(row: Row) -> str:
    """Its kind: the class of an agent, strategy and limit of a supervisor."""
    if row.kind != "supervisor":
        return clean(row.cls, 40)
    limit = f", {row.intensity[1]} in {per(row.intensity[2])}" if row.intensity else ""
    return f"{row.strategy or clean(row.cls, 40)}{limit}"


def status(row: Row) -> str:
    """Shape and word."""
    look = LOOKS.get(row.status)
    word = clean(row.status).replace("_", " ") + (f" ({row.mark})" if row.mark else "")
    word += f" ({letters(row)})" if row.letters else ""
    return f"{look.glyph} {word}" if look else word


def letters(row: Row) -> str:
    """How many of its messages nobody could handle."""
    return "" if not row.letters else "1 dead letter" if row.letters == 1 else f"{row.letters:,} dead letters"


def incarnation(row: Row) -> str:
    """Which incarnation it is and how many restarts came before; nothing for the rest of a long family."""
    if row.kind != "agent" and not row.restarts:
        return ""
    return f"#{row.incarnation}, {row.restarts} restart{'' if row.restarts == 1 else 's'}"


def reason(row: Row) -> str:
    """Why the last incarnation ended."""
    return clean(row.reason) if row.reason else ""


def _html_row(prefix: str, row: Row) -> str:
    look = LOOKS.get(row.status)
    words = _name(row), kind(row), status(row), incarnation(row), reason(row)
    return _html_cells(prefix, f"color:{look.colour};" if look else "", *words)


def _html_cells(prefix: str, colour: str, name: str, *words: str) -> str:
    lines = html.escape(prefix).replace(" ", "&nbsp;")
    styled = [("font-family:monospace;", lines + html.escape(name))]
    styled += [(style, html.escape(word)) for style, word in zip(["", colour, "", ""], words, strict=True)]
    return "<tr>" + "".join(f'<td style="{style}text-align:left">{text}</td>' for style, text in styled) + "</tr>"
