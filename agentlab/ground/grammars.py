"""jsonschema without its grammars, which Altair, and so whoever draws a chart, would wait for.

To check one format of text, international addresses, jsonschema imports ``rfc3987_syntax``, which builds some forty
grammars while it is imported: two thirds of what ``import altair`` takes. Here they are built when somebody has an
address checked. The answers are the same.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from types import ModuleType

SLOW = "rfc3987_syntax"
_turn = threading.Lock()  # the stand-in is there for all threads, and only who put it there may take it away


def defer_grammars() -> None:
    """Import jsonschema, if nobody has, with a stand-in for its grammars, which goes again."""
    with _turn:
        _import_with_stand_in()


def _import_with_stand_in() -> None:
    if {"jsonschema", SLOW} & sys.modules.keys() or not all(map(importlib.util.find_spec, ("jsonschema", SLOW))):
        return
    stand_in = ModuleType(SLOW)
    stand_in.is_valid_syntax = is_valid_syntax  # type: ignore[attr-defined]
    sys.modules[SLOW] = stand_in
    try:
        importlib.import_module("jsonschema")
    finally:
        del sys.modules[SLOW]


def is_valid_syntax(term: str, value: str) -> bool:
    """Whether a text is what the grammar calls by this name, such as ``iri``."""
    return bool(importlib.import_module(SLOW).is_valid_syntax(term, value))
