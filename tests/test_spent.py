"""What a store tells of an agent's budget at a moment, and what an inspector of the past says that it cannot know."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agentlab import Assistant, Budget, Lab, child, open_store
from agentlab_widgets.inspector import Inspector
from agentlab_widgets.spent import FORGOTTEN, UNTOLD, bare, budget_then, ties_then
from agentlab_widgets.stored import looked_at
from tests.agents import Counter


class Clerk(Assistant):
    """Answers."""

    model = "sim"


class Lived(NamedTuple):
    """A lab, and what the budget of one of its agents was said to be at some moments (ns since 1970)."""

    lab: Lab
    file: Path
    told: dict[int, str]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    """An agent that spent, was raised, spent on, crashed and spent again, one without a budget, one that is gone."""
    file, told = tmp_path_factory.mktemp("spent") / "run.lab", {}
    with Lab(file, nodes=1) as lab:
        clerk = lab.start(Clerk, id="clerk", budget=Budget(tokens=10_000, seconds=600))
        for id, restart in (("counter", "permanent"), ("gone", "temporary")):
            lab.start(child(Counter, id=id, restart=restart, budget=Budget(tokens=5) if id == "gone" else None))

        def look() -> None:
            lab.wait_idle(60)
            told[time.time_ns()] = bare(clerk.path, str(clerk.budget))

        look()
        clerk.call.ask("tea").result(60)
        look()
        clerk.budget.add(tokens=500)
        look()
        clerk.crash()
        lab.wait_idle(60)
        clerk.call.ask("cake").result(60)
        look()
        lab["/gone"].stop()
        lab.wait_idle(60)
        yield Lived(lab, file, told)


def test_a_budget_is_told_as_it_was_at_each_moment(lived: Lived) -> None:
    """Its limit, raised by then, and what was used by then, over all lives: as the running lab said it."""
    store = lived.lab._read()

    then = {at: budget_then(store, "/clerk", at) for at in lived.told}

    assert then == lived.told
    assert len(set(then.values())) == 4
    assert next(iter(then.values())) == "tokens 0 of 10,000 used; seconds 0 of 600 used"


def test_what_a_store_cannot_know_is_said(lived: Lived) -> None:
    """No limit is none; a child that was removed has no spec any more; links and monitors are never written."""
    store = lived.lab._read()

    assert budget_then(store, "/counter") == "no limit"
    assert budget_then(store, "/gone") == FORGOTTEN
    assert ties_then(store, "/counter") == {"links": [], "monitors": [], "untold": UNTOLD, "budget": "no limit"}


def ties(lab: Any, path: str, at: int | None) -> dict[str, Any]:
    """What an inspector reads of an agent."""
    found: dict[str, Any] = (Inspector(lab, path, lambda *_: None, at).read(None) or {})["ties"]
    return found


def test_an_inspector_of_the_past_has_a_budget(lived: Lived) -> None:
    """Turned back in a running lab, and of a store, in the past and at its end; the present knows links, too."""
    moments, says = list(lived.told), list(lived.told.values())

    with open_store(lived.file) as stored:
        elsewhere = looked_at(stored)
        then = [ties(lab, "/clerk", moments[1]) for lab in (lived.lab, elsewhere)]
        end = ties(elsewhere, "/clerk", None)
    now = ties(lived.lab, "/clerk", None)

    assert then == [{"links": [], "monitors": [], "untold": UNTOLD, "budget": says[1]}] * 2
    assert end == {"links": [], "monitors": [], "untold": UNTOLD, "budget": says[-1]}
    assert now == {"links": [], "monitors": [], "untold": "", "budget": says[-1]}
