"""What a person gave where a path, a time or a number belongs; what is none is refused before anything is done.

The runtime, the store and Python's own waits would each say in their own words that it is none.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from agentlab.errors import InvalidArgument, InvalidSpec
from agentlab.ground.redaction import redact

LONGEST_WAIT = 1e9
"""Seconds, about thirty years: no clock here waits longer, so more is as good as this."""


TINY, VAST = 1e-9, 1e9
"""Between them is whatever number a person means where figures are asked for."""


def shown(value: object, most: int = 80) -> str:
    """A value as one would write it, cut and without secrets, for an error."""
    try:
        text = repr(value)
    except Exception as error:  # any class may have a __repr__ that fails
        text = f"a {type(value).__name__} whose repr raised {type(error).__name__}"
    return redact(text if len(text) <= most else text[: most - 3] + "...")


def text_of(value: Any, what: str, rule: str, name: str = "") -> str:
    """The text that was given.

    Raises:
        InvalidArgument: It is none, or has half a character in it, which no path, id or topic has.
    """
    if isinstance(value, str) and (value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value)):
        return value
    raise InvalidArgument(f"{what} must be {rule}; got {shown(value)}. Nothing was done.", argument=name)


def path_of(value: Any, what: str, name: str = "path") -> str:
    """The path that was given, or that of the ref.

    Raises:
        InvalidArgument: It is no text.
    """
    path = value if isinstance(value, str) else getattr(value, "path", value)
    return text_of(path, f"{what}: {name}", "a path like '/team/writer', or a ref", name)


def file_of(value: Any, what: str) -> Path:
    """The file that was given.

    Raises:
        InvalidArgument: It is no name that a file can have.
    """
    name = os.fspath(value) if isinstance(value, os.PathLike) else value
    if isinstance(name, str) and name and "\0" not in name and _fits_on_a_disk(name):
        return Path(name)
    raise InvalidArgument(f"{what} must be the name of a file, like 'run.lab'; got {shown(value)}. Nothing was done.")


def _fits_on_a_disk(name: str) -> bool:
    try:
        return len(os.fsencode(name)) < 4096 and all(len(os.fsencode(part)) < 256 for part in Path(name).parts)
    except UnicodeEncodeError:
        return False


def seconds(value: Any, what: str, *, more: str = "") -> float:
    """The seconds that were given; infinity is a very long time.

    Raises:
        InvalidSpec: It is no number, or less than nothing.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
    if not number:
        raise InvalidSpec(f"{what} must be seconds >= 0{more}; got {shown(value)}", kind="invalid_timeout", value=value)
    return float(min(value, LONGEST_WAIT))


def number_of(value: Any, what: str, rule: str, low: float, high: float) -> float:
    """The number that was given, from ``low`` on and below ``high``.

    Raises:
        InvalidArgument: It is none, or another one.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value < high:
        return float(value)
    name = what.rpartition(" ")[2]
    raise InvalidArgument(f"{what} must be {rule}; got {shown(value)}", argument=name)


def share_of(value: Any, what: str) -> float:
    """The share that was given, more than 0 and less than 1.

    Raises:
        InvalidArgument: It is none.
    """
    return number_of(value, what, "a share, more than 0 and less than 1, like 0.95", TINY, 1)


def each_one(value: Any, what: str) -> list[dict[str, Any]]:
    """A mapping of fields for each agent that is to be started: as many empty ones as a number says, or those given.

    Raises:
        InvalidSpec: It is neither a number nor an iterable of mappings.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if (whole and value < 0) or isinstance(value, (bool, str, bytes)) or not (whole or isinstance(value, Iterable)):
        raise InvalidSpec(f"{what}: give a count >= 0 or an iterable of dicts; got {shown(value)}")
    if whole:
        try:
            return [{}] * value
        except (OverflowError, MemoryError):
            raise InvalidSpec(f"{what}: no machine holds that many agents; got {shown(value)}") from None
    found = []
    for number, fields in enumerate(value):
        if not isinstance(fields, Mapping) or not all(isinstance(name, str) for name in fields):
            raise InvalidSpec(
                f"{what}: give a count >= 0 or an iterable of dicts of fields; item {number} is {shown(fields)}"
            )
        found.append(dict(fields))
    return found
