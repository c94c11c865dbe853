"""The loop of kernel and node, and the value that a thread waits for: nothing is lost, and nobody sleeps on news."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from agentlab.ground import interrupts
from agentlab.ground.once import Once
from agentlab.ground.turns import TurnLoop


@pytest.fixture
def loop() -> Iterator[TurnLoop]:
    """A loop that runs nothing yet."""
    made = TurnLoop()
    yield made
    made.close()


def test_the_end_of_a_turn_comes_after_all_that_was_ready_in_it(loop: TurnLoop) -> None:
    """Two callbacks of one turn have one end."""
    seen: list[str] = []

    def speak(name: str) -> None:
        seen.append(name)
        loop.due = True

    loop.end_of_turn = lambda: seen.append("end")
    loop.call_soon(speak, "one")
    loop.call_soon(speak, "two")
    loop.call_soon(lambda: loop.call_soon(loop.stop))

    loop.run_forever()

    assert seen == ["one", "two", "end"]


def test_an_end_that_makes_itself_due_comes_again_without_a_wait(loop: TurnLoop) -> None:
    """Nothing else wakes this loop: were it to wait, it would wait for ever."""
    ends: list[int] = []

    def end() -> None:
        ends.append(len(ends))
        loop.due = len(ends) < 3
        if not loop.due:
            loop.call_soon(loop.stop)

    loop.end_of_turn = end
    loop.due = True
    loop.call_soon(bool)

    loop.run_forever()

    assert ends == [0, 1, 2]


def test_an_end_that_raises_is_reported_and_the_loop_goes_on(loop: TurnLoop) -> None:
    """As for any callback; and a callback that leaves the loop does not take the turn's end with it."""
    heard: list[Any] = []
    loop.set_exception_handler(lambda _, context: heard.append(context["exception"]))
    loop.end_of_turn = lambda: heard.append("end") or 1 / 0  # type: ignore[func-returns-value]

    def leave() -> None:
        loop.due = True
        raise SystemExit

    loop.call_soon(leave)

    with pytest.raises(SystemExit):
        loop.run_forever()
    loop.run_until_complete(asyncio.sleep(0))

    assert heard[0] == "end"
    assert isinstance(heard[1], ZeroDivisionError)
    assert len(heard) == 2


def test_posts_of_many_threads_all_run_each_threads_in_its_order(loop: TurnLoop) -> None:
    """What many threads post while the loop waits and works, runs once each."""
    seen: list[tuple[int, int]] = []

    def post(thread: int) -> None:
        for n in range(2_000):
            loop.post(lambda n=n: seen.append((thread, n)))

    threads = [threading.Thread(target=post, args=(number,)) for number in range(4)]

    def follow() -> None:
        for thread in threads:
            thread.join()
        loop.post(loop.stop)

    for thread in threads:
        thread.start()
    threading.Thread(target=follow).start()
    loop.run_forever()

    assert sorted(seen) == [(thread, n) for thread in range(4) for n in range(2_000)]
    for thread in range(4):
        assert [n for who, n in seen if who == thread] == list(range(2_000))


def test_a_closed_loop_takes_no_post() -> None:
    """Who posts to it learns it at once."""
    loop = TurnLoop()
    loop.close()

    with pytest.raises(RuntimeError, match="closed"):
        loop.post(bool)


def test_a_post_that_raises_keeps_no_other_from_running(loop: TurnLoop) -> None:
    """Each is called for itself."""
    heard: list[Any] = []
    loop.set_exception_handler(lambda _, context: heard.append(type(context["exception"])))
    loop.post(lambda: 1 / 0)
    loop.post(loop.stop)

    loop.run_forever()

    assert heard == [ZeroDivisionError]


def test_a_value_wakes_whoever_waits_and_is_there_for_who_comes_later() -> None:
    """A thread that blocks, a callback added before, and one added after."""
    once: Once[int] = Once()
    heard: list[int] = []
    once.add_done_callback(lambda it: heard.append(it.result()))
    waiter = threading.Thread(target=lambda: heard.append(interrupts.wait(once, 60)))
    waiter.start()

    once.set_result(7)
    waiter.join()
    once.add_done_callback(lambda it: heard.append(it.result(0)))

    assert heard == [7, 7, 7]
    assert once.done()


def test_a_value_that_does_not_come_is_waited_for_no_longer_than_said() -> None:
    """And who stopped waiting leaves nothing behind."""
    once: Once[int] = Once()

    with pytest.raises(TimeoutError):
        once.result(0.01)
    with pytest.raises(TimeoutError):
        interrupts.wait(once, 0.01)

    assert once._then == []


def test_callbacks_and_the_value_race_and_each_callback_is_called_once(caplog: pytest.LogCaptureFixture) -> None:
    """One thread adds while another sets; one that raises keeps no other from being called."""
    for _ in range(200):
        once: Once[int] = Once()
        heard: list[int] = []
        ready = threading.Barrier(2)

        def add(once: Once[int] = once, heard: list[int] = heard, ready: threading.Barrier = ready) -> None:
            ready.wait()
            for n in range(20):
                once.add_done_callback(lambda _, n=n: heard.append(n) if n else 1 / 0)

        adder = threading.Thread(target=add)
        adder.start()
        ready.wait()
        once.set_result(1)
        adder.join()

        assert sorted(heard) == list(range(1, 20))
    assert "what waited for a value raised" in caplog.text
