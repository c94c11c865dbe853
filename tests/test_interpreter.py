"""Which Pythons agentlab runs on, and what it says on the others."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from agentlab.errors import UnsupportedPython
from agentlab.ground.interpreter import locked, require_lock
from tests.find_pythons import ends, others, version_of

ROOT = Path(__file__).parent.parent


def test_a_python_without_its_lock_is_refused_with_the_way_out():
    """The books and the slices rest on the lock, so a lab says how to have it."""
    with pytest.raises(UnsupportedPython, match=r"free-threaded build.*PYTHON_GIL=1"):
        require_lock(locked=False)

    require_lock(locked=locked())


def test_a_lab_asks_for_the_lock_and_a_look_at_a_store_does_not(tmp_path):
    """A free-threaded build says so by ``sys._is_gil_enabled``; this child process claims to be one."""
    script = (
        "import sys; from agentlab import Lab\n"
        "Lab('a.lab').close(); sys._is_gil_enabled = lambda: False; Lab('a.lab', resume=False).close(); Lab()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("agentlab.errors.UnsupportedPython: Python 3.")


def test_the_other_pythons_are_found_once_per_version_and_run():
    """``make pythons`` gets no shim that does not answer, no older version, and not the one that runs this."""
    found = others()

    assert sys.version_info[:2] not in found
    assert all(version >= (3, 11) and version_of(python) == version for version, python in found.items())


def test_something_that_is_no_python_is_not_taken_for_one(tmp_path):
    """A shim that is not switched on ends with an error; a file that is no program cannot be started."""
    shim, text = tmp_path / "python3.12", tmp_path / "python3.13"
    shim.write_text("#!/bin/sh\necho 'python3.12: command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    text.write_text("3 13 True")

    assert (version_of(shim), version_of(text)) == (None, None)


def test_the_classifiers_name_the_pythons_that_the_suite_runs_on():
    """What is promised on the package's page is what ``make pythons`` runs here, and this one."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["classifiers"]
    promised = {line.rsplit(" ", 1)[1] for line in listed if line.startswith("Programming Language :: Python :: 3.")}

    assert promised == {"3.11", "3.12", "3.13"}
    assert f"{sys.version_info[0]}.{sys.version_info[1]}" in promised


@pytest.mark.parametrize(
    ("others", "own", "found"),
    [
        ([], 11, []),
        ([12], 11, [12]),
        ([12, 13], 11, [13]),
        ([11, 13, 14], 12, [11, 14]),
        ([11], 13, [11]),
        ([11, 12], 13, [11, 12]),
    ],
)
def test_the_ends_of_what_is_found_are_tested_each_time(others, own, found):
    """One's own Python has the whole suite anyway; on the newest of the others lines are counted."""
    assert ends([(3, minor) for minor in others], (3, own)) == [(3, minor) for minor in found]
