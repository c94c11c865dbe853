"""A start that a closing lab does not serve any more says that the lab is closing."""

from __future__ import annotations

import concurrent.futures
from pathlib import Path

import pytest

from agentlab import Lab
from agentlab.errors import NotRunning
from tests.agents import Counter
from tests.conftest import wait_for
from tests.test_between import Door


def test_a_start_while_the_lab_closes_says_so(tmp_path: Path) -> None:
    """Not only that a supervisor ended, which nobody has asked for."""
    lab = Lab(nodes=1)
    runtime = lab._runtime
    assert runtime is not None
    lab.start(Door, id="slow", place=str(tmp_path), shutdown="infinity")
    (tmp_path / "gate").touch()
    with concurrent.futures.ThreadPoolExecutor() as aside:
        closing = aside.submit(lab.close, 60.0)
        wait_for((tmp_path / "at the gate").exists)
        starting = aside.submit(lab.start, Counter, id="late")
        wait_for(lambda: len(runtime.machine.calls) == 2)  # the end of the root, and this start
        (tmp_path / "gate").unlink()

        with pytest.raises(NotRunning, match=r"start 'late' under '/': the lab is closing.*Start another: Lab\(\)"):
            starting.result(60)
        closing.result(60)
