"""One life of one agent on its node: its state, its mailbox, the message in hand and that message's journal."""

from __future__ import annotations

import asyncio
import contextvars
import json
import math
import random
from collections import deque
from dataclasses import dataclass
from typing import Any

from agentlab.agent.base import Agent, Field
from agentlab.agent.snapshot import Change
from agentlab.errors import InvalidState
from agentlab.exits import Crash
from agentlab.node.home import Home
from agentlab.node.mailbox import NOTHING, Delivery, Item
from agentlab.node.replay import NO_STEPS, Journal
from agentlab.slicing.sliced import Owner, owner_of
from agentlab.wire.exceptions import repr_of, revive
from agentlab.wire.frames import Blame, Cast, Later

current: contextvars.ContextVar[Resident | None] = owner_of  # type: ignore[assignment]  # owners of a host are residents
"""The agent whose code runs."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a life ends: for any reason, None too, with what it says of the message in hand, and by which rule."""

    reason: Any
    blame: Blame = "none"
    why: str = ""


class Died(BaseException):
    """Carries the end of a life out of its code; no ``except Exception`` of a user catches it."""

    def __init__(self, ending: Ending) -> None:
        super().__init__(ending.reason)
        self.ending = ending


class Resident(Owner):
    """One life of one agent on this node; as the owner of its tasks it has their costs."""

    __slots__ = (
        "agent", "away", "burns", "casts", "chance", "diverged", "ending", "heard", "host", "journal", "mailbox",
        "max_busy", "open", "saved", "seed", "sent", "started", "stopping", "suspended", "task", "timers",
        "traced", "withdrawn",
    )  # fmt: skip

    def __init__(self, host: Home, life: int, agent: Agent) -> None:
        super().__init__(life)
        self.host = host
        self.agent = agent
        self.max_busy = math.inf  # seconds in which one message may hold the node
        self.burns = 0  # messages running that held it for long
        self.saved: dict[str, Any] = {}
        self.mailbox: deque[Item] = NOTHING
        self.task: asyncio.Task[None] | None = None
        self.withdrawn: int | None = None  # the message that its caller has taken back
        self.ending: Ending | None = None  # it was ended: what is left of its code begins no step and sends nothing
        self.stopping: Ending | None = None  # set by the agent itself: end after this message
        self.suspended = False
        self.traced = False
        self.started = False
        self.open = False  # it has all that waited for it, so its neighbours may call it
        self.casts: list[Cast] = []
        self.timers: list[Later] = []
        self.journal = NO_STEPS
        self.diverged = False
        self.heard = False  # who sent the message in hand hears what is emitted
        self.away = 0  # what it has asked the kernel for and not been answered yet
        self.sent = 0  # what its node had noted when it last sent casts
        self.seed = ""  # of its chance, the same for every delivery of a message; before the first, none
        self.chance: random.Random | None = None  # made when it is asked for

    @property
    def random(self) -> random.Random:
        """Chance that falls the same way for every delivery of a message."""
        if self.chance is None:
            self.chance = random.Random(self.seed or None)  # noqa: S311  # to be repeatable, not secret
        return self.chance

    def cast(self, cast: Cast) -> None:
        """Send a message that no commit holds; what it calls next comes after it."""
        self.host.cast(cast)
        self.sent = self.host.noted

    def set_timer(self, timer: Later) -> None:
        """Set a timer that no commit holds."""
        seconds, again, method, payload = timer
        self.host.say.timer(placement=self.life, seconds=seconds, again=again, method=method, payload=payload)

    def take(self, message: Delivery) -> None:
        """Take a message in hand."""
        self.key, self.journal, self.diverged = message.key, Journal(message.journal, message.faults), False
        self.busy, self.limit = 0.0, self.max_busy
        self.seed, self.chance, self.heard = message.seed, None, message.heard

    def post(self, item: Item, *, first: bool = False) -> None:
        """Put something last, or first, in the mailbox."""
        if self.mailbox is NOTHING:
            self.mailbox = deque()
        if first:
            self.mailbox.appendleft(item)
        else:
            self.mailbox.append(item)

    def rest(self) -> None:
        """Nothing is in hand: let go of what only messages need, which is most of what an agent takes."""
        if not self.mailbox:
            self.mailbox = NOTHING
        if self.key is None:
            self.journal = NO_STEPS

    def changes(self) -> list[Change]:
        """The fields that differ from the last commit; InvalidState if one does not fit its type."""
        found: list[Change] = []
        values = self.agent.__dict__
        for name, field in type(self.agent).__agent_fields__.items():
            value = values[name] if name in values else _lost(field)
            if field.grows:
                seen = self.saved.get(name, 0)
                if len(value) > seen:
                    found.append((name, None, max(0, seen), value.dump(max(0, seen))))
            else:
                text = field.dump(value, last=self.saved.get(name))
                if self.saved.get(name) != text:
                    found.append((name, text, 0, []))
        return found

    def keep(self, changes: list[Change]) -> None:
        """Note what is committed now."""
        for name, text, start, items in changes:
            self.saved[name] = start + len(items) if text is None else text


def _lost(field: Field) -> Any:
    raise InvalidState(f"{field.owner}.{field.name} was deleted; a field always has a value.")


def nothing(*args: Any) -> None:
    """What a hook that the class does not have does."""


def revived(reason: Any) -> Any:
    """An exit reason as an agent sees it: the exception itself where there was one."""
    return revive(reason) if isinstance(reason, Crash) else reason


def shown(method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """A message as one would write it, cut."""
    words = [repr(value) for value in args] + [f"{name}={value!r}" for name, value in kwargs.items()]
    text = f"{method}({', '.join(words)})"
    return text if len(text) <= 500 else text[:497] + "..."


def draft(agent: Agent) -> dict[str, str]:
    """An agent's fields as JSON texts."""
    texts = {}
    for name, field in type(agent).__agent_fields__.items():
        value = agent.__dict__.get(name)
        try:
            texts[name] = field.dump(value)
        except BaseException:  # it does not fit, or its class raises when it is looked at
            texts[name] = json.dumps(repr_of(value))
    return texts
