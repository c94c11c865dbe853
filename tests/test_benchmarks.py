"""Whether the benchmarks judge: only a figure whose interval is narrow, on a machine that was ours alone."""

from __future__ import annotations

import itertools
import json
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent / "benchmarks"


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What all benchmarks share, on a machine on which nothing else runs."""
    monkeypatch.syspath_prepend(HERE)
    from kit import report  # type: ignore[import-not-found]  # a folder of scripts, found by its path

    monkeypatch.setattr(report, "_foreign", lambda: 0.0)
    return report


def turns(*values: float):
    """A side that measures these values, one after the other, and begins anew."""
    left = itertools.cycle(values)
    return lambda: {"ms": next(left)}


def said(kit: ModuleType, found: object, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    """The line of a figure that may be 2 ms at most."""
    kit.Report().say("P0 a figure", found, "ms", "ms", peers=["peer"], target="at most 2 ms", most=2.0)
    return json.loads(capsys.readouterr().out)


def test_an_interval_is_students_over_the_rounds(kit: ModuleType) -> None:
    """Of two values half of it is 12.7 times half their distance; a peer that swings alike makes the ratio sure."""
    found = kit.in_turn(2, agentlab=turns(1.0, 1.01), peer=turns(2.0, 2.02))

    assert found["agentlab"] == {"ms": 1.005}
    assert found.interval("ms") == pytest.approx(6.53, abs=0.01)
    assert found.interval("ms", "peer") == pytest.approx(0.0, abs=1e-9)
    assert kit.in_turn(1, agentlab=turns(1.0)).interval("ms") is None


def test_rounds_go_on_until_the_ratio_is_sure_but_not_for_ever(kit: ModuleType) -> None:
    """One that never is ends after the most rounds; one that nobody asks to be sure after those that were asked for."""
    settles = kit.in_turn(2, sure=["ms", "peer"], agentlab=turns(1.0, 1.1, *[1.0] * 20), peer=turns(1.0))
    swings = kit.in_turn(2, sure=["ms"], agentlab=turns(1.0, 3.0))
    asked = kit.in_turn(2, agentlab=turns(1.0, 3.0))

    assert settles.interval("ms", "peer") < kit.SURE
    assert 2 < len(settles.rounds["agentlab"]) < kit.MOST
    assert len(swings.rounds["agentlab"]) == kit.MOST
    assert len(asked.rounds["agentlab"]) == 2


def test_what_is_not_sure_is_not_judged(kit: ModuleType, capsys, monkeypatch) -> None:
    """Nor is anything that was measured while others used the machine; the table says so."""
    sure = said(kit, kit.in_turn(3, agentlab=turns(1.0), peer=turns(5.0)), capsys)
    unsure = said(kit, kit.in_turn(3, agentlab=turns(1.0, 3.0, 1.0), peer=turns(5.0)), capsys)
    monkeypatch.setattr(kit, "_foreign", lambda: 30.0)
    beside_others = said(kit, kit.in_turn(3, agentlab=turns(1.0), peer=turns(5.0)), capsys)

    assert (sure["met"], sure["interval"], sure["foreign"]) == (True, 0.0, 0.0)
    assert (unsure["met"], beside_others["met"], beside_others["foreign"]) == (None, None, 30.0)
    page = runpy.run_path(str(HERE / "__main__.py"))["report"]([sure, unsure, beside_others])
    assert "1 of 1 lines with a target meet it; 2 more were not sure enough to be judged." in page
    assert page.count("| not judged") == 2
    assert "not judged, 30 % of the machine busy with other work" in page


def test_a_side_that_fails_says_so_and_the_others_go_on(kit: ModuleType, capsys) -> None:
    """A peer that is not there leaves our figure to be judged by itself."""
    found = kit.in_turn(3, sure=["ms", "peer"], agentlab=turns(1.0), peer=lambda: {"missing": "it is not installed"})

    line = said(kit, found, capsys)
    assert (line["met"], line["interval"], line["missing"]) == (True, 0.0, {"peer": "it is not installed"})


def test_what_was_measured_once_is_judged_if_it_is_a_count(kit: ModuleType, capsys) -> None:
    """Of a single round nobody knows how far the next one would be off."""
    once = kit.in_turn(1, agentlab=turns(1.0), peer=turns(5.0))
    lost = {"target": "at most 2", "most": 2.0}

    assert said(kit, once, capsys)["met"] is None
    kit.Report().say("P0 tasks lost", once, "ms", "tasks", by=kit.COUNT, **lost)
    assert json.loads(capsys.readouterr().out)["met"] is True


def test_a_difference_that_may_be_nothing_is_as_sure_as_what_it_is_a_part_of(kit: ModuleType, capsys) -> None:
    """It has no interval of its own: there is no logarithm of nothing."""
    both = itertools.cycle([{"more": 0.0, "all": 5.0}, {"more": 0.1, "all": 5.1}])
    found = kit.in_turn(4, agentlab=lambda: next(both))

    kit.Report().say("P0 what looking costs", found, "more", "%", by="all", target="at most 3 %", most=3.0)
    line = json.loads(capsys.readouterr().out)
    assert (line["met"], line["interval"]) == (True, pytest.approx(1.84, abs=0.01))


def test_what_runs_below_a_benchmark_is_not_the_work_of_others(monkeypatch) -> None:
    """A lab at work between two rounds is ours; what is used beside it is not."""
    monkeypatch.syspath_prepend(HERE)
    from kit import report

    monkeypatch.setattr(report, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(report, "_busy", itertools.count(100.0, 2.0).__next__)
    ours = iter([10.0, 12.0, 12.0, 13.5])
    monkeypatch.setattr(report.machine, "cpu", lambda _: next(ours))

    assert report._foreign() == 0.0
    assert report._foreign() > 0.0


def test_a_script_measures_the_part_that_is_asked_for(kit: ModuleType, capsys, monkeypatch) -> None:
    """All parts if none is named; one that there is not is refused with those that there are."""
    done: list[str] = []
    parts = {name: lambda report, options, name=name: done.append(name) for name in ("calls", "frames")}

    monkeypatch.setattr(sys, "argv", ["script", "frames"])
    kit.measure("A script.", parts)
    monkeypatch.setattr(sys, "argv", ["script"])
    kit.measure("A script.", parts)
    monkeypatch.setattr(sys, "argv", ["script", "cals"])
    with pytest.raises(SystemExit):
        kit.measure("A script.", parts)

    assert done == ["frames", "calls", "frames"]
    assert "there is no part cals; there are calls, frames" in capsys.readouterr().err


def test_parts_are_read_off_the_scripts() -> None:
    """A script without any is one part."""
    run = runpy.run_path(str(HERE / "__main__.py"))

    assert run["parts_of"](HERE / "turns.py") == ["50", "500", "5,000"]
    assert run["parts_of"](HERE / "startup.py") == []


def test_what_is_measured_anew_stands_beside_what_it_was() -> None:
    """Lines of other parts stay; those of a script that had no parts yet go with its first part."""
    merged = runpy.run_path(str(HERE / "__main__.py"))["merged"]
    kept = [
        {"figure": "P0 a", "agentlab": 3.0, "script": "one", "part": "x"},
        {"figure": "P0 b", "agentlab": 4.0, "script": "one", "part": "y"},
        {"figure": "P0 old", "agentlab": 5.0, "script": "one", "part": None},
        {"figure": "P0 c", "agentlab": 6.0, "script": "two", "part": None},
    ]
    lines = merged(kept, [{"figure": "P0 a", "agentlab": 2.0, "script": "one", "part": "x"}])

    assert [(line["figure"], line["agentlab"], line.get("before")) for line in lines] == [
        ("P0 b", 4.0, None), ("P0 c", 6.0, None), ("P0 a", 2.0, 3.0)
    ]  # fmt: skip
