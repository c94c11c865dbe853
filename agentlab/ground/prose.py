"""Prose: a paragraph that fits where it is shown."""

from __future__ import annotations

import re
import textwrap

from agentlab.ground.texts import safe

WIDTH = 88
"""Characters of a line in a terminal or in what a cell prints."""


class Prose(str):
    """A text for people: wrapped where it is printed, Markdown in a notebook, one line for code that searches it."""

    __slots__ = ()

    def __str__(self) -> str:
        return safe(textwrap.fill(str.__str__(self), WIDTH, break_long_words=False, break_on_hyphens=False))

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        return re.sub(r"([\\`*_\[\]<>#|~$&])", r"\\\1", " ".join(safe(str.__str__(self)).split()))
