"""The tree as HTML that folds without a script: what a page shows that no kernel stands behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape

from agentlab.events import Row
from agentlab.ground.texts import clean
from agentlab.ground.words import counted
from agentlab.looks import LOOKS
from agentlab_widgets.text import kind, letters

FAMILY = 30  # agents of one supervisor that are listed; the others are counted
OPEN = 300  # places up to which everything is unfolded
CALM = ("running", "busy", "waiting")
Children = dict[str, list[Row]]


def folded_tree(rows: Sequence[Row]) -> str:
    """Each supervisor folds; of a large family those that are in trouble are listed first."""
    children: Children = {}
    known = {row.path for row in rows}
    for row in rows:
        children.setdefault(row.parent if row.parent in known and row.parent != row.path else "", []).append(row)
    made: dict[str, tuple[str, Counter[str]]] = {}
    for row in reversed(rows):  # children stand behind their supervisors, so each finds its own made
        if row.kind == "supervisor":
            made[row.path] = _folded(row, children.get(row.path, []), made, unfold=len(rows) <= OPEN)
    tops = children.get("", [])
    return "".join(made[row.path][0] if row.path in made else _leaf(row) for row in tops) or "<p>Nobody is there.</p>"


def _folded(
    row: Row, family: list[Row], made: dict[str, tuple[str, Counter[str]]], *, unfold: bool
) -> tuple[str, Counter[str]]:
    """A supervisor with all below it, and how many agents of each status those are."""
    agents = [kid for kid in family if kid.kind != "supervisor"]
    below = Counter(kid.status for kid in agents)
    for kid in family:
        if kid.path in made:
            below += made[kid.path][1]
    shown = agents
    if len(agents) > FAMILY:
        shown = sorted(agents, key=lambda kid: kid.status in CALM)[:FAMILY]  # stable: else in the order of their starts
    listed = {kid.path for kid in shown}
    inner = "".join(
        made[kid.path][0] if kid.path in made else _leaf(kid)
        for kid in family
        if kid.path in listed or kid.path in made
    )
    if len(agents) > FAMILY:
        inner += f'<div class="leaf dim">… and {len(agents) - FAMILY:,} more</div>'
    trouble = any(n for status, n in below.items() if status not in CALM)
    state = " open" if unfold or trouble or row.parent in ("", row.path) else ""
    return f"<details{state}><summary>{_what(row)}{_tally(below)}</summary>{inner}</details>", below


def _leaf(row: Row) -> str:
    return f'<div class="leaf">{_what(row)}</div>'


def _what(row: Row) -> str:
    told = [escape(kind(row))]
    if row.kind == "agent" or row.status != "running":
        told.append(row.status.replace("_", " "))
    if row.kind == "agent":
        told.append(f"incarnation {row.incarnation}")
    if row.restarts:
        told.append(counted(row.restarts, "restart"))
    told += filter(None, (escape(row.mark), letters(row)))
    why = f' <span class="why">{escape(clean(row.reason, 200))}</span>' if row.reason else ""
    return (
        f'{glyph(row.status)}<b>{escape(clean(row.id or "/", 60))}</b> <span class="dim">{" · ".join(told)}</span>{why}'
    )


def _tally(below: Counter[str]) -> str:
    """Agents below, by status."""
    told = ", ".join(f"{below[status]:,} {status.replace('_', ' ')}" for status in LOOKS if below[status])
    return f' <span class="tally">({told})</span>' if told else ""


def glyph(status: str) -> str:
    """The shape of a status, in its colour."""
    look = LOOKS.get(status)
    if look is None:
        return ""
    box = 'class="glyph" viewBox="-1.3 -1.3 2.6 2.6" aria-hidden="true"'
    return f'<svg {box}><path d="{look.shape}" fill="{look.colour}"/></svg>'
