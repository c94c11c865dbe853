"""From moments to spans of time: what each thing was, from one of its events to its next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from agentlab.errors import InvalidArgument

if TYPE_CHECKING:
    import pandas as pd


def spans(events: pd.DataFrame, words: Mapping[str, str]) -> pd.DataFrame:
    """One row per span, in seconds since the first began: ``name``, ``state``, ``why``, ``start``, ``end``.

    Args:
        events: Has ``kind``, ``at``, ``reason`` (whose state it is) and ``detail`` (why), in the order of time.
        words: What state begins with which kind of event; others begin none. The last lasts to the last event.

    Raises:
        InvalidArgument: ``at`` holds no times.
    """
    import pandas as pd

    found = events[events["kind"].isin(list(words))] if len(events) else events
    if found.empty:
        return pd.DataFrame()
    starts, last = seconds_since(found["at"], events["at"])
    states = [words[kind] for kind in found["kind"]]
    rows = pd.DataFrame({"name": found["reason"].astype(str), "state": states, "why": found["detail"], "start": starts})
    return rows.assign(end=rows.groupby("name")["start"].shift(-1).fillna(last))


def seconds_since(times: pd.Series[Any], all_times: pd.Series[Any]) -> tuple[pd.Series[Any], float]:
    """Moments as seconds since the first of them, and so many until the last of all.

    Raises:
        InvalidArgument: They are no times.
    """
    try:
        first = times.min()
        return (times - first).dt.total_seconds(), (all_times.max() - first).total_seconds()
    except (AttributeError, TypeError) as error:
        raise InvalidArgument(f"column 'at' of the frame to draw must hold times: {error}", argument="at") from None
