"""What an agent acts with: who it is, its steps, its timers, its chance."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from agentlab.agent.arguments import signature_of
from agentlab.agent.base import Agent
from agentlab.errors import UnknownMessage
from agentlab.ground.redaction import redact
from agentlab.node.acts import act
from agentlab.node.approvals import ask_person
from agentlab.node.home import Home
from agentlab.node.link import LabInside
from agentlab.node.resident import Ending, Resident
from agentlab.node.steps import around, at_once, carry_out, check_given, claim, given_text, inside_step, name_of
from agentlab.ref.inside import Answer, RefInside
from agentlab.slicing.places import run
from agentlab.wire.exceptions import as_reason
from agentlab.wire.packing import pack, unpack


class InsideContext:
    """An agent's means: who it is, and how it acts."""

    __slots__ = ("_cls_name", "_host", "_resident", "incarnation", "path")

    def __init__(self, host: Home, resident: Resident, cls: type[Agent], path: str, incarnation: int) -> None:
        self._host = host
        self._resident = resident
        self._cls_name = cls.__name__
        self.path = path
        self.incarnation = incarnation

    @property
    def id(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def ref(self) -> RefInside:
        """The agent's own ref."""
        return RefInside(self._host.link, self.path, self._cls_name)

    @property
    def lab(self) -> LabInside:
        """The lab as the agent sees it."""
        return LabInside(self._host)

    async def step(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one effect, journaled; in ``on_start``, which is not a message, it just runs."""
        resident = self._resident
        if resident.key is None and not getattr(function, "approve", False):
            return await inside_step(name_of(function), functools.partial(run, function, args, kwargs))
        once = bool(getattr(function, "once", False))
        if once or getattr(function, "approve", False):
            check_given(function, args, kwargs)
        if getattr(function, "approve", False):
            await ask_person(resident, name_of(function), args, kwargs)
        found = claim(resident, str(getattr(function, "kind", "step")), name_of(function), (args, kwargs))
        said = getattr(function, "said", None)  # by a model call; else the effect may change what it is given
        given = given_text(args, kwargs) if said is None else redact(said)
        dependency = getattr(function, "dependency", None)
        function = getattr(function, "in_step", function)  # a tool runs off the agent's loop
        work = functools.partial(run, function, args, kwargs)
        return await carry_out(resident, found, work, once=once, given=given, dependency=dependency)

    def now(self) -> datetime:
        """The time of day, the same for every delivery of a message."""
        found: datetime = at_once(self._resident, "now", lambda: datetime.now(UTC))
        return found

    @property
    def random(self) -> random.Random:
        """Chance that falls the same way for every delivery of a message."""
        return self._resident.random

    def later(self, seconds: float, *, again: bool) -> Later:
        """A message to itself, later."""
        return Later(self._resident, seconds, again)

    def stop(self, reason: Any) -> None:
        """End after this message."""
        self._resident.stopping = Ending(as_reason(reason))

    def emit(self, text: str) -> None:
        """Text for the live transcript; passes by, is never stored as state."""
        text = str(text)
        if self._resident.heard or self._host.watched:
            self._host.say.emit(placement=self._resident.life, text=text)

    async def reserve(self, model: str, tokens: int, cost: float | None) -> bool:
        """Hold back what the model call that runs now may use; whether a budget limits its cost.

        Raises:
            BudgetExceeded: There is not so much left.
        """
        if self._resident.key is None:  # in on_start nothing is a step, so nothing would settle it
            return False
        return bool(unpack(await self._host.ask("reserve", around.get(), model, tokens, cost)))

    def act(self, op: str, *args: Any) -> Answer[None]:
        """Ask the lab for something about this agent: sent now, awaited if wanted."""
        return act(self._host, "link", op, args, op, *args, asked=f"self.{op}(...)")


class Later:
    """``self.after(5).remind("tea")``: a message to oneself, which leaves with the commit."""

    def __init__(self, resident: Resident, seconds: float, again: bool) -> None:
        self._resident = resident
        self._seconds = seconds
        self._again = again

    def __getattr__(self, method: str) -> Callable[..., None]:
        agent = self._resident.agent
        if method not in type(agent).__agent_messages__:
            have = ", ".join(sorted(type(agent).__agent_messages__)) or "none"
            raise UnknownMessage(f"{agent.path!r} has no message {method!r}; it has: {have}.")

        def send(*args: Any, **kwargs: Any) -> None:
            signature_of(type(agent), method).check(args, kwargs, agent.path)
            what = f"the arguments of {agent.path}.{method}"
            host = self._resident.host
            timer = (self._seconds, self._again, method, pack((args, kwargs), what, keep=host.durable))
            if self._resident.key is None and self._resident.started:
                self._resident.set_timer(timer)
            else:
                self._resident.timers.append(timer)

        return send
