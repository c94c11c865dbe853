"""The story of the drill: everybody is at work, the provider goes down, and it comes back."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from agentlab.drill.control import Control
from agentlab.drill.people import Bystander, Clerk, Loner, answer, question
from agentlab.drill.report import Report
from agentlab.errors import AgentLabError, InvalidArgument
from agentlab.faults import ACTIONS, Action
from agentlab.lab import Lab
from agentlab.supervision.breaker import Settings
from agentlab.supervision.child import Supervisor

How = Literal["breaker", "retries", "restarts"]
"""How faults are met: by breaker; by each agent's own retries, and then a crash; as in plain OTP, by restarts alone."""

TRIES = 8
"""Of a model call by an agent that retries for itself: as many as a transient fault of one call has in the table."""

OUTAGE: list[dict[str, Any]] = [
    {"mode": "529", "rate": 0.8}, {"mode": "clean_eof_no_stop", "rate": 0.75}, {"mode": "half_frame_then_blank"},
]  # fmt: skip
"""80 % overloads, 15 % cut streams, 5 % garbage: a rule is asked when those before it did not strike."""

STALL_NOTICE = 2.0
"""Seconds: on a machine that others use too, a node gets no processor for a while though nobody holds it."""

STANDARD = Settings()
"""What a breaker has that nobody tuned."""

ASKED_AT_ONCE = 16
PAUSE = 0.02
"""So many of the others are asked together, then nobody for so many seconds: a p99 for little work."""

QUIET = 400
"""Answers of the others before anybody is at work: what they are compared with."""

PATIENCE = 1_800.0
"""Seconds that the drill waits for the last task before it calls it lost."""


def drill(
    agents: int = 10_000, busy: int = 400, seconds: float = 180.0, *, speed: float = 1.0, how: How = "breaker",
    path: str | None = None, nodes: int | None = None,
) -> Report:  # fmt: skip
    """Let a provider go down for so many seconds, with so many agents in the middle of a task.

    Args:
        agents: Agents in the lab.
        busy: Those of them that do a task of six tool calls.
        seconds: How long the provider is down, by the drill's own clock, once that has shown.
        speed: How much faster that clock is: all waits are so much shorter.
        how: How faults are met.
        path: The lab's file; None: in memory.
        nodes: As in ``Lab``.

    Raises:
        InvalidArgument: Nobody would be busy, or nobody else there.
    """
    if not 0 < busy < agents:
        raise InvalidArgument(
            f"drill: of {agents:,} agents {busy:,} are to be busy; it needs at least one, and one that is not",
            argument="busy",
        )
    with Lab(path, nodes=nodes, on_fault=rules_at(speed, how), stall_notice=STALL_NOTICE) as lab:
        return Night(lab, agents, busy, seconds / speed, speed=speed, how=how).live()


def rules_at(speed: float, how: How) -> dict[str, Action | str]:
    """The fault table of a drill at this speed, as ``Lab(on_fault=)`` takes it: waits are so much shorter.

    With ``restarts`` everything transient is a crash; with ``retries`` it is one after so many tries of a call.
    """
    waits = {kind: action for kind, action in ACTIONS.items() if action.does in ("retry_step", "wait")}
    if how == "restarts":
        return dict.fromkeys(waits, "crash")
    if how == "retries":
        waits = dict.fromkeys(waits, Action("retry_step", attempts=TRIES, same=math.inf))
    return {
        kind: Action(
            action.does, attempts=action.attempts, first=(action.first or 0.0) / speed,
            maximum=(action.maximum or 0.0) / speed, max_wait=action.max_wait, total=action.total, same=action.same,
        )
        for kind, action in waits.items()
    }  # fmt: skip


class Night:
    """One night in a lab.

    Args:
        lab: Where; it has none of the drill's agents yet.
        agents: As in ``drill``; so are the others.
        busy: How many of them have a task.
        seconds: How long the provider is down.
        speed: How much shorter the breaker's times are.
        how: How faults are met.
    """

    def __init__(
        self, lab: Lab, agents: int, busy: int, seconds: float, *, speed: float = 1.0, how: How = "breaker"
    ) -> None:  # fmt: skip
        self._lab = lab
        self._seconds, self._how = seconds, how
        self.report = Report(agents, busy)
        lab.sim.profile()  # starts it
        lab.sim.forget()
        self._breaker = lab.breaker("sim")
        self._breaker.tune(
            cooldown=STANDARD.cooldown / speed,
            probe_every=STANDARD.probe_every / speed,
            longest=STANDARD.longest / speed,
        )
        clerk = Clerk if how == "breaker" else Loner
        self._clerks = lab.start_many(clerk, busy, under=lab.start(Supervisor("clerks")))
        self._others = lab.start_many(Bystander, agents - busy, under=lab.start(Supervisor("others")))
        self._when, self._unheard = "before", 0
        self._well: set[str] = set()  # questions that got the right answer
        self._over = threading.Event()

    def live(self) -> Report:
        """Let it pass; what came of it."""
        self._others.call.ping().result(PATIENCE)  # all of them are awake
        pings = threading.Thread(target=self._ping, name="agentlab-drill", daemon=True)
        pings.start()
        _wait(lambda: len(self.report.pings["before"]) >= QUIET)
        replies = self._begin()
        self._go_down()
        self._when = "after"
        recovered, at = time.monotonic(), time.time()
        self._gather(replies)
        self.report.last_s = time.monotonic() - recovered
        self.report.found_s = self._closed_at(at) - at
        self._over.set()
        pings.join(PATIENCE)
        self.report.lost += self._unheard
        self._lab.wait_idle(PATIENCE)
        self.report.count(self._lab, self._well)
        return self.report

    def _begin(self) -> list[Any]:
        """Give everybody a task, and wait until each is in the middle of it."""
        self._when = "starting"
        self._lab.sim.profile(latency_s=2.0)  # nobody is through before all have begun
        call = [clerk.call(timeout=PATIENCE) for clerk in self._clerks]
        replies = [asks.add_up(question(number)) for number, asks in enumerate(call)]
        _wait(lambda: self._done_a_tool() == self.report.busy)
        self.report.interrupted = sum(not reply.done() for reply in replies)
        return replies

    def _done_a_tool(self) -> int:
        """How many clerks have a tool call behind them."""
        steps = self._lab.steps()
        return int(steps[steps["kind"].eq("tool")]["path"].nunique())

    def _go_down(self) -> None:
        seen, began = len(self._lab.sim.log()), time.monotonic()
        self._lab.sim.profile(OUTAGE)
        self._when = "during"
        _wait(lambda: self._is_felt(len(self._lab.sim.log()) - seen))
        time.sleep(self._seconds)
        self._lab.sim.clear()
        self.report.outage_s = time.monotonic() - began
        self.report.calls = len(self._lab.sim.log()) - seen

    def _is_felt(self, calls: int) -> bool:
        """Whether the outage has shown: on a slow machine and a fast clock it could be over before anybody asks."""
        return self._breaker.state != "closed" if self._how == "breaker" else 2 * calls >= self.report.busy

    def _closed_at(self, recovered: float) -> float:
        """When the breaker closed after the provider had recovered; that moment itself if it was not open then."""
        history = self._breaker.history()
        closed = history["since"][history["state"].eq("closed")]
        return max([recovered, *(float(at.timestamp()) for at in closed)])

    def _gather(self, replies: list[Any]) -> None:
        for number, reply in enumerate(replies):
            try:
                if reply.result(PATIENCE) == answer(number):
                    self._well.add(question(number))
            except AgentLabError:
                self.report.lost += 1

    def _ping(self) -> None:
        """Ask the others, some at a time and round and round, until the night is over."""
        with Control() as control:
            self._ask_round(control)

    def _ask_round(self, control: Control) -> None:
        others = itertools.cycle(self._others)
        while not self._over.wait(PAUSE):
            when = self._when
            self.report.trips[when] += control.took(ASKED_AT_ONCE)
            asked = [(time.monotonic(), next(others).call.ping()) for _ in range(ASKED_AT_ONCE)]
            for began, reply in asked:
                try:
                    reply.result(60)
                except AgentLabError:
                    self._unheard += 1
                else:
                    self.report.pings[when].append(time.monotonic() - began)


def _wait(condition: Callable[[], bool]) -> None:
    """Look five times a second whether it is so."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"the drill did not get under way within {PATIENCE:g} s")
        time.sleep(0.2)
