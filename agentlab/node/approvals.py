"""Tools that a person must allow: the agent waits in a step of its own until somebody says yes or no.

The kernel writes down that it was asked, and the answer; whichever of them dies, a person is asked once. Nothing is run
meanwhile, so nothing can be repeated, and no time of the tool's is counted.
"""

from __future__ import annotations

import time
from typing import Any

from agentlab.errors import ToolFailed
from agentlab.faults import fault
from agentlab.ground.redaction import redact_name
from agentlab.node.replay import APPROVAL, Claim, digest_of
from agentlab.node.resident import Died, Resident
from agentlab.node.steps import answered, around, given_text
from agentlab.wire.exceptions import Refused
from agentlab.wire.packing import unpack


async def ask_person(resident: Resident, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Return when a person has allowed this call of a tool.

    Raises:
        ToolFailed: A person refused it; or no message is in hand, whose journal could keep the answer.
    """
    if resident.key is None:
        raise ToolFailed(
            f"{name} needs a person's word (approve=True), and on_start has no journal that keeps it. Call it in a "
            "message."
        )
    if resident.ending is not None:
        raise Died(resident.ending)
    text = given_text(args, kwargs)
    found = _claim(resident, name, (args, kwargs), text)
    yes = answered(resident, found, text) if found.is_done else await _word(resident, found, text)
    if not yes:
        raise ToolFailed(
            f"{name} was not run: a person was asked and refused. Do not call it with the same input again; do "
            "something else, or say what you would need.",
            fault("not_approved"),
        )


def _claim(resident: Resident, name: str, given: Any, text: str) -> Claim:
    """Its place in the journal; the text is part of its mark, so that a lab opened again knows what is waited for."""
    assert resident.key is not None
    outer, digest = around.get(), f"{digest_of(given)} {text}".replace("\n", " ")
    number, mark, kept = resident.journal.next(APPROVAL, redact_name(name), f"{outer}\n{digest}" if outer else digest)
    return Claim(resident.key, number, mark, kept)


async def _word(resident: Resident, found: Claim, text: str) -> bool:
    await resident.host.settled()

    def ask(life: int, ticket: int) -> None:
        resident.host.say.act(
            placement=life, ticket=ticket, key=found.key, number=found.number, mark=found.mark, at=time.time_ns(),
            given=text, op=APPROVAL, args=(),
        )  # fmt: skip

    try:
        return bool(unpack(await resident.host.put(ask), resident.host.link))
    except Refused as refused:
        error = await resident.host.sliced(refused.error)
    raise error
