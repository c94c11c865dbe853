"""What people pass, as bytes that only the two ends open: JSON where the store keeps it, else a pickle."""

from __future__ import annotations

import pickle
from typing import Any

from agentlab.agent.fields import MAX_MESSAGE
from agentlab.errors import MessageTooLarge
from agentlab.ground.redaction import leaked
from agentlab.ref.link import Link
from agentlab.wire.pickles import dump, load
from agentlab.wire.plain import PLAIN
from agentlab.wire.values import decode, encode

JSON, PICKLE, PLAIN_PICKLE = b"j", b"p", b"q"
"""The first byte of a packed value: JSON text, which the store may keep, or a pickle, which it never does.

A plain pickle is of numbers and texts only: reading it runs nobody's code."""


PARTED = frozenset({tuple, list, dict})
"""What a plain value may consist of, beside numbers and texts."""


def pack(value: Any, what: str, *, keep: bool | None = False) -> bytes:
    """A value as bytes: a copy that shares nothing with its source.

    Args:
        value: Anything that pickles, classes of a notebook cell included.
        what: What it is, for the error: ``"the result of /counter.add"``.
        keep: True for what the store must keep, so as JSON; None for what it may keep, if JSON can hold it.

    Raises:
        TypeError: It does not pickle.
        MessageTooLarge: It takes more than ``MAX_MESSAGE`` bytes.
    """
    try:
        data = _packed(value, what, keep)
    except StoredError:
        raise
    except Exception as error:  # any object's __reduce__ may raise anything
        raise TypeError(
            f"{what} cannot travel: {error}. Pass data that pickles: numbers, text, lists, dicts."
        ) from error
    if len(data) > MAX_MESSAGE:
        raise MessageTooLarge(
            f"{what} takes {len(data):,} bytes; a message holds up to {MAX_MESSAGE:,}. Pass a path or a part of it."
        )
    return data


class StoredError(TypeError):
    """A value that JSON cannot hold, where the store must keep it."""


def _packed(value: Any, what: str, keep: bool | None) -> bytes:
    if keep is not False:
        try:
            text = encode(value, what)
            secret = leaked(text) if keep else None
            if secret is not None:
                raise TypeError(
                    f"{what} cannot be stored: there is {secret} in it. Read it from the environment where it is used."
                )
            return JSON + text.encode()
        except TypeError as error:
            if keep:
                raise StoredError(str(error)) from None
    return PLAIN_PICKLE + pickle.dumps(value, 5) if is_plain(value) else PICKLE + dump(value)


def stored(value: Any) -> bytes:
    """A value as bytes that are equal for equal values, as far as JSON can tell; for digests."""
    try:
        return encode(value, "it").encode()
    except TypeError:
        return repr(type(value)).encode()


def is_plain(value: Any, depth: int = 3) -> bool:
    """Whether a value is made of a few numbers and texts only."""
    kind = type(value)
    if kind in PLAIN:
        return True
    if not depth or kind not in PARTED or len(value) > 16:
        return False
    if kind is dict:
        for key in value:
            if type(key) is not str:
                return False
        value = value.values()
    for part in value:  # noqa: SIM110  # a generator for each costs more than all the looks
        if type(part) not in PLAIN and not is_plain(part, depth - 1):
            return False
    return True


def unpack(data: bytes, link: Link | None = None) -> Any:
    """The value back; ``link`` is what refs in it hang on. Pickles come from this lab's own processes only."""
    if data[:1] == JSON:
        return decode(data[1:].decode(), link)
    return load(memoryview(data)[1:])


def runs_code(data: bytes) -> bool:
    """Whether reading a packed value calls classes of who made it."""
    return data[:1] == PICKLE or (data[:1] == JSON and b'"$": "object"' in data)


def pack_class(cls: type) -> bytes:
    """A class as bytes; one from a notebook cell travels with its code."""
    return PICKLE + dump(cls)
