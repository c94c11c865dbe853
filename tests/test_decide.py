"""What is done about a failed attempt, by the table and by itself: no lab, no clock."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentlab import Agent, Assistant, Lab, faults
from agentlab.errors import InvalidSpec
from agentlab.faults import ACTIONS, KINDS, Action, checked, decide, fault
from agentlab.faults.actions import DOES, LIMITS

TRIES_AGAIN = sorted(LIMITS)


@st.composite
def actions(draw: st.DrawFn) -> Action:
    """Any action that tries again, with any limits."""
    numbers = st.floats(0, 1e6)
    return Action(
        draw(st.sampled_from(TRIES_AGAIN)),
        attempts=draw(st.integers(1, 50)),
        first=draw(numbers),
        maximum=draw(numbers),
        max_wait=draw(numbers),
        total=draw(st.one_of(numbers, st.just(math.inf))),
        same=draw(st.integers(1, 50)),
    )


def decided(action: Action, kind: str = "server_error", retry_after: float | None = None, **more: Any) -> Any:
    """A decision about one fault, with nothing behind it unless the test says so."""
    told = {"attempts": 1, "same": 1, "waited": 0.0, "jitter": 0.5, **more}
    return decide(fault(kind, retry_after), {kind: action}, **told)


def test_every_kind_has_a_row_and_no_row_is_of_another_kind():
    """Nothing that is recognised is left to chance."""
    assert set(ACTIONS) == set(KINDS)
    assert {action.does for action in ACTIONS.values()} <= set(DOES)


def test_the_table_is_what_the_contract_says():
    """Which kind of fault meets which action, where nobody says otherwise."""
    by_action = {does: {kind for kind, action in ACTIONS.items() if action.does == does} for does in DOES}

    contract = {
        "tell_model": {"unknown_tool", "bad_arguments", "tool_failed"},
        "retry_step": {kind for kind, reach in KINDS.items() if reach.scope == "call" and reach.transient},
        "wait": {kind for kind, reach in KINDS.items() if reach.scope == "provider" and reach.transient},
        "park": {
            "bad_request", "too_large", "unauthorized", "forbidden", "billing", "spend_limit", "no_such_model",
            "budget",
        },
        "crash": {"stopped_short", "crash"},
    }  # fmt: skip
    for does, kinds in contract.items():
        assert kinds <= by_action[does]


def test_the_table_is_a_frame_and_shows_rows_that_were_replaced():
    """Kind, scope, transient, action, limits: one row per kind."""
    table = faults.table({"server_error": "crash", "timeout": Action("retry_step", attempts=3)}).set_index("kind")

    assert list(faults.table()) == ["kind", "scope", "transient", "action", "limits"]
    assert list(faults.table()["kind"]) == list(KINDS)
    assert table.loc["server_error", "action"] == "crash"
    assert table.loc["server_error", "limits"] == ""
    assert table.loc["timeout", "limits"].startswith("3 tries, after 0.5 s, doubling to 30 s; retry-after up to 60 s")
    assert table.loc["overloaded", "limits"].endswith("20 alike: parked")


@given(actions(), st.tuples(st.integers(1, 80), st.integers(1, 80)), st.floats(0, 1e7), st.floats(0, 1), st.floats(0))
def test_a_step_is_tried_again_only_within_all_of_its_limits(action, counts, waited, jitter, retry_after):
    """It ends: in a crash, or parked; and the wait is neither less than was asked for nor without bounds."""
    attempts, same = counts
    made = decided(action, retry_after=retry_after, attempts=attempts, same=same, waited=waited, jitter=jitter)

    if made.tries_again:
        assert made.does == action.does
        assert attempts < action.attempts
        assert same < action.same
        assert waited + made.delay <= action.total
        assert min(retry_after, action.max_wait) <= made.delay <= max(action.maximum, 1.1 * action.max_wait)
    else:
        assert made.does == ("park" if same >= action.same else "crash")
        assert made.delay == 0
    assert made.why


@given(actions(), st.integers(1, 80), st.integers(1, 80))
def test_what_may_have_happened_is_never_done_again(action, attempts, same):
    """Whatever its fault and the rows say."""
    assert decided(action, attempts=attempts, same=same, may_repeat=False).does == "crash"


@given(st.integers(1, 60), st.floats(0, 1))
def test_the_back_off_doubles_up_to_its_maximum_and_half_of_it_is_chance(attempts, jitter):
    """Those that failed together do not come back together."""
    action = Action("retry_step", attempts=100, first=0.5, maximum=30.0, same=100)

    whole = min(0.5 * 2 ** (attempts - 1), 30.0)
    assert whole / 2 <= decided(action, attempts=attempts, jitter=jitter).delay <= whole


@pytest.mark.parametrize("does", sorted(set(DOES) - set(LIMITS)))
def test_what_does_not_try_again_asks_for_no_limits(does):
    """It is what it is, however often."""
    assert decided(Action(does), attempts=99, same=99).does == does


def test_an_unknown_kind_is_a_crash():
    """A fault that a newer module names, and no table has."""
    assert decide(fault("overloaded"), {}, attempts=1, same=1, waited=0, jitter=0).does == "crash"


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"servererror": "crash"}, "there is no kind of fault 'servererror'; did you mean 'server_error'?"),
        ({"timeout": "retry"}, "there is no action 'retry'; did you mean 'retry_step'?"),
        ({"timeout": 3}, "there is no action 3; the actions: tell_model, retry_step"),
        ({"timeout": ["park"]}, "on_fault['timeout'] must be one of tell_model, retry_step"),
        (["timeout"], "on_fault is a mapping of kinds to actions"),
    ],
)
def test_unknown_kinds_and_actions_are_refused_by_name(given_, said):
    """Where the class is defined, and where the lab is opened; with the list, and whose they are."""
    with pytest.raises(InvalidSpec) as of_lab:
        Lab(on_fault=given_)
    with pytest.raises(InvalidSpec) as of_class:
        type("Clerk", (Assistant,), {"on_fault": given_})

    assert said in str(of_lab.value)
    assert str(of_lab.value).startswith("Lab: ")
    assert str(of_class.value).startswith("Clerk: ")


@pytest.mark.parametrize(
    "limit", [{"attempts": 0}, {"first": -1}, {"same": "5"}, {"total": True}, {"maximum": math.nan}]
)
def test_a_limit_that_cannot_be_is_refused_by_name(limit):
    """And so is a limit of what does not try again."""
    (name,) = limit
    with pytest.raises(InvalidSpec, match=f"{name} must be a number"):
        Action("retry_step", **limit)
    with pytest.raises(InvalidSpec, match=f"park takes no limits; got {name}"):
        Action("park", **limit)


def test_a_class_has_the_rows_of_its_bases_and_its_own_before_them():
    """Rows are inherited one by one."""

    class Careful(Agent):
        on_fault = {"timeout": "crash", "garbage": "park"}

    class Bold(Careful):
        on_fault = {"garbage": "retry_step"}

    assert Bold.__agent_faults__ == checked({"timeout": "crash", "garbage": "retry_step"}, "")
    assert Careful.__agent_faults__["garbage"].does == "park"
