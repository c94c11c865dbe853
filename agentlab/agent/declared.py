"""Names that an agent class declares; a public name that it does not declare would be no state, so it is refused.

``count = 0`` without an annotation, or ``self.other = 5``, looks like state and is gone after a crash.
"""

from __future__ import annotations

import inspect
import types
from typing import Any

from agentlab.errors import InvalidSpec, InvalidState


def declared(cls: type) -> frozenset[str]:
    """Names that may be set on an agent: annotated ones, settings with a value, descriptors; of bases too."""
    names: set[str] = set()
    for base in cls.__mro__[:-1]:
        names |= _annotated(base)
        names |= {name for name, value in vars(base).items() if not inspect.isroutine(value)}
    return frozenset(names)


def refuse_bare(cls: type, reserved: frozenset[str]) -> None:
    """Refuse data in the class's own body that has no annotation.

    Allowed are names of constants and classes (a capital first), names with an underscore, names that a base class
    declares, and whatever is no data: functions, properties, tools, modules.

    Raises:
        InvalidSpec: Names it, and the three ways to write it.
    """
    own = _annotated(cls)
    for name, value in vars(cls).items():
        if name in own or name[0] == "_" or name[0].isupper() or _is_no_data(value):
            continue
        if name in reserved:
            raise InvalidSpec(
                f"{cls.__name__}.{name}: {name!r} belongs to Agent or to the start options. Choose another name.",
                kind="reserved_name", value=name,
            )  # fmt: skip
        if any(name in vars(base) or name in _annotated(base) for base in cls.__mro__[1:-1]):
            continue
        raise InvalidSpec(
            f"{cls.__name__}.{name} has no annotation, so it would be no state: a crash would lose it. "
            f"{_advice(name, value)}",
            kind="invalid_field", value=name,
        )  # fmt: skip


def refuse_undeclared(cls: type, name: str, value: Any) -> None:
    """Refuse to set a public name that the class does not declare, or that is one of its methods.

    Raises:
        InvalidState: Names it, and the three ways to declare it.
    """
    known = inspect.getattr_static(cls, name, None)  # a setting may have been given to the class later
    if known is not None and not inspect.isroutine(known):
        return
    what = "is one of its methods" if known is not None else "is no declared field"
    raise InvalidState(
        f"self.{name} = ... was refused: {cls.__name__}.{name} {what}, so it would be no state: a crash would lose it. "
        f"{_advice(name, value)}"
    )


def _is_no_data(value: Any) -> bool:
    return callable(value) or hasattr(type(value), "__get__") or isinstance(value, types.ModuleType)


def _annotated(cls: type) -> set[str]:
    return set(inspect.get_annotations(cls))


def _advice(name: str, value: Any) -> str:
    kind = "str | None" if value is None else type(value).__name__
    return (
        f"Write in the class body: {name}: {kind} to make it state; {name}: ClassVar[{kind}] if all agents share it; "
        f"or call it _{name} if it may be lost."
    )
