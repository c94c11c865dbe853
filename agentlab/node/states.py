"""States that are set between two messages: built, replaced, rewound, migrated to newer code, taken back.

What is set is whole or not at all: every value is read before the first one is set.
"""

from __future__ import annotations

from agentlab.agent.base import Agent
from agentlab.agent.snapshot import Change, Image, difference, is_older, load, migrated
from agentlab.errors import InvalidState
from agentlab.node.resident import Resident
from agentlab.wire.exceptions import describe


def build(resident: Resident, initial: Image, kept: Image) -> list[Change]:
    """Set the state of a new life: from its last commit, else from its child spec, else from its defaults.

    Args:
        resident: The life.
        initial: What its child spec gave.
        kept: Its last commit. One that an older class made is migrated.

    Returns:
        What the migration changed.
    """
    cls = type(resident.agent)
    if is_older(cls, initial, kept):
        return put(resident, migrated(cls, {**initial, **kept}), kept)
    try:
        values = {name: load(field, kept.get(name, initial.get(name))) for name, field in cls.__agent_fields__.items()}
    except InvalidState:
        if not kept or not hasattr(cls, "migrate"):
            raise
        return put(resident, migrated(cls, {**initial, **kept}), kept)
    resident.agent.__dict__.update(values)
    for name, saved in kept.items():
        resident.saved[name] = saved if isinstance(saved, str) else len(saved)
    return []


def committed(resident: Resident) -> Image:
    """The state at the last commit."""
    image: Image = {}
    for name, field in type(resident.agent).__agent_fields__.items():
        saved = resident.saved.get(name)
        if field.grows:
            image[name] = resident.agent.__dict__[name].dump()[: max(0, saved or 0)]
        elif saved is not None:
            image[name] = saved
    return image


def put(resident: Resident, image: Image, before: Image) -> list[Change]:
    """Set fields; what that changes in the state ``before``.

    Raises:
        InvalidState: A value does not fit its field; nothing was set.
    """
    fields = type(resident.agent).__agent_fields__
    values = {name: load(fields[name], saved) for name, saved in image.items()}
    gone = [name for name in before if name not in fields]
    changes = difference(before, image, gone)
    resident.agent.__dict__.update(values)  # past the slot of a transcript, which only grows
    for name, saved in image.items():
        resident.saved[name] = saved if isinstance(saved, str) else len(saved)
    return changes


def upgrade(resident: Resident, cls: type[Agent]) -> tuple[list[Change] | None, str | None]:
    """Go on with newer code, or with the old one: what changed in the state, or why it would not fit."""
    try:
        return _go_on_as(resident, cls), None
    except Exception as error:  # whatever migrate raises
        return None, ": ".join(describe(error)[:2])


def _go_on_as(resident: Resident, cls: type[Agent]) -> list[Change]:
    """The state migrated, what is no state as it was; after an error the agent has its old code."""
    agent, old = resident.agent, type(resident.agent)
    before = committed(resident)
    image = migrated(cls, before)
    agent.__class__ = cls
    try:
        changes = put(resident, image, before)
    except BaseException:
        agent.__class__ = old
        raise
    for name in old.__agent_fields__.keys() - cls.__agent_fields__.keys():
        agent.__dict__.pop(name, None)
        resident.saved.pop(name, None)
    return changes


def take_back(resident: Resident) -> None:
    """Forget what the message in hand has done so far: the state is that of the last commit."""
    put(resident, committed(resident), {})
    resident.casts, resident.timers, resident.stopping, resident.key = [], [], None, None
