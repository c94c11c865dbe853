"""Messages in the books, from the moment that one is accepted to the commit of its outcome."""

from __future__ import annotations

import time
from collections import deque
from typing import NamedTuple, Protocol

from agentlab.books.journal import Journal
from agentlab.exits import Crash, reason_text
from agentlab.wire.frames import Asker


class Answer(Protocol):
    """Takes the packed result of a call, or the error that ended it."""

    def __call__(self, value: bytes | None, error: BaseException | None = None, /) -> None:
        """It is there."""


class Parked(NamedTuple):
    """For what fault a message waits: the rule of the table that it met, and what was raised."""

    why: str
    cause: Crash

    def __str__(self) -> str:
        return f"{self.why}: {reason_text(self.cause)}"


class Message:
    """One message from the moment it was accepted to the commit of its outcome."""

    __slots__ = (
        "answer", "asker", "begun", "deliveries", "journal", "key", "kept", "method", "origin", "parked", "payload",
        "place", "redeliver", "seed", "sender", "sent_at", "step", "tried", "withdrawn",
    )  # fmt: skip

    def __init__(
        self, key: int, method: str, payload: bytes, sender: str, answer: Answer | None, *, redeliver: bool = True,
        origin: Asker | None = None,
    ) -> None:  # fmt: skip
        self.key = self.place = key  # the place: before whom it is handled; keys come in the order of acceptance
        self.method = method
        self.payload = payload
        self.sender = sender
        self.answer = answer
        self.redeliver = redeliver
        self.deliveries = 0
        self.sent_at = time.time_ns()
        self.begun = 0
        self.step: str | None = None
        self.journal: Journal | None = None  # once it has steps
        self.origin = origin  # of a call by an agent: its message, and the step there
        self.kept = False  # whether the store has it
        self.seed: str | None = None  # of its chance, where that is not its own
        self.asker: int | None = None  # of a call within a node: the placement that may have seen its answer already
        self.parked: Parked | None = None  # a fault that no restart mends: it waits with its agent for a person
        self.tried = False  # a life that is over had it in hand
        self.withdrawn = ""  # the outcome, once a person or a caller has ended it: its node has not said so yet


class _Nothing(deque[Message]):
    """The mailbox of every agent without a message: an empty one each would take more than all the rest of an entry."""

    def append(self, message: Message) -> None:
        raise TypeError("this mailbox is shared by all agents; Entry.accept gives the agent its own")


NOTHING = _Nothing()
