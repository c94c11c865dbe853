"""What plans of chaos have struck, from the events that say so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agentlab.frames.columns import FLOAT, INT, TEXT, TIME, WORD, frame
from agentlab.store.database import Store
from agentlab.wire.blows import read_where

if TYPE_CHECKING:
    import pandas as pd

STRIKES = {
    "seq": INT, "at": TIME, "strike": WORD, "path": WORD, "incarnation": INT, "node": INT, "message_seq": INT,
    "step": INT, "name": TEXT, "seconds": FLOAT,
}  # fmt: skip


def chaos_log(store: Store) -> pd.DataFrame:
    """One row per strike of a plan of chaos, oldest first; shape (n, 10).

    ``strike``: ``kill``, ``kill_node``, ``stall``, ``corrupt``, ``cut_stream``, ``slow_disk``. ``path``,
    ``message_seq`` and ``step`` are those of ``lab.steps()``; ``step`` 0: before the message itself. ``name``: the
    method's, the tool's or the function's. ``seconds``: how long it took, NaN for what takes no time. ``seq``: the
    event's.
    """
    rows = store.select(
        "SELECT seq, at, reason, path, incarnation, node, detail, took_s FROM event WHERE kind = 'struck' ORDER BY seq"
    )
    found = []
    for seq, at, strike, path, incarnation, node, detail, took in rows:
        message, step, name = read_where(detail or "")
        found.append((seq, at, strike, path, incarnation, node, message, step, name, took))
    return frame([found], STRIKES)
