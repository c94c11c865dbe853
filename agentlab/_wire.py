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
from typing import Any

import cloudpickle

from agentlab.agent import Crash
from agentlab.errors import MessageTooLarge

MAX_MESSAGE = 64 * 1024 * 1024
"""Bytes that one value may take on its way (``max_message``)."""

_LENGTH = struct.Struct("!Q")
_PLAIN = frozenset({int, str, float, bool, bytes, type(None)})


def pack(value: Any, what: str) -> bytes:
    """A value as bytes: a copy that shares nothing with its source.

    Args:
        value: Anything that pickles, classes of a notebook cell included.
        what: What it is, for the error: ``"the result of /counter.add"``.

    Raises:
        TypeError: It does not pickle.
        MessageTooLarge: It takes more than ``MAX_MESSAGE`` bytes.
    """
    try:
        data = pickle.dumps(value, 5) if _is_plain(value) else cloudpickle.dumps(value, 5)
    except Exception as error:  # any object's __reduce__ may raise anything
        raise TypeError(f"{what} cannot travel: {error}. Pass data that pickles: numbers, text, lists, dicts.") from error
    if len(data) > MAX_MESSAGE:
        raise MessageTooLarge(
            f"{what} takes {len(data):,} bytes; a message holds up to {MAX_MESSAGE:,}. Pass a path or a part of it."
        )
    return data


def _is_plain(value: Any, depth: int = 3) -> bool:
    kind = type(value)
    if kind in _PLAIN:
        return True
    if depth and kind in (tuple, list) and len(value) <= 16:
        return all(_is_plain(v, depth - 1) for v in value)
    if depth and kind is dict and len(value) <= 16:
        return all(type(k) is str and _is_plain(v, depth - 1) for k, v in value.items())
    return False


def unpack(data: bytes) -> Any:
    """The value back. Only for bytes that this lab's own processes made."""
    return pickle.loads(data)  # noqa: S301  # from the lab's own socketpair, never from a store


def pack_class(cls: type) -> bytes:
    """A class as bytes; one from a notebook cell travels with its code."""
    return cloudpickle.dumps(cls, 5)


def describe(error: BaseException) -> tuple[str, str, str, bytes | None]:
    """An exception as plain parts: type, message, traceback, and itself where it pickles."""
    text = "".join(traceback.format_exception(error))
    try:
        pickled = cloudpickle.dumps(error, 5)
        pickle.loads(pickled)  # noqa: S301  # just made: some exceptions pickle but do not come back
    except Exception:  # an exception may refuse in any way
        pickled = None
    return type(error).__name__, str(error), text[-20_000:], pickled


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


def encode_reason(reason: Any) -> Any:
    """An exit reason in plain parts, for a frame."""
    if isinstance(reason, Crash):
        return ("crash", reason.type, reason.message, reason.traceback, reason.pickled)
    return reason if isinstance(reason, (str, tuple)) else str(reason)


def decode_reason(reason: Any) -> Any:
    """The reason that ``encode_reason`` took apart."""
    if isinstance(reason, tuple) and reason and reason[0] == "crash":
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
