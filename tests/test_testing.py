"""``agentlab.testing`` as its users have it: installed from the wheel, in an environment and a project of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

from agentlab import Agent, Lab
from agentlab.errors import InvalidArgument
from agentlab.testing import SANITIZE, deterministic, notebook

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "notebooks" / "howto" / "checked-eval"

USERS_AGENTS = """
from agentlab import Agent

class Adder(Agent):
    total: int = 0
    async def add(self, n: int) -> int:
        self.total += n
        return self.total
"""
"""A module of its own, as in a real project: a node that imports the tests would import pytest and a lab."""

USERS_TESTS = """
import pytest
from agentlab import Assistant, Lab
from agentlab.testing import notebook
from mine import Adder

class Echo(Assistant):
    model = "sim-echo"

@pytest.mark.agentlab(nodes=1)
def test_adds(lab):
    assert lab.start(Adder, id="adder").call.add(2).result(60) == 2

@pytest.mark.agentlab(nodes=1)
def test_leaves_a_message(lab):
    adder = lab.start(Adder, id="adder")
    adder.suspend()
    adder.cast.add(1)

@pytest.mark.agentlab(nodes=1, may_leave=True)
def test_may_leave_it(lab):
    adder = lab.start(Adder, id="adder")
    adder.suspend()
    adder.cast.add(1)

@pytest.mark.agentlab(nodes=1)
def test_asks_the_simulator(lab, sim):
    assert "tea" in str(lab.start(Echo, id="echo").call.ask("tea").result(60))
    assert len(sim.log()) == 1

def test_keeps_a_file(lab_path):
    with Lab(lab_path, nodes=1) as lab:
        lab.start(Adder, id="adder")
    assert lab_path.exists()

def test_another_output():
    with pytest.raises(AssertionError, match=r"does not give what it shows(?s:.*)outputs differ(?s:.*)1 failed"):
        notebook("changed.ipynb")
"""


NO_OTHERS = "-p no:langsmith_plugin -p no:hypothesispytest"
"""Plugins that this environment has for other tests: to load them takes seconds of each pytest of a user."""


class Dice(Agent):
    """Draws lots."""

    async def roll(self) -> str:
        """By chance."""
        return f"{self.random.random()} {self.uuid()}"


def run(command: list[str] | str, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command, as a person does whose environment is the one at ``path``."""
    around = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHONPATH"))}
    around["PYTEST_ADDOPTS"] = NO_OTHERS
    if path is not None:
        around["PATH"] = f"{path}{os.pathsep}{around['PATH']}"
    return subprocess.run(
        command, cwd=cwd, env=around, shell=isinstance(command, str), capture_output=True, text=True, check=False,
        timeout=380,
    )  # fmt: skip


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment with agentlab's wheel; all else comes from the one that runs this."""
    base = tmp_path_factory.mktemp("user")
    built = run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(base)], ROOT)
    assert built.returncode == 0, built.stderr
    made = run([sys.executable, "-m", "venv", "--without-pip", str(base / "env")], base)
    assert made.returncode == 0, made.stderr
    programs = base / "env" / "bin"
    (wheel,) = base.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python")]
    installed = run([*pip, "install", "-q", "--no-deps", "--no-index", str(wheel)], base)
    assert installed.returncode == 0, installed.stderr
    site = Path(run([str(programs / "python"), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], base)
                .stdout.strip())  # fmt: skip
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")  # its own .pth files do not count there
    (programs / "pytest").write_text(f'#!/bin/sh\nexec "{programs}/python" -m pytest "$@"\n')
    (programs / "pytest").chmod(0o755)
    return programs


@pytest.mark.slow
@pytest.mark.xdist_group("wheel")
def test_the_sample_project_checks_itself_as_its_ci_file_says(environment: Path, tmp_path: Path) -> None:
    """Its notebook gives again what it shows, with what is installed from the wheel."""
    project = tmp_path / "checked-eval"
    shutil.copytree(SAMPLE, project)
    steps = yaml.safe_load((project / ".github" / "workflows" / "check.yml").read_text())["jobs"]["notebook"]["steps"]
    (check,) = [step["run"] for step in steps if step.get("name") == "check"]

    where = run("python -c 'import agentlab; print(agentlab.__file__)'", project, environment)
    done = run(check, project, environment)

    assert str(environment.parent) in where.stdout
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ passed", done.stdout)


@pytest.mark.slow
@pytest.mark.xdist_group("wheel")
def test_users_tests_have_the_fixtures(environment: Path, tmp_path: Path) -> None:
    """Pytest finds the plugin by itself; the one test that leaves a message behind fails, by its name."""
    (tmp_path / "mine.py").write_text(USERS_AGENTS)
    (tmp_path / "test_mine.py").write_text(USERS_TESTS)
    shows = {"data": {"text/plain": ["3"]}, "execution_count": 1, "metadata": {}, "output_type": "execute_result"}
    cell = {"cell_type": "code", "execution_count": 1, "metadata": {}, "outputs": [shows], "source": ["1 + 1"]}
    changed = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    (tmp_path / "changed.ipynb").write_text(json.dumps(changed), encoding="utf-8")

    done = run("pytest -q -p no:nbval -p no:xdist test_mine.py", tmp_path, environment)

    assert "5 passed" in done.stdout, done.stdout + done.stderr
    assert "FAILED test_mine.py::test_leaves_a_message" in done.stdout
    assert "/adder (suspended): 1 message undecided (add)" in done.stdout
    assert "1 failed" in done.stdout


def test_the_plugin_loads_no_lab() -> None:
    """Whoever has it installed and tests something else does not pay for what a lab needs."""
    code = (
        "import sys, pytest; import agentlab.testing.plugin;"
        " print(*{'pandas', 'anthropic', 'IPython', 'agentlab.lab', 'agentlab.chaos'} & set(sys.modules))"
    )

    done = run([sys.executable, "-c", code], ROOT)

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_a_command_says_where_the_file_for_nbval_is() -> None:
    """The repository's own notebooks are checked by that very file."""
    done = run([sys.executable, "-m", "agentlab.testing", "sanitize"], ROOT)

    assert done.stdout == f"{SANITIZE}\n"
    assert SANITIZE.name == "agentlab-nbval-sanitize.cfg"
    assert (ROOT / "tests" / "nbval-sanitize.cfg").resolve() == SANITIZE.resolve()


def test_a_notebook_that_is_not_there_is_said() -> None:
    """Before anything is started."""
    with pytest.raises(InvalidArgument, match="there is no file"):
        notebook("nothing.ipynb")


def rolled(seed: int, order: str) -> tuple[list[str], str]:
    """What two agents draw, asked in an order, and how a frame of it looks."""
    with Lab(nodes=1) as lab:
        assert repr(deterministic(lab, seed)) == f"deterministic(seed={seed})"
        dice = {name: lab.start(Dice, id=name) for name in "ab"}
        replies = [dice[name].call.roll() for name in order]
        return sorted(reply.result(60) for reply in replies), repr(lab.messages(path="/a"))


def test_chance_and_frames_are_the_same_in_each_run() -> None:
    """Whoever was asked first; times and durations are not shown, and still there."""
    (one, shown), (other, again), (another, _) = rolled(3, "aba"), rolled(3, "baa"), rolled(4, "aba")

    assert one == other
    assert one != another
    assert shown == again
    assert "…" in shown


def test_after_its_with_clocks_are_shown_again(lab: Lab) -> None:
    """Only the cells inside are still."""
    with deterministic(lab):
        inside = repr(lab.events()[["at", "kind"]])
    outside = repr(lab.events()[["at", "kind"]])

    assert "…" in inside
    assert "…" not in outside
    assert lab.events()["at"].notna().all()
    with pytest.raises(InvalidArgument, match="give a lab"):
        deterministic("lab")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="whole number"):
        deterministic(lab, 0.5)  # type: ignore[arg-type]
