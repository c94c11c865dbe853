"""Exceptions and exit reasons as data: what an agent raised, as the kernel carries it, and back for whoever asks.

The kernel runs no code of an agent, and an exception is code: its constructor, its ``__reduce__``, its ``__str__``.
So its node takes it apart into a ``Crash``: the class's name, texts, and a *form* from which it can be made again.
The form of an exception that everybody knows (Python's own and agentlab's) is plain data; that of any other is a
pickle, which the kernel never opens. ``revive`` makes the exception, in the thread of whoever asked for the answer;
where its class is not there, or raises, a stand-in with the class's name and text takes its place.
"""

from __future__ import annotations

import asyncio
import builtins
import concurrent.futures
import contextlib
import functools
import marshal
import pickle
import sys
import traceback
from typing import Any, TypeAlias

from agentlab import errors
from agentlab.errors import AgentDown, NotRunning, StartFailed
from agentlab.exits import Crash, Exit
from agentlab.ground.redaction import redact
from agentlab.ground.tracebacks import IN_THE_AGENT, full, message_of, render, traceback_of
from agentlab.wire.pickles import dump, load, refuse_carriers
from agentlab.wire.plain import LONGEST, PLAIN, Plain, plain_term, text_of

DATA, PICKLE = b"d", b"p"
"""The first byte of a form."""

Term: TypeAlias = Plain
"""An exit reason as a frame holds it: a word, or any plain term; what was raised begins with ``CRASH``."""


def _known() -> dict[str, type[BaseException]]:
    others = (asyncio.CancelledError, concurrent.futures.CancelledError)
    places = (*vars(builtins).values(), *vars(errors).values(), *others)
    return {
        _name(cls): cls
        for cls in places
        if isinstance(cls, type) and issubclass(cls, BaseException) and not issubclass(cls, BaseExceptionGroup)
    }


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


KNOWN = _known()
"""Exceptions that every process has, by name: they are made from data."""


# there


def describe(error: BaseException, *, own: bool = False) -> tuple[str, str, str, bytes | None]:
    """An exception as plain parts: type, message, traceback, and its form where it has one.

    Whatever its methods raise stays here, ``SystemExit`` and the like included.

    Args:
        error: The exception.
        own: It is the kernel's: what of it is no plain data becomes text.
    """
    message = message_of(error)
    try:
        text = traceback_of(error) if error.__traceback__ is not None else ""
    except BaseException:  # the traceback asks the exception for its message too
        text = "".join(traceback.format_tb(error.__traceback__))
    return _cut(type(error).__name__), _cut(message), redact(text[-LONGEST:]), _form(error, own=own)


def _cut(text: str) -> str:
    text = redact(text)
    return text if len(text) <= LONGEST else text[:LONGEST] + f"... ({len(text):,} characters)"


def _form(error: BaseException, *, own: bool) -> bytes | None:
    known = KNOWN.get(_name(type(error))) is type(error)
    data = _as_data(error, own=own) if known else None
    return data if data is not None or own else _pickled(error)


def _as_data(error: BaseException, *, own: bool) -> bytes | None:
    try:
        made: tuple[Any, ...] = error.__reduce__()  # type: ignore[assignment]  # an exception gives no text
        parts = [_name(type(error)), *(_data(part, own=own) for part in (*made[1:], None)[:2])]
        data = marshal.dumps(parts)
    except BaseException:  # what it holds is no plain data, or fails to be looked at
        return None
    return DATA + data if len(data) <= 50 * LONGEST else None


def _data(value: Any, *, own: bool, depth: int = 8) -> Any:
    """A value as ``marshal`` can hold it, its texts cut and without secrets; TypeError where it is no plain data."""
    kind = type(value)
    if kind is str:
        return _cut(value)
    if kind in PLAIN:
        return value
    if kind is Crash:
        return encode_reason(value)
    if depth and kind in (tuple, list):
        return kind(_data(part, own=own, depth=depth - 1) for part in value)
    if depth and kind is dict:
        return {_data(key, own=own): _data(part, own=own, depth=depth - 1) for key, part in value.items()}
    if own:
        return _cut(text_of(value))
    raise TypeError(f"{kind} is no plain data")


def _pickled(error: BaseException) -> bytes | None:
    """The exception as bytes, if it comes back from them, is not too large and carries no secret."""
    try:
        data = dump(error)
        if len(data) > 50 * LONGEST or redact(text := data.decode("utf-8", "replace")) != text:
            return None
        pickle.loads(data)  # noqa: S301  # just made, where its code runs anyway: some pickle but do not come back
    except BaseException:  # an exception may refuse in any way
        return None
    return PICKLE + data


# and back


def revive(crash: Crash) -> BaseException:
    """The exception behind a crash, with its traceback as a note; its code runs in the calling thread."""
    refuse_carriers()
    error = _made(crash.form) or _stand_in(crash)
    if crash.traceback:
        try:
            BaseException.add_note(error, IN_THE_AGENT + crash.traceback.rstrip())
        except BaseException:  # its class keeps its notes in another way
            return error
    return error


def _made(form: bytes | None) -> BaseException | None:
    """The exception of a form; None if it cannot be made here: its class is not there, or its code raises."""
    if form is None:
        return None
    try:
        error = _from_data(form[1:]) if form[:1] == DATA else load(form[1:])
        str(error)
    except BaseException:  # a constructor may exit; that is no exit of whoever asks
        return None
    return error if isinstance(error, BaseException) else None


def _from_data(data: bytes) -> BaseException:
    name, args, state = marshal.loads(data)  # noqa: S302  # plain data, made above
    error = KNOWN[name](*args)
    if state:
        if "reason" in state:
            state["reason"] = decode_reason(state["reason"])
        error.__setstate__(state)
    return error


def _stand_in(crash: Crash) -> BaseException:
    """An exception with the class's name and text; it is a ``RuntimeError``, for who must catch something."""
    cls = type(crash.type, (RuntimeError,), {"__doc__": "Stands for an exception whose class could not be made here."})
    made: BaseException = cls(crash.message)
    return made


def as_seen(error: BaseException) -> BaseException:
    """An error of the kernel as its asker sees it: with what the agent raised, made in the asker's thread.

    The way through the kernel's thread is no news to the asker, so it is not in the traceback.
    """
    reason = getattr(error, "reason", None)
    if not full():
        error = error.with_traceback(None)
    if isinstance(error, StartFailed) and isinstance(reason, Crash):
        made = revive(reason)
        made.__cause__ = error
        return _shown(made)
    if isinstance(error, AgentDown) and isinstance(reason, Crash) and error.__cause__ is None:
        error.__cause__ = revive(reason)
    return error


def _shown(error: BaseException) -> BaseException:
    """Have a notebook show an exception that is none of ours as it shows ours."""
    if "IPython" in sys.modules:
        with contextlib.suppress(Exception):  # its class may take no attributes
            error._render_traceback_ = functools.partial(render, error)  # type: ignore[attr-defined]  # for IPython
    return error


class Refused(Exception):
    """An answer that is an error, on its way to the agent that asked; only there the exception is made.

    It stands here, and not among the node's files: a slice may end in what ``error`` calls.
    """

    def __init__(self, reason: Any) -> None:
        super().__init__(reason)
        self.reason = reason

    def error(self) -> BaseException:
        """What to raise."""
        return as_seen(revive(self.reason)) if isinstance(self.reason, Crash) else NotRunning(str(self.reason))


# exit reasons


CRASH = "\0crash"
"""Marks a crash among the reasons of a frame; no text that a person would give as a reason."""


def as_reason(term: Any, default: str = "normal") -> Any:
    """Whatever somebody gave as an exit reason, as one: text, a tuple of plain parts, or a crash.

    Args:
        term: An exception, or its class, is a crash; None is the default; what is no text becomes its text.
        default: The reason if none was given.
    """
    if term is None:
        return default
    if isinstance(term, Exit):
        return as_reason(term.reason, default)
    if isinstance(term, type) and issubclass(term, BaseException):
        try:
            term = term()
        except BaseException:  # it needs arguments
            return Crash(term.__name__, "")
    if isinstance(term, BaseException):
        return Crash(*describe(term))
    return term if isinstance(term, Crash) else plain_term(term) if isinstance(term, tuple) and term else text_of(term)


def encode_reason(reason: Any) -> Term:
    """An exit reason in plain parts, for a frame."""
    if isinstance(reason, Crash):
        return (CRASH, reason.type, reason.message, reason.traceback, reason.form, reason.fault)
    return plain_term(reason) if isinstance(reason, tuple) else text_of(reason)


def repr_of(value: Any) -> str:
    """A value as one would write it, whatever its ``__repr__`` does."""
    try:
        return str.__str__(repr(value))
    except BaseException as failed:  # a __repr__ may raise anything
        return f"(its repr raised {type(failed).__name__})"


def decode_reason(reason: Term) -> Any:
    """The reason that ``encode_reason`` took apart."""
    if isinstance(reason, tuple) and len(reason) == 6 and reason[0] == CRASH:
        parts: Any = reason[1:]
        return Crash(*parts)
    return reason
