"""Pickles of this lab's own processes: written with what a traceback needs, read where their code may run.

A runtime's thread carries what agents made and reads none of it.
"""

from __future__ import annotations

import dataclasses
import io
import pickle
import sys
import threading
from types import CodeType
from typing import Any, NewType

import cloudpickle


class _Role(threading.local):
    carries = False


role = _Role()
"""``role.carries``: this thread, a runtime's, carries what agents made and loads none of it."""


def refuse_carriers() -> None:
    """Say so where a runtime's thread is about to run code that an agent made."""
    if role.carries:
        raise RuntimeError("the kernel's own thread carries what agents made and loads none of it")


def load(data: bytes | memoryview) -> Any:
    """What a pickle of this lab's own processes holds; its code runs in the calling thread."""
    refuse_carriers()
    return pickle.loads(data)  # noqa: S301  # from the lab's own socketpair, never from a store


def dump(value: Any) -> bytes:
    """A value as a pickle, classes and functions of a notebook's cells included."""
    with io.BytesIO() as file:
        _Pickler(file, protocol=5).dump(value)
        return file.getvalue()


NOWHERE = "<dynamic-code>"
"""The file of all code that cloudpickle packs."""


def _code(code: CodeType) -> tuple[Any, ...]:
    """Code with the file that it is from: a traceback names it."""
    make, args = cloudpickle.Pickler.dispatch_table[CodeType](code)
    return make, tuple(code.co_filename if part == NOWHERE else part for part in args)


# A dataclass of a cell is packed with its fields, which say by identity that there is no default.
_MARKS = {type(getattr(dataclasses, name)): name for name in ("MISSING", "_HAS_DEFAULT_FACTORY", "KW_ONLY")}


def _mark(mark: object) -> str:
    """The name under which ``dataclasses`` has the one object of its kind."""
    return _MARKS[type(mark)]


def _new_type(made: Any) -> Any:
    """A ``NewType`` of a cell by what it is made of, one of a module by its name, as cloudpickle does with classes."""
    name: str = made.__name__
    there = getattr(sys.modules.get(made.__module__), name, None)
    if made.__module__ != "__main__" and there is made:
        return name
    return _make_new_type, (name, made.__module__, made.__supertype__)


def _make_new_type(name: str, module: str, supertype: Any) -> Any:
    make: Any = NewType  # which a type checker wants to see assigned to its own name
    made = make(name, supertype)
    made.__module__ = module
    return made


_OURS: dict[type, Any] = {CodeType: _code, NewType: _new_type, **dict.fromkeys(_MARKS, _mark)}


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it ships no types
    dispatch_table = cloudpickle.Pickler.dispatch_table.new_child(_OURS)

    def reducer_override(self, made: Any) -> Any:
        """Pack an exception as Python does.

        Where Dask is loaded, ``tblib`` packs it otherwise: with its stack, its causes and whatever these hold.
        """
        if isinstance(made, BaseException):
            packs = self.dispatch_table.get(type(made))
            if getattr(packs, "__module__", "").startswith("tblib."):
                return made.__reduce_ex__(5)
        return super().reducer_override(made)
