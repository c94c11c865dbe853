"""Reading back what an agent's state was, at any of its checkpoints; a fork's begins with that of its base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from agentlab.store.schema import whole

LAST = (1 << 63) - 1
"""The ``seq`` that no checkpoint passes."""

PAST = (
    "WITH RECURSIVE past (path, until, depth) AS (SELECT ?, ?, 0 UNION ALL"
    " SELECT fork.base_path, min(fork.base_seq, past.until), depth + 1 FROM past JOIN fork ON fork.path = past.path)"
)
"""Where an agent's history is, and up to which ``seq``: a fork's begins with its base's."""

FIELDS = (
    f"{PAST} SELECT name, {whole('value')} FROM past JOIN field ON field.path = past.path"  # noqa: S608  # our own words
    " WHERE field.rowid IN (SELECT max(field.rowid) FROM past JOIN field ON field.path = past.path"
    " AND field.seq <= past.until GROUP BY field.path, field.name) ORDER BY depth DESC"
)
ITEMS = (
    f"{PAST} SELECT name, place, {whole('value')} FROM past JOIN item ON item.path = past.path"  # noqa: S608  # as above
    " AND item.seq <= past.until ORDER BY depth DESC, item.rowid"
)


def state_of(
    ask: Callable[[str, Sequence[Any]], list[tuple[Any, ...]]], path: str, at: int = LAST
) -> dict[str, str | list[str]]:
    """The committed state of an agent: JSON text per field, a list of texts per transcript.

    Args:
        ask: What gives the rows that a query finds.
        path: The agent.
        at: A checkpoint's ``seq``: the state as it was then.
    """
    texts: dict[str, str | None] = dict(ask(FIELDS, (path, at)))
    state: dict[str, str | list[str]] = {name: text for name, text in texts.items() if text is not None}
    for name, place, text in ask(ITEMS, (path, at)):
        known = state.setdefault(name, [])
        if isinstance(known, list):  # a transcript that began anew leaves its old items behind
            known[place:] = [] if text is None else [text]
    return {name: value for name, value in state.items() if value or name not in texts}  # the others are no more
