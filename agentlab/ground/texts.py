"""Texts from anywhere: such that they are safe to draw, and such that UTF-8 can hold them.

A model, a tool or a web page may have put anything into a text. It stays as it came where it is kept. Where it is
shown, in a terminal, in HTML (escaped) or in a picture, whatever a reader cannot see and a machine obeys is one
character that says so.
"""

from __future__ import annotations

import re

UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # a terminal's codes: they move its cursor, write its clipboard, ring its bell
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f"  # the direction of text, and breaks that are none in most editors
    "\u180e\u200b\u2060-\u2065\ufeff\ufff9-\ufffb"  # of no width; but not \u200c and \u200d, which whole scripts need
    "\ud800-\udfff"  # half a character
    "\U000e0000-\U000e007f]"  # tags: letters that only a model reads
)
REPLACED = "\ufffd"


def safe(text: object, limit: int | None = None) -> str:
    """Text of several lines that is safe to draw, at most ``limit`` characters long; what is left out is counted."""
    whole = str(text)
    shown = UNSEEN.sub(REPLACED, whole[:limit].replace("\r\n", "\n"))
    return shown if limit is None or len(whole) <= limit else f"{shown}\n… {len(whole) - limit:,} more characters"


def clean(text: object, limit: int = 120) -> str:
    """One line that is safe to draw, at most ``limit`` characters long."""
    shown = str(text)[: limit + 1]
    if not shown.isprintable():  # a hundred thousand names of a tree are
        shown = UNSEEN.sub(REPLACED, shown.replace("\t", " ").replace("\n", " ").replace("\r", " "))
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def storable(text: str) -> str:
    """The text without lone surrogates, which no UTF-8 file, socket or database takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
