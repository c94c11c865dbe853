"""A real lab against recordings of real Erlang/OTP 25 supervisors; ``oracle/live.py`` says what is compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.oracle import replay as oracle

TRACES = Path(__file__).parent / "oracle" / "traces.jsonl.gz"
HAND_MADE = 264
"""The first lines of the file, one scenario for each rule; the rest is random."""

EVERY = 8
"""One in so many of the random ones is replayed here; all are with ``python -m tests.oracle.replay FILE --live``."""


def scenario_called(name: str) -> dict[str, oracle.Json]:
    """One scenario."""
    return next(scenario for scenario in oracle.scenarios(TRACES) if scenario["id"] == name)


def test_recorded_scenarios_replay_on_a_lab(capsys: pytest.CaptureFixture[str]) -> None:
    """All hand-made scenarios and a sample of the random ones: events in order, results, tree, who gave up."""
    hand_made = list(oracle.scenarios(TRACES, HAND_MADE))
    random = list(oracle.scenarios(TRACES))[len(hand_made) :: EVERY]

    tally = oracle.replay_live(hand_made + random)

    assert tally["failed"] == 0, capsys.readouterr().out
    assert tally["passed"] > 300


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("ev", [["exit", "a", 1, "boom"], ["start", "a", 3]]),
        ("tree", ["R", 9, [], []]),
        ("res", "wrong"),
        ("rep", [["R", "shutdown", "a", "reached_max_restart_intensity"]]),
    ],
)
def test_the_live_replay_notices_a_difference(key: str, wrong: oracle.Json) -> None:
    """A recording that is changed in any compared key fails."""
    scenario = scenario_called("h-intensity-1")
    scenario["trace"][1][key] = wrong
    replayed = oracle.LiveReplay()

    try:
        differences = replayed(scenario)
    finally:
        replayed.close()

    assert [line.split("\n")[0] for line in differences[1:]] == [key]


def test_what_a_lab_cannot_say_is_skipped_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command names each scenario that it leaves out and why, and counts them."""
    scenario = scenario_called("h-intensity-1")
    scenario["root"]["plan"] = {"1": "error"}
    file = tmp_path / "traces.jsonl"
    file.write_text(json.dumps(scenario) + "\n", encoding="utf-8")

    status = oracle.main([str(file), "--live"])

    printed = capsys.readouterr().out.splitlines()
    assert status == 0
    assert printed[0].startswith("h-intensity-1 skipped: a supervisor has no start function")
    assert printed[-1] == "0 passed, 0 failed, 1 skipped"
