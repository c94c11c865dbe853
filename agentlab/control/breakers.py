"""A breaker as a cell holds it: ``lab.breaker("anthropic")``."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agentlab.errors import InvalidArgument
from agentlab.frames import breaker_history
from agentlab.ground.given import seconds as checked_seconds
from agentlab.ground.given import shown
from agentlab.ground.words import counted, meant
from agentlab.kernel.breakers import Waiting
from agentlab.kernel.runtime import Runtime
from agentlab.models.providers import NAMES

if TYPE_CHECKING:
    import pandas as pd

KNOWN = ("sim", "anthropic", "local", *(name for name in NAMES if not name.startswith("openai-")))
"""Dependencies that every lab has; the others are known once a step has asked for them."""


class LabBreaker:
    """The circuit breaker that all agents of a lab share for one dependency.

    It opens by itself when many agents fail, and probes with one call after a cool-down; ``open`` and ``close`` are for
    people. While it is open, agents that want to call wait inside their step (status ``waiting``).

    Attributes:
        name: The dependency's: ``sim``, ``anthropic``, ``mcp:files`` ...
    """

    def __init__(self, runtime: Runtime, name: str) -> None:
        self._runtime = runtime
        self.name = name
        self._runtime.run(lambda: _check_name(runtime, name))

    def _row(self) -> tuple[Any, ...]:
        row: tuple[Any, ...] = self._do(Waiting.row, time.time_ns())
        return row

    def _do(self, what: Callable[..., Any], *args: Any) -> Any:
        """Do it in the lab's thread, where breakers are made and live."""
        breakers = self._runtime.breakers
        return self._runtime.run(lambda: what(breakers.named(self.name), *args))

    @property
    def state(self) -> str:
        """``closed``, ``open`` or ``half_open`` (one call probes)."""
        return str(self._row()[1])

    @property
    def why(self) -> str:
        """Why it is in that state; empty if it always was."""
        return self._row()[3] or ""

    @property
    def waiting(self) -> int:
        """How many calls wait for it, also those between two attempts."""
        return int(self._row()[4])

    def open(self, seconds: float | None = None) -> None:
        """Let nobody through: for so many seconds, then one call probes; or until ``close()``."""
        limit = None if seconds is None else checked_seconds(seconds, "breaker.open: seconds")
        self._do(Waiting.hold, limit)

    def close(self) -> None:
        """Let calls through again, whatever was before."""
        self._do(Waiting.release)

    def tune(self, **settings: float) -> None:
        """Change when it opens and for how long.

        ``agents``, ``share``, ``window``, ``cooldown``, ``probe_every``, ``longest``: see
        ``agentlab.supervision.breaker.Settings`` for what they mean.

        Raises:
            InvalidSpec: There is no such setting, or it is no number > 0.
        """
        self._do(Waiting.tune, settings)

    def history(self) -> pd.DataFrame:
        """One row per state that it was in, oldest first; shape (n, 4): state, since, took_s (NaN: still), why."""
        self._runtime.run(self._runtime.flush)
        return breaker_history(self._runtime.desk.ledger.store, self.name)

    def __repr__(self) -> str:
        if self._runtime.closed:
            return f"Breaker({self.name!r}, the lab is closed)"
        name, state, since, why, waiting, *_ = self._row()
        lasts = f", {state} for {(time.time_ns() - since) / 1e9:.0f} s" if state != "closed" else ", closed"
        waits = f", {counted(waiting, 'call')} waiting" if waiting else ""
        return f"Breaker({name!r}{lasts}{waits}{f': {why}' if why and state != 'closed' else ''})"


def _check_name(runtime: Runtime, name: str) -> None:
    """Refuse a dependency that nothing depends on.

    Raises:
        InvalidArgument: Names those that there are.
    """
    server = name.removeprefix("mcp:")
    if name in KNOWN or name in runtime.breakers.names:
        return
    if server != name and any(path.rpartition("/")[2] == server for path in runtime.desk.entries):
        return
    known = [*runtime.breakers.names, *(each for each in KNOWN if each not in runtime.breakers.names)]
    raise InvalidArgument(
        f"breaker: nothing has asked for {shown(name)} yet;{meant(name, known)} there are {', '.join(known)}, and "
        "mcp:<id> for each MCP server. A dependency of your own is known once a step with it has run.",
        argument="name",
    )
