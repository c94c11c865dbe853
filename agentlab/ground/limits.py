"""What a provider's headers say is left of its rate limits, on the way from the client to who keeps below them."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

Left = tuple[str, float, float, float]
"""Of what (``requests``, ``tokens`` ...), how much is left, how much there is in all, seconds until it is full."""

heard: ContextVar[list[Left] | None] = ContextVar("agentlab_limits", default=None)
"""Where a call notes what it hears, if anybody wants to know."""

_PREFIX = "anthropic-ratelimit-"
_NAMES = ("requests", "tokens", "input-tokens", "output-tokens")


def note_limits(headers: Mapping[str, str]) -> None:
    """Note what an answer's headers say."""
    into = heard.get()
    if into is not None:
        into[:] = limits_of(headers, datetime.now(UTC))


def limits_of(headers: Mapping[str, str], now: datetime) -> list[Left]:
    """The limits in an answer's headers; what makes no sense is left out."""
    found: list[Left] = []
    for name in _NAMES:
        remaining = headers.get(f"{_PREFIX}{name}-remaining")
        if remaining is None:
            continue
        try:
            reset: Any = datetime.fromisoformat(headers[f"{_PREFIX}{name}-reset"])
            whole = float(headers.get(f"{_PREFIX}{name}-limit") or 0)
            found.append((name, max(0.0, float(remaining)), whole, (reset - now).total_seconds()))
        except (KeyError, ValueError, TypeError):
            continue
    return found
