"""The nodes of a lab, below its tree: how each is, how many agents it holds, its memory, how often it was replaced.

Nodes with one agent each (``isolation="process"``) are one line together: there may be many.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from agentlab.ground.memory import memory_of
from agentlab.ground.texts import clean
from agentlab.ground.words import counted
from agentlab.looks import CRASH, LOOKS

AGE = 2.0  # seconds for which what was read is shown: memory is asked of the system, and a tree asks often
COLOURS = {
    "running": LOOKS["running"].colour, "starting": LOOKS["starting"].colour, "stalled": LOOKS["backing_off"].colour,
    "ending": CRASH,
}  # fmt: skip
"""By state, the worst at the end."""


class Seen(NamedTuple):
    """A node as it is now, or all that hold one agent each.

    Attributes:
        name: What it is called: its number, and what it is for, if it is no node as any.
        state: ``starting``, ``running``, ``stalled`` (somebody's code holds it) or ``ending`` (it is being killed).
        why: Who holds it, or what it is killed for; empty if it is well.
        agents: Agents that it holds.
        memory: Bytes of its own; None where it has none of its own, or it is not known.
        restarts: How many nodes before it were lost at its place.
        nodes: How many nodes it stands for.
    """

    name: str
    state: str
    why: str
    agents: int
    memory: int | None
    restarts: int
    nodes: int = 1

    def facts(self) -> dict[str, str | int]:
        """What a browser shows of it, as JSON; every text cleaned and cut."""
        about = [counted(self.agents, "agent")]
        if self.memory is not None:
            about.append(f"{self.memory / 1e6:,.0f} MB")
        if self.restarts:
            about.append(counted(self.restarts, "restart"))
        why = clean(self.why, 200)
        return {
            "name": self.name, "nodes": self.nodes, "state": self.state, "colour": COLOURS[self.state],
            "about": " · ".join(about) + (f" · {why}" if why else ""),
        }  # fmt: skip


class Nodes:
    """What is shown of the nodes of one lab, read every two seconds at most."""

    def __init__(self, lab: Any) -> None:
        self._lab = lab
        self._read_at = -AGE
        self._facts: list[dict[str, str | int]] = []

    def facts(self) -> list[dict[str, str | int]]:
        """A line for each; none of a lab that does not run."""
        now = time.monotonic()
        if self._lab.closed or now - self._read_at >= AGE:
            self._facts = [node.facts() for node in seen(self._lab)]
            self._read_at = now
        return self._facts


def seen(lab: Any) -> list[Seen]:
    """The nodes as they are now, those of one agent each at the end as one; none of a lab that does not run here."""
    runtime = None if lab.closed else getattr(lab, "_live", None)
    if runtime is None:
        return []
    found = runtime.run(lambda: [(node.kind, _seen(runtime, node)) for node in runtime.desk.pool.nodes.values()])
    shared = [node for kind, node in found if kind != "own"]
    own = [node for kind, node in found if kind == "own"]
    return [*shared, *([_together(own)] if own else [])]


def _seen(runtime: Any, node: Any) -> Seen:
    holder = runtime.desk.placed.get(node.word.read()[0]) if node.stalled else None
    state, why = "running", ""
    if node.why is not None:
        state, why = "ending", node.why
    elif not node.ready:
        state = "starting"
    elif node.stalled:
        state, why = "stalled", f"{holder.path} holds it" if holder is not None else "its code holds it"
    pid = node.process.pid if node.kind != "kernel" else None
    memory = memory_of(pid) if pid is not None else None
    kinds = {"low": f"{node.number}, low priority", "kernel": "in the kernel", "own": f"{node.number}, one agent's own"}
    name = kinds.get(node.kind, str(node.number))
    return Seen(name, state, why, node.agents, memory, node.restarts)


def _together(nodes: Sequence[Seen]) -> Seen:
    """Nodes of one agent each as one line, which is as bad as the worst of them."""
    if len(nodes) == 1:
        return nodes[0]
    worst = max(nodes, key=lambda node: list(COLOURS).index(node.state))
    memory = sum(node.memory or 0 for node in nodes)
    agents = sum(node.agents for node in nodes)
    return Seen(f"{len(nodes):,} of one agent each", worst.state, worst.why, agents, memory, 0, len(nodes))
