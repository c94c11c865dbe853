"""Steps as nodes report them: journaled in the books and the ledger, acknowledged after the commit."""

from __future__ import annotations

from typing import Any

from agentlab._books import Entry, Message
from agentlab._desk import Desk
from agentlab._journal import Journal, Step
from agentlab._pool import Node


class Steps:
    """The journals of the messages in hand."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._given: dict[tuple[int, int], str] = {}  # what running steps were given, by message and number

    def on_step(  # noqa: PLR0917 - a frame, in the order of its parts
        self, node: Node, place: int, key: int, number: int, mark: tuple[Any, ...], once: bool, at: int, given: str
    ) -> None:
        """A step begins."""
        found = self._in_hand(place, key)
        if found is None:
            self._desk.noted(node)
            return
        entry, message = found
        if message.journal is None:
            message.journal = Journal()
            self._desk.ledger.kept(entry, message)
        step = message.journal.begin(number, mark, once, at)
        message.step = step.name
        self._given[key, number] = given
        self._desk.ledger.step_began(message, step)
        self._desk.ledger.touch(entry.path)
        self._desk.noted(node)

    def on_stepped(  # noqa: PLR0917 - a frame, in the order of its parts
        self, node: Node, place: int, key: int, number: int, outcome: str, took: float, result: bytes | None, gave: str
    ) -> None:
        """A step ends."""
        self.on_called(node, place, key, number, outcome, took, result, gave)
        self._desk.noted(node)

    def on_called(  # noqa: PLR0917 - a frame, in the order of its parts
        self, node: Node, place: int, key: int, number: int, outcome: str, took: float, result: bytes | None, gave: str
    ) -> None:
        """A call was answered: a step that ends, and nobody waits for that to be committed."""
        given = self._given.pop((key, number), "")
        found = self._in_hand(place, key)
        step = found[1].journal.steps.get(number) if found is not None and found[1].journal is not None else None
        if found is None or step is None:
            return
        entry, message = found
        assert message.journal is not None
        # A once step that raised may have happened, and a call may still be under way: it keeps its key.
        if result is not None or not (step.once or step.is_call):
            message.journal.end(number, result)
        message.step = None
        self._desk.ledger.step_ended(entry, message, step, outcome, took, result, given, gave)
        self._desk.ledger.touch(entry.path)

    def on_replayed(  # noqa: PLR0917 - a frame, in the order of its parts
        self, node: Node, place: int, key: int, number: int, mark: tuple[Any, ...], given: str, gave: str
    ) -> None:
        """The journal answered for a step that an earlier delivery finished."""
        found = self._in_hand(place, key)
        if found is not None:
            entry, message = found
            step = Step(number, mark, False, message.begun)
            self._desk.ledger.step_ended(entry, message, step, "ok", 0.0, None, given, gave, replayed=True)

    def on_diverged(self, node: Node, place: int, key: int, name: str) -> None:
        """A handler that is delivered again asks for something else than before."""
        found = self._in_hand(place, key)
        if found is not None:
            self._desk.ledger.event("diverged", found[0].path, detail=f"{found[1].method} asked for {name}")

    def _in_hand(self, place: int, key: int) -> tuple[Entry, Message] | None:
        entry = self._desk.placed.get(place)
        if entry is None or not entry.pending or entry.pending[0].key != key:
            return None
        return entry, entry.pending[0]
