"""``lab.sim``: the lab's simulator, as a person steers it from a cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from agentlab.control.servers import SIM
from agentlab.frames import requests
from agentlab.ref.cell import RefInCell

if TYPE_CHECKING:
    import pandas as pd

    from agentlab.sim.control import Control

PATIENCE = 60.0
"""Seconds for which a simulator that is restarting is waited for."""


class Sim:
    """The simulator that answers for models called ``sim``: what goes wrong, what it says, and what it was asked.

        lab.sim.profile([{"mode": "529", "rate": 0.8, "until_s": 60}], latency_s=0.1)
        lab.sim.log()
        lab.sim.crash()          # it comes back on the same address, with its log and its profile

    It is a child of the lab, ``/servers/sim``, and starts when it is first used. What lasts over its restarts: address,
    token, log, profile (with its counts, and its time windows by the wall's clock) and scripts. What does not: the
    connections, whose clients meet a connection fault. A lab that is opened again has an empty log.
    """

    def __init__(self, lab: Any) -> None:
        self._lab = lab

    @property
    def ref(self) -> RefInCell:
        """The agent that owns its process: ``crash``, ``kill``, ``stop``, ``restart``, ``status``, ``log`` ..."""
        self._lab.simulator()
        found: RefInCell = self._lab[SIM]
        return found

    @property
    def base_url(self) -> str:
        """Its address."""
        return str(self._lab.simulator().base_url)

    def profile(
        self, rules: Sequence[dict[str, Any]] = (), *, latency_s: float = 0.0, delta_s: float = 0.0,
        seed: int | None = None,
    ) -> None:  # fmt: skip
        """Replace the fault profile: what goes wrong with which requests, from now on.

            lab.sim.profile([{"mode": "529", "times": 1}])                     # the next request meets an overload
            lab.sim.profile([{"mode": "429", "rate": 0.3, "retry_after": 2}])   # three in ten are told to wait
            lab.sim.profile([{"mode": "refusal", "nth": [2], "prompt": "tea"}])  # the second that says tea
            lab.sim.profile([{"mode": "529", "rate": 0.8, "until_s": 420},      # a correlated window, then a ramp
                             {"mode": "429_ramp", "from_s": 420, "until_s": 540}])

        A rule strikes a request if all of its conditions hold; the first rule that strikes wins.

        Args:
            rules: ``mode`` is what happens; a wrong one is refused with all the names. Conditions: ``rate``: with this
                probability (0 to 1); ``nth``: at these calls, from 1 (2 or ``[1, 3]``), counted for each rule among
                those that fit its ``model``, ``agent`` and ``prompt`` and that no earlier rule struck; ``times``: at
                most so often; ``model``; ``agent``: only for the agent at this path; ``prompt``: only if this occurs in
                the last text of the user; ``from_s``, ``until_s``: so many seconds after the rules were set. Settings:
                ``retry_after``: a header's value; ``after``: deltas that arrive first; ``message``: the error's text.
            latency_s: Seconds before each answer begins.
            delta_s: Seconds between two pieces of an answer.
            seed: Which requests a ``rate`` strikes; that of the simulator, 0, if left out.

        Raises:
            ValueError: A rule that cannot be; the old profile stays.
        """
        self._control.faults(rules, latency_s=latency_s, delta_s=delta_s, seed=seed)

    def kept(self) -> Callable[[], None]:
        """What puts the profile that is in force now back, with its counts; for who sets another for a while."""
        standing = self._control.standing()
        return lambda: self._control.put_back(standing)

    def clear(self) -> None:
        """Nothing goes wrong any more, and nothing is slow."""
        self._control.clear()

    def struck(self) -> list[int]:
        """How often each rule of the profile struck, in their order."""
        return self._control.struck()

    def scripts(self, **models: Sequence[str | dict[str, Any]]) -> None:
        """Models with fixed turns: ``lab.sim.scripts(sim_greeter=["Hello.", "Bye."])`` makes ``"sim-greeter"``.

        A turn is a text, or a tool call: ``{"tool": "add", "input": {"a": 1, "b": 2}}``; a list of calls is one turn.
        """
        self._control.scripts(**models)

    def log(self) -> pd.DataFrame:
        """One row per request that it saw, oldest first; shape (n, 18), index from 0.

        ``n`` counts from 1. ``at`` is when it came. ``key`` is a digest of path and body, so a call that was made again
        has the same; ``repeat`` says the how-manieth time it was. ``mode`` is what struck, missing if nothing did.
        ``finished``: the whole answer was sent, no mode spoiled it, and the connection was still there: of such
        a call nobody needs another. ``retry_count`` is what the client says of its own retries. ``tokens_in`` and
        ``tokens_out``: what a provider would bill for; of an answer that was cut, for all of it.
        """
        return requests(self._control.log())

    def forget(self) -> None:
        """Empty the log."""
        self._control.forget()

    def crash(self) -> None:
        """End its process as a crash does; its supervisor starts it again on the same address."""
        self.ref.crash()

    def kill(self) -> None:
        """End it untrappably; its supervisor starts it again on the same address."""
        self.ref.kill()

    def restart(self) -> None:
        """Stop it in good order and start it again."""
        self.ref.restart()

    def __repr__(self) -> str:
        found = self._lab.whereis(SIM)
        return "Sim(not started)" if found is None else f"Sim({found.state.get('address')}, {found.status})"

    @property
    def _control(self) -> Control:
        from agentlab.sim.control import Control

        return Control(self._lab.simulator(), patience=PATIENCE)
