"""Faults by themselves: what is what, and how long to wait."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from agentlab.errors import StepFailed
from agentlab.faults import BY_STATUS, KINDS, classify, classify_reply, fault, retry_after_of


def test_every_row_of_the_tables_is_a_known_kind():
    """No status leads to a kind that the actions do not know."""
    assert {classify_reply(status, None) for status in range(400, 600)} <= set(KINDS)
    assert set(BY_STATUS.values()) <= set(KINDS)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ZeroDivisionError(), "crash"),
        (TimeoutError(), "timeout"),
        (ConnectionResetError(), "connection"),
        (StepFailed("x", fault("tool_failed")), "tool_failed"),
        (StepFailed("x"), "crash"),
        (ExceptionGroup("x", [TimeoutError(), ExceptionGroup("y", [ConnectionResetError()])]), "timeout"),
        (ExceptionGroup("x", [TimeoutError(), ZeroDivisionError()]), "crash"),
        (ExceptionGroup("x", [KeyError(), StepFailed("x", fault("unauthorized"))]), "unauthorized"),
    ],
)
def test_other_exceptions_are_classified_by_their_class(error, kind):
    """What is in no table is a crash."""
    assert classify(error).kind == kind


def test_a_group_that_may_pass_waits_for_the_longest_of_its_waits():
    """Before that the others would fail again."""
    found = classify(ExceptionGroup("x", [StepFailed(f"{n}", fault("rate_limit", float(n))) for n in (3, 40, 7)]))

    assert (found.kind, found.retry_after) == ("rate_limit", 40.0)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "89"}, 89.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:10 GMT"}, 10.0),
        ({"retry-after": "Wed, 21 Oct 2020 07:28:10 GMT"}, 0.0),
        ({"retry-after": "9", "retry-after-ms": "1500"}, 1.5),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers, seconds):
    """Seconds, milliseconds, a date; nonsense is no answer."""
    assert retry_after_of(headers, datetime(2026, 10, 21, 7, 28, 0, tzinfo=UTC)) == seconds
