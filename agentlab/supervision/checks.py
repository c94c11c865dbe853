"""What a value must be: the single checks that a specification is made of.

Each refuses with an ``InvalidSpec`` that says what was checked, what is allowed and what came.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from agentlab.errors import InvalidSpec, InvalidState, UnknownOption
from agentlab.ground.given import shown
from agentlab.ground.redaction import leaked, redact
from agentlab.ground.words import meant


class Field(Protocol):
    """What a check needs to know of a field of an agent class."""

    required: bool

    def validate(self, value: object) -> object:
        """Return the value as the field holds it, or raise ``InvalidState``."""
        ...


def check_id(value: object, who: str, name: str, *, kind: str = "invalid_id") -> None:
    """Refuse what cannot be one part of a path.

    Raises:
        InvalidSpec: Not a string, empty, or with ``/`` or a control character in it.
    """
    if value is None:
        raise InvalidSpec(f"{who}: {name} is missing", kind="missing_id")
    if not isinstance(value, str) or not value:
        raise InvalidSpec(f"{who}: {name} must be a non-empty str; got {shown(value)}", kind=kind, value=value)
    secret = leaked(value)
    if secret is not None:
        raise InvalidSpec(
            f"{who}: {name} holds {secret}, and it would be in every path and event; use another name",
            kind="secret_id", value=redact(value),
        )  # fmt: skip
    if value.isascii() and value.isprintable() and "/" not in value:
        return
    bad = next((c for c in value if c == "/" or unicodedata.category(c) in ("Cc", "Cs")), None)
    if bad is not None:
        raise InvalidSpec(
            f"{who}: {name} must not contain '/', control characters or lone surrogates; got {shown(value)}",
            kind=kind,
            value=value,
        )


def check_fields(what: object, fields: Mapping[str, object], options: Sequence[str], *, where: str) -> None:
    """Refuse initial values that the agent class has no field for, or that do not fit it.

    Args:
        what: An agent class or a supervisor.
        fields: The values by name.
        options: What else could have been given, to name it when one of them is misspelt.
        where: The child, for the message.

    Raises:
        InvalidSpec: Names the class's fields, or says what its field allows.
    """
    known = _fields_of(what)
    for name, value in fields.items():
        if known is None:
            raise UnknownOption(
                f"{where}: a supervisor has no fields; got {name}={shown(value)};{meant(name, options)} the options "
                f"of a child: {', '.join(options)}",
                kind="invalid_field", value=name,
            )  # fmt: skip
        if name not in known:
            raise UnknownOption(_unknown_field(what, name, known, options, where), kind="invalid_field", value=name)
        try:
            known[name].validate(value)
        except InvalidState as error:
            raise InvalidSpec(f"{where}: {error}", kind="invalid_field", value=value) from None


def check_complete(what: object, fields: Mapping[str, object], *, where: str) -> None:
    """Refuse initial values that leave out a field without a default.

    A ``simple_one_for_one`` template may leave it to its instances, so :func:`child` does not ask.

    Raises:
        InvalidSpec: Names the fields that are missing.
    """
    known = _fields_of(what) or {}
    missing = [name for name, kept in known.items() if kept.required and name not in fields]
    if missing:
        names = ", ".join(missing)
        cls = getattr(what, "__name__", repr(what))
        raise InvalidSpec(
            f"{where}: {cls} needs a value for {names}, which has no default; pass {missing[0]}=...",
            kind="missing_field",
            value=missing[0],
        )


def _fields_of(what: object) -> Mapping[str, Field] | None:
    """The fields of an agent class; None for a supervisor."""
    fields: Mapping[str, Field] | None = getattr(what, "__agent_fields__", None)
    return fields


def _unknown_field(what: object, name: str, known: Mapping[str, Field], options: Sequence[str], where: str) -> str:
    names = ", ".join(known) or "none"
    hint = meant(name, [*known, *options])
    return f"{where}: {getattr(what, '__name__', what)} has no field {name!r};{hint} its fields: {names}"


def refuse_secret_names(cls: type, names: Iterable[str]) -> None:
    """Refuse names with a key in them: by them the store knows the class, its fields and its messages.

    Args:
        cls: The class; its name and its module's are looked at.
        names: What else it is known by.

    Raises:
        InvalidSpec: Says which name, without the key.
    """
    words = (cls.__module__, cls.__qualname__, cls.__name__, *names)
    if leaked("\n".join(words)) is None:
        return
    word = next(word for word in words if leaked(word) is not None)
    raise InvalidSpec(
        f"class {redact(cls.__qualname__)} of {redact(cls.__module__)}: the name {redact(word)!r} holds "
        f"{leaked(word)}, and the names of a class, its fields and its messages are kept in the store. "
        "Use another name.",
        kind="secret_name", value=redact(word),
    )  # fmt: skip


def check_one_of(value: object, allowed: tuple[str, ...], what: str, kind: str) -> None:
    """Refuse a value that is none of the allowed words."""
    if not isinstance(value, str) or value not in allowed:
        raise InvalidSpec(f"{what} must be one of {', '.join(allowed)}; got {shown(value)}", kind=kind, value=value)


def check_instance(value: object, cls: type, what: str, kind: str) -> None:
    """Refuse what is no instance of the class."""
    if not isinstance(value, cls):
        raise InvalidSpec(f"{what} must be a {cls.__name__}(...) or None; got {shown(value)}", kind=kind, value=value)


def is_number(value: object) -> bool:
    """Whether a value is a finite number; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def check_number(
    value: object,
    what: str,
    kind: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
) -> None:
    """Refuse what is no number, or lies out of its bounds."""
    ok = is_number(value)
    if ok and isinstance(value, (int, float)):
        ok = (least is None or value >= least) and (above is None or value > above) and (most is None or value <= most)
    if not ok:
        rules = [f">= {least}"] * (least is not None) + [f"> {above}"] * (above is not None)
        rules += [f"<= {most}"] * (most is not None)
        raise InvalidSpec(f"{what} must be a number {' and '.join(rules)}; got {shown(value)}", kind=kind, value=value)


def check_count(value: object, what: str, kind: str, *, least: int = 0) -> None:
    """Refuse what is no whole number, or is too small."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvalidSpec(f"{what} must be an int >= {least}; got {shown(value)}", kind=kind, value=value)


def check_period(value: object, what: str) -> None:
    """Refuse what is no span of time in seconds."""
    if not is_number(value) or not value > 0:  # type: ignore[operator]  # a number, the line above says
        raise InvalidSpec(f"{what} must be seconds > 0; got {shown(value)}", kind="invalid_period", value=value)


def check_significant(value: object, restart: object, auto_shutdown: object, who: str) -> None:
    """Refuse a significant child whose end can stop nobody.

    Args:
        value: Whether the child is significant.
        restart: Its restart type.
        auto_shutdown: Its supervisor's flag; None while the supervisor is not known.
        who: The child, for the message.
    """
    if value is True and auto_shutdown == "never":
        raise InvalidSpec(
            f"{who}: significant=True means nothing while its supervisor's auto_shutdown is 'never'",
            kind="bad_combination",
            value=(("auto_shutdown", "never"), ("significant", True)),
        )
    if value is True and restart == "permanent":
        raise InvalidSpec(
            f"{who}: a permanent child is always restarted, so it cannot be significant; "
            "use restart='transient' or 'temporary'",
            kind="bad_combination",
            value=(("restart", "permanent"), ("significant", True)),
        )
    if not isinstance(value, bool):
        raise InvalidSpec(
            f"{who}: significant must be True or False; got {shown(value)}",
            kind="invalid_significant",
            value=value,
        )


def check_shutdown(value: object, who: str) -> None:
    """Refuse what is no time to end in."""
    if isinstance(value, str) and value in ("brutal_kill", "infinity"):
        return
    if isinstance(value, str) or not is_number(value) or not value >= 0:  # type: ignore[operator]  # a number
        raise InvalidSpec(
            f"{who}: shutdown must be seconds >= 0, 'brutal_kill' or 'infinity'; got {shown(value)}",
            kind="invalid_shutdown",
            value=value,
        )
