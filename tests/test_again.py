"""Cells are run again: a lab whose file this process holds is found, and so are its agents."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

from agentlab import Lab
from agentlab.errors import InvalidSpec, StoreLocked
from tests.agents import Counter


def test_a_file_that_this_process_holds_gives_its_lab_back(tmp_path: Path) -> None:
    """By its path, another way to write it, a link to it; the agents are undisturbed."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=1) as lab:
        counter = lab.start(Counter, id="c")
        counter.call.add(2).result(20)
        (tmp_path / "soft.lab").symlink_to(path)
        (tmp_path / "hard.lab").hardlink_to(path)

        found = [
            Lab(path),
            Lab(str(tmp_path / "." / "run.lab")),
            Lab(tmp_path / "soft.lab"),
            Lab(tmp_path / "hard.lab"),
        ]

        assert all(again is lab for again in found)
        assert counter.call.add(1).result(20) == 3
        assert counter.incarnation == 1


def test_other_options_than_those_of_the_live_lab_are_refused_by_name(tmp_path: Path) -> None:
    """What is left out is not compared; what is given must be as it is."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=1, keep=7) as lab:
        assert Lab(path, nodes=1) is lab
        assert Lab(path, nodes=None, keep=7) is lab
        with pytest.raises(InvalidSpec, match=r"nodes is 1, asked 3; keep is 7, asked None.*lab\.close\(\)"):
            Lab(path, nodes=3, keep=None)
        assert Lab(path) is lab


def test_a_live_lab_can_still_be_opened_only_to_read(tmp_path: Path) -> None:
    """``resume=False`` looks at the file, whoever runs it."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=1) as lab:
        lab.start(Counter, id="c")
        with Lab(path, resume=False) as look:
            assert look is not lab
            assert look.agents()["path"].tolist() == ["/", "/c"]
        assert not lab.closed


def test_the_outermost_with_closes_and_a_closed_lab_is_opened_anew(tmp_path: Path) -> None:
    """``close()`` closes it for all who have it."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=1) as lab:
        with Lab(path) as within:
            assert within is lab
        assert not lab.closed
        lab.start(Counter, id="c").call.add(4).result(20)
    assert lab.closed

    with Lab(path, nodes=1) as second:
        assert second is not lab
        assert second["/c"].state == {"count": 4}
        Lab(path).close()
        assert second.closed


def test_a_lab_nobody_has_a_name_for_is_found(tmp_path: Path) -> None:
    """A function that opened it has returned; the lab runs, so whoever opens the file gets it."""
    path = tmp_path / "run.lab"

    def begin() -> None:
        Lab(path, nodes=1).start(Counter, id="c")

    begin()
    with Lab(path) as lab:
        assert lab["/c"].call.add(1).result(20) == 1


def test_threads_that_open_a_file_at_once_get_one_lab(tmp_path: Path) -> None:
    """The others wait for the first."""
    path = tmp_path / "run.lab"
    found: list[Lab] = []
    threads = [threading.Thread(target=lambda: found.append(Lab(path, nodes=1))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with found[0] as lab:
        assert len(found) == 8
        assert all(other is lab for other in found)


def test_a_lab_that_could_not_be_opened_holds_nothing(tmp_path: Path) -> None:
    """The next cell opens it as if nothing had been."""
    path = tmp_path / "run.lab"
    with pytest.raises(InvalidSpec):
        Lab(path, nodes=0)
    path.write_text("no store")
    with pytest.raises(Exception, match="not a database"):
        Lab(path)
    path.unlink()
    with Lab(path, nodes=1) as lab:
        assert lab.start(Counter, id="c").status == "running"


def test_a_file_that_was_deleted_below_its_lab_is_not_opened_twice(tmp_path: Path) -> None:
    """A second lab would write into the first one's WAL."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=1) as lab:
        path.unlink()
        with pytest.raises(StoreLocked, match=r"deleted or replaced.*lab\.close\(\)"):
            Lab(path)
        assert not lab.closed
    with Lab(path, nodes=1) as fresh:
        assert fresh.agents()["path"].tolist() == ["/"]


def test_another_process_is_still_refused(tmp_path: Path) -> None:
    """One that was forked too: it has neither the lab's threads nor its nodes."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=1):
        script = "import sys; from agentlab import Lab; Lab(sys.argv[1])"
        other = subprocess.run(
            [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60, check=False
        )
        assert f"StoreLocked: {path} is held by another live lab (process {os.getpid()})" in other.stderr
        assert "exist_ok=True" in other.stderr

        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # newer Pythons warn of a fork beside threads: the point
            child = os.fork()
        if child == 0:
            try:
                Lab(path)
            except StoreLocked:
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_the_class_shows_its_options() -> None:
    """Who asks for help sees what ``Lab`` takes."""
    assert list(inspect.signature(Lab).parameters)[:3] == ["store", "nodes", "redeliver"]
    with pytest.raises(TypeError, match="bogus"):
        Lab(bogus=1)  # type: ignore[call-arg]  # the point
