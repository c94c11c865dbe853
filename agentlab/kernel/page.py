"""What one turn of the loop wrote so far: ``EventLog``, ``MessageLog`` and ``ChildLog`` write, ``Ledger`` commits."""

from __future__ import annotations

from agentlab.books.agents import Entry, Undo
from agentlab.books.messages import Message
from agentlab.events import Event
from agentlab.kernel.bulk import Facts
from agentlab.store.batch import Batch
from agentlab.store.database import Store


class Outcome:
    """What one message did: where it stands in the turn, and what takes it back."""

    __slots__ = ("after", "before", "entry", "message", "rows", "sent", "seq", "timers")

    def __init__(self, entry: Entry, message: Message, seq: int, row: int, after: int) -> None:
        self.entry = entry
        self.message = message
        self.seq = seq
        self.rows = slice(row, row)
        self.after = slice(after, after)
        self.before: list[Undo] = []
        self.sent: list[tuple[str, Message]] = []  # casts: to whom, and what
        self.timers: list[int] = []


class Page:
    """What is not committed, and what is not told.

    Attributes:
        store: Where it will be.
        durable: The store is a file.
        closing: The lab ends; its tree does not, and is brought back as it was.
        batch: The rows.
        events: The events, of which the hub hears.
        touched: Places of the tree that look different.
        outcome: The message that is being written down; None between two of them.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.durable = store.path is not None
        self.closing = False
        self.batch = Batch()
        self.events: list[Event | Facts] = []
        self.touched: set[str] = set()
        self.outcome: Outcome | None = None
