"""Frames between the kernel and a node, and how values and classes travel in them.

A frame is a length and a marshalled list of messages: plain tuples of numbers, text and bytes, which cannot
run code when they are read. What people pass (arguments, results, exceptions) travels inside as opaque
bytes that only the two ends open, so the kernel carries values that it never loads.
"""

from __future__ import annotations

import marshal
import pickle
import struct
import traceback
from types import CodeType
from typing import Any

import cloudpickle

from agentlab._fields import MAX_MESSAGE
from agentlab._secrets import redact
from agentlab._values import decode, encode
from agentlab.agent import Crash
from agentlab.errors import MessageTooLarge
from agentlab.ref import Link

LONGEST = 20_000
"""Characters of an exception's message and of its traceback; an exception that takes more bytes travels as text."""

_LENGTH = struct.Struct("!Q")
_PLAIN = frozenset({int, str, float, bool, bytes, type(None)})


JSON, PICKLE = b"j", b"p"
"""The first byte of a packed value: JSON text, which the store may keep, or a pickle, which it never does."""


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
            return JSON + encode(value, what).encode()
        except TypeError as error:
            if keep:
                raise StoredError(str(error)) from None
    return PICKLE + (pickle.dumps(value, 5) if is_plain(value) else cloudpickle.dumps(value, 5))


def stored(value: Any) -> bytes:
    """A value as bytes that are equal for equal values, as far as JSON can tell; for digests."""
    try:
        return encode(value, "it").encode()
    except TypeError:
        return repr(type(value)).encode()


def is_plain(value: Any, depth: int = 3) -> bool:
    """Whether a value is made of a few numbers and texts only."""
    kind = type(value)
    if kind in _PLAIN:
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
    return pickle.loads(memoryview(data)[1:])  # noqa: S301  # from the lab's own socketpair, never from a store


def pack_class(cls: type) -> bytes:
    """A class as bytes; one from a notebook cell travels with its code."""
    return PICKLE + bytes(cloudpickle.dumps(cls, 5))


def describe(error: BaseException) -> tuple[str, str, str, bytes | None]:
    """An exception as plain parts: type, message, traceback, and itself where it pickles."""
    try:
        message = str(error)
    except Exception as failed:  # a __str__ may raise anything
        message = f"(its message raised {type(failed).__name__})"
    try:
        text = _traceback(error)
    except Exception:  # the traceback asks the exception for its message too
        text = "".join(traceback.format_tb(error.__traceback__))
    if len(message) > LONGEST:
        message = message[:LONGEST] + f"... ({len(message):,} characters)"
    return type(error).__name__, redact(message), redact(text[-LONGEST:]), _pickled(error)


def _traceback(error: BaseException) -> str:
    """As ``traceback.format_exception``, with what it finds out about a place kept for the next crash there."""
    if error.__cause__ or error.__context__ or isinstance(error, BaseExceptionGroup):
        return "".join(traceback.format_exception(error))
    lines = ["Traceback (most recent call last):\n"]
    at = error.__traceback__
    while at is not None:
        if len(lines) > MOST_FRAMES:
            return "".join(traceback.format_exception(error))
        place = (at.tb_frame.f_code, at.tb_lasti)
        if place not in _places:
            if len(_places) >= MOST_PLACES:
                _places.clear()
            _places[place] = "".join(traceback.format_tb(at, limit=1))
        lines.append(_places[place])
        at = at.tb_next
    return "".join([*lines, *traceback.format_exception_only(error)])


_places: dict[tuple[CodeType, int], str] = {}
MOST_FRAMES, MOST_PLACES = 50, 2000


def _pickled(error: BaseException) -> bytes | None:
    """The exception as bytes, if it comes back from them, is not too large and carries no secret."""
    try:
        data: bytes = cloudpickle.dumps(error, 5)
        if len(data) > 50 * LONGEST or redact(text := data.decode("utf-8", "replace")) != text:
            return None
        pickle.loads(data)  # noqa: S301  # just made: some exceptions pickle but do not come back
    except Exception:  # an exception may refuse in any way
        return None
    return data


def revive(crash: Crash) -> BaseException:
    """The exception behind a crash, with its traceback as a note."""
    error: BaseException | None = None
    if crash.pickled is not None:
        try:
            loaded = pickle.loads(crash.pickled)  # noqa: S301  # from the lab's own nodes
            error = loaded if isinstance(loaded, BaseException) else None
        except Exception:  # its class may not exist in this process
            error = None
    if error is None:
        error = RuntimeError(str(crash))
    if crash.traceback:
        error.add_note("In the agent:\n" + crash.traceback.rstrip())
    return error


CRASH = "\0crash"
"""Marks a crash among the reasons of a frame; no text that a person would give as a reason."""


def encode_reason(reason: Any) -> Any:
    """An exit reason in plain parts, for a frame."""
    if isinstance(reason, Crash):
        return (CRASH, reason.type, reason.message, reason.traceback, reason.pickled)
    return _plain(reason) if isinstance(reason, (str, tuple)) else str(reason)


def _plain(term: Any) -> Any:
    """A term that a frame can hold: what is neither text, number nor tuple becomes its text."""
    if isinstance(term, tuple):
        return tuple(_plain(part) for part in term)
    if type(term) in _PLAIN:
        return term
    return str.__str__(term) if isinstance(term, str) else str(term)


def decode_reason(reason: Any) -> Any:
    """The reason that ``encode_reason`` took apart."""
    if isinstance(reason, tuple) and len(reason) == 5 and reason[0] == CRASH:
        return Crash(*reason[1:])
    return reason


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
