"""One agent as it is now, for who looks at it closely: what the books know, taken in one go and without its node."""

from __future__ import annotations

from itertools import islice
from typing import Any, NamedTuple

from agentlab.agent.snapshot import Image
from agentlab.books.agents import Entry
from agentlab.books.messages import Message
from agentlab.control.children import record_status
from agentlab.exits import reason_text
from agentlab.kernel.runtime import Runtime

MOST = 50
"""So many waiting messages, links and monitors are told; the others are counted."""

LINES = 200
"""Lines of the log that are told."""

ITEMS = 200
"""Items of a transcript that are told, the newest."""


class StepNow(NamedTuple):
    """A step of the message in hand that the journal holds. ``began``: ns since 1970."""

    number: int
    kind: str
    name: str
    began: int
    finished: bool
    once: bool
    said: str


class Letter(NamedTuple):
    """A message that waits or is in hand. Times are ns since 1970; ``begun`` is 0 before its handler began."""

    key: int
    method: str
    sender: str
    sent_at: int
    begun: int
    deliveries: int
    steps: list[StepNow]
    parked: str


class Seen(NamedTuple):
    """One agent.

    ``image``: its committed state as JSON texts, of a transcript the newest items; ``lengths``: how many there are.
    """

    path: str
    cls: str
    status: str
    incarnation: int
    restarts: int
    node: int | None
    reason: str
    since: int
    handled: int
    seq: int
    image: Image
    lengths: dict[str, int]
    waiting: list[Letter]
    mailbox: int
    log: list[str]
    links: list[str]
    monitors: list[str]

    @property
    def in_hand(self) -> Letter | None:
        """The message that is handled, or that the next life begins again."""
        first = self.waiting[0] if self.waiting else None
        return first if first is not None and (first.begun or first.steps) else None


def look(runtime: Runtime, path: str) -> Seen | None:
    """The agent at a path; None if none is there."""
    entry = runtime.desk.entries.get(path)
    if entry is not None:
        return _seen(runtime, entry)
    place = runtime.desk.waiting.below(path)
    if place is not None and place.strategy is None:
        image = runtime.desk.ledger.store.state(path)
        told = (place.cls_name, "parked", place.past[0], place.past[1], None, place.why or "", runtime.began, 0)
        return Seen(path, *told, place.past[2], *_newest(image), [], 0, [], [], [])
    record = runtime.desk.tree.find(path)
    if record is None or record.is_supervisor:
        return None
    what: Any = record.spec.what
    return Seen(path, what.__name__, record_status(record), 1, 0, None, "", 0, 0, 0, {}, {}, [], 0, [], [], [])


def _seen(runtime: Runtime, entry: Entry) -> Seen:
    links = runtime.signals.links
    image, lengths = _newest(entry.image())
    letters = [_letter(runtime, message) for message in islice(entry.pending, MOST)]
    reason = reason_text(entry.reason) if entry.reason is not None else ""
    return Seen(
        entry.path, entry.kind.name, runtime.desk.status(entry), entry.incarnation, entry.restarts, entry.node, reason,
        entry.since, entry.handled, entry.seq, image, lengths, letters,
        len(entry.pending), list(entry.log or ())[-LINES:], _paths(runtime, links.linked(entry.life)),
        _paths(runtime, links.watched(entry.life)),
    )  # fmt: skip


def _newest(image: Image) -> tuple[Image, dict[str, int]]:
    """The newest items of transcripts, as lists of one's own: the books' grow; and how many there are in all."""
    lengths = {name: len(saved) for name, saved in image.items() if isinstance(saved, list)}
    return {name: saved[-ITEMS:] if isinstance(saved, list) else saved for name, saved in image.items()}, lengths


def _letter(runtime: Runtime, message: Message) -> Letter:
    journal, given = message.journal, runtime.steps._given
    steps = [
        StepNow(
            step.number,
            str(step.mark[0]),
            step.name,
            step.began,
            step.finished,
            step.once,
            given.get((message.key, step.number)) or step.said,
        )
        for step in (islice(journal.steps.values(), 500) if journal is not None else ())
    ]
    return Letter(
        message.key, message.method, message.sender, message.sent_at, message.begun, message.deliveries, steps,
        str(message.parked) if message.parked is not None else "",
    )  # fmt: skip


def _paths(runtime: Runtime, lives: frozenset[int]) -> list[str]:
    """Where these lives are."""
    known = runtime.desk.lives
    return [known[life].path if life in known else "a supervisor" for life in islice(sorted(lives), MOST)]
