"""Whether two classes are the same code: a cell that is run again unchanged defines nothing new.

What a method does counts, not where it stands: lines, file names and comments may differ. What a method takes from
the notebook's other cells is not looked at. The runtime's thread asks, so no class's own ``__eq__`` or ``__getattr__``
is called: objects are compared by what they are made of.
"""

from __future__ import annotations

import contextlib
import typing
from types import CellType, CodeType, FunctionType
from typing import Any
from weakref import WeakKeyDictionary

PLACES = frozenset({
    "__dict__", "__weakref__", "__module__", "__doc__", "__firstlineno__", "__static_attributes__",
    "__annotations_cache__", "__agent_own__", "__agent_fields__", "__agent_messages__", "__signature__", "_abc_impl",
})  # fmt: skip
"""What a class body has beside what its author wrote, or that says where that stands."""

PARTS = ("co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars", "co_argcount", "co_kwonlyargcount",
         "co_posonlyargcount", "co_flags")  # fmt: skip

PLAIN = frozenset({"collections", "datetime", "decimal", "enum", "fractions", "ipaddress", "pathlib", "typing", "uuid"})
"""Modules whose values may be compared in Python code."""

_known: WeakKeyDictionary[type, WeakKeyDictionary[type, bool]] = WeakKeyDictionary()

Seen = set[tuple[int, int]]
"""Pairs that are being compared: a class is reached again from its own methods."""


def same_name(one: type, other: type) -> bool:
    """Whether two classes are definitions of one: the same name in the same module."""
    return (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)


def same_code(one: type, other: type) -> bool:
    """Whether two classes do the same; asked often of the same two, so the answer is kept."""
    if one is other or (same_name(one, other) and (hasattr(one, "_stands_in") or hasattr(other, "_stands_in"))):
        return True  # what stands in for a class has no code to compare
    answers = _known.setdefault(one, WeakKeyDictionary())
    found = answers.get(other)
    if found is None:
        try:
            found = _alike(one, other, set())
        except Exception:  # whatever stands in a class may refuse to be looked at
            found = False
        answers[other] = found
    return found


def _alike(one: Any, other: Any, seen: Seen) -> bool:  # whatever stands in a class
    pair = (id(one), id(other))
    if one is other or pair in seen:
        return True
    if type(one) is not type(other) and not _alike(type(one), type(other), seen):  # its class was defined again too
        return False
    if isinstance(one, (type, FunctionType)):  # these live as long as the comparison, so their ids are theirs
        seen.add(pair)
    for kind, compare in KINDS:
        if isinstance(one, kind):
            return bool(compare(one, other, seen))
    return _equal(one, other) or _parts_alike(one, other, seen)


def _equal(one: Any, other: Any) -> bool:
    compare = type(one).__eq__
    if isinstance(compare, FunctionType) and compare.__module__.partition(".")[0] not in PLAIN:
        return False
    try:
        return bool(one == other)
    except Exception:  # an array of NumPy, say
        return False


def _classes(one: type, other: type, seen: Seen) -> bool:
    if not same_name(one, other) or one.__module__ == "builtins":
        return False
    return _alike(one.__bases__, other.__bases__, seen) and _alike(_body(one), _body(other), seen)


def _body(cls: type) -> dict[str, Any]:
    """What its author wrote; of a pydantic model its fields, and nothing that was made of them."""
    return {
        name: value for name, value in vars(cls).items()
        if name not in PLACES and (name == "__pydantic_fields__" or not name.startswith("__pydantic_"))
    }  # fmt: skip


def _functions(one: FunctionType, other: FunctionType, seen: Seen) -> bool:
    names = ("__code__", "__defaults__", "__kwdefaults__", "__annotations__", "__closure__")
    return all(_alike(getattr(one, name), getattr(other, name), seen) for name in names)


def _codes(one: CodeType, other: CodeType, seen: Seen) -> bool:
    same = all(getattr(one, name) == getattr(other, name) for name in PARTS)
    return same and _alike(one.co_consts, other.co_consts, seen)


def _sequences(one: Any, other: Any, seen: Seen) -> bool:
    return len(one) == len(other) and all(_alike(a, b, seen) for a, b in zip(one, other, strict=True))


def _dicts(one: dict[Any, Any], other: dict[Any, Any], seen: Seen) -> bool:
    return one.keys() == other.keys() and all(_alike(value, other[key], seen) for key, value in one.items())


def _parts_alike(one: Any, other: Any, seen: Seen) -> bool:
    """Objects that cannot be compared as a whole: by what they are made of."""
    if typing.get_origin(one) is not None:  # list[Tea], where Tea was defined again too
        pairs = ((typing.get_origin(one), typing.get_origin(other)), (typing.get_args(one), typing.get_args(other)))
        return all(_alike(a, b, seen) for a, b in pairs)
    mine, theirs = _made_of(one), _made_of(other)
    return bool(mine) and _alike(mine, theirs, seen)


def _made_of(value: Any) -> dict[str, Any]:
    if isinstance(value, (classmethod, staticmethod)):
        return {"of": value.__func__}
    if isinstance(value, property):
        return {"get": value.fget, "set": value.fset, "delete": value.fdel}
    if isinstance(value, CellType):
        return {"in": value.cell_contents}
    found: dict[str, Any] = {}
    for cls in type(value).__mro__:
        for name in ("__dict__", *vars(cls).get("__slots__", ())):
            with contextlib.suppress(AttributeError):
                found[name] = object.__getattribute__(value, name)
    return found


KINDS: tuple[tuple[type | tuple[type, ...], Any], ...] = (
    (type, _classes),
    (FunctionType, _functions),
    (CodeType, _codes),
    ((tuple, list), _sequences),
    (dict, _dicts),
)
"""How things of some kinds are compared, the first that fits."""
