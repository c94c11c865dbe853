"""Which rows somebody searches for: the same words as in ``sift.js``, asked where the rows are too many to travel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Self

from agentlab.events import Row

FIELDS: dict[str, Callable[[Row], str]] = {
    "path": lambda row: row.path,
    "kind": lambda row: f"{'supervisor ' if row.kind == 'supervisor' else ''}{row.cls} {row.strategy or ''}",
    "status": lambda row: row.status.replace("_", " "),
    "node": lambda row: "" if row.node is None else str(row.node),
    "exit": lambda row: row.reason or "",
}
LONGEST, MOST = 200, 500  # characters of a search; rows of a page


def terms_of(text: str) -> list[tuple[str, str]]:
    """Words that must all be there: ``w1 kind:Writer``; each in the field that it names, or in any."""
    terms = []
    for word in text.lower().split():
        field, colon, rest = word.partition(":")
        terms.append((field, rest) if colon and field in FIELDS else ("", word))
    return terms


class Wanted(NamedTuple):
    """One page of a search.

    Attributes:
        word: By which the browser knows its answer again.
        terms: What must be there.
        statuses: Any of these; all if there are none.
        start: The first row of the page.
        most: How many rows.
    """

    word: str
    terms: list[tuple[str, str]]
    statuses: frozenset[str]
    start: int
    most: int

    @classmethod
    def of(cls, said: dict[str, Any]) -> Self:
        """What a browser asked for; whatever it said, it is no more than a page."""
        terms = terms_of(str(said.get("text", ""))[:LONGEST])
        statuses = frozenset(str(status) for status in said.get("statuses", [])[:20])
        start, most = max(0, int(said.get("from", 0))), min(MOST, max(1, int(said.get("most", 100))))
        return cls(str(said.get("word", ""))[:1000], terms, statuses, start, most)

    def matches(self, row: Row) -> bool:
        """Whether it is one of those."""
        if self.statuses and row.status not in self.statuses:
            return False
        return all(any(word in of(row).lower() for of in _readers(field)) for field, word in self.terms)


def _readers(field: str) -> list[Callable[[Row], str]]:
    return [FIELDS[field]] if field else list(FIELDS.values())
