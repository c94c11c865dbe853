"""Agents by the hundred under one supervisor: their options, the limit that they share, and what became of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentlab import Agent, Backoff, Lab, Limit, Supervisor, child
from agentlab.errors import InvalidSpec, NotRunning
from tests.agents import Counter
from tests.conftest import wait_for


class Needs(Agent):
    """Has a field without a default."""

    topic: str
    count: int = 0

    async def look(self) -> str:
        """Say it."""
        return f"{self.topic} {self.count}"


def crowded(lab: Lab) -> list[str]:
    """Who was told of sharing a limit."""
    events = lab.events()
    found: list[str] = events[events["kind"].eq("shared_limit")]["path"].tolist()
    return found


def test_start_many_takes_every_option_of_child(lab: Lab) -> None:
    """For all of them; also initial values."""
    lab.start(Supervisor("team", auto_shutdown="all_significant"))
    options = {
        "restart": "transient", "shutdown": 1.5, "significant": True, "backoff": Backoff(initial=0.2),
        "own_limit": Limit(7, 9.0), "restore": "fresh", "max_busy": 3.0,
    }  # fmt: skip

    refs = lab.start_many(Needs, [{"count": n} for n in range(5)], under="/team", topic="tea", **options)

    specs = [lab["/team"].get_childspec(ref.id) for ref in refs]
    assert {name: {getattr(spec, name) for spec in specs} for name in options} == {
        name: {value} for name, value in options.items()
    }
    assert [ref.call.look().result(30) for ref in refs] == [f"tea {n}" for n in range(5)]


def test_start_many_with_a_process_for_each(lab: Lab) -> None:
    """Each has a node of its own."""
    refs = lab.start_many(Counter, 2, isolation="process", max_memory=1 << 30, count=3)

    assert [ref.call.add(1).result(60) for ref in refs] == [4, 4]
    assert len({ref.node for ref in refs}) == 2


def test_an_option_of_one_goes_before_that_of_all(lab: Lab) -> None:
    """As a keyword does before a default."""
    refs = lab.start_many(Counter, [{}, {"restart": "temporary", "count": 5}], restart="transient", count=1)

    assert [lab["/"].get_childspec(ref.id).restart for ref in refs] == ["transient", "temporary"]
    assert [ref.state["count"] for ref in refs] == [1, 5]


@pytest.mark.parametrize("wrong", [{"id": "x"}, {"restrat": "transient"}, {"restart": "always"}, {"count": "many"}])
def test_an_option_that_cannot_be_is_refused_before_anything_is_started(lab: Lab, wrong: dict[str, str]) -> None:
    """By name."""
    with pytest.raises(InvalidSpec):
        lab.start_many(Counter, 3, **wrong)
    assert len(lab.agents()) == len([row for row in lab.rows() if row.kind == "supervisor"])


def test_more_than_fifty_under_one_limit_is_said_once(lab: Lab) -> None:
    """With the remedy, whether they come at once, one by one, or in the spec; not below fifty, not with own limits."""
    for name in ("few", "once", "single", "own", "loose"):
        lab.start(Supervisor(name, max_restarts=1000 if name == "loose" else 3))
    lab.start_many(Counter, 50, under="/few")
    lab.start_many(Counter, 51, under="/once")
    lab.start_many(Counter, 60, under="/once")
    for _ in range(53):
        lab.start(Counter, under="/single")
    lab.start_many(Counter, 60, under="/own", own_limit=Limit(3, 5.0))
    lab.start_many(Counter, 60, under="/loose")
    lab.start_many(Counter, 60)
    lab.start(Supervisor("declared", *(child(Counter, id=f"c{n}") for n in range(51))))

    assert crowded(lab) == ["/once", "/single", "/declared"]
    events = lab.events()
    detail = events[events["kind"].eq("shared_limit")]["detail"].tolist()[0]
    assert detail.startswith("51 children share the limit of 3 restarts in 5 s")
    assert "own_limit=Limit(3, 5.0)" in detail


def test_in_a_notebook_it_is_a_line(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Printed below the cell that started them."""
    monkeypatch.setattr("agentlab.control.progress.in_notebook", lambda: True)
    lab.start(Supervisor("team"))
    lab.start_many(Counter, 51, under="/team")
    lab.start(Counter, under="/team")

    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 1
    assert printed[0].startswith("/team: 51 children share the limit")


def test_explain_answers_for_the_removed_and_the_dead(lab: Lab) -> None:
    """From the store: how it ended, and what took it along."""
    lab.start(Supervisor("team", bring_back=False))
    lost = lab.start(Counter, id="lost", under="/team")
    once = lab.start(child(Counter, id="once", restart="temporary"))
    lab.start(Supervisor("top", Supervisor("inner", child(Counter, id="leaf"))))
    once.kill()
    lab["/team"].kill()
    lab["/"].terminate_child("top")
    lab["/"].delete_child("top")
    lab.wait_idle(30)

    told = [lab.explain(path).replace("\n", " ") for path in (lost, once, "/top/inner/leaf", "/top")]

    assert "/team/lost is not there: it was removed at" in told[0]
    assert "incarnation 1 ended with killed" in told[1]
    assert "/once is not there: it was removed at" in told[1]
    assert "/top/inner/leaf is not there: its supervisor /top is gone" in told[2]
    assert "/top is not there: it was removed at" in told[3]
    with pytest.raises(NotRunning, match="there is nothing at '/never'"):
        lab.explain("/never")


def test_explain_answers_below_a_supervisor_that_is_down(lab: Lab) -> None:
    """It says how its agents come back."""
    lab.start(child(Supervisor("team", max_restarts=0), own_limit=Limit(0, 1.0)))
    ref = lab.start(Counter, id="c", under="/team")
    ref.kill()
    wait_for(lambda: lab["/team"].status == "parked")

    assert "its supervisor /team is parked; it comes back with that one" in lab.explain(ref)


def test_explain_answers_from_an_earlier_kernel(tmp_path: Path) -> None:
    """Who was removed there is told of here."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=2) as lab:
        lab.start(child(Counter, id="once", restart="temporary")).kill()
        lab.wait_idle(30)
    with Lab(path, nodes=2, resume=True) as lab:
        assert "/once is not there: it was removed at" in lab.explain("/once")
