"""Labs for a run, opened the same way wherever they are."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentlab.chaos.plan import Plan as Chaos
from agentlab.errors import AgentLabError
from agentlab.ground.preload import note_need
from agentlab.lab import Lab


@dataclass(frozen=True)
class Setting:
    """What the labs of a run are opened with.

    Args:
        profile: Of their simulator; None: as it is.
        chaos: What is done to their agents and nodes.
        seed: Of the profile's chance.
        nodes: Processes of each lab.
        models: Its agents call models: what that takes is loaded before the nodes are forked, once for all of them.
    """

    profile: dict[str, Any] | None = None
    chaos: Chaos | None = None
    seed: int = 0
    nodes: int | None = None
    models: bool = False

    def on(self, threads: int) -> Setting:
        """The same for a worker that may use so many threads."""
        return self if self.nodes is not None else dataclasses.replace(self, nodes=max(1, threads))


def open_lab(setting: Setting, where: Path | None, given: Lab | None = None) -> tuple[Lab, contextlib.ExitStack]:
    """A lab that is ready for a run, and what is to be closed at its end.

    Args:
        setting: What it is opened with.
        where: Its store, if it is opened here.
        given: A lab that is open already, and stays so.
    """
    note_need("evals")
    if setting.models:
        note_need("anthropic")
    rough = bool(setting.profile or setting.chaos)
    lab = given if given is not None else Lab(where, resume="ask" if rough else True, nodes=setting.nodes)
    with contextlib.ExitStack() as ending:  # what was set is put back, too, where what follows cannot be
        if given is None:
            ending.callback(lab.close)
        if setting.profile is not None:
            if given is not None:
                ending.callback(_put_back, lab.sim.kept())
            rest = {name: value for name, value in setting.profile.items() if name != "faults"}
            lab.sim.profile(setting.profile["faults"], **rest, seed=setting.seed)
        if setting.chaos is not None:
            ending.enter_context(lab.chaos(setting.chaos))
        if given is None and rough:
            lab.resume()
        return lab, ending.pop_all()


def _put_back(profile: Callable[[], None]) -> None:
    with contextlib.suppress(AgentLabError, ConnectionError):  # the lab was closed meanwhile, its simulator with it
        profile()
