"""Child specs in the store: whatever a child or a supervisor was given comes back when its lab is opened again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from agentlab import Backoff, Budget, Lab, Limit, Supervisor, child
from agentlab.books.specs import dump, load
from agentlab.supervision.child import FLAGS, OPTIONS, Child
from agentlab.supervision.records import Record
from tests.agents import Counter

GIVEN: dict[str, Any] = {
    "id": "tea",
    "restart": "transient",
    "shutdown": 2.5,
    "significant": True,
    "backoff": Backoff(0.2, 3.0, 9.0, 0.0),
    "own_limit": Limit(7, 8.0),
    "restore": "fresh",
    "isolation": "process",
    "max_memory": 1 << 30,
    "max_busy": 4.0,
    "budget": Budget(tokens=100, seconds=2.5),
}
SET: dict[str, Any] = {
    "strategy": "rest_for_one",
    "max_restarts": 9,
    "max_seconds": 6.0,
    "auto_shutdown": "any_significant",
    "max_children": 12,
    "bring_back": False,
    "budget": Budget(cost_usd=1.5),
}


def test_the_tables_here_have_every_option() -> None:
    """A new option has to be tried here too, and its value must not be its default."""
    assert set(GIVEN) == set(OPTIONS)
    assert set(SET) == set(FLAGS)
    default = Child(what=Counter, id="counter")
    assert [name for name in OPTIONS if getattr(default, name) == GIVEN[name]] == []


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_of_a_child_comes_back(name: str) -> None:
    """What is written down of a child has every option of it."""
    spec = dataclasses.replace(Child(what=Counter, id="counter"), **{name: GIVEN[name]})

    back = load(dump(Record(None, spec.id, spec, None)))

    assert getattr(back, name) == GIVEN[name]


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_of_a_supervisor_comes_back(name: str) -> None:
    """The same for supervisors."""
    spec = child(Supervisor("team", child(Counter, significant=True, restart="temporary"), **SET))

    back: Any = load(dump(Record(None, spec.id, spec, None)))

    assert getattr(back.what, name) == SET[name]


def test_a_spec_of_an_older_store_has_the_defaults_of_later_options() -> None:
    """An option that did not exist when the lab was stored is what it is for everybody who does not give it."""
    spec = child(Counter, id="counter", max_busy=4.0)
    data = json.loads(dump(Record(None, spec.id, spec, None)))
    del data["max_busy"]

    assert load(json.dumps(data)) == dataclasses.replace(spec, max_busy=None)


def test_options_outlive_the_kernel(tmp_path: Path) -> None:
    """The whole way: started in one lab, run under the same rules by the next."""
    with Lab(tmp_path / "run.lab", nodes=1) as lab:
        lab.start(Counter, id="tea", restart="transient", own_limit=Limit(7, 8.0), backoff=Backoff(0.2))

    with Lab(tmp_path / "run.lab", nodes=1) as lab:
        lab.resume()
        spec = lab["/"].get_childspec("tea")

    assert (spec.restart, spec.own_limit, spec.backoff) == ("transient", Limit(7, 8.0), Backoff(0.2))
