"""A view that is made of named parts, each a JSON value: only parts that changed travel, of a text that grew its end.

snapshot    parts: every part by name
difference  set: parts that are new or changed · grown: what was added to the ``text`` of a part · gone: names
"""

from __future__ import annotations

from typing import Any

from agentlab.events import Change
from agentlab.ground.texts import clean
from agentlab_widgets.live import Message, Send, Teller, Watched

Parts = dict[str, Any]  # JSON


class Board:
    """What the browsers know of the parts. Pure."""

    def __init__(self) -> None:
        self.parts: Parts = {}

    def put(self, parts: Parts) -> Message | None:
        """Take all parts anew; the difference, or None if there is none."""
        old, self.parts = self.parts, parts
        changed = {name: value for name, value in parts.items() if name not in old or old[name] != value}
        grown = {name: more for name, value in changed.items() if (more := _more(old.get(name), value)) is not None}
        gone = [name for name in old if name not in parts]
        if not changed and not gone:
            return None
        said = {name: value for name, value in changed.items() if name not in grown}
        return {"t": "difference", "set": said, "grown": grown, "gone": gone}, []

    def snapshot(self) -> Message:
        """All parts."""
        return {"t": "snapshot", "parts": self.parts}, []


def _more(old: Any, new: Any) -> str | None:
    """What a part's text grew by, if nothing else of it changed."""
    if not (isinstance(old, dict) and isinstance(new, dict) and isinstance(old.get("text"), str)):
        return None
    text = new.get("text")
    if not isinstance(text, str) or not text.startswith(old["text"]) or {**old, "text": text} != new:
        return None
    return text[len(old["text"]) :]


class PartsTeller(Teller):
    """Tells of one agent, in parts.

    Args:
        lab: Where it is.
        path: Which one.
        send: Sends one message to all browsers.
    """

    def __init__(self, lab: Watched, path: str, send: Send) -> None:
        super().__init__(lab, send)
        self._path = path
        self._board = Board()

    def read(self, change: Change | None) -> Parts | None:
        """All parts as they are now; None if nothing that is shown has changed."""
        raise NotImplementedError

    def look(self, change: Change | None) -> Message | None:
        """What changed of this agent: what others do costs a look into a set."""
        parts = self.read(change)
        return None if parts is None else self._board.put(parts)

    def whole(self) -> Message:
        """All parts as they were last read."""
        return self._board.snapshot()

    def last(self) -> Message | None:
        """What was seen last stays, with the word that it is over."""
        return None

    def concerns(self, change: Change | None) -> bool:
        """Whether the agent looks different, as far as the lab says."""
        return change is None or change.paths is None or self._path in change.paths

    def head(self, *, whole: bool) -> dict[str, Any]:
        """Whose view it is."""
        return {"label": clean(self._path, 200)}
