"""Keys stay out of what is written down: the values of secret environment variables, found in texts."""

from __future__ import annotations

import json
import os
import re
import time

NAMES = re.compile(r"API_?KEY|SECRET|TOKEN|PASSWORD", re.IGNORECASE)
"""Environment variables with such names hold secrets."""

LEAST = 12
"""Characters; a shorter value may stand in an ordinary text by chance."""

KEPT_SECONDS = 0.5

_known: dict[str, str] = {}
_read_at = -KEPT_SECONDS


def _secrets() -> dict[str, str]:
    """Values and the names of their variables; a cell may set one at any time, so they are read again."""
    global _known, _read_at  # noqa: PLW0603  # a cache: reading the environment costs more than a message
    now = time.monotonic()
    if now - _read_at >= KEPT_SECONDS:
        found = {value: name for name, value in os.environ.items() if len(value) >= LEAST and NAMES.search(name)}
        _known = found | {json.dumps(value)[1:-1]: name for value, name in found.items()}
        _read_at = now
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
