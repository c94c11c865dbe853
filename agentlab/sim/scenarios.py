"""Faults on purpose: rules that say when one of ``modes`` strikes.

A rule is JSON: ``{"mode": "529", "rate": 0.3}``. It strikes a request if all of its conditions hold:

========== =========================================================================================================
rate       with this probability, 0 to 1 (from the seed, the request and how often that request came)
nth        at these calls, from 1, 2 or [1, 3]: counted are those that fit its ``model``, ``agent`` and ``prompt``, and
           that no earlier rule struck
times      at most so often
model      only for this model
agent      only for this agent: its path, which it gives as the request's ``metadata.user_id``
prompt     only if this text occurs in the user's last text
from_s     only so many seconds after the rules were set (``until_s``: only before)
========== =========================================================================================================

The other keys are the mode's: ``retry_after`` (any header value), ``after`` (deltas that arrive first; -1: not even the
start), ``message``. The first rule that strikes wins.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from agentlab.sim.grammar import Ask, Turn, digest
from agentlab.sim.modes import MODES
from agentlab.sim.schemas import JSON
from agentlab.sim.wire import Reply

_REMEMBERED = 100_000


class Rule(BaseModel):
    """When a mode strikes, and its settings; see the table above."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    mode: str
    rate: float = Field(default=1.0, ge=0, le=1)
    nth: tuple[int, ...] | None = None
    times: int | None = Field(default=None, ge=0)
    model: str | None = None
    agent: str | None = None
    prompt: str | None = None
    from_s: float = Field(default=0.0, ge=0)
    until_s: float | None = Field(default=None, ge=0)
    retry_after: str | None = None
    after: int = Field(default=2, ge=-1)
    message: str | None = None

    @field_validator("mode", mode="before")
    @classmethod
    def _known(cls, value: Any) -> str:  # before validation: anything
        if str(value) not in MODES:
            raise ValueError(f"unknown mode {value!r}; allowed: {', '.join(MODES)}")
        return str(value)

    @field_validator("nth", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int) else value

    @field_validator("retry_after", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) else value


class Profile(BaseModel):
    """What the simulator does to its answers from now on.

    Args:
        faults: Rules, first match wins.
        latency_s: Seconds before each answer starts.
        delta_s: Seconds between two pieces of a stream.
        seed: Which requests a ``rate`` strikes; that of the simulator if left out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    faults: tuple[Rule, ...] = ()
    latency_s: float = Field(default=0.0, ge=0)
    delta_s: float = Field(default=0.0, ge=0)
    seed: int | None = None

    @classmethod
    def read(cls, value: Any) -> Profile:  # JSON off the wire
        """Read a profile from a list of rules or an object; raises ``ValueError`` that names field, value and rule."""
        try:
            return cls.model_validate({"faults": value} if isinstance(value, list) else value)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"{where}: {first['msg']}, got {first['input']!r:.80}") from None


STANDING = ("since", "seen", "struck")
"""What there is of a profile in force beside its rules."""


@dataclass(frozen=True)
class Call:
    """What a rule may look at."""

    model: str
    prompt: str
    key: str
    agent: str | None = None


@dataclass
class Engine:
    """Decides which rule strikes: the only state between requests, and it counts, no more."""

    seed: int
    profile: Profile = field(default_factory=Profile)
    since: float = 0.0
    seen: list[int] = field(default_factory=list)
    struck: list[int] = field(default_factory=list)
    repeats: OrderedDict[str, int] = field(default_factory=OrderedDict)

    def set(self, profile: Profile, now: float) -> None:
        """Take new rules; their counts and time windows start here."""
        self.profile, self.since = profile, now
        self.seen, self.struck = [0] * len(profile.faults), [0] * len(profile.faults)

    def standing(self) -> JSON:
        """The profile, since when it holds, and how often each rule was met and struck: what ``take`` puts back."""
        return {**self.profile.model_dump(), "since": self.since, "seen": self.seen, "struck": self.struck}

    def take(self, value: Any, now: float) -> None:  # JSON off the wire, or a Profile
        """Take new rules, or what ``standing`` gave; raises ``ValueError`` for a rule that cannot be."""
        stood = {name: value[name] for name in STANDING if name in value} if isinstance(value, dict) else {}
        rules = {name: value[name] for name in value if name not in stood} if stood else value
        self.set(rules if isinstance(rules, Profile) else Profile.read(rules), float(stood.get("since", now)))
        self.count([stood.get("seen", ()), stood.get("struck", ())])

    def count(self, counts: Any) -> None:  # off a file
        """Take the counts that another engine with this profile had."""
        if counts and len(counts[0]) == len(counts[1]) == len(self.seen):
            self.seen, self.struck = list(counts[0]), list(counts[1])

    def repeat(self, key: str) -> int:
        """How often this very request has come, this time included."""
        count = self.repeats.pop(key, 0) + 1
        self.repeats[key] = count
        if len(self.repeats) > _REMEMBERED:
            self.repeats.popitem(last=False)
        return count

    def strike(self, call: Call, repeat: int, now: float) -> Rule | None:
        """The rule that strikes this call, if any."""
        for index, rule in enumerate(self.profile.faults):
            if not self._concerns(rule, call):
                continue
            self.seen[index] += 1
            if self._holds(index, rule, call, repeat, now - self.since):
                self.struck[index] += 1
                return rule
        return None

    def _concerns(self, rule: Rule, call: Call) -> bool:
        who = rule.model in (None, call.model) and rule.agent in (None, call.agent)
        return who and (rule.prompt or "") in call.prompt

    def _holds(self, index: int, rule: Rule, call: Call, repeat: int, age: float) -> bool:
        if age < rule.from_s or (rule.until_s is not None and age >= rule.until_s):
            return False
        if rule.nth is not None and self.seen[index] not in rule.nth:
            return False
        if rule.times is not None and self.struck[index] >= rule.times:
            return False
        # Not a running random stream: which of many parallel requests is struck may not depend on their order.
        seed = self.seed if self.profile.seed is None else self.profile.seed
        chance = int(digest(seed, index, call.key, repeat)[:12], 16) / 16**12
        return chance < rule.rate


def spoiled_turn(said: Turn, rule: Rule | None, ask: Ask) -> Turn:
    """The turn, as the rule that struck leaves it."""
    change = MODES[rule.mode].turn if rule else None
    return change(said, rule, ask) if rule and change else said


def spoiled_message(message: JSON, rule: Rule | None) -> JSON:
    """The message, as the rule that struck leaves it."""
    change = MODES[rule.mode].message if rule else None
    return change(message) if change else message


def spoiled_reply(reply: Reply, rule: Rule | None, request_id: str) -> Reply:
    """The reply, as the rule that struck leaves it."""
    change = MODES[rule.mode].reply if rule else None
    return change(reply, rule, request_id) if rule and change else reply


def read_override(text: str) -> Rule:
    """The per-request header: a mode's name or a rule as JSON."""
    value: JSON = json.loads(text) if text.lstrip().startswith("{") else {"mode": text.strip()}
    return Profile.read([value]).faults[0]
