"""The table of control operations: both ends go by it, so it has to be true."""

from __future__ import annotations

import inspect

from agentlab.control.cells import BLOCKING
from agentlab.control.operations import FUNCTIONS
from agentlab.wire.operations import OPERATIONS


def test_every_operation_has_a_function_and_a_way_in() -> None:
    """One row, one function, under one name; cells may ask for three things more."""
    assert set(FUNCTIONS) == set(OPERATIONS)
    assert set(BLOCKING) - set(OPERATIONS) == {"checkpoints", "wait_idle"}


def test_who_waits_is_a_coroutine_and_nobody_else() -> None:
    """A cell blocks for a coroutine and asks the others at once; an agent awaits the one and not the other."""
    waits = {name for name, function in FUNCTIONS.items() if inspect.iscoroutinefunction(function)}

    assert waits == {name for name, about in OPERATIONS.items() if about.waits}


def test_what_ends_or_starts_somebody_does_not_only_look() -> None:
    """A step that only looked may be taken back by a rewind; what others have seen may not."""
    looks = {name for name, about in OPERATIONS.items() if about.looks}

    assert not any(OPERATIONS[name].ends or OPERATIONS[name].promised or OPERATIONS[name].fields for name in looks)
