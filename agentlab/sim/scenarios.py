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
from typing import TYPE_CHECKING, Any

from agentlab.sim.grammar import Ask, Turn, digest
from agentlab.sim.modes import MODES
from agentlab.sim.schemas import JSON
from agentlab.sim.wire import Reply

if TYPE_CHECKING:
    from agentlab.sim.rules import Profile, Rule

_REMEMBERED = 100_000


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
    profile: Profile | None = None
    since: float = 0.0
    seen: list[int] = field(default_factory=list)
    struck: list[int] = field(default_factory=list)
    repeats: OrderedDict[str, int] = field(default_factory=OrderedDict)

    @property
    def pauses(self) -> tuple[float, float]:
        """Seconds before each answer starts, and between two pieces of a stream."""
        return (0.0, 0.0) if self.profile is None else (self.profile.latency_s, self.profile.delta_s)

    def set(self, profile: Profile, now: float) -> None:
        """Take new rules; their counts and time windows start here."""
        self.profile, self.since = profile, now
        self.seen, self.struck = [0] * len(profile.faults), [0] * len(profile.faults)

    def standing(self) -> JSON:
        """The profile, since when it holds, and how often each rule was met and struck: what ``take`` puts back."""
        profile = self.profile or read_profile([])
        return {**profile.model_dump(), "since": self.since, "seen": self.seen, "struck": self.struck}

    def take(self, value: Any, now: float) -> None:  # JSON off the wire, or a Profile
        """Take new rules, or what ``standing`` gave; raises ``ValueError`` for a rule that cannot be."""
        stood = {name: value[name] for name in STANDING if name in value} if isinstance(value, dict) else {}
        rules = {name: value[name] for name in value if name not in stood} if stood else value
        self.set(read_profile(rules), float(stood.get("since", now)))
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
        for index, rule in enumerate(self.profile.faults if self.profile is not None else ()):
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
        seed = self.seed if self.profile is None or self.profile.seed is None else self.profile.seed
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
    return read_profile([value]).faults[0]


def read_profile(value: Any) -> Profile:  # JSON off the wire, or a Profile
    """The rules in a value; raises ``ValueError`` that names field, value and rule."""
    from agentlab.sim.rules import Profile  # here: see there

    return value if isinstance(value, Profile) else Profile.read(value)
