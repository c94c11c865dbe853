"""Timers as pure books."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agentlab._clock import Clock, Timer

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
