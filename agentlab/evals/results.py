"""The frames of a run: each made from the ledger's rows and from what the lab's store says of the agents."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agentlab.evals.ledger import run_path
from agentlab.frames.columns import FLOAT, INT, TEXT, WORD, frame
from agentlab.store.database import Store

if TYPE_CHECKING:
    import pandas as pd

HEAD = {"id": TEXT, "epoch": INT, "input": TEXT, "target": TEXT, "output": TEXT}
TAIL = {
    "answer": TEXT, "explanation": TEXT, "disposition": WORD, "error": TEXT, "fault": WORD, "attempts": INT,
    "restarts": INT, "rewound": INT, "repairs": INT, "waits_s": FLOAT, "rerolled": TEXT, "turns": INT,
    "tool_calls": INT, "tokens_in": INT, "tokens_out": INT, "cost_usd": FLOAT, "wasted_usd": FLOAT,
    "latency_s": FLOAT, "path": TEXT, "worker": WORD,
}  # fmt: skip

_STEPS = """
SELECT path,
    sum(kind = 'model' AND outcome = 'ok' AND replayed = 0), sum(kind = 'tool' AND outcome = 'ok' AND replayed = 0),
    sum(kind = 'tool' AND outcome = 'failed'), sum(kind = 'model' AND outcome = 'rewound'),
    sum(tokens_in), sum(tokens_out), sum(cost_usd), sum(CASE WHEN outcome != 'ok' THEN cost_usd END)
FROM step WHERE path LIKE ? GROUP BY path
"""
_RESTARTS = "SELECT path, count(*), sum(rewound) FROM restart WHERE path LIKE ? GROUP BY path"
_WAITS = """
SELECT path, sum(gap) FROM (
    SELECT path, lag(outcome) OVER attempts AS before,
        (started_at - lag(started_at + took_s * 1e9) OVER attempts) / 1e9 AS gap
    FROM step WHERE path LIKE ? AND replayed = 0 WINDOW attempts AS (PARTITION BY message_key, step ORDER BY attempt)
) WHERE before = 'failed' GROUP BY path
"""


def deeds(store: Store, name: str) -> dict[str, dict[str, Any]]:
    """What each agent of a run did and suffered, by its path."""
    below = f"{run_path(name)}/%"
    found: dict[str, dict[str, Any]] = {}
    for path, turns, tools, repairs, again, tokens_in, tokens_out, cost, wasted in store.select(_STEPS, (below,)):
        found[path] = {
            "turns": turns, "tool_calls": tools, "repairs": repairs, "tokens_in": tokens_in, "tokens_out": tokens_out,
            "cost_usd": cost, "wasted_usd": wasted, "rerolled": bool(repairs or again),
        }  # fmt: skip
    for path, count, rewound in store.select(_RESTARTS, (below,)):
        found.setdefault(path, {}).update(restarts=count, rewound=rewound)
    for path, waited in store.select(_WAITS, (below,)):
        found.setdefault(path, {}).update(waits_s=waited)
    return found


class Lines:
    """The frame of samples: a line for each sample and epoch, made when its row is read.

    Args:
        samples: What was asked, by id.
        done: What their agents did, by path.
        names: The scorers'.
        failed: The score of one that was not scored.
    """

    def __init__(
        self, samples: Mapping[str, Mapping[str, Any]], done: Mapping[str, Mapping[str, Any]], names: Sequence[str],
        failed: float,
    ) -> None:  # fmt: skip
        self._samples, self._done, self._names, self._failed = samples, done, names, failed
        self._spec = {**HEAD, **{f"score.{name}": FLOAT for name in names}, **TAIL}

    def of(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        """The line of one row of the ledger."""
        told = _told(row, row.get("deeds") or self._done.get(row.get("path") or "", {}))
        asked = self._samples.get(row["id"], {})
        scores = {f"score.{name}": _value(row, name, self._failed) for name in self._names}
        values = {**row, **told, "input": asked.get("input"), "target": asked.get("target"), **scores}
        return tuple(values.get(name) for name in self._spec)

    def frame(self, lines: Iterable[tuple[Any, ...]]) -> pd.DataFrame:
        """The lines as a frame, in that order."""
        made = list(lines)
        found = frame([made] if made else [], self._spec)
        found["rerolled"] = found["rerolled"].astype("boolean")
        return found


def _told(row: Mapping[str, Any], done: Mapping[str, Any]) -> dict[str, Any]:
    """What is counted, and the first scorer's answer and explanation."""
    counts = dict.fromkeys(("restarts", "rewound", "repairs", "turns", "tool_calls", "tokens_in", "tokens_out"), 0)
    ran = row.get("ended") is not None
    first: Mapping[str, Any] = next(iter((row.get("scores") or {}).values()), {})
    latency = row["ended"] - row["began"] if ran else math.nan
    return {
        **(counts if ran else {}), **({"rerolled": False, "waits_s": 0.0} if ran else {}),
        **{name: value for name, value in done.items() if value is not None}, "latency_s": latency,
        "answer": first.get("answer"), "explanation": first.get("explanation"),
    }  # fmt: skip


def _value(row: Mapping[str, Any], name: str, failed: float) -> float:
    if row["disposition"] in (None, "stopped"):
        return math.nan
    if row["disposition"] != "scored":
        return failed
    return float(row["scores"][name]["value"])


def reduced_frame(frame_: pd.DataFrame, names: Sequence[str], reduce: Any) -> pd.DataFrame:
    """One row per sample: the reduced score, its spread over the epochs, and whether any answer was drawn again."""
    import pandas as pd

    ids = frame_["id"].astype(object)
    order = pd.Index(ids).unique()
    made: dict[str, Any] = {"id": list(order), "epochs": ids.value_counts(sort=False).reindex(order).tolist()}
    for name in names:
        values = _by_id(order, ids, frame_[f"score.{name}"])
        made[f"score.{name}"] = [reduce(some) if some else math.nan for some in values]
        made[f"spread.{name}"] = [_spread(some) for some in values]
    again = set(ids[frame_["rerolled"].fillna(value=False).astype(bool)])
    made["rerolled"] = [id_ in again for id_ in order]
    columns = ["id", "epochs", *(f"{part}.{name}" for name in names for part in ("score", "spread")), "rerolled"]
    return pd.DataFrame(made, columns=columns)


def _spread(values: Sequence[float]) -> float:
    if not values:
        return math.nan
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))


def _by_id(order: Iterable[str], ids: Iterable[str], values: pd.Series[float]) -> list[list[float]]:
    """The values of each sample that has any, in the order of the samples: a frame of each would take for ever."""
    found: dict[str, list[float]] = {id_: [] for id_ in order}
    for id_, value in zip(ids, values.tolist(), strict=True):
        if not math.isnan(value):
            found[id_].append(value)
    return list(found.values())
