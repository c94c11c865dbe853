"""Keys stay out of what is written down: the values of secret environment variables, and what looks like a key.

Text for people (events, reasons, logs, errors) is written with ``***`` in a key's place. Data must come back as
it was, so data with a key in it is refused where it is handed over.
"""

from __future__ import annotations

import json
import os
import re

NAMES = re.compile(r"API_?KEY|SECRET|TOKEN|PASSWORD", re.IGNORECASE)
"""Environment variables with such names hold secrets."""

LEAST = 12
"""Characters; a shorter value may stand in an ordinary text by chance."""

SHAPES = tuple(
    (sign, re.compile(pattern))
    for sign, pattern in (
        ("sk-", r"sk-(?<![A-Za-z0-9]sk-)(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{20,}"),
        ("ghp_", r"ghp_[A-Za-z0-9]{30,}"),
        ("github_pat_", r"github_pat_[A-Za-z0-9_]{22,}"),
        ("AKIA", r"AKIA(?<![A-Za-z0-9]AKIA)[A-Z0-9]{16}(?![A-Za-z0-9])"),
        ("earer ", r"(?<=earer )(?=[A-Za-z._~+/-]*[0-9])[A-Za-z0-9._~+/-]{20,}=*"),
        ("://", r"""(?<=://)[^\s/:@"'\\<>*]*:[^\s/:@"'\\<>]+(?=@)"""),
    )
)
"""Keys of model providers, of GitHub and Amazon; what follows ``Bearer``; name and password in a URL. Each by the sign
that a text must hold to be searched: to look for a sign costs a nanosecond a character."""

MOST_NAMES = 10_000
"""Names whose redacted form is remembered."""

_known: dict[str, str] = {}
_seen: dict[object, object] = {}
_learnt: dict[str, str] = {}
_names: dict[str, str] = {}


def known_secrets() -> dict[str, str]:
    """Values and the names of their variables; a cell may set one at any time, so the environment is compared.

    Another dict as soon as it says something else.
    """
    global _known, _seen  # noqa: PLW0603  # a cache: finding the secrets costs more than a message
    raw: dict[object, object] = getattr(os.environ, "_data", None) or dict(
        os.environ
    )  # as CPython keeps it: no decoding
    if raw != _seen:
        found = {value: name for name, value in os.environ.items() if len(value) >= LEAST and NAMES.search(name)}
        _known = _learnt | found | {json.dumps(value)[1:-1]: name for value, name in found.items()}
        _names.clear()
        _seen = dict(raw)
    return _known


def learn(found: dict[str, str]) -> None:
    """Take secrets of another process too: a node began before a cell set the variable."""
    if not found.items() <= known_secrets().items():  # else a node that tells others what it knows would tell it again
        _learnt.update(found)
        _seen.clear()


def redact(text: str) -> str:
    """The text with every secret in it replaced by ``***``."""
    text = str.__str__(text)  # one of a class of its own may do anything when it is looked at
    if len(text) < LEAST:
        return text
    for value in known_secrets():
        if value in text:
            text = text.replace(value, "***")
    for sign, shape in SHAPES:
        if sign in text:
            text = shape.sub("***", text)
    return text


def redact_name(text: str) -> str:
    """Redact a name, of a step or a method, which comes again and again."""
    text = str.__str__(text)  # one of a class of its own may do anything when it is looked at
    if len(text) < LEAST:
        return text
    known_secrets()  # forgets the names when there are other secrets
    found = _names.get(text)
    if found is None:
        if len(_names) >= MOST_NAMES:
            _names.clear()
        found = _names[text] = redact(text)
    return found


def leaked(text: str) -> str | None:
    """What secret is in the text, in words: the value of a variable, or what looks like a key; None if none is."""
    text = str.__str__(text)  # one of a class of its own may do anything when it is looked at
    if len(text) < LEAST:
        return None
    for value, name in known_secrets().items():
        if value in text:
            return f"the value of ${name}"
    for sign, shape in SHAPES:
        if sign in text and shape.search(text):
            return f"what looks like a key ('{sign.replace('earer', 'Bearer')}...')"
    return None
