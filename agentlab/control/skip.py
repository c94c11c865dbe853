"""The message in hand is ended for good: ``ref.skip()``, the way out of a message that no death ends.

A death from outside is not charged to the message that it interrupts, so the next life begins it again. This
ends the message first: its handler is interrupted as by ``Reply.cancel``, and the agent lives on. Code that does not
let go (it catches the interrupt, or is C code) loses its life: the agent goes on in another, uncounted.
"""

from __future__ import annotations

from agentlab.books.agents import Entry
from agentlab.books.messages import Message
from agentlab.control.agents import go_on
from agentlab.control.children import entry_at
from agentlab.errors import NotRunning
from agentlab.exits import has_diverged
from agentlab.kernel.failures import SKIPPED
from agentlab.kernel.lives import FENCE_SECONDS
from agentlab.kernel.runtime import Runtime

PATIENCE_SECONDS = 1.0
"""So long a handler may take to let go of its message, before its life ends; and a node to begin the next one."""

AGAIN_SECONDS = 0.02
"""How soon a node is asked again that has not begun what waits there."""


async def skip(runtime: Runtime, path: str) -> None:
    """End the message in hand; returns when that is committed."""
    entry = entry_at(runtime, path)
    message = runtime.mail.in_hand(entry) or await _held(runtime, entry)
    if message is None:
        waiting = f"; {len(entry.pending)} wait" if entry.pending else ""
        raise NotRunning(
            f"skip: {path!r} has no message in hand{waiting}. Look: ref.info(). "
            "A message that waits is taken back by reply.cancel()."
        )
    waits = entry.doubt is not None or message.parked is not None or has_diverged(entry.reason)
    parked_for_it = not entry.life and waits
    runtime.mail.take_back(entry, message, SKIPPED)
    await _ended(runtime, entry, message)
    if parked_for_it:
        await go_on(runtime, entry)


async def _held(runtime: Runtime, entry: Entry) -> Message | None:
    """The message of which no word has come yet: it has only just begun, is about to, or C code holds the node."""
    end = runtime.now() + PATIENCE_SECONDS
    await runtime.desk.changes.until(lambda: not (entry.pending and entry.is_coming_up), entry.path, end)
    while entry.pending and entry.handles_messages:
        key = await _key_in_hand(runtime, entry)
        held = runtime.mail.in_hand(entry) or next((m for m in entry.pending if m.key == key), None)
        if held is not None or runtime.now() >= end:
            return held
        await runtime.desk.changes.at(entry.path, AGAIN_SECONDS)
    return None


async def _key_in_hand(runtime: Runtime, entry: Entry) -> int:
    """The key of the message in hand: as its node says, or, while code of the agent holds that, the node's word."""
    key: int | None = await runtime.placing.ask(
        entry, lambda node, ticket: node.held(placement=entry.place, ticket=ticket), timeout=FENCE_SECONDS
    )
    if key is not None:
        return key
    node = runtime.desk.pool.nodes.get(entry.node) if entry.node is not None else None
    return node.word.key_of(entry.place) if node is not None else 0


async def _ended(runtime: Runtime, entry: Entry, message: Message) -> None:
    """Wait until nothing of the message shows; a life that does not let go of it is ended."""
    end = runtime.now() + PATIENCE_SECONDS
    if not await runtime.desk.changes.until(lambda: message not in entry.pending, entry.path, end):
        while message in entry.pending:
            runtime.lives.leave_message(entry)
            await runtime.desk.changes.at(entry.path)
    runtime.flush()
