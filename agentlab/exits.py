"""Exit reasons: why an agent ended, said by OTP's rules.

A reason is text (``normal``, ``shutdown``, ``killed``), a tuple of plain parts (``("shutdown", detail)``), or a
``Crash``: what an agent raised, as data. How they cross a process border is in ``wire/exceptions``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agentlab.ground.redaction import redact

WORDS = frozenset({"normal", "shutdown", "killed", "kill", "noproc"})
"""Reasons that are words of OTP's."""

LONGEST = 2000
"""Characters of a reason in words."""


class Exit(Exception):
    """Raised inside an agent, ends it with this reason; ``normal`` and ``shutdown`` are no crashes.

    Attributes:
        reason: ``"normal"``, ``"shutdown"``, ``("shutdown", detail)`` or any other text: a crash.
    """

    def __init__(self, reason: Any = "normal") -> None:  # a reason is any term, as in OTP
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Crash:
    """The exit reason of an agent that raised: what it raised, without its objects."""

    type: str
    message: str
    traceback: str = ""
    form: bytes | None = None  # from which the exception can be made again; see ``wire/exceptions``
    fault: str = ""  # its kind, of what the fault table knows

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


def is_graceful(reason: Any) -> bool:
    """Whether an exit with this reason is no crash: ``normal``, ``shutdown``, or ``("shutdown", detail)``."""
    if isinstance(reason, str):
        return reason in ("normal", "shutdown")
    return isinstance(reason, tuple) and len(reason) == 2 and reason[0] == "shutdown"


def has_diverged(reason: Any) -> bool:
    """Whether a life ended because its handler did not ask again for what cannot be taken back."""
    return isinstance(reason, tuple) and bool(reason) and reason[0] == "diverged"


def reason_text(reason: Any) -> str:
    """An exit reason in words: ``normal``, ``shutdown: done``, ``ValueError: no tea``."""
    if type(reason) is str and reason in WORDS:
        return reason
    if isinstance(reason, tuple):
        text = ": ".join(reason_text(part) for part in reason)
    else:
        text = f"{type(reason).__name__}: {reason}" if isinstance(reason, BaseException) else str(reason)
    return redact(text.encode("utf-8", "backslashreplace").decode("utf-8"))[:LONGEST]
