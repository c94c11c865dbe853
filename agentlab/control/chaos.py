"""A plan of chaos, while it is on: ``with lab.chaos(plan):``."""

from __future__ import annotations

import contextlib
from typing import Self

from agentlab.errors import InvalidArgument, LabClosed
from agentlab.ground.given import shown
from agentlab.kernel.runtime import Runtime
from agentlab.wire.blows import Decides


class Chaos:
    """A plan and the lab that it strikes, inside its ``with``; afterwards nothing strikes any more.

    Attributes:
        plan: The plan.
    """

    def __init__(self, runtime: Runtime, plan: Decides) -> None:
        if not isinstance(plan, Decides):
            raise InvalidArgument(
                f"chaos: give a plan, as agentlab.chaos.Plan(kill(rate=0.01), seed=7); got {shown(plan)}.",
                argument="plan",
            )
        self._runtime = runtime
        self.plan = plan
        self._on = False

    def __enter__(self) -> Self:
        self._runtime.run(self._runtime.strikes.begin, self.plan)
        self._on = True
        return self

    def __exit__(self, *failure: object) -> None:
        self._on = False
        with contextlib.suppress(LabClosed):  # it ended inside
            self._runtime.run(self._runtime.strikes.end)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *failure: object) -> None:
        self.__exit__(*failure)

    def __repr__(self) -> str:
        return f"Chaos({self.plan!r}, {'on' if self._on else 'off: it strikes inside `with`'})"
