"""Values as plain data, whatever class a text or a number came in: what a frame, a reason and a question can hold.

Three ends ask for it, each with a measure of its own: a frame takes every container and every text whole (``flat``), an
exit reason takes tuples of short texts without secrets (``plain_term``), what is asked of a lab is JSON but for foreign
whole numbers (``plain_number``). The forms of exceptions, in ``exceptions``, refuse what is not plain already.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any, TypeAlias

from agentlab.ground.redaction import redact

LONGEST = 20_000
"""Characters of an exception's message and of its traceback; one whose form takes much more travels as text."""

PLAIN = frozenset({int, str, float, bool, bytes, type(None)})
"""Classes of values that every reader knows."""

Plain: TypeAlias = "int | str | float | bool | bytes | tuple[Plain, ...] | None"
"""A term that is plain to the last part."""


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


def plain_term(term: Any, depth: int = 20) -> Plain:
    """A term that a frame can hold: what is neither text, number nor tuple becomes its text."""
    if isinstance(term, tuple) and depth:
        return tuple(plain_term(part, depth - 1) for part in term)
    plain: Plain = term if type(term) in PLAIN and type(term) is not str else text_of(term)
    return plain


def plain_number(arg: Any) -> Any:
    """A whole number as Python's own: one from a frame is NumPy's."""
    if type(arg) is tuple:
        return tuple(map(plain_number, arg))
    return int(arg) if isinstance(arg, Integral) and type(arg) not in PLAIN else arg


def text_of(term: Any) -> str:
    """A term's text without secrets, whatever its ``__str__`` does."""
    try:
        text = str.__str__(term) if isinstance(term, str) else str.__str__(str(term))
    except BaseException as failed:  # a __str__ may raise anything
        return f"(a {type(term).__name__} whose text raised {type(failed).__name__})"
    text = redact(text)
    return (text if len(text) <= LONGEST else text[:LONGEST] + "...").lstrip("\0")
