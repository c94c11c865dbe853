"""What a plan of chaos does inside a node: while one is on, each message and each step asks the kernel what strikes it.

The kernel carries out what ends lives, by not answering. What is left for here: a wait, a spoilt result, a lost answer.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from agentlab.errors import IncompleteStream
from agentlab.faults import fault
from agentlab.node.replay import Claim
from agentlab.node.resident import Resident
from agentlab.wire.blows import Blow, unpacked

SPOILT = "\ufffd\ufffd\ufffd"
"""What stands where a result was spoilt."""


async def meet_message(resident: Resident, method: str) -> None:
    """A message is about to be handled: wait if it is struck by that; if by more, this never returns."""
    assert resident.key is not None
    for blow in await _ask(resident, resident.key, 0, "message", method):
        await asyncio.sleep(blow.seconds)


async def meet_step(resident: Resident, found: Claim, work: Callable[[], Any]) -> Callable[[], Any]:
    """A step is about to begin: its effect, with what strikes its first attempt."""
    kind, name, *_ = found.mark
    blows = await _ask(resident, found.key, found.number, kind, name)
    if not blows:
        return work
    left = list(blows)

    async def struck() -> Any:
        now = left.copy()
        left.clear()  # the next attempt is not struck
        await asyncio.sleep(sum(blow.seconds for blow in now))
        value = work()
        if inspect.isawaitable(value):
            value = await value
        for blow in now:
            value = _strike(blow, value)
        return value

    return struck


async def _ask(resident: Resident, key: int, number: int, kind: str, name: str) -> list[Blow]:
    host = resident.host
    answer = host.put(
        lambda life, ticket: host.say.meets(
            placement=resident.life, ticket=ticket, key=key, number=number, kind=kind, name=name
        )
    )
    return unpacked(await answer)


def _strike(blow: Blow, value: Any) -> Any:
    if blow.strike == "corrupt":
        return spoil(value)
    if blow.strike == "cut_stream":
        raise _cut(value)
    return value


def _cut(reply: Any) -> IncompleteStream:
    """The error for an answer whose last event was lost: it was paid for, and nobody has it."""
    blocks = reply.get("content") or [] if isinstance(reply, dict) else []
    text = "".join(str(block.get("text", "")) for block in blocks if isinstance(block, dict))
    usage = reply.get("usage") if isinstance(reply, dict) else None
    return IncompleteStream(
        "The model's answer is not whole: a plan of chaos cut its stream before the last event. Nothing of it was "
        "used; the call may be made again.",
        fault("cut_stream"), kind="cut", bytes=len(text.encode()), partial_text=text,
        usage_lower_bound=dict(usage) if isinstance(usage, dict) else {},
    )  # fmt: skip


def spoil(value: Any) -> Any:
    """A result as a broken tool might give it: of the same type where that can be, and never the same."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return -value - 1
    if isinstance(value, str):
        return value[: len(value) // 2] + SPOILT
    if isinstance(value, list | tuple) and value:
        made = [*value[: len(value) // 2], spoil(value[len(value) // 2])]
        return made if isinstance(value, list) else tuple(made)
    if isinstance(value, dict) and value:
        *rest, last = value.items()
        return {**dict(rest), last[0]: spoil(last[1])}
    return SPOILT
