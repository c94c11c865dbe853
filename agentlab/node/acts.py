"""What an agent asks of its lab. In a handler it is a step, which the kernel carries out once for each message.

It is asked at once, and awaited by who wants the answer. The kernel writes down that it began and how it ended,
so a message that is delivered again is answered by the journal, or joins what is still under way. Outside a
message (``on_start``, ``on_stop``) it just happens.

What ties this life to others (kind ``link``: links, monitors, subscriptions) ends with the life, or is the same
when it is done twice: each delivery does it again.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import Any

from agentlab.node.home import Home
from agentlab.node.resident import Died, current
from agentlab.node.steps import answered, claim, given_text
from agentlab.ref.inside import Answer
from agentlab.wire.exceptions import Refused
from agentlab.wire.packing import unpack


def act(host: Home, kind: str, name: str, given: tuple[Any, ...], op: str, *parts: Any, asked: str) -> Answer[Any]:
    """Ask the kernel for something: now, and awaited if wanted.

    Args:
        host: The node's host.
        kind: What kind of step it is.
        name: Its name as a step.
        given: What it is given, as the handler gave it.
        op: The kernel's word for it.
        parts: What the kernel needs, as it travels.
        asked: How an agent writes it.
    """
    resident = current.get()
    if resident is not None and resident.ending is not None:
        raise Died(resident.ending)  # what is left of a life that was ended changes nothing any more
    if resident is None or resident.key is None:
        return host.answer(_unpacked(host, host.ask_now(op, *parts)), asked)
    found = claim(resident, kind, name, given)
    text = given_text(given, {})
    if found.is_done and kind != "link":
        return host.answer(_at_hand(answered(resident, found, text)), asked)

    def ask(life: int, ticket: int) -> None:
        host.say.act(
            placement=life, ticket=ticket, key=found.key, number=found.number, mark=found.mark, at=time.time_ns(),
            given=text, op=op, args=parts,
        )  # fmt: skip

    return host.answer(_unpacked(host, host.put(ask)), asked)


async def _unpacked(host: Home, answer: Awaitable[bytes]) -> Any:
    try:
        return unpack(await answer, host.link)
    except Refused as refused:
        error = await host.sliced(refused.error)
    raise error


async def _at_hand(value: Any) -> Any:
    return value
