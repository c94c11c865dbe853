"""A quarter of a minute of load and fire, in ``make long`` four; ``python -m tests.soak`` is the same for longer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import LONG
from tests.soak.deeds import OFTEN

SEED = 5
MINUTES = "4" if LONG else "0.25"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nothing_is_lost_doubled_or_left_behind_in_a_time_of_trouble() -> None:
    """2,000 agents, crashes, kills, loops, stalls, dying nodes, interrupts: the states are what was acknowledged."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", "--minutes", MINUTES, "--seed", str(SEED)],
        cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["faults"] == []
    assert summary["agents"] == 2000
    assert summary["deeds"].keys() == OFTEN.keys()
