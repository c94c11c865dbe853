"""Tests that share what takes seconds to start run in one process: a group that is not heeded only costs time."""

from __future__ import annotations

import os
import subprocess
import sys

FOUR = """
import os, pathlib, pytest

@pytest.mark.parametrize("n", range(4))
@pytest.mark.xdist_group("one")
def test_says_where_it_runs(n):
    pathlib.Path(f"ran-{n}").write_text(os.environ["PYTEST_XDIST_WORKER"])
"""


def test_tests_of_one_group_run_in_one_process(tmp_path):
    """With the versions of pytest and pytest-xdist that are pinned; with pytest 9.2 each process had some of them."""
    (tmp_path / "test_four.py").write_text(FOUR)
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    alone["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # three processes load what is asked of them, and no more

    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "xdist", "-n", "2", "--dist", "loadgroup", tmp_path],
        cwd=tmp_path, env=alone, check=True, timeout=120,
    )  # fmt: skip

    assert len({file.read_text() for file in tmp_path.glob("ran-?")}) == 1
    assert len(list(tmp_path.glob("ran-?"))) == 4
