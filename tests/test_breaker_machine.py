"""The breaker as a pure machine: what happens and the time go in, what is to be done comes out."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentlab.supervision.breaker import Breaker, Grant, Settings, Turned
from agentlab.supervision.limiter import FIRST, Limiter, Room

QUICK = Settings(agents=3, share=0.5, window=10.0, cooldown=2.0, longest=30.0)


def granted(breaker):
    """The tickets that are let go since the last time."""
    return [command.ticket for command in breaker.take() if isinstance(command, Grant)]


def fail(breaker, agents, now=0.0, **how):
    """One call of each agent, each of them a fault."""
    for agent in agents:
        breaker.ask((agent, now), agent, now)
    for agent in agents:
        breaker.went((agent, now), "fault", now, why="529", **how)


def opened():
    """A breaker that three agents opened at 0."""
    breaker = Breaker(0.0, QUICK)
    fail(breaker, "abc")
    breaker.take()
    return breaker


def test_who_asks_a_closed_breaker_goes_at_once():
    """A lab with few agents is never held back."""
    breaker = Breaker(0.0)

    for number in range(int(FIRST)):
        breaker.ask(number, f"a{number}", 0.0)

    assert granted(breaker) == list(range(int(FIRST)))
    assert (breaker.state, breaker.waiting) == ("closed", 0)


def test_one_agent_that_fails_again_and_again_opens_nothing():
    """What is wrong may be its own request; and nobody else is slowed."""
    breaker = Breaker(0.0, QUICK)

    for now in range(50):
        fail(breaker, "a", float(now))

    assert breaker.state == "closed"
    assert breaker.limiter.most >= FIRST


def test_a_lone_agent_is_told_of_an_outage_by_its_second_overload():
    """Unless somebody was answered in between; of a fault that its request may bring about it is not."""
    breaker, told = Breaker(0.0, QUICK), []

    for now, how in enumerate(["overload", "overload", "ok", "overload", "fault", "overload"]):
        agent = "b" if how == "ok" else "a"
        breaker.ask(now, agent, float(now))
        told.append(breaker.went(now, how, float(now)))

    assert told == [False, True, False, False, False, True]
    assert breaker.state == "closed"


def test_faults_over_distinct_agents_open_it():
    """So many of them, and so large a share of those that called."""
    breaker = Breaker(0.0, QUICK)
    for agent in "klmno":
        breaker.ask(agent, agent, 0.0)
        breaker.went(agent, "ok", 0.0)
    fail(breaker, "abcd", 1.0)
    assert breaker.state == "closed"  # four of nine

    fail(breaker, "e", 2.0)

    assert breaker.state == "open"
    assert breaker.why == "5 of 10 agents failed within 10 s; the last: 529"


def test_an_agent_counts_by_its_latest_call():
    """A provider that fails every third call is worth asking again."""
    breaker = Breaker(0.0, QUICK)
    for agent in "abcdefgh":
        fail(breaker, agent, 0.0)
        breaker.ask(agent, agent, 0.1)
        breaker.went(agent, "ok", 0.1)

    assert (breaker.state, breaker.failing, breaker.faults) == ("closed", 0, 8)


def test_what_was_before_the_window_is_forgotten():
    """Three agents that fail in an hour are no outage."""
    breaker = Breaker(0.0, QUICK)

    for number, agent in enumerate("abcdef"):
        fail(breaker, agent, number * 20.0)

    assert (breaker.state, breaker.failing) == ("closed", 1)


def test_after_the_cooldown_one_canary_goes():
    """The others wait for how it went."""
    breaker = opened()
    for agent in "xyz":
        breaker.ask(agent, agent, 1.0)
    assert granted(breaker) == []

    breaker.tick(2.0)

    assert [c for c in breaker.take() if isinstance(c, Grant)] == [Grant("x", True)]
    assert (breaker.state, breaker.waiting) == ("half_open", 2)


def test_a_canary_that_succeeds_lets_calls_through_at_a_growing_rate():
    """One, two, four, ... and not all at once."""
    breaker = opened()
    for number in range(100):
        breaker.ask(number, f"a{number}", 1.0)
    breaker.tick(2.0)
    sizes, now = [], 2.0

    going = granted(breaker)
    while going:
        sizes.append(len(going))
        now += 1.0
        for ticket in going:
            breaker.went(ticket, "ok", now)
        going = granted(breaker)

    assert sizes[0] == 1
    assert sizes[1] <= 2
    assert max(sizes) > 4
    assert (sum(sizes), breaker.state) == (100, "closed")


@pytest.mark.parametrize(
    ("tuned", "expected"),
    [({}, [16.0, 30.0, 30.0]), ({"longest": 10.0}, [10.0, 10.0, 10.0]), ({"probe_every": 300.0}, [16.0, 32.0, 64.0]),
     ({"probe_every": 1.0}, [2.0, 2.0, 2.0])],
    ids=["as it is", "longest", "rarer", "not rarer than the first"],
)  # fmt: skip
def test_a_canary_that_fails_waits_longer(tuned, expected):
    """Two seconds, four, eight, up to ``probe_every``: so late is the end of an outage found at the most."""
    breaker, now, waits = Breaker(0.0, Settings(agents=3, **tuned)), 0.0, []
    fail(breaker, "abc")
    breaker.take()
    breaker.ask("x", "x", 0.0)

    for _ in range(6):
        waits.append(breaker.due() - now)
        now = breaker.due()
        breaker.tick(now)
        (ticket,) = granted(breaker)
        breaker.went(ticket, "fault", now, why="529")
        breaker.ask("x", "x", now)

    assert waits[:1] == [2.0]
    assert waits[3:] == expected


def test_what_the_provider_asks_for_is_the_least_and_has_an_end():
    """Retry-after 20 is honoured, and what is longer than a cool-down of its own; 3,600 is capped."""
    asked, asked_long, usual = Breaker(0.0, QUICK), Breaker(0.0, QUICK), Breaker(0.0, Settings(agents=3))

    fail(asked, "abc", retry_after=20.0)
    fail(asked_long, "abc", retry_after=3600.0)
    fail(usual, "abc", retry_after=90.0)

    assert (asked.due(), asked_long.due(), usual.due()) == (20.0, 30.0, 90.0)


def test_late_faults_do_not_push_the_cooldown():
    """It is measured from the opening, by our own clock."""
    breaker = Breaker(0.0, QUICK)
    breaker.ask("late", "late", 0.0)
    fail(breaker, "abc")

    breaker.went("late", "fault", 1.5, why="529", retry_after=25.0)

    assert breaker.due() == 2.0


def test_a_canary_that_dies_gives_its_permit_back():
    """The next one in line probes."""
    breaker = opened()
    breaker.ask("x", "x", 1.0)
    breaker.ask("y", "y", 1.0)
    breaker.tick(2.0)
    assert granted(breaker) == ["x"]

    breaker.leave("x", 3.0)

    assert granted(breaker) == ["y"]
    assert (breaker.state, breaker.canaries) == ("half_open", 1)


def test_who_waits_for_a_time_of_its_own_goes_then():
    """The wait between two attempts of a lone agent."""
    breaker = Breaker(0.0, QUICK)
    breaker.ask("x", "x", 0.0, after=7.0)
    assert (granted(breaker), breaker.due()) == ([], 7.0)

    breaker.tick(7.0)

    assert granted(breaker) == ["x"]


def test_a_person_opens_and_closes_it():
    """For some seconds, or until it is closed."""
    breaker = Breaker(0.0, QUICK)
    breaker.hold(0.0)
    breaker.ask("x", "x", 1.0)
    breaker.tick(10_000.0)
    assert (breaker.state, granted(breaker), breaker.due()) == ("open", [], math.inf)

    breaker.release(10_001.0)

    assert (breaker.state, granted(breaker)) == ("closed", ["x"])
    breaker.hold(10_002.0, 5.0)
    assert breaker.due() == 10_007.0


def test_an_overload_halves_what_goes_at_once_for_a_round():
    """All that were under way together are one sign of it."""
    limiter = Limiter()

    for _ in range(40):
        limiter.overloaded(40, 1.0, 2.0)

    assert limiter.most == 20.0
    limiter.overloaded(20, 3.0, 4.0)
    assert limiter.most == 10.0
    limiter.succeeded(10)
    assert limiter.most == 10.1


def test_headers_hold_calls_back_before_they_are_refused():
    """Ten requests are left for 30 s, three are under way: seven may begin."""
    limiter = Limiter()

    limiter.hear([Room("requests", 10, 50, 30.0)], 0, 3, 100.0)

    assert limiter.room(3, 100.0) == 7
    for _ in range(7):
        limiter.begun()
    assert (limiter.room(10, 129.0), limiter.due()) == (0, 130.0)
    assert limiter.room(10, 130.0) == 50


def test_a_refusal_holds_a_lone_agent_no_longer_than_it_asks():
    """Nothing is left and all of it is there again in a minute, but in a second a call may be tried."""
    breaker = Breaker(0.0)
    breaker.ask("x", "x", 0.0)
    breaker.went("x", "overload", 0.0, retry_after=1.0, rooms=[Room("requests", 0, 50, 60.0)])

    breaker.ask("y", "x", 0.0, after=1.0)
    breaker.tick(1.0)

    assert granted(breaker) == ["x", "y"]


def test_tokens_that_are_left_are_counted_in_calls():
    """A call takes what calls took lately."""
    limiter = Limiter()

    limiter.hear([Room("tokens", 5_000, 50_000, 60.0)], 1_000, 0, 0.0)

    assert limiter.room(0, 0.0) == 5


happening = st.tuples(
    st.sampled_from(["ask", "later", "ok", "fault", "overload", "unknown", "leave", "wait", "hold", "release"]),
    st.integers(0, 30),
    st.floats(0.0, 5.0),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(happening, max_size=120), st.booleans())
def test_whatever_happens_the_books_of_a_breaker_are_right(story, headers):
    """Never two canaries; times add up; nobody has two permits; who waits is let go in the end, if somebody answers."""
    breaker, now = Breaker(0.0, QUICK), 0.0
    holders, waiting, states, number = [], set(), [("closed", 0.0)], 0

    def hear():
        for command in breaker.take():
            if isinstance(command, Turned):
                assert command.took >= 0
                states.append((command.state, now))
            else:
                waiting.remove(command.ticket)
                holders.append(command.ticket)
        assert breaker.canaries <= 1
        assert breaker.canaries == 0 or breaker.state == "half_open"
        assert (breaker.under_way, breaker.waiting) == (len(holders), len(waiting))
        assert sum(breaker.times(now).values()) == abs(now) or math.isclose(sum(breaker.times(now).values()), now)

    for what, which, seconds in story:
        if what in ("ask", "later"):
            number += 1
            waiting.add(number)
            breaker.ask(number, f"a{which}", now, after=seconds if what == "later" else 0.0)
        elif what in ("ok", "fault", "overload", "unknown") and holders:
            ticket = holders.pop(which % len(holders))
            rooms = [Room("requests", which, 40, seconds)] if headers else []
            breaker.went(ticket, what, now, why="529", rooms=rooms)
        elif what == "leave":
            gone = sorted(waiting | set(holders))[which:][:1]
            for ticket in gone:
                waiting.discard(ticket)
                holders[:] = [other for other in holders if other != ticket]
                breaker.leave(ticket, now)
        elif what == "wait":
            now += seconds
            breaker.tick(now)
        elif what == "hold":
            breaker.hold(now, seconds)
        elif what == "release":
            breaker.release(now)
        hear()

    for _ in range(2_000):
        if not (waiting or holders):
            break
        for ticket in list(holders):
            holders.remove(ticket)
            breaker.went(ticket, "ok", now)
        hear()
        if waiting and not holders:
            assert breaker.due() < math.inf
            now = max(now, breaker.due())
            breaker.tick(now)
            hear()
    assert not waiting
    assert all(one != two for (one, _), (two, _) in itertools.pairwise(states) if one != "open")
