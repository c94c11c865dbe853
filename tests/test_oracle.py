"""The supervision machine against recordings of real Erlang/OTP 25 supervisors (``oracle/traces.jsonl.gz``)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.oracle import replay as oracle

TRACES = Path(__file__).parent / "oracle" / "traces.jsonl.gz"


def test_every_recorded_scenario_replays() -> None:
    """Events, results, trees and reports of every record are those of the real supervisors."""
    differences = {scenario["id"]: oracle.attempt(scenario) for scenario in oracle.scenarios(TRACES)}

    failures = {name: found for name, found in differences.items() if found}

    assert failures == {}
    assert len(differences) > 690


def test_the_replay_notices_a_difference() -> None:
    """A recording that is changed in any compared key fails."""
    scenario = next(s for s in oracle.scenarios(TRACES) if s["id"] == "h-intensity-1")
    noticed: Counter[str] = Counter()

    for key, wrong in {"ev": [], "tree": ["R", 9, [], []], "res": "wrong", "rep": [["R", "wrong", "a", "x"]]}.items():
        trace = [dict(record) for record in scenario["trace"]]
        trace[1][key] = wrong
        noticed[key] += any(line.startswith(key) for line in oracle.replay(scenario | {"trace": trace}))

    assert noticed == Counter(ev=1, tree=1, res=1, rep=1)


def test_a_failure_is_printed_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints each failure, then the count, and its exit status says so."""
    scenario = next(oracle.scenarios(TRACES))
    scenario["trace"][0]["res"] = "wrong"
    file = tmp_path / "traces.jsonl"
    file.write_text(oracle.json.dumps(scenario) + "\n", encoding="utf-8")

    status = oracle.main([str(file)])

    printed = capsys.readouterr().out.splitlines()
    assert status == 1
    assert printed[0].startswith(scenario["id"])
    assert printed[-1] == "0 passed, 1 failed"
