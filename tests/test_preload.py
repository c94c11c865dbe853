"""What one node had to import for a model, the nodes after it have when they are forked."""

from __future__ import annotations

import gc
import mmap
import subprocess
import sys
from pathlib import Path

import pytest

from agentlab import Agent, Assistant, Lab
from agentlab.evals import evaluate, exact
from agentlab.ground import preload


class Caller(Assistant):
    """Calls a model."""

    model = "sim-echo"


class Looker(Agent):
    """Says what its node has."""

    async def has(self, name: str) -> bool:
        """Whether it is imported."""
        return name in sys.modules


class Solver(Assistant):
    """Says what its node had before anybody called a model."""

    async def solve(self, name: str) -> str:
        """Whether it is imported."""
        return "had" if name in sys.modules else "had not"


class Plain(Agent):
    """Calls no model."""

    async def solve(self, name: str) -> str:
        """Answer without one."""
        return "had"


def test_nodes_that_are_forked_after_one_has_called_a_model_have_its_library() -> None:
    """Whoever calls a model there does not wait for a second of imports."""
    with Lab(nodes=1) as lab:
        assert lab.start(Caller).call.ask("tea").result(120) == "tea"
        assert lab.start(Looker, isolation="process").call.has("aiohttp").result(120)  # it comes with anthropic


def test_the_nodes_of_an_eval_of_an_assistant_are_forked_with_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """So they share what each would load for itself; that of a solver without a model does not load it."""
    monkeypatch.setattr(preload, "_needed", mmap.mmap(-1, len(preload.LIBRARIES)))
    samples = [{"id": "one", "input": "aiohttp", "target": "had"}]

    evaluate(Plain, samples, exact(), nodes=1)
    assert preload.needs() == ["evals"]

    run = evaluate(Solver, samples, exact(), nodes=1)
    assert preload.needs() == ["anthropic", "evals"]
    assert run.samples()["output"].tolist() == ["had"]


def test_who_names_assistant_will_need_the_library() -> None:
    """A lab that is opened then has it in its first nodes, before any class is written; others have it in none."""
    code = "from agentlab import {}, Lab\nfrom agentlab.ground.preload import needs\nprint(needs())"

    for name, needed in ("Agent", "[]"), ("Assistant", "['anthropic']"):
        asked = [sys.executable, "-c", code.format(name)]
        assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip() == needed


def test_what_cannot_be_imported_is_left_to_whoever_uses_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A broken library does not end the process from which all nodes are forked."""
    (tmp_path / "one_that_is_there.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(preload, "LIBRARIES", {"broken": ("no_such_module", "one_that_is_there")})
    monkeypatch.setattr(preload, "_needed", mmap.mmap(-1, 1))
    monkeypatch.setattr(preload, "_tried", set())
    preload.load_needed()
    assert "one_that_is_there" not in sys.modules

    preload.note_need("broken")
    preload.load_needed()
    assert "one_that_is_there" in sys.modules
    gc.unfreeze()  # here there is no zygote
