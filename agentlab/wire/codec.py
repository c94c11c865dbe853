"""Frames between the kernel and a node, and how values and classes travel in them.

A frame is a length and a marshalled list of messages: plain tuples of numbers, text and bytes, which cannot
run code when they are read. What people pass (arguments, results) travels inside as opaque bytes that only the
two ends open, so the kernel carries values that it never loads. Exceptions travel as ``exceptions`` takes them apart.
"""

from __future__ import annotations

import marshal
import pickle
import struct
from typing import Any

from agentlab.agent.fields import MAX_MESSAGE
from agentlab.errors import MessageTooLarge
from agentlab.ground.redaction import leaked
from agentlab.ref.ref import Link
from agentlab.wire.exceptions import PLAIN, text_of
from agentlab.wire.pickles import dump, load
from agentlab.wire.values import decode, encode

_LENGTH = struct.Struct("!Q")


JSON, PICKLE, PLAIN_PICKLE = b"j", b"p", b"q"
"""The first byte of a packed value: JSON text, which the store may keep, or a pickle, which it never does.

A plain pickle is of numbers and texts only: reading it runs nobody's code."""


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
    if depth and kind in (tuple, list) and len(value) <= 16:
        return all(is_plain(v, depth - 1) for v in value)
    if depth and kind is dict and len(value) <= 16:
        return all(type(k) is str and is_plain(v, depth - 1) for k, v in value.items())
    return False


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


def flat(value: Any) -> Any:
    """A value as a frame can hold it: texts and numbers of classes of their own become plain ones."""
    if isinstance(value, (tuple, list)):
        return tuple(map(flat, value)) if isinstance(value, tuple) else list(map(flat, value))
    if isinstance(value, dict):
        return {flat(key): flat(part) for key, part in value.items()}
    if type(value) in PLAIN:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    return bytes(value) if isinstance(value, (bytes, bytearray, memoryview)) else text_of(value)


def frame(messages: list[tuple[Any, ...]]) -> bytes:
    """Messages as one frame."""
    body = marshal.dumps(messages)
    return _LENGTH.pack(len(body)) + body


class Reader:
    """Cuts a stream of bytes back into the messages of its frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[Any, ...]]:
        """Messages of the frames that ``data`` completes."""
        buffer = self._buffer
        buffer += data
        messages: list[tuple[Any, ...]] = []
        at = 0
        while len(buffer) - at >= 8:
            (size,) = _LENGTH.unpack_from(buffer, at)
            if len(buffer) - at - 8 < size:
                break
            messages += marshal.loads(memoryview(buffer)[at + 8 : at + 8 + size])  # noqa: S302  # plain data, own socket
            at += 8 + size
        if at:
            del buffer[:at]
        return messages
