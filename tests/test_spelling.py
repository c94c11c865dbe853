"""Misspelt options and fields are told what was probably meant."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from agentlab import Backoff, Lab, Limit, Supervisor, child, tool
from agentlab.errors import InvalidSpec, InvalidState, UnknownOption
from agentlab.ref.many import Refs
from tests.agents import Counter


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Supervisor("team", max_restart=3), "Supervisor has no option 'max_restart'; did you mean 'max_rest"),
        (lambda: Supervisor("team", stratgy="one_for_all"), "did you mean 'strategy'"),
        (lambda: Limit(max_restart=3), "Limit has no option 'max_restart'; did you mean 'max_restarts'"),
        (lambda: Backoff(intial=1), "did you mean 'initial'"),
        (lambda: child(Counter, restrat="transient"), "did you mean 'restart'"),
        (lambda: child(Counter, max_bussy=1), "did you mean 'max_busy'"),
        (lambda: child(Counter, coutn=1), "Counter has no field 'coutn'; did you mean 'count'?"),
        (lambda: child(Supervisor("team"), restrat="transient"), "a supervisor has no fields.*did you mean 'restart'"),
        (lambda: Lab(noodes=2), "Lab has no option 'noodes'; did you mean 'nodes'"),
        (lambda: Lab(zzz=2), "Lab has no option 'zzz'; its options: store, nodes"),
        (lambda: tool(onec=True), "tool has no option 'onec'; did you mean 'once'"),
    ],
)  # fmt: skip
def test_a_misspelt_option_names_the_one_that_was_meant(make: Callable[[], Any], says: str) -> None:
    """Nothing was made; it is a TypeError, as Python's own, and an InvalidSpec, as ours."""
    with pytest.raises(UnknownOption, match=says) as refused:
        make()
    assert isinstance(refused.value, (TypeError, InvalidSpec))
    assert not inspect.isclass(refused.value.value)


def test_options_that_are_given_later_are_spelt_too(lab: Lab) -> None:
    """Of starts, calls, replaced states."""
    counter = lab.start(Counter, id="c")

    for make, says in (
        (lambda: lab.start(Counter, restrat="transient"), "did you mean 'restart'"),
        (lambda: lab.start_many(Counter, 2, isolaton="process"), "did you mean 'isolation'"),
        (lambda: counter.call(timout=5), "ref.call has no option 'timout'; did you mean 'timeout'"),  # type: ignore[call-arg]
        (lambda: Refs([counter]).call(timout=5), "did you mean 'timeout'"),  # type: ignore[call-arg]
    ):
        with pytest.raises(UnknownOption, match=says):
            make()
    with pytest.raises(InvalidState, match="did you mean 'count'"):
        counter.replace_state(coutn=5)


def test_what_is_spelt_well_is_as_before():
    """Signatures and docstrings are those of the functions themselves."""
    assert list(inspect.signature(Supervisor).parameters)[:3] == ["name", "children", "strategy"]
    assert list(inspect.signature(Limit).parameters) == ["max_restarts", "max_seconds"]
    assert (Limit(2, max_seconds=3.0).max_restarts, Backoff(initial=0.2).initial) == (2, 0.2)
