"""Agents that run and that nothing has reached for yet: the books know them by one note for all, and no node has them.

They were started together (``agentlab.control.many``). Each gets an entry when it is asked for, and a node when
there is something to tell it.
"""

from __future__ import annotations

from collections.abc import Callable

from agentlab.agent.snapshot import Image
from agentlab.books.agents import Entry
from agentlab.books.below import Below
from agentlab.books.classes import Kind
from agentlab.supervision.records import Record


class Dormant:
    """What the books have of agents that were started together and were not touched since.

    It stands on the record of each (``note``), which has no entry until one is asked for.

    Attributes:
        kind: Their class.
        at: When they were started (nanoseconds since 1970).
        image: The state of those that were given no fields of their own.
    """

    __slots__ = ("at", "image", "kind")

    def __init__(self, kind: Kind, at: int, image: Image) -> None:
        self.kind = kind
        self.at = at
        self.image = image

    def image_of(self, record: Record) -> Image:
        """The state of one of them, committed as its checkpoint 0."""
        return self.kind.first(record.initial) if record.fields else self.image

    def entry(self, record: Record) -> Entry:
        """Make an entry of its own for one of these agents."""
        entry = Entry(record, self.kind)
        entry.incarnation, entry.since = 1, self.at
        for name, saved in self.image_of(record).items():
            entry.fields[name] = saved if isinstance(saved, str) else list(saved)
        if record.life is not None and record.state != "starting":
            entry.begin(record.life)
            entry.lie_down()
        return entry


class Entries(dict[str, Entry]):
    """The agents in the books, by path. A dormant one gets its entry when it is asked for, and not before.

    As a dict it holds the entries that there are.

    Attributes:
        dormant: How many agents have none.
    """

    def __init__(self, find: Callable[[str], Record | None], lives: dict[int, Entry]) -> None:
        super().__init__()
        self.dormant = 0
        self._below = Below()
        self._find = find
        self._lives = lives

    def get(self, path: str) -> Entry | None:  # type: ignore[override]  # there is no other default
        """The agent at a path; None if there is none."""
        entry = super().get(path)
        return entry if entry is not None else self.make(self._find(path))

    def put(self, entry: Entry) -> None:
        """Keep an agent's entry at its path."""
        self[entry.path] = entry
        self._below.add(entry.path)

    def remove(self, path: str) -> None:
        """Forget the entry at a path."""
        self.pop(path, None)
        self._below.remove(path)

    def below(self, path: str) -> list[Entry]:
        """The agents below a supervisor that have entries."""
        return [self[place] for place in self._below.of(path)]

    def peek(self, path: str) -> Entry | None:
        """The agent at a path, if it has an entry; any thread may look."""
        return super().get(path)

    def __missing__(self, path: str) -> Entry:
        entry = self.make(self._find(path))
        if entry is None:
            raise KeyError(path)
        return entry

    def make(self, record: Record | None) -> Entry | None:
        """Give a dormant agent its entry; None if the record is none's."""
        if record is None or record.note is None:
            return None
        note: Dormant = record.note
        entry = note.entry(record)
        if self._find(entry.path) in (None, record):
            self.put(entry)  # else its supervisor ends slowly, and its successor has such a child already
            self.dormant -= 1
        if entry.life:
            self._lives[entry.life] = entry
        record.note = None
        return entry

    def kind(self, path: str) -> Kind | None:
        """The class of the agent at a path, without an entry being made; any thread may ask."""
        known = super().get(path)
        if known is not None:
            return known.kind
        record = self._find(path)
        note = record.note if record is not None else None
        entry = self.peek(path)  # after the note, which is taken away once there is an entry
        return note.kind if note is not None else entry.kind if entry is not None else None
