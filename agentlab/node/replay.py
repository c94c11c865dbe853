"""The journal of the message in hand, as its node sees it: what finished before answers for itself.

A step is matched by its kind, its name, its arguments and how often that has occurred so far, so steps that
run in parallel match too, whatever their order. Pure: no clock, no I/O.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

from agentlab.wire.frames import KeptFault, KeptStep, Mark
from agentlab.wire.packing import is_plain, stored

APPROVAL = "approval"
"""The kind of the step in which a tool waits for a person."""

REACHES = frozenset({"call", "start", "publish", "control", APPROVAL})
"""Kinds of steps that others have seen: agents that were called, a lab that was changed, a person who was asked."""


class Kept(NamedTuple):
    """A step that an earlier delivery began; ``outcome`` is ``"ok"``, or None if it did not finish."""

    number: int
    mark: Mark
    once: bool
    outcome: str | None
    result: bytes | None


class Claim(NamedTuple):
    """A step that the handler asked for: its place in the journal, and what is kept of it."""

    key: int
    number: int
    mark: Mark
    kept: Kept | None  # what an earlier delivery left of it, finished or not

    @property
    def is_done(self) -> bool:
        """Whether the journal answers for it."""
        return self.kept is not None and self.kept.outcome == "ok"


class Journal:
    """What earlier deliveries of a message left, and what this one has asked for so far."""

    __slots__ = ("_answered", "_faults", "_kept", "_last", "_seen")

    def __init__(self, kept: list[KeptStep], faults: list[KeptFault]) -> None:
        self._kept: dict[Mark, Kept] = {}
        self._last = 0
        if kept:  # it is delivered again
            self._kept = {step.mark: step for step in (Kept(*parts) for parts in kept)}
            self._last = max(step.number for step in self._kept.values())
        self._seen: dict[tuple[str, str, str], int] = {}
        self._answered: list[str] = []
        self._faults = faults

    def next(self, kind: str, name: str, digest: str) -> tuple[int, Mark, Kept | None]:
        """The number and the mark of the step that is asked for, and what an earlier delivery left of it."""
        seen = (kind, name, digest)
        before = self._seen.get(seen, 0)
        mark = (*seen, before)
        self._seen[seen] = before + 1
        kept = self._kept.pop(mark, None)
        if kept is not None:
            if kept.outcome == "ok":
                self._answered.append(label(mark) + "\n")
            return kept.number, mark, kept
        self._last += 1
        return self._last, mark, None

    def note_fault(self, mark: Mark, kind: str) -> int:
        """An attempt at a step has failed of this kind of fault; how often one has, over all deliveries."""
        known = {(mark, kind): count for mark, kind, count in self._faults}
        count = known[mark, kind] = known.get((mark, kind), 0) + 1
        self._faults = [(mark, kind, count) for (mark, kind), count in known.items()]
        return count

    @property
    def left(self) -> list[Kept]:
        """Finished steps that this delivery has not asked for (yet); what a step does inside belongs to that step."""
        inside = tuple(self._answered)
        return [s for s in self._kept.values() if s.outcome == "ok" and not s.mark[2].startswith(inside)]

    @property
    def lost(self) -> list[str]:
        """The names of those among them that cannot be taken back."""
        if not self._kept:
            return []
        return [step.mark[1] for step in self.left if step.once or step.mark[0] == "call"]


def label(mark: Mark) -> str:
    """A step as the steps inside it know it; begins with that of the step around it, if there is one."""
    kind, name, digest, seen = mark
    return f"{digest} {kind} {name} {seen}"


NO_STEPS = Journal([], [])
"""The journal while no message is in hand."""


def digest_of(args: Any) -> str:
    """A short text that is equal for equal arguments."""
    text = repr(args).encode() if is_plain(args) else stored(args)
    return hashlib.blake2b(text, digest_size=12).hexdigest()
