"""Keys stay out of what is written down: the values of secret environment variables, found in texts."""

from __future__ import annotations

import json
import os
import re

NAMES = re.compile(r"API_?KEY|SECRET|TOKEN|PASSWORD", re.IGNORECASE)
"""Environment variables with such names hold secrets."""

LEAST = 12
"""Characters; a shorter value may stand in an ordinary text by chance."""

_known: dict[str, str] = {}
_seen: dict[object, object] = {}


def _secrets() -> dict[str, str]:
    """Values and the names of their variables; a cell may set one at any time, so the environment is compared."""
    global _known, _seen  # noqa: PLW0603  # a cache: finding the secrets costs more than a message
    raw: dict[object, object] = getattr(os.environ, "_data", None) or dict(
        os.environ
    )  # as CPython keeps it: no decoding
    if raw != _seen:
        found = {value: name for name, value in os.environ.items() if len(value) >= LEAST and NAMES.search(name)}
        _known = found | {json.dumps(value)[1:-1]: name for value, name in found.items()}
        _seen = dict(raw)
    return _known


def redact(text: str) -> str:
    """The text with every secret in it replaced by ``***``."""
    for value in _secrets():
        if value in text:
            text = text.replace(value, "***")
    return text


def leaked(text: str) -> str | None:
    """The name of the environment variable whose value is in the text, if there is one."""
    return next((name for value, name in _secrets().items() if value in text), None)
