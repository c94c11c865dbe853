"""What went wrong, in one small object: ``classify`` maps an exception to a ``Fault``.

Both are pure. ``KINDS`` is the table behind them: for each kind how far it reaches (``scope``) and whether waiting
may mend it (``transient``). What to do about a kind is the business of ``actions``.

A provider's own exceptions are recognised by their shape (``status_code``, ``type``, ``error_code``, the class's
name), never by import, so classifying costs no import of a client library.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal, NamedTuple

from agentlab.errors import BudgetExceeded, StepFailed
from agentlab.ground.tracebacks import leaves

Scope = Literal["call", "agent", "model", "provider", "tool", "node"]


@dataclass(frozen=True, slots=True)
class Fault:
    """A classified failure.

    Args:
        kind: A key of ``KINDS``.
        scope: How far it reaches: only this call, this agent, all users of the model, the provider, the tool.
        transient: Whether the same thing may work later.
        retry_after: Seconds the other side asked to wait, uncapped; ``None`` if it did not say.
    """

    kind: str
    scope: Scope
    transient: bool
    retry_after: float | None = None


class Reach(NamedTuple):
    """A row of ``KINDS``."""

    scope: Scope
    transient: bool


KINDS: Mapping[str, Reach] = {
    "rate_limit": Reach("provider", transient=True),
    "overloaded": Reach("provider", transient=True),
    "unavailable": Reach("provider", transient=True),
    "server_error": Reach("call", transient=True),
    "connection": Reach("call", transient=True),
    "timeout": Reach("call", transient=True),
    "cut_stream": Reach("call", transient=True),
    "stalled": Reach("call", transient=True),
    "garbage": Reach("call", transient=True),
    "cut_upload": Reach("call", transient=True),
    "conflict": Reach("call", transient=True),
    "bad_request": Reach("call", transient=False),
    "too_large": Reach("call", transient=False),
    "unauthorized": Reach("provider", transient=False),
    "forbidden": Reach("provider", transient=False),
    "billing": Reach("provider", transient=False),
    "spend_limit": Reach("provider", transient=False),
    "no_such_model": Reach("model", transient=False),
    "stopped_short": Reach("model", transient=False),
    "unknown_tool": Reach("tool", transient=False),
    "bad_arguments": Reach("tool", transient=False),
    "tool_failed": Reach("tool", transient=False),
    "server_down": Reach("tool", transient=True),
    "unreached": Reach("tool", transient=True),
    "not_approved": Reach("tool", transient=False),
    "in_doubt": Reach("tool", transient=False),
    "budget": Reach("agent", transient=False),
    "crash": Reach("agent", transient=False),
}

BY_STATUS: Mapping[int, str] = {
    400: "bad_request",
    401: "unauthorized",
    402: "billing",
    403: "forbidden",
    404: "no_such_model",
    408: "timeout",
    409: "conflict",
    413: "too_large",
    422: "bad_request",
    429: "rate_limit",
    503: "unavailable",
    504: "timeout",
    529: "overloaded",
}

BY_TYPE: Mapping[str, str] = {
    "invalid_request_error": "bad_request",
    "authentication_error": "unauthorized",
    "billing_error": "billing",
    "permission_error": "forbidden",
    "not_found_error": "no_such_model",
    "conflict_error": "conflict",
    "request_too_large": "too_large",
    "rate_limit_error": "rate_limit",
    "timeout_error": "timeout",
    "api_error": "server_error",
    "overloaded_error": "overloaded",
}

# The two monthly caps answer 429, but no waiting of ours mends them.
BY_CODE: Mapping[str, str] = {
    "enforced_spend_limit_reached": "spend_limit",
    "contract_spend_limit_reached": "spend_limit",
}

BY_CLASS: Mapping[str, str] = {
    "APITimeoutError": "timeout",
    "TimeoutException": "timeout",
    "APIConnectionError": "connection",
    "TransportError": "connection",
    "APIResponseValidationError": "garbage",
    "JSONDecodeError": "garbage",
    "UnicodeDecodeError": "garbage",
    "TimeoutError": "timeout",
    "ConnectionError": "connection",
    "ClientConnectionError": "connection",  # of aiohttp, as the next one
    "ClientPayloadError": "connection",
}


def fault(kind: str, retry_after: float | None = None) -> Fault:
    """The fault of a kind, with its row of ``KINDS``."""
    reach = KINDS[kind]
    return Fault(kind, reach.scope, reach.transient, retry_after)


def classify(error: BaseException) -> Fault:
    """Say what kind of failure an exception is; anything not in the tables is a ``crash``.

    A group, as several steps at once may raise it, is the worst of what is in it: what nothing mends, before a tool's
    failure or what is in no table, before what may pass. It may pass if all of it may, after the longest of its waits.
    """
    if isinstance(error, BaseExceptionGroup):
        return _worst([classify(each) for each in leaves(error)])
    if isinstance(error, StepFailed) and isinstance(error.fault, Fault):
        return error.fault
    if isinstance(error, BudgetExceeded):
        return fault("budget")
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return _classify_status(error, status)
    names = {cls.__name__ for cls in type(error).__mro__}
    return fault(next((kind for name, kind in BY_CLASS.items() if name in names), "crash"))


def _worst(found: Sequence[Fault]) -> Fault:
    worst = min(found, key=lambda each: (each.transient, each.kind == "crash" or each.scope == "tool"))
    waits = [each.retry_after for each in found if each.retry_after is not None]
    return replace(worst, retry_after=max(waits)) if worst.transient and waits else worst


def classify_reply(status: int, type_: str | None, *, code: str | None = None, message: str = "") -> str:
    """The kind of an error reply.

    Args:
        status: HTTP status. 200 for an error inside a stream: then only ``type_`` counts.
        type_: ``error.type`` of the body.
        code: ``error.details.error_code`` of the body.
        message: ``error.message`` of the body.
    """
    if code in BY_CODE:
        return BY_CODE[str(code)]
    # A body cut on its way up is refused as bad JSON, though the same request is fine the next time.
    if status == 400 and "unexpected end of data" in message:
        return "cut_upload"
    if status < 400:
        return BY_TYPE.get(type_ or "", "server_error")
    if status in BY_STATUS:
        return BY_STATUS[status]
    return "server_error" if status >= 500 else "bad_request"


def retry_after_of(headers: Any, now: datetime | None = None) -> float | None:  # any mapping with .get
    """Seconds to wait by a reply's ``retry-after-ms`` or ``retry-after`` (a number or an HTTP date); uncapped."""
    milliseconds = _seconds(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _seconds(value)
    if seconds is not None or value is None:
        return seconds
    try:
        return max(0.0, (parsedate_to_datetime(value) - (now or datetime.now(UTC))).total_seconds())
    except (ValueError, TypeError):
        return None


def _seconds(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


def _classify_status(error: BaseException, status: int) -> Fault:
    headers = getattr(getattr(error, "response", None), "headers", {})
    kind = classify_reply(
        status, getattr(error, "type", None), code=getattr(error, "error_code", None), message=str(error)
    )
    return fault(kind, retry_after_of(headers))
