"""Agents that fail in the ways that tests want, and a lab that does not wait long for another attempt."""

from __future__ import annotations

import asyncio
from typing import Any

from agentlab import Agent, Assistant, Ref, tool
from agentlab.errors import StepFailed
from agentlab.faults import Action, fault

AT_ONCE = {"attempts": 6, "first": 0.001, "maximum": 0.01, "same": 4}
SOON = {
    kind: Action("retry_step", **AT_ONCE)
    for kind in ("server_error", "connection", "cut_stream", "stalled", "garbage", "cut_upload", "timeout", "conflict")
} | {kind: Action("wait", first=0.001, maximum=0.01, same=4) for kind in ("rate_limit", "overloaded", "unavailable")}
SOON["stalled"] = Action("retry_step", attempts=2, first=0.001, same=99)


class Echo(Assistant):
    """The plainest assistant."""


class Brittle(Echo):
    """Its class lets it crash, whatever its lab says."""

    on_fault = {"server_error": "crash"}


class Worker(Agent):
    """Has a step that fails as often as it is told, in what way it is told."""

    done: int = 0

    async def work(self, kind: str, times: int) -> int:
        """How many attempts it took."""
        made = await self.step(_Failing(kind, times), kind)
        self.done += 1
        return made

    async def pay(self, ran: bool, times: int = 1) -> int:
        """The same with an effect that may run once only."""
        failing = _Failing("connection", times, ran=ran)
        failing.once = True
        return await self.step(failing)


class _Failing:
    """An effect that fails a few times; as a step it is called ``failing``."""

    __name__ = "failing"
    once = False

    def __init__(self, kind: str, times: int, *, ran: bool = True) -> None:
        self.kind, self.times, self.ran = kind, times, ran
        self.calls = 0

    def __call__(self, *args: str) -> int:
        self.calls += 1
        if self.calls <= self.times:
            error = ValueError(f"no {self.kind}") if self.kind == "crash" else StepFailed("no luck", fault(self.kind))
            error.ran = self.ran
            raise error
        return self.calls


@tool
def add(a: float, b: float) -> float:
    """Add two numbers."""
    raise RuntimeError("the battery is empty")


class Clerk(Assistant):
    """Its only tool fails, and its model says what the test wants."""

    model = "sim-clerk"
    tools = (add,)


class Proud(Clerk):
    """It does not tell its model of failures."""

    on_fault = {"tool_failed": "crash", "unknown_tool": "park", "bad_arguments": "escalate"}


class Spender(Assistant):
    """May not even answer once."""

    budget = 10


class Patient(Agent):
    """Waits long between two attempts, and gives up after three."""

    on_fault = {"conflict": Action("retry_step", first=3600, maximum=3600, same=3)}

    async def work(self) -> None:
        """Never succeeds."""
        await self.step(_Failing("conflict", 99))


class Asker(Agent):
    """Asks another agent."""

    async def hurry(self, who: Ref, seconds: float) -> int:
        """What it has done, with little time for it."""
        return int(await who.call(timeout=seconds).work("server_error", 3))

    async def sit(self) -> None:
        """Take long over a step."""
        await self.step(asyncio.sleep, 3600)

    async def relay(self, other: Ref, who: Ref, seconds: float) -> int:
        """The same by another."""
        return int(await other.call(timeout=seconds).hurry(who, seconds))

    async def ask(self, who: Ref) -> str:
        """What it says."""
        return str(await who.call.ask("poison"))


def rows(lab: Any, path: str) -> list[tuple[Any, ...]]:
    """Attempt, outcome and fault of an agent's steps."""
    steps = lab.steps(path=path)
    return [(a, o, None if o == "ok" else f) for a, o, f in zip(steps.attempt, steps.outcome, steps.fault, strict=True)]
