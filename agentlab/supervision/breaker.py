"""The breaker of one dependency, as a pure machine: what happens and the time go in, what is to be done comes out.

    closed ── many agents fail ──► open ── cool-down over ──► half_open ── the canary succeeds ──► closed
                                    ▲                             │
                                    └──────── it fails, longer ◄──┘

Who wants to call *asks* and gets a permit at once or later; who has called says how it *went*. The share that opens it
is one over agents, each by its latest call: an agent with a prompt that no provider can answer opens nothing, and a
provider that fails every third call is worth asking again. The cool-down is measured from the opening, by our own
clock; calls that were under way and fail later do not push it. No I/O, no clock, no asyncio: ``kernel/breakers``
has those.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from agentlab.supervision.limiter import Limiter, Room

State = Literal["closed", "open", "half_open"]

How = Literal["ok", "fault", "overload", "unknown"]
"""How a call went: answered; a fault of the provider, or garbage; the same, for too many calls; or nobody can say, for
its agent ended, or it was no matter of the provider's."""


@dataclass(frozen=True, slots=True)
class Settings:
    """When a breaker opens, and for how long.

    Args:
        agents: So many must fail at the least; fewer never open it.
        share: Of the agents that called within the window, so many must have failed last (0 to 1).
        window: Seconds for which a call counts.
        cooldown: Seconds until the first probe; they double with each probe that fails.
        probe_every: They double up to this; only the provider may ask for a longer one (seconds).
        longest: The longest cool-down, also if the provider asks for more (seconds).
    """

    agents: int = 5
    share: float = 0.5
    window: float = 10.0
    cooldown: float = 2.0
    probe_every: float = 30.0
    longest: float = 120.0


class Grant(NamedTuple):
    """The holder of this ticket may call; as a ``canary`` if its call decides."""

    ticket: Hashable
    canary: bool


class Turned(NamedTuple):
    """The breaker changed its state.

    Attributes:
        state: Its new one.
        why: The reason, for people.
        took: Seconds that the old state lasted.
    """

    state: State
    why: str
    took: float


Command = Grant | Turned


@dataclass(slots=True)
class _Call:
    agent: str
    began: float
    canary: bool


@dataclass(slots=True)
class _Last:
    at: float
    failed: bool
    asked_until: float  # until when the provider asked to wait


class Breaker:
    """One dependency's breaker; ``commands`` gathers what is to be done, ``take`` empties it.

    Attributes:
        state: Where it stands.
        why: Why it stands there.
        since: When it came there.
        probe_at: When a canary may go; infinite while only a person closes it.
        opened: How often it has opened.
        faults: Faults so far.
    """

    def __init__(self, now: float, settings: Settings = Settings()) -> None:
        self.settings = settings
        self.state: State = "closed"
        self.why = ""
        self.since = now
        self.probe_at = math.inf
        self.opened = 0
        self.faults = 0
        self.spent: dict[State, float] = {"closed": 0.0, "open": 0.0, "half_open": 0.0}
        self.limiter = Limiter()
        self._cooldown = settings.cooldown
        self._last: dict[str, _Last] = {}  # the latest call of each agent within the window, oldest first
        self._failing = 0
        self._unanswered: set[str] = set()  # agents that have failed since anybody was answered
        self._calls: dict[Hashable, _Call] = {}
        self._queue: dict[Hashable, str] = {}
        self._later: list[tuple[float, int, Hashable]] = []  # who waits for a time of its own while it is closed
        self._due: dict[Hashable, str] = {}
        self._number = 0
        self._commands: list[Command] = []

    # what happens

    def ask(self, ticket: Hashable, agent: str, now: float, *, after: float = 0.0) -> None:
        """Somebody wants to call, not before ``after`` seconds; while it is open, as soon as it lets calls through."""
        if ticket in self._calls or ticket in self._queue or ticket in self._due:
            return
        if after > 0 and self.state == "closed":
            self._number += 1
            heapq.heappush(self._later, (now + after, self._number, ticket))
            self._due[ticket] = agent
        else:
            self._queue[ticket] = agent
        self.tick(now)

    def went(
        self, ticket: Hashable, how: How, now: float, *, why: str = "", retry_after: float | None = None,
        rooms: Sequence[Room] = (), tokens: float = 0.0,
    ) -> bool:  # fmt: skip
        """A call is over; a ticket that has no permit says nothing.

        Whether it failed of an outage, which says nothing of what was asked: the breaker is not closed, or it was when
        the call began, or nobody has been answered since another agent failed; of an overload, since it failed itself:
        no request brings that about, so a lone agent waits as long as the others would.

        Args:
            ticket: Whose call it was.
            how: How it went.
            now: When.
            why: What failed, for people.
            retry_after: Seconds that the provider asked to wait.
            rooms: What its headers said is left.
            tokens: What the call used.
        """
        call = self._calls.pop(ticket, None)
        if call is None:
            return False
        under_way = len(self._calls) + 1
        if how == "ok":  # a refused call is asked again when its own back-off says so: it may be that agent's alone
            self.limiter.hear(rooms, tokens, under_way - 1, now)
        failed, probed = how in ("fault", "overload"), call.canary
        again = how == "overload" and call.agent in self._unanswered
        if how != "unknown":
            self.faults += failed
            self._count(call.agent, now, failed, retry_after)
            self._limit(call, how, under_way, now)
            self._judge(call, failed, why, now)
        others = probed or self.state != "closed" or call.began < self.since or len(self._unanswered) > 1
        self.tick(now)
        return failed and (others or again)

    def waits(self, ticket: Hashable) -> bool:
        """Whether the holder of this ticket waits for a permit."""
        return ticket in self._queue or ticket in self._due

    def leave(self, ticket: Hashable, now: float) -> None:
        """Who waits, or has a permit, is gone."""
        if ticket in self._calls:
            self.went(ticket, "unknown", now)
            return
        self._queue.pop(ticket, None)
        self._due.pop(ticket, None)
        self.tick(now)

    def tick(self, now: float) -> None:
        """The time passes: a cool-down may be over, and who waits may go."""
        if self.state == "open" and now >= self.probe_at:
            self._turn("half_open", f"cool-down over; one call probes ({self.why})", now)
        while self._later and self._later[0][0] <= now:
            _, _, ticket = heapq.heappop(self._later)
            if ticket in self._due:
                self._queue[ticket] = self._due.pop(ticket)
        self._grant(now)

    def hold(self, now: float, seconds: float | None = None, why: str = "opened by a person") -> None:
        """Open it, for so many seconds or until it is closed."""
        self._open(why, now, math.inf if seconds is None else now + seconds)

    def release(self, now: float, why: str = "closed by a person") -> None:
        """Close it; who waits is let go."""
        self._cooldown = self.settings.cooldown
        self._forget()
        if self.state != "closed":
            self._turn("closed", why, now)
        self.tick(now)

    def tune(self, settings: Settings) -> None:
        """Go by other settings from now on."""
        self.settings, self._cooldown = settings, settings.cooldown

    # what is to be done

    def take(self) -> list[Command]:
        """What is to be done since the last time."""
        commands, self._commands = self._commands, []
        return commands

    def due(self) -> float:
        """When ``tick`` is to be called; infinite if only something that happens changes anything."""
        times = [self.probe_at if self.state == "open" else math.inf]
        if self._later:
            times.append(self._later[0][0])
        if self._queue and self.state == "closed":
            times.append(self.limiter.due())
        return min(times)

    # how it looks

    @property
    def waiting(self) -> int:
        """How many wait for a permit."""
        return len(self._queue) + len(self._due)

    @property
    def under_way(self) -> int:
        """How many permits are out."""
        return len(self._calls)

    @property
    def canaries(self) -> int:
        """How many of them probe: one at the most."""
        return sum(call.canary for call in self._calls.values())

    @property
    def failing(self) -> int:
        """How many agents failed last, within the window."""
        return self._failing

    def times(self, now: float) -> dict[State, float]:
        """Seconds spent in each state so far."""
        return {**self.spent, self.state: self.spent[self.state] + now - self.since}

    # how it decides

    def _count(self, agent: str, now: float, failed: bool, retry_after: float | None) -> None:
        if failed:
            self._unanswered.add(agent)
        else:
            self._unanswered.clear()
        before = self._last.pop(agent, None)
        self._failing += failed - (before is not None and before.failed)
        self._last[agent] = _Last(now, failed, now + min(retry_after or 0.0, self.settings.longest))
        while self._last:
            oldest = next(iter(self._last))
            if self._last[oldest].at > now - self.settings.window:
                break
            self._failing -= self._last.pop(oldest).failed

    def _limit(self, call: _Call, how: How, under_way: int, now: float) -> None:
        if self.state != "closed":
            return
        if how == "ok":
            self.limiter.succeeded(under_way)
        elif how == "overload" and self._failing > 1:  # one agent's own trouble slows nobody
            self.limiter.overloaded(under_way, call.began, now)

    def _judge(self, call: _Call, failed: bool, why: str, now: float) -> None:
        if call.canary and self.state == "half_open":
            if failed:
                self._cooldown = min(self._cooldown * 2, self._rarest())
                self._open(f"the probe failed: {why}", now, self._probe_time(now))
            else:
                self.limiter.start_over(len(self._calls))
                self._forget()
                self._turn("closed", "the probe succeeded", now)
        elif self.state == "closed" and failed and self._is_outage():
            many = f"{self._failing} of {len(self._last)} agents failed within {self.settings.window:g} s"
            self._open(f"{many}; the last: {why}", now, self._probe_time(now))
        elif self.state == "closed" and not failed and now - self.since > self.settings.window:
            self._cooldown = self.settings.cooldown

    def _is_outage(self) -> bool:
        enough = self._failing >= self.settings.agents
        return enough and self._failing >= self.settings.share * len(self._last)

    def _rarest(self) -> float:
        """The longest cool-down of its own choice (seconds)."""
        return min(max(self.settings.cooldown, self.settings.probe_every), self.settings.longest)

    def _probe_time(self, now: float) -> float:
        asked = max((last.asked_until for last in self._last.values() if last.failed), default=now)
        return min(max(now + self._cooldown, asked), now + self.settings.longest)

    def _open(self, why: str, now: float, probe_at: float) -> None:
        self.probe_at = probe_at
        for _, _, ticket in sorted(self._later):  # what they waited for is over: now they wait for the probe
            if ticket in self._due:
                self._queue[ticket] = self._due.pop(ticket)
        self._later.clear()
        self.opened += self.state == "closed"
        self._turn("open", why, now)

    def _forget(self) -> None:
        """Begin to count anew: what was before says nothing of what is now."""
        self._last.clear()
        self._failing = 0
        self.probe_at = math.inf

    def _turn(self, state: State, why: str, now: float) -> None:
        took = now - self.since
        self.spent[self.state] += took
        for call in self._calls.values():
            call.canary = False  # whoever probed for the state before decides nothing in this one
        self.state, self.why, self.since = state, why, now
        self._commands.append(Turned(state, why, took))

    def _grant(self, now: float) -> None:
        if self.state == "closed":
            room = self.limiter.room(len(self._calls), now)
        else:
            room = int(self.state == "half_open" and not self.canaries)
        for ticket in list(itertools.islice(self._queue, room)):
            agent = self._queue.pop(ticket)
            self._calls[ticket] = _Call(agent, now, self.state == "half_open")
            self.limiter.begun()
            self._commands.append(Grant(ticket, self.state == "half_open"))
