"""Tools that wait for a person: what is waited for, and the person's word."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from agentlab.books.agents import Entry
from agentlab.books.journal import Step
from agentlab.control.children import entry_at
from agentlab.errors import StepFailed
from agentlab.ground.given import shown
from agentlab.kernel.runtime import Runtime
from agentlab.wire.packing import pack


def approvals(runtime: Runtime, path: str) -> list[dict[str, Any]]:
    """Calls of tools of the message in hand that a person has not allowed or refused yet."""
    return [row_of(step, entry_at(runtime, path).pending[0].method) for step in waiting(entry_at(runtime, path))]


def all_approvals(runtime: Runtime) -> list[tuple[Any, ...]]:
    """Rows of all calls of a lab that wait for a person, oldest first, as ``frames.approvals`` takes them."""
    found = [
        (step.began, entry.path, step.number, step.name, step.said, entry.pending[0].method)
        for entry in runtime.desk.entries.values()
        for step in waiting(entry)
    ]
    return [(*rest, began) for began, *rest in sorted(found)]


def row_of(step: Step, method: str) -> dict[str, Any]:
    """What a person is shown of it."""
    since = datetime.fromtimestamp(step.began / 1e9, UTC)
    return {"step": step.number, "tool": step.name, "input": step.said, "message": method, "since": since}


def waiting(entry: Entry) -> list[Step]:
    """The steps of the message in hand that wait for a person."""
    journal = entry.pending[0].journal if entry.pending else None
    return [] if journal is None else journal.approvals


def first_asked(entry: Entry) -> tuple[int, str] | None:
    """The oldest call that waits for a person: its step, and how one would write it."""
    found = waiting(entry)
    return (found[0].number, called(found[0])) if found else None


def approve(runtime: Runtime, path: str, step: int | str, yes: bool) -> None:  # as it is asked
    """A person's word: the tool runs, or the model is told that it was refused."""
    entry = entry_at(runtime, path)
    found = [each for each in waiting(entry) if step in (each.number, each.name)]
    if len(found) != 1:
        names = ", ".join(f"{each.number} ({each.name})" for each in waiting(entry)) or "nothing"
        raise StepFailed(
            f"approve: {shown(step)} names no single step of {path!r} that waits for a person; what waits: {names}."
        )
    message, asked = entry.pending[0], found[0]
    runtime.desk.ledger.events.note_event("approved" if yes else "not_approved", path, detail=called(asked))
    word = pack(bool(yes), "a person's word", keep=None if runtime.desk.ledger.durable else False)
    gave = "allowed by a person" if yes else "refused by a person"
    if runtime.steps.answer_act((message.key, asked.number), word, gave):
        return
    asked.finished, asked.result = True, word  # nobody asks just now: the next life will, and is answered
    took = (time.time_ns() - asked.began) / 1e9
    runtime.desk.ledger.messages.note_step(entry, message, asked, "ok", took, word, asked.said, gave)
    runtime.desk.settle(entry)


def called(step: Step) -> str:
    """A call in a line: ``pay({'amount': 5})``."""
    return f"{step.name}({step.said})"
