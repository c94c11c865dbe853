"""Whether the benchmarks judge: only a figure whose interval is narrow, on a machine that was ours alone."""

from __future__ import annotations

import itertools
import json
import runpy
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
