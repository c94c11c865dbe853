"""Messages in the books, from the moment that one is accepted to the commit of its outcome."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from agentlab.books.journal import Journal
from agentlab.exits import Crash, reason_text
from agentlab.ref.link import Said
from agentlab.wire.frames import Asker


class Answer(Protocol):
    """Takes the packed result of a call, or the error that ended it."""

    def __call__(self, value: bytes | None, error: BaseException | None = None, /) -> None:
        """It is there."""


Hears = Callable[[Said, int, str], None]
"""Hears what a handler says while it runs: what kind of thing, the placement of its life, the text."""


class Parked(NamedTuple):
    """For what fault a message waits: the rule of the table that it met, and what was raised."""

    why: str
    cause: Crash

    def __str__(self) -> str:
        return f"{self.why}: {reason_text(self.cause)}"


class Pause:
    """How long a message has waited for what nobody can hurry; its callers' deadlines move by that.

    Attributes:
        reasons: What it waits for now: steps of its own by number, and calls of its own by its key and their steps.
    """

    __slots__ = ("_since", "_total", "reasons")

    def __init__(self) -> None:
        self.reasons: set[int | Asker] = set()
        self._since = 0.0
        self._total = 0.0

    def add(self, why: int | Asker, now: float) -> None:
        """It waits for one thing more."""
        self._since = self._since if self.reasons else now
        self.reasons.add(why)

    def discard(self, why: int | Asker, now: float) -> None:
        """It waits for one thing less."""
        self.reasons.discard(why)
        if not self.reasons:
            self._total += now - self._since

    def seconds(self, now: float) -> float:
        """How long it has waited in all."""
        return self._total + (now - self._since if self.reasons else 0.0)


class Message:
    """One message from the moment it was accepted to the commit of its outcome."""

    __slots__ = (
        "answer", "asker", "begun", "deliveries", "hears", "journal", "key", "kept", "method", "origin", "parked",
        "pause", "payload", "place", "redeliver", "seed", "sender", "sent_at", "step", "tried", "withdrawn",
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
        self.hears: Hears | None = None  # who listens to what its handler emits
        self.sent_at = time.time_ns()
        self.begun = 0
        self.step: str | None = None
        self.journal: Journal | None = None  # once it has steps
        self.origin = origin  # of a call by an agent: its message, and the step there
        self.kept = False  # whether the store has it
        self.seed: str | None = None  # of its chance, where that is not its own
        self.asker: int | None = None  # of a call within a node: the placement that may have seen its answer already
        self.pause: Pause | None = None  # once it has waited
        self.parked: Parked | None = None  # a fault that no restart mends: it waits with its agent for a person
        self.tried = False  # a life that is over had it in hand
        self.withdrawn = ""  # the outcome, once a person or a caller has ended it: its node has not said so yet


class _Nothing(deque[Message]):
    """The mailbox of every agent without a message: an empty one each would take more than all the rest of an entry."""

    def append(self, message: Message) -> None:
        raise TypeError("this mailbox is shared by all agents; Entry.accept gives the agent its own")


NOTHING = _Nothing()
