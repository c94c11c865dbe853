"""What model calls have cost, as a DataFrame, from the steps of a store: of a live lab and a stored one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from agentlab.errors import InvalidArgument
from agentlab.frames.columns import FLOAT, INT, WORD, frame
from agentlab.ground.given import shown
from agentlab.store.database import Store

if TYPE_CHECKING:
    import pandas as pd

By = Literal["path", "model", "supervisor"]

SPEND = {
    "who": WORD, "model": WORD, "calls": INT, "tokens_in": INT, "tokens_out": INT, "tokens_cached": INT,
    "cost_usd": FLOAT, "reserved": INT, "replayed": INT, "wasted_usd": FLOAT,
}  # fmt: skip

_SUMS = (
    "SELECT path, name, sum(replayed = 0 AND coalesce(fault, '') <> 'budget'), sum(coalesce(tokens_in, 0)),"
    " sum(coalesce(tokens_out, 0)), sum(coalesce(tokens_cached, 0)), sum(cost_usd), sum(replayed),"
    # Wasted: a call that gave no answer, or one of a message that came to nothing.
    " sum(CASE WHEN outcome <> 'ok' OR coalesce(message_key IN (SELECT key FROM message WHERE outcome <> 'ok'), 0)"
    " THEN cost_usd END), count(cost_usd)"
    " FROM step WHERE kind = 'model' GROUP BY path, name ORDER BY min(id)"
)


def spend(store: Store, *, by: By = "path", held: Mapping[tuple[str, str], int]) -> pd.DataFrame:
    """One row per agent, model or supervisor (``by``) and model, with what model calls have cost; shape (n, 10).

    ``who``: the agent's path, the model's name, or the path of the supervisor whose children they are. ``calls`` Int64:
    attempts, those that failed too, without those that a budget refused: nobody was asked. ``tokens_in`` counts those
    that the provider read from its cache, ``tokens_cached``. ``cost_usd`` float64, NaN where nobody knows the price.
    ``reserved`` Int64: tokens that are held back for calls under way. ``replayed`` Int64: calls that the journal
    answered, for nothing. ``wasted_usd`` float64: of ``cost_usd`` what went for answers that nobody used: cut short,
    refused, or taken back with a step or with the whole message, which was cancelled, skipped or given up.

    Args:
        store: Where the steps are.
        by: Whose spending a row is.
        held: Tokens that are held back now, by path and model.

    Raises:
        InvalidArgument: ``by`` is none of the three.
    """
    if by not in get_args(By):
        raise InvalidArgument(f"spend: by must be one of {', '.join(get_args(By))}; got {shown(by)}", argument="by")
    found: dict[tuple[str, str], list[Any]] = {}
    for path, model, calls, took, gave, cached, cost, replayed, wasted, priced in store.select(_SUMS):
        row = found.setdefault((_who(by, path, model), model), [0, 0, 0, 0, None, 0, 0, None])
        for place, value in enumerate((calls, took, gave, cached, cost, 0, replayed, wasted if priced else None)):
            row[place] = row[place] if value is None else (row[place] or 0) + value
        if priced and row[7] is None:
            row[7] = 0.0
    for (path, model), tokens in held.items():
        found.setdefault((_who(by, path, model), model), [0, 0, 0, 0, None, 0, 0, None])[5] += tokens
    data = [(*key, *row) for key, row in found.items()]
    return frame([data] if data else [], SPEND)


def _who(by: By, path: str, model: str) -> str:
    if by == "supervisor":
        return path.rpartition("/")[0] or "/"
    return model if by == "model" else path
