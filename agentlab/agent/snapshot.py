"""A state as JSON texts, what differs between two of them, and how one of an older class becomes one of a newer."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from agentlab.agent.base import Agent
from agentlab.agent.fields import Field
from agentlab.agent.transcript import Transcript
from agentlab.errors import InvalidState

Image = dict[str, str | list[str]]
"""One text per field, one per item of a transcript."""

Change = tuple[str, str | None, int, list[str]]
"""One changed field: its name and JSON text; or, for a transcript, None, the first new place, the new items. A
place below 0: there is no such field any more."""


def _text(saved: str | list[str]) -> str:
    """What is saved of a field as one JSON text."""
    return saved if isinstance(saved, str) else f"[{','.join(saved)}]"


def load(field: Field, saved: str | list[str] | None) -> Any:
    """A field's value from its JSON; its default without."""
    return field.fresh() if saved is None else field.load(_text(saved))


def plain(image: Image) -> dict[str, Any]:
    """A state as JSON values; no class is needed for it."""
    return {name: json.loads(_text(saved)) for name, saved in image.items()}


def difference(before: Image, image: Image, gone: Iterable[str] = ()) -> list[Change]:
    """What makes the state ``image`` of ``before``; ``gone`` are fields that are no more."""
    changes = [change for name, saved in image.items() for change in _changes(name, saved, before.get(name))]
    return [*changes, *((name, None, -1, []) for name in gone)]


def _changes(name: str, saved: str | list[str], old: str | list[str] | None) -> list[Change]:
    if isinstance(saved, str):
        return [] if saved == old else [(name, saved, 0, [])]
    gone: list[Change] = [(name, None, -1, [])] if isinstance(old, str) else []
    items = old if isinstance(old, list) else []
    same = next((n for n, (a, b) in enumerate(zip(saved, items, strict=False)) if a != b), min(len(saved), len(items)))
    if same == len(saved) == len(items):
        return gone
    return [*gone, (name, None, same, saved[same:])]


def is_older(cls: type[Agent], initial: Image, kept: Image) -> bool:
    """Whether a commit has other fields than the class: every commit but an empty one has all that do not grow."""
    fields = cls.__agent_fields__
    known = kept.keys() | initial.keys()
    lacks = any(name not in known and not field.grows for name, field in fields.items())
    return bool(kept) and (lacks or any(name not in fields for name in kept))


def fits(cls: type[Agent], initial: Image, kept: Image) -> bool:
    """Whether a life can begin from a commit as it is, without a migration."""
    if is_older(cls, initial, kept):
        return False
    try:
        for name, field in cls.__agent_fields__.items():
            load(field, kept.get(name, initial.get(name)))
    except InvalidState:
        return False
    return True


def migrated(cls: type[Agent], image: Image) -> Image:
    """An older state as the class wants it: ``migrate`` decides, new fields take their defaults, others are dropped.

    Raises:
        InvalidState: It does not fit.
        Exception: Whatever ``migrate`` raised.
    """
    state: Any = {
        name: json.loads(saved) if isinstance(saved, str) else [json.loads(item) for item in saved]
        for name, saved in image.items()
    }
    migrate = getattr(cls, "migrate", None)
    if migrate is not None:
        state = migrate(state)
        if not isinstance(state, dict):
            raise InvalidState(f"{cls.__name__}.migrate must return a dict of fields; got {state!r}")
    return {name: _fitted(field, state) for name, field in cls.__agent_fields__.items()}


def _fitted(field: Field, state: dict[str, Any]) -> str | list[str]:
    if field.name in state:
        value = state[field.name]
        try:
            value = field.load(json.dumps(value))
        except TypeError:  # no JSON: migrate made the value itself
            value = field.validate(value)
    elif field.required:
        raise InvalidState(
            f"{field.owner}.{field.name} has no default, and the older state has no such field. Give it a default, "
            f"or a value in {field.owner}.migrate."
        )
    else:
        value = field.fresh()
    return value.dump() if isinstance(value, Transcript) else field.dump(value)
