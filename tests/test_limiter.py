"""A thousand agents at a provider that refuses what is too much: the breaker's limiter, with a clock of its own."""

from __future__ import annotations

import heapq
import itertools
import random
from typing import Any

import pytest

from agentlab import Assistant, Lab
from agentlab.sim.limits import REQUESTS
from agentlab.supervision.breaker import Breaker, Grant, How
from agentlab.supervision.limiter import Room

AGENTS, CALLS = 1000, 3


class Quota:
    """Answers so many requests in each period, and says in its headers what is left."""

    def __init__(self, limit: int, period: float) -> None:
        self.limit, self.period = limit, period
        self.window, self.used = -1, 0

    def begin(self, now: float) -> How:
        """A request arrives."""
        if now // self.period != self.window:
            self.window, self.used = int(now // self.period), 0
        self.used += 1
        return "ok" if self.used <= self.limit else "overload"

    def end(self) -> None:
        """It is answered: it was counted when it came."""

    def rooms(self, now: float) -> list[Room]:
        """What is left of this period."""
        window = int(now // self.period)
        used = self.used if window == self.window else 0
        return [Room("requests", max(0, self.limit - used), self.limit, (window + 1) * self.period - now)]


class Capacity:
    """Answers so many requests at once, and says nothing of that."""

    def __init__(self, most: int) -> None:
        self.most, self.under_way = most, 0

    def begin(self, now: float) -> How:
        """A request arrives."""
        self.under_way += 1
        return "ok" if self.under_way <= self.most else "overload"

    def end(self) -> None:
        """It is answered."""
        self.under_way -= 1

    def rooms(self, now: float) -> list[Room]:
        """Nothing."""
        return []


def asked(provider: Any, seed: int) -> tuple[float, int, Breaker]:
    """Have all agents make their calls: when the last was answered, how many were refused, and the breaker.

    A request takes up to 0.3 s to the provider, whose answer takes up to 2 s; a refused one comes again in a second.
    """
    chance, breaker, refused, now = random.Random(seed), Breaker(0.0), 0, 0.0
    left = dict.fromkeys(range(AGENTS), CALLS)
    order = itertools.count()
    to_come: list[tuple[float, int, str, Any]] = []

    def later(seconds: float, what: str, about: Any = None) -> None:
        heapq.heappush(to_come, (now + seconds, next(order), what, about))

    for agent in left:
        later(chance.random() / 100, "ask", (agent, 0.0))
    rings = float("inf")
    while any(left.values()):
        now, _, what, about = heapq.heappop(to_come)
        assert now < 36_000, "they do not come to an end"
        if what == "ask":
            breaker.ask((about[0], next(order)), str(about[0]), now, after=about[1])
        elif what == "arrive":
            how = provider.begin(now)
            later(chance.uniform(0.1, 2.0) if how == "ok" else 0.05, "went", (about, how))
        elif what == "went":
            ((agent, _), how), ticket = about, about[0]
            rooms = provider.rooms(now)
            provider.end()
            breaker.went(ticket, how, now, why="429", rooms=rooms)
            refused += how == "overload"
            left[agent] -= how == "ok"
            if left[agent]:
                later(0.0, "ask", (agent, 0.0 if how == "ok" else 1.0))
        else:
            rings = float("inf")
            breaker.tick(now)
        for command in breaker.take():
            if isinstance(command, Grant):
                later(chance.uniform(0.0, 0.3), "arrive", command.ticket)
        if now < breaker.due() < rings:
            rings = breaker.due()
            later(rings - now, "tick")
    return now, refused, breaker


@pytest.mark.parametrize(("limit", "period"), [(100, 10.0), (500, 60.0), (2000, 60.0)])
@pytest.mark.parametrize("seed", range(3))
def test_a_thousand_agents_are_not_refused_once_by_a_provider_that_says_what_is_left(limit, period, seed):
    """They use all that there is: nobody is done later than the provider's own limit makes him."""
    took, refused, breaker = asked(Quota(limit, period), seed)

    assert refused == 0
    assert breaker.opened == 0
    assert took < (AGENTS * CALLS / limit + 1) * period


@pytest.mark.parametrize("most", [10, 40, 200])
def test_a_provider_that_says_nothing_is_found_out(most):
    """So many at once as it takes, more or less; what is refused on the way is little of it, and all is answered."""
    _, refused, breaker = asked(Capacity(most), 1)

    assert refused < AGENTS * CALLS / 20
    assert most / 2 <= breaker.limiter.most <= most * 1.5


class Echo(Assistant):
    """Calls the simulator, which says in its headers what is left."""


def test_what_an_answers_headers_say_reaches_the_breaker_of_all():
    """From the wire in a node to the machine in the kernel."""
    with Lab(nodes=1) as lab:
        lab.start(Echo, id="echo").call.ask("hello").result(60)
        limiter = lab._runtime.breakers.named("sim").machine.limiter
        heard = lab._runtime.run(lambda: limiter._left["requests"])

    assert heard.after_reset == REQUESTS
    assert 0 < heard.calls < REQUESTS
