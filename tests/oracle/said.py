"""A scenario's nodes and calls in the lab's words; see ``tests/oracle/live.py``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from agentlab import Agent, Exit, Ref, Supervisor
from agentlab.supervision.child import Child
from tests.oracle import world

Json = Any  # a term as the traces write it

TIME_FACTOR = 2.5
"""A ``shutdown`` time is longer here: an agent that does not dawdle must make it on a busy machine too."""

LONG_FACTOR = 250.0
"""The same for another try, where it did not make it."""

SHORT = 1000
"""Milliseconds: a ``shutdown`` time below that may be too short for a process that does not get a processor."""

FOR_EVER = 3_600_000
"""Milliseconds that nobody waits for: so long dawdles who does not make its ``shutdown`` time."""


class EXIT(Exception):
    """What a start function raises."""


class Worker(Agent):
    """A worker that does not trap exits."""

    trap_exit = False
    place: str
    plan: dict[str, str] = {}
    slow: int = 0
    factor: float = TIME_FACTOR

    async def on_start(self) -> None:
        """Wait at the gate if there is one; then come up, or not, as planned for this attempt."""
        await self._pass_gate()
        attempts = Path(self.place) / f"{self.id}.attempts"
        with attempts.open("ab") as file:
            file.write(b".")
        outcome = self.plan.get(str(attempts.stat().st_size), "ok")
        if outcome == "raise":
            raise EXIT("boom")
        if outcome not in ("ok", "extra"):
            raise Exit({"error": "boom", "badret": "garbage", "ignore": "normal"}[outcome])

    async def _pass_gate(self) -> None:
        gate = Path(self.place) / f"{self.id}.gate"
        if gate.exists():
            held = gate.rename(gate.with_suffix(".held"))
            while held.exists():  # noqa: ASYNC110 - whoever opens it may be in another process
                await anyio.sleep(0.002)

    async def leave(self, reason: Any) -> None:
        """A stop request: the terminate callback runs whether or not exits are trapped."""
        await self._terminate(reason)
        raise Exit(reason)

    async def _terminate(self, reason: Any) -> None:
        print("term", json.dumps(reason))
        if self.slow:
            await anyio.sleep(self.slow / 1000)


class TrappingWorker(Worker):
    """A worker that traps exits."""

    trap_exit = True

    async def on_stop(self, reason: Any) -> None:
        """Its supervisor asks it to end."""
        await self._terminate(reason)

    async def on_exit(self, ref: Ref, reason: Any) -> None:
        """A signal from a stranger."""
        print("trapped", json.dumps(reason))


class Clerk(Agent):
    """Sends administration calls without waiting for one before the next."""

    async def send(self, steps: list[dict[str, Json]], path: str, place: str, held: str | None) -> list[Any]:
        """All calls, in order; once they wait at the supervisor, let go who is held at the gate. The results."""
        calls = [asyncio.ensure_future(administer(self.lab, path, step, place)) for step in steps]
        await asyncio.sleep(0)  # the calls are on their way
        await self.lab.whereis("nobody")  # answered after they have arrived
        if held is not None:
            let_go(Path(held))
        return await asyncio.gather(*calls, return_exceptions=True)


def let_go(held: Path) -> None:
    """Open the gate."""
    held.unlink(missing_ok=True)


def administer(lab: Any, path: str, step: dict[str, Json], place: str) -> Any:
    """One administration call; to be awaited where ``lab`` is an agent's."""
    supervisor = lab[path]
    if "spec" in step:
        return supervisor.start_child(to_child(step["spec"], place))
    if "name" in step:
        return lab.start(Worker, id=step["name"], under=path, place=place)
    return getattr(supervisor, step["op"])(*([step["id"]] if "id" in step else []))


def to_child(node: dict[str, Json], place: str) -> Child:
    """A node as a child that nobody has checked."""
    made = world.to_child(node)
    if "sup" in node:
        return replace(made, what=to_supervisor(node, place), fields={})
    slow, factor, shutdown = node.get("slow", 0), node.get("factor", TIME_FACTOR), made.shutdown
    if isinstance(shutdown, float):
        slow = FOR_EVER if slow > shutdown * 1000 and not node.get("ends") else slow
        shutdown *= factor
    fields = {"place": place, "plan": node.get("plan", {}), "slow": slow, "factor": factor}
    return replace(made, what=TrappingWorker if node.get("trap") else Worker, shutdown=shutdown, fields=fields)


def to_supervisor(node: dict[str, Json], place: str) -> Supervisor:
    """A node's flags and children that nobody has checked."""
    made = world.to_supervisor(node)
    flags = ("strategy", "max_restarts", "max_seconds", "auto_shutdown", "bring_back")
    kids = tuple(to_child(kid, place) for kid in node["sup"]["children"])
    return Supervisor.unchecked(made.name, kids, **{flag: getattr(made, flag) for flag in flags})


def specified(spec: Child) -> Json:
    """A child spec as the recordings write it."""
    shutdown: Json = spec.shutdown
    if not isinstance(shutdown, str):
        shutdown = round(shutdown * 1000 / spec.fields.get("factor", 1.0))
    said = {"id": spec.id, "restart": spec.restart, "shutdown": shutdown, "significant": spec.significant}
    return ["ok", {**said, "type": spec.type}]


def nodes(node: dict[str, Json]) -> Iterator[dict[str, Json]]:
    """A node and all below it."""
    yield node
    for kid in node.get("sup", {}).get("children", []):
        yield from nodes(kid)


def patiently(scenario: dict[str, Json]) -> dict[str, Json] | None:
    """The same with more time for each shutdown; None if no time in it is short."""
    patient: dict[str, Json] = json.loads(json.dumps(scenario))
    short = [
        node for root in _roots(patient) for node in nodes(root)
        if "sup" not in node and isinstance(node.get("shutdown"), int) and 0 <= node["shutdown"] < SHORT
        and not node.get("ends")
    ]  # fmt: skip
    for node in short:
        node["factor"] = LONG_FACTOR
    return patient if short else None


def _roots(scenario: dict[str, Json]) -> list[dict[str, Json]]:
    """The tree of a scenario, and those that its calls start."""
    steps = [*scenario["steps"], *(call for step in scenario["steps"] for call in step.get("calls", []))]
    return [scenario["root"], *(step["spec"] for step in steps if "spec" in step)]


def unsaid(scenario: dict[str, Json]) -> str | None:
    """Why a scenario cannot be said in the lab's words; None if it can."""
    steps = [*scenario["steps"], *(call for step in scenario["steps"] for call in step.get("calls", []))]
    supervisors = {node["id"]: node for root in _roots(scenario) for node in nodes(root) if "sup" in node}
    planned = sorted(id for id, node in supervisors.items() if node.get("plan"))
    held = sorted({step["target"] for step in steps if step["op"] == "during_restart"} & supervisors.keys())
    if planned:
        return f"a supervisor has no start function of its own that could fail as planned for {', '.join(planned)}"
    if held:
        return f"a supervisor has no start function of its own that could be held up, as {', '.join(held)} should be"
    if any(step["op"] == "unlink" for step in steps):
        return "no agent can leave its supervisor"
    return None
