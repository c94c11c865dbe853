"""Timers: as pure books, and by which clock they wait."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentlab import Agent, Lab, Ref
from agentlab.books.clock import Clock, Timer
from tests.conftest import wait_for

SECOND = 1_000_000_000


def test_an_every_keeps_its_rhythm_and_an_overdue_one_fires_once() -> None:
    """After a long sleep there is one beat, and the next one falls where it always would have."""
    clock = Clock()
    clock.add(Timer(1, "/a", "tick", b"", 10 * SECOND, 5.0))
    assert [timer.number for timer in clock.due(33 * SECOND)] == [1]
    assert clock.next_due == 35 * SECOND
    assert clock.due(34 * SECOND) == []
    assert [timer.number for timer in clock.due(35 * SECOND)] == [1]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 20), st.booleans())), st.lists(st.integers(0, 40)))
def test_timers_fire_in_order_and_are_forgotten_with_their_agent(
    timers: list[tuple[str, int, bool]], looks: list[int]
) -> None:
    """An ``after`` fires once, in the order of time; what was dropped never fires."""
    clock = Clock()
    for number, (path, seconds, again) in enumerate(timers, 1):
        clock.add(Timer(number, path, "m", b"", seconds * SECOND, 7.0 if again else None))
    dropped = clock.drop("b")
    fired: list[int] = []
    for now in sorted(looks):
        found = clock.due(now * SECOND)
        assert all(timer.path == "a" for timer in found)
        fired += [timer.number for timer in found if timer.every is None]
    once = [n for n, (path, _, again) in enumerate(timers, 1) if path == "a" and not again]
    assert set(dropped) == {n for n, (path, *_) in enumerate(timers, 1) if path == "b"}
    assert len(fired) == len(set(fired))
    assert set(fired) == {n for n in once if looks and timers[n - 1][1] <= max(looks)}


class Ringer(Agent):
    """Hears its timers."""

    heard: dict[str, int] = {}

    async def wind(self, seconds: float, later: float) -> None:
        """Set a beat, and what comes long after it."""
        self.every(seconds).ring("beat")
        self.after(later).ring("once")

    async def ring(self, what: str) -> None:
        """Hear one."""
        self.heard[what] = self.heard.get(what, 0) + 1


class Wall:
    """The wall clock of this process, to be set by a test."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self._real = time.time_ns

    def now(self) -> int:
        """As ``time.time_ns``."""
        return self._real() + int(self.ahead * SECOND)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    """A wall clock that somebody sets."""
    made = Wall()
    monkeypatch.setattr(time, "time_ns", made.now)
    return made


def beats(ringer: Ref) -> int:
    """How often it has heard its beat."""
    return int(ringer.state["heard"].get("beat", 0))


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
def test_waiting_is_not_measured_by_the_wall_clock(lab: Lab, wall: Wall, ahead: float) -> None:
    """Set back or forward by an hour: a beat goes on, what was to come soon comes, what was to come late does not."""
    soon, late = lab.start(Ringer, id="soon"), lab.start(Ringer, id="late")
    soon.call.wind(0.05, 0.1).result(20)
    late.call.wind(0.05, 1000.0).result(20)

    wall.ahead = ahead

    wait_for(lambda: soon.state["heard"].get("once") == 1)
    before = beats(late)
    wait_for(lambda: beats(late) >= before + 5)
    wall.ahead = 0.0
    before = beats(late)
    wait_for(lambda: beats(late) >= before + 5)
    assert "once" not in late.state["heard"]


def test_the_next_kernel_waits_no_longer_for_a_clock_that_was_set(tmp_path: Path, wall: Wall) -> None:
    """What the store has is a time of day: it is written anew when that changes under it."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=1) as lab:
        ringer = lab.start(Ringer, id="r")
        ringer.call.wind(0.05, 10_000.0).result(20)
        wall.ahead = -3600.0
        before = beats(ringer)
        wait_for(lambda: beats(ringer) >= before + 2)

    with closing(sqlite3.connect(path)) as db:
        ((due_at,),) = db.execute("SELECT due_at FROM timer WHERE every_s IS NULL")
    assert 9_000 < (due_at - wall.now()) / SECOND <= 10_000

    wall.ahead = 7_200.0  # the machine was off for three hours
    with Lab(path, nodes=1, resume=True) as lab:
        wait_for(lambda: lab["/r"].state["heard"].get("once") == 1)


def test_what_is_due_when_a_lab_is_back_has_been_sent_for_whoever_looks_next() -> None:
    """A timer that came due while the lab was away is a message in its agent's mailbox, not one that is to come."""
    with Lab(nodes=1) as lab:
        ref = lab.start(Ringer, id="ringer")
        assert lab._runtime is not None
        runtime = lab._runtime
        runtime.run(runtime.timers.hold, True)
        ref.call.wind(1e9, 0.0).result(60)
        ref.suspend()

        def released() -> int:
            runtime.timers.hold(False)
            return len(runtime.desk.entries[ref.path].pending)

        assert runtime.run(released) == 1
