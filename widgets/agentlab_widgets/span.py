"""The frames of a lab as far as they are of one span of time: what charts draw while somebody has brushed it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentlab.looks import BREAKER

if TYPE_CHECKING:
    import pandas as pd

ENDS = ("crashed", "killed", "linked_exit", "exited", "stopped")
"""Events that end a life."""


class Span:
    """The frames of a lab between two moments, each read once.

    What began before and still was has its beginning at the first moment, and lasts to the last one if nothing ends it:
    lives, and the states of breakers. What models have cost is of the whole lab: its frame has no times.

    Args:
        lab: A lab, or a stored one.
        since: The first moment, ns since 1970; None: from the beginning.
        until: The last moment.

    Attributes:
        when: When there is nothing, as a chart says it.
    """

    def __init__(self, lab: Any, since: int | None = None, until: int | None = None) -> None:
        import pandas as pd

        self._lab = lab
        self._since, self._until = (None if at is None else pd.Timestamp(at, tz="UTC") for at in (since, until))
        self._read: dict[str, pd.DataFrame] = {}
        self._events = 0
        self.when = "yet" if since is None else "in this span"

    def restarts(self) -> pd.DataFrame:
        """Agents that came back in it."""
        return self._frame("restarts", "at", "at")

    def messages(self) -> pd.DataFrame:
        """Messages that waited or were handled in it, whole."""
        return self._frame("messages", "sent_at", "ended_at")

    def steps(self) -> pd.DataFrame:
        """Attempts that began in it."""
        return self._frame("steps", "started_at", "started_at")

    def spend(self) -> pd.DataFrame:
        """What model calls have cost, of the whole lab."""
        return self._frame("spend", "", "")

    def events(self) -> pd.DataFrame:
        """What happened in it, after what was so already."""
        import pandas as pd

        if "events" in self._read:
            return self._read["events"]
        whole = self._lab.events()
        found = self._within(whole, "at", "at")
        self._events = len(found)
        if self._since is not None and self._until is not None and len(whole):
            before = whole[whole["at"] < self._since]
            lives = before[before["kind"].isin(["started", *ENDS])].drop_duplicates("path", keep="last")
            states = before[before["kind"].isin(list(BREAKER))].drop_duplicates("reason", keep="last")
            so_already = pd.concat([lives[lives["kind"] == "started"], states]).sort_values("seq")
            found = pd.concat([so_already.assign(at=self._since), found], ignore_index=True)
            # No chart draws an event of this kind: it is the moment until which lasts what nothing has ended.
            last = max(self._since, min(self._until, pd.Timestamp.now(tz="UTC")))
            found = pd.concat([found, found.tail(1).assign(at=last, kind="")], ignore_index=True)
        self._read["events"] = found
        return found

    def is_quiet(self) -> bool:
        """Whether it has no event at all."""
        self.events()
        return self._events == 0

    def _frame(self, name: str, begins: str, ends: str) -> pd.DataFrame:
        if name not in self._read:
            self._read[name] = self._within(getattr(self._lab, name)(), begins, ends)
        return self._read[name]

    def _within(self, frame: pd.DataFrame, begins: str, ends: str) -> pd.DataFrame:
        if self._since is None or not begins or frame.empty:
            return frame
        over = frame[ends].isna() | (frame[ends] >= self._since)
        return frame[over & (frame[begins] <= self._until)]
