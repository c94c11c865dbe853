"""Time slices: what one agent does between two awaits is not felt by another, and not by its own results."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import importlib
import logging
import math
import os
import queue
import random
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import greenlet
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentlab.slicing import places, slices
from agentlab.slicing.places import Kind, Place, kind_of, place
from agentlab.slicing.sliced import MOST_IDLE, Owner, run_step
from agentlab.slicing.slices import Slicer
from agentlab.wire.word import Word

# The slicer needs the alarm signal, which pytest-timeout would use too.
pytestmark = pytest.mark.timeout(60, method="thread")

Program = Callable[[Slicer], Awaitable[Any]]


def play(program: Program, slice_s: float = 0.002, **options: Any) -> Any:
    """Run a program on a loop with a slicer; afterwards all is as before: timer, handler of alarms, switch interval.

    The interval is below half a slice meanwhile: the loop lets go of the interpreter so often that threads, which wait
    for it that long before they insist, would never have it.
    """
    before, interval = signal.getsignal(signal.SIGALRM), sys.getswitchinterval()

    async def main() -> Any:
        slicer = Slicer(asyncio.get_running_loop(), slice_s, **options)
        assert slicer.install()
        assert sys.getswitchinterval() < slice_s / 2
        try:
            async with asyncio.timeout(50):
                return await program(slicer)
        finally:
            slicer.close()

    try:
        return asyncio.run(main())
    finally:
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        assert sys.getswitchinterval() == interval
        assert signal.getsignal(signal.SIGALRM) is (before if callable(before) else slices.late_alarm)


def shown_in_time(program: Callable[[Slicer, float], Awaitable[bool]]) -> bool:
    """Whether one of three lengths shows it: on a busy machine a short one is over before the other has its turn."""
    return any(play(lambda slicer, length=seconds: program(slicer, length)) for seconds in (0.1, 0.8, 6.4))


class Died(BaseException):
    """What a host raises in an agent that must end."""


async def endless() -> None:
    """Never await."""
    while True:
        pass


def busy(seconds: float) -> None:
    """Hold the thread with bytecode for so much of its own time: while others have the processor no alarm is heard."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def ticks(count: int) -> int:
    """Tick so often, 2 ms apart."""
    for _ in range(count):
        await anyio.sleep(0.002)
    return count


async def ended(task: asyncio.Task[Any]) -> Any:
    """What became of a task: its result or its exception."""
    await asyncio.wait([task])
    try:
        return task.result()
    except BaseException as error:
        return error


@pytest.mark.parametrize("hogs", [1, 4])
def test_tickers_go_on_beside_endless_loops(hogs: int) -> None:
    """A hundred agents tick to the end while others never await; each of those gets slices too."""

    async def program(slicer: Slicer) -> None:
        owners = [Owner(number) for number in range(hogs)]
        loops = [slicer.start(endless(), owner) for owner in owners]

        done = await asyncio.gather(*(slicer.start(ticks(20), Owner(100 + n)) for n in range(100)))

        assert done == [20] * 100
        assert not any(task.done() for task in loops)
        assert all(owner.busy > 0.002 for owner in owners)
        for task in loops:
            task.cancel()
            assert isinstance(await ended(task), asyncio.CancelledError)

    play(program)


def _receive(loop: asyncio.AbstractEventLoop, seconds: float) -> str:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        loop.call_later(seconds, theirs.send, b"done")
        return ours.recv(10).decode()


def _wait_for_event(loop: asyncio.AbstractEventLoop, seconds: float) -> str:
    event = threading.Event()
    loop.call_later(seconds, event.set)
    return "done" if event.wait(20) else "late"


def _get_from_queue(loop: asyncio.AbstractEventLoop, seconds: float) -> str:
    things: queue.Queue[str] = queue.Queue()
    loop.call_later(seconds, things.put, "done")
    return things.get(timeout=20)


def _join_thread(loop: asyncio.AbstractEventLoop, seconds: float) -> str:
    thread = threading.Thread(target=time.sleep, args=(seconds,))
    thread.start()
    thread.join()
    return "done"


def _run_command(loop: asyncio.AbstractEventLoop, seconds: float) -> str:
    command = ["sh", "-c", f"sleep {seconds}; echo done"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout[:4]


def _acquire_lock(loop: asyncio.AbstractEventLoop, seconds: float) -> str:
    lock = threading.Lock()
    lock.acquire()
    loop.call_later(seconds, lock.release)
    with lock:
        return "done"


def _sleep(loop: asyncio.AbstractEventLoop, seconds: float) -> str:
    began = time.perf_counter()
    time.sleep(seconds)
    return "done" if time.perf_counter() - began >= seconds else "early"


def _match(loop: asyncio.AbstractEventLoop, seconds: float) -> str:
    """Each letter doubles the time; 21 of them take about a tenth of a second."""
    letters = 21 + round(math.log2(seconds * 10))
    return "matched" if re.match(r"(a+)+$", "a" * letters + "b") else "done"


@pytest.mark.parametrize(
    "block",
    [_receive, _wait_for_event, _get_from_queue, _join_thread, _run_command, _acquire_lock, _sleep, _match],
    ids=lambda block: block.__name__.strip("_"),
)
def test_what_blocks_is_sliced(block: Callable[[asyncio.AbstractEventLoop, float], str]) -> None:
    """Waiting in C, for a socket, a lock, a child, the clock or a regular expression, keeps nobody else waiting."""

    async def ticks_meanwhile(slicer: Slicer, seconds: float) -> bool:
        async def handler() -> str:
            return block(slicer.loop, seconds)

        blocked = slicer.start(handler(), Owner(1))
        assert await slicer.start(ticks(5), Owner(2)) == 5
        meanwhile = not blocked.done()
        assert await blocked == "done"
        return meanwhile

    assert shown_in_time(ticks_meanwhile)


def test_interrupt_ends_a_tight_loop_and_runs_its_finally() -> None:
    """The given exception is raised where the loop stands; cleaning up happens, sliced as well."""

    async def program(slicer: Slicer) -> list[str]:
        steps: list[str] = []

        inside = False

        async def handler() -> None:
            nonlocal inside
            try:
                inside = True
                await endless()
            except Exception:
                steps.append("caught as an Exception")
            finally:
                busy(0.01)
                await asyncio.sleep(0)
                steps.append("finally")

        owner, died = Owner(1), Died("by order")
        task = slicer.start(handler(), owner)
        while not inside:  # noqa: ASYNC110  # an event would be awaited
            await asyncio.sleep(0.002)

        assert slicer.interrupt(owner, died)
        assert await ended(task) is died
        return steps

    assert play(program) == ["finally"]


def test_interrupt_reaches_code_that_swallows_it_again_and_again() -> None:
    """Who catches everything goes on, and can be interrupted once more."""

    async def program(slicer: Slicer) -> int:
        caught, inside = 0, False

        async def stubborn() -> None:
            nonlocal caught, inside
            while caught < 3:
                try:
                    inside = True
                    await endless()
                except BaseException:
                    caught += 1

        owner = Owner(1)
        task = slicer.start(stubborn(), owner)
        while not task.done():
            await asyncio.sleep(0.002)
            if inside:  # one for each time that it is there: between two of them nothing would catch it
                inside = False
                slicer.interrupt(owner, KeyError("enough"))
        return caught

    assert play(program) == 3


def test_an_owner_that_waits_is_not_interrupted_but_cancelled() -> None:
    """``interrupt`` says no where ``task.cancel`` works, and leaves nothing behind for the next step."""

    async def program(slicer: Slicer) -> None:
        owner, go = Owner(1), asyncio.Event()
        task = slicer.start(go.wait(), owner)
        await asyncio.sleep(0)

        assert not slicer.interrupt(owner, KeyError("nobody"))
        go.set()
        assert await task is True

    play(program)


def test_interrupt_reaches_a_loop_in_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import is not left half done, so its endless loop holds the node; ``on_busy`` ends it."""
    (tmp_path / "endless_module.py").write_text("while True: pass")
    monkeypatch.syspath_prepend(tmp_path)

    async def program(slicer: Slicer) -> BaseException:
        async def handler() -> None:
            importlib.import_module("endless_module")

        owner = Owner(1)
        owner.limit = 0.05
        return await ended(slicer.start(handler(), owner))

    def too_busy(owner: Owner) -> None:
        assert current.interrupt(owner, TimeoutError("max_busy"))

    async def with_slicer(slicer: Slicer) -> BaseException:
        nonlocal current
        current = slicer
        return await program(slicer)

    current: Slicer
    assert repr(play(with_slicer, on_busy=too_busy)) == "TimeoutError('max_busy')"


def test_on_busy_is_called_once_when_the_limit_is_passed() -> None:
    """CPU and blocking both count toward a message's limit; time in an await does not."""
    calls: list[Owner] = []

    async def program(slicer: Slicer) -> None:
        async def handler() -> None:
            await asyncio.sleep(0.1)
            assert not calls
            for _ in range(5):
                time.sleep(0.01)  # noqa: ASYNC251  # what this is about
                busy(0.01)
                await asyncio.sleep(0)

        owner = Owner(1)
        owner.limit = 0.05
        await slicer.start(handler(), owner)
        assert owner.busy > 0.05
        assert owner.cpu <= owner.busy
        assert calls == [owner]

    play(program, on_busy=calls.append)


@pytest.mark.parametrize("way", ["cancel", "move_on_after", "fail_after", "timeout"])
def test_cancelling_ends_an_endless_loop(way: str) -> None:
    """A cancellation is delivered where the step is parked, by whatever means it comes."""

    async def handler() -> str:
        if way == "move_on_after":
            with anyio.move_on_after(0.01) as scope:
                await endless()
            return f"moved on: {scope.cancelled_caught}"
        try:
            if way == "fail_after":
                with anyio.fail_after(0.01):
                    await endless()
            elif way == "timeout":
                async with asyncio.timeout(0.01):
                    await endless()
            else:
                await endless()
        except TimeoutError:
            return "timeout"
        return "?"

    async def program(slicer: Slicer) -> Any:
        task = slicer.start(handler(), Owner(1))
        if way == "cancel":
            await ticks(2)
            task.cancel("by order")
        result = await ended(task)
        await asyncio.sleep(0)
        assert task.cancelling() == (1 if way == "cancel" else 0)
        return result

    found = play(program)
    expected = {"cancel": "CancelledError('by order')", "move_on_after": "'moved on: True'"}
    assert repr(found) == expected.get(way, "'timeout'")


def test_a_cancellation_waits_for_the_next_await_for_a_while() -> None:
    """A short step is never cut in two: it is cancelled where it awaits, or not at all if its scope is left."""

    async def handler(left: bool) -> list[str]:
        seen = []
        try:
            async with asyncio.timeout(0.005):
                busy(0.02)
                seen.append("whole")
                if not left:
                    await asyncio.sleep(30)
            await asyncio.sleep(0)
            seen.append("not late")
        except TimeoutError:
            seen.append("timeout")
        return seen

    async def program(slicer: Slicer) -> list[Any]:
        return await asyncio.gather(*(slicer.start(handler(left), Owner(left)) for left in (False, True)))

    assert play(program, grace_s=20) == [["whole", "timeout"], ["whole", "not late"]]


def test_programs_without_number_come_and_go_unharmed() -> None:
    """Hundreds of agents that loop, sleep, fail and are cancelled, in slices of half a millisecond."""
    chance = random.Random(5)

    async def handler(number: int) -> int:
        for turn in range(3):
            try:
                with anyio.move_on_after(0.02):
                    [busy, time.sleep][(number + turn) % 2](0.0003 * (number % 7))
                    sum(len(str(item)) for item in range(300))
                    async with anyio.create_task_group() as group:
                        group.start_soon(anyio.sleep, 0.001 * (number % 3))
                        if number % 5 == 0:
                            raise KeyError(number)
            except* KeyError:
                pass
        return number

    async def program(slicer: Slicer) -> list[Any]:
        owners = [Owner(number) for number in range(200)]
        tasks = [slicer.start(handler(owner.life), owner) for owner in owners]
        for _ in range(30):
            await asyncio.sleep(0.002)
            chance.choice(tasks).cancel()
            slicer.interrupt(chance.choice(owners), Died())
            gc.collect(0)
        return await asyncio.gather(*tasks, return_exceptions=True)

    ends = play(program, slice_s=0.0005, grace_s=0.001)
    assert sum(end == number for number, end in enumerate(ends)) > 120


def test_tasks_of_one_agent_never_interrupt_each_other() -> None:
    """Between two awaits an agent's state is its own, as in plain asyncio, however long that takes."""

    async def program(slicer: Slicer) -> int:
        count = 0

        async def add() -> None:
            nonlocal count
            for _ in range(4):
                seen = count
                busy(0.003)
                count = seen + 1
                await asyncio.sleep(0)

        async def handler() -> None:
            async with anyio.create_task_group() as group:
                for _ in range(3):
                    group.start_soon(add)

        beside = slicer.start(ticks(5), Owner(2))
        await slicer.start(handler(), Owner(1))
        assert await beside == 5
        return count

    assert play(program) == 12


def test_every_task_keeps_its_context_and_its_identity() -> None:
    """Context variables, the current task and the handled exception survive every switch."""
    name = contextvars.ContextVar("name", default="")

    async def handler(mine: str) -> set[Any]:
        seen = set()
        name.set(mine)
        try:
            raise KeyError(mine)
        except KeyError:
            for _ in range(20):
                busy(0.001)
                handled = sys.exc_info()[1]
                assert handled is not None
                seen.add((name.get(), handled.args[0], id(asyncio.current_task())))
                await asyncio.sleep(0)
        return seen

    async def program(slicer: Slicer) -> None:
        names = [f"agent {number}" for number in range(4)]
        tasks = [slicer.start(handler(one), Owner(number)) for number, one in enumerate(names)]
        seen = await asyncio.gather(*tasks)
        assert seen == [{(one, one, id(task))} for one, task in zip(names, tasks, strict=True)]
        assert name.get() == ""

    play(program, slice_s=0.001)


def test_an_alarm_that_is_late_ends_nobody() -> None:
    """Another thread may have taken it while the slicer was closed: with the handler of before it ended the process."""

    async def nothing(slicer: Slicer) -> None:
        pass

    before = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    try:
        play(nothing)
        assert callable(signal.getsignal(signal.SIGALRM))
        signal.raise_signal(signal.SIGALRM)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_task_inherits_its_owner_whatever_its_context() -> None:
    """Nobody leaves the slices with ``asyncio.create_task``, a fresh context or a timer."""

    async def program(slicer: Slicer) -> list[int]:
        lives: list[int] = []

        async def note() -> None:
            owner = slicer.current
            assert owner is not None
            lives.append(owner.life)

        async def handler() -> None:
            await asyncio.create_task(note())
            await asyncio.create_task(note(), context=contextvars.Context())
            done = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(0, lambda: done.set_result(asyncio.ensure_future(note())))
            await (await done)

        await slicer.start(handler(), Owner(7))
        assert slicer.current is None
        return lives

    assert play(program) == [7, 7, 7]


def test_generators_and_deep_recursion_are_sliced() -> None:
    """What a generator, an async generator or a deep stack holds is there when the step goes on."""

    def numbers(count: int) -> Any:
        for number in range(count):
            busy(0.0005)
            yield number

    async def later(count: int) -> Any:
        try:
            for number in numbers(count):
                await asyncio.sleep(0)
                yield number
        finally:
            busy(0.003)

    def deep(depth: int) -> int:
        busy(0.00003)
        return 1 + deep(depth - 1) if depth else 0

    async def handler() -> tuple[int, int, int]:
        return sum(numbers(20)), sum([number async for number in later(20)]), deep(700)

    async def program(slicer: Slicer) -> list[Any]:
        return await asyncio.gather(*(slicer.start(handler(), Owner(number)) for number in range(3)))

    assert play(program, slice_s=0.001) == [(190, 190, 700)] * 3


def test_to_thread_and_back() -> None:
    """Threads run as ever, and find their way back into the agent's loop."""

    async def handler() -> list[int]:
        def work(number: int) -> int:
            anyio.from_thread.run(anyio.sleep, 0)
            return number * 2

        found: list[int] = []
        async with anyio.create_task_group() as group:
            for number in range(5):

                async def one(number: int = number) -> None:
                    found.append(await anyio.to_thread.run_sync(work, number))

                group.start_soon(one)
            busy(0.01)
        return sorted(found)

    async def program(slicer: Slicer) -> Any:
        hog = slicer.start(endless(), Owner(2))
        found = await slicer.start(handler(), Owner(1))
        hog.cancel()
        return found

    assert play(program) == [0, 2, 4, 6, 8]


def test_sqlite_and_pandas_in_the_middle_of_a_slice() -> None:
    """C libraries that call back into Python bear being left there, with others in the same library meanwhile."""

    def query(number: int) -> int:
        with sqlite3.connect(":memory:") as db:
            db.create_function("slow", 1, lambda value: (busy(0.0004), value * number)[1])
            db.execute("create table t (v int)")
            db.executemany("insert into t values (?)", [(value,) for value in range(30)])
            total = db.execute("select sum(slow(v)) from t").fetchone()[0]
        db.close()
        return int(total)

    def group(number: int) -> int:
        frame = pd.DataFrame({"k": [value % 5 for value in range(50)], "v": range(50)})
        return int(frame.groupby("k")["v"].apply(lambda part: (busy(0.001), part.sum() * number)[1]).sum())

    async def handler(number: int) -> tuple[int, int]:
        return query(number), group(number)

    async def program(slicer: Slicer) -> list[Any]:
        return await asyncio.gather(*(slicer.start(handler(number), Owner(number)) for number in range(1, 5)))

    assert play(program, slice_s=0.001) == [(435 * n, 1225 * n) for n in range(1, 5)]


def test_http_clients_are_shared_by_sliced_agents() -> None:
    """Many agents ask through one client's connection pool while all of them burn their slices."""
    httpx2 = pytest.importorskip("httpx2")

    served: set[Any] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split()[1]
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path))
        except asyncio.IncompleteReadError:
            writer.close()
            await writer.wait_closed()

    async def program(slicer: Slicer) -> None:
        server = await asyncio.start_server(lambda *ends: served.add(asyncio.create_task(serve(*ends))), "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, httpx2.AsyncClient(trust_env=False, timeout=20) as client:

            async def handler(number: int) -> list[str]:
                texts = []
                for turn in range(5):
                    texts.append((await client.get(f"{url}/{number}/{turn}")).text)
                    busy(0.003)
                return texts

            found = await asyncio.gather(*(slicer.start(handler(number), Owner(number)) for number in range(8)))
            await client.aclose()
            for _ in range(4):  # whoever was accepted just now begins
                await asyncio.sleep(0)
            await asyncio.gather(*served)
        assert found == [[f"/{number}/{turn}" for turn in range(5)] for number in range(8)]

    play(program)


def test_imports_are_not_left_half_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second agent that imports the same slow module never sees a part of it."""
    slow = "import time\nend = time.perf_counter() + 0.03\nwhile time.perf_counter() < end: pass\nvalue = 5\n"
    (tmp_path / "slow_module.py").write_text(slow)
    monkeypatch.syspath_prepend(tmp_path)

    async def handler() -> int:
        return int(importlib.import_module("slow_module").value)

    async def program(slicer: Slicer) -> list[int]:
        return await asyncio.gather(*(slicer.start(handler(), Owner(number)) for number in range(3)))

    assert play(program, slice_s=0.001) == [5, 5, 5]
    del sys.modules["slow_module"]


def test_an_exception_keeps_its_traceback() -> None:
    """What a sliced handler raises says where, with the agent's own lines."""

    def fail() -> None:
        busy(0.005)
        raise ValueError("of no use")

    async def handler() -> None:
        await asyncio.sleep(0)
        fail()

    async def program(slicer: Slicer) -> list[str]:
        error = await ended(slicer.start(handler(), Owner(1)))
        return [entry.name for entry in traceback.extract_tb(error.__traceback__)]

    assert play(program)[-2:] == ["handler", "fail"]


def test_a_thousand_tasks_leave_no_greenlets() -> None:
    """A thousand agents are in the middle of a step at once; when all are through, only the idle few are kept."""

    async def program(slicer: Slicer) -> None:
        async def handler() -> int:
            time.sleep(0.0022)  # noqa: ASYNC251  # longer than a slice: nearly all of them are parked
            await asyncio.sleep(0)
            return 1

        done = await asyncio.gather(*(slicer.start(handler(), Owner(number)) for number in range(1000)))

        assert sum(done) == 1000
        assert len(slicer.idle) <= MOST_IDLE

    play(program)
    gc.collect()
    assert sum(type(thing) is greenlet.greenlet and not thing.dead for thing in gc.get_objects()) <= 2


def test_the_timer_rests_while_nothing_runs() -> None:
    """An idle node is woken by nobody."""

    async def program(slicer: Slicer) -> None:
        await slicer.start(ticks(3), Owner(1))
        async with asyncio.timeout(40):
            while signal.getitimer(signal.ITIMER_REAL) != (0.0, 0.0):  # noqa: ASYNC110  # no event tells
                await asyncio.sleep(0.002)

    play(program)


def test_a_shared_rlock_keeps_no_agent_out_but_a_lock_does() -> None:
    """The documented limit: agents of a node are one thread to an RLock; a Lock is waited for in slices."""

    async def hold(lock: Any, name: str, seconds: float, seen: list[str]) -> None:
        with lock:
            seen.append(f"{name} in")
            busy(seconds)
            seen.append(f"{name} out")

    async def seen_with(slicer: Slicer, lock: Any, seconds: float) -> list[str]:
        seen: list[str] = []
        await asyncio.gather(*(slicer.start(hold(lock, name, seconds, seen), Owner(ord(name))) for name in "ab"))
        return seen

    async def goes_in_beside(slicer: Slicer, seconds: float) -> bool:
        assert await seen_with(slicer, threading.Lock(), 0.01) == ["a in", "a out", "b in", "b out"]
        return (await seen_with(slicer, threading.RLock(), seconds))[:2] == ["a in", "b in"]

    assert shown_in_time(goes_in_beside)


def test_the_shared_word_names_the_running_life() -> None:
    """Whoever maps the same memory reads who runs, and a count that grows with every slice."""
    word = Word()
    reader = Word(os.dup(word.fd))

    async def program(slicer: Slicer) -> list[tuple[int, int]]:
        async def handler() -> list[tuple[int, int]]:
            first = reader.read()
            busy(0.01)
            return [first, reader.read()]

        seen = await slicer.start(handler(), Owner(2**40))
        return [*seen, reader.read()]

    first, second, after = play(program, cells=word.cells)
    assert first[0] == second[0] == 2**40
    assert second[1] > first[1]
    assert after[0] == 0
    word.close()
    reader.close()


@pytest.mark.parametrize("why", ["thread", "greenlet"])
def test_where_slicing_cannot_work_it_says_so_and_runs(
    why: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the main thread, or without greenlet, agents run as in plain asyncio; costs are still counted."""
    found: list[Any] = []

    async def main() -> None:
        slicer, owner = Slicer(asyncio.get_running_loop()), Owner(1)
        found.append(slicer.install())
        found.append(await slicer.start(ticks(2), owner))
        assert not slicer.interrupt(owner, KeyError())
        assert owner.cpu > 0
        slicer.close()

    with caplog.at_level(logging.WARNING):
        if why == "greenlet":
            monkeypatch.setattr(slices, "greenlet", None)
            asyncio.run(main())
        else:
            thread = threading.Thread(target=asyncio.run, args=(main(),))
            thread.start()
            thread.join(20)

    assert found == [False, 2]
    assert [why in record.message for record in caplog.records] == [True]


def _here() -> Place:
    return place(sys._getframe(1), run_step.__code__)


def test_a_step_is_left_in_user_code_only() -> None:
    """User code that asyncio awaits may be left; what a plain function of the loop or of logging calls may not."""
    found: dict[str, Place] = {}

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found["called by logging"] = _here()

    class Finalized:
        def __del__(self) -> None:
            found["finalizer"] = _here()

    async def inside() -> None:
        found["awaited by asyncio"] = _here()

    class Scope:
        async def __aenter__(self) -> None:
            pass

        def __aexit__(self, *_: object) -> Awaitable[None]:
            found["about to await"] = place(sys._getframe(1), run_step.__code__)
            return asyncio.sleep(0)

    def collected(phase: str, info: dict[str, int]) -> None:
        found["collector"] = _here()

    async def handler() -> None:
        found["user"] = _here()
        async with Scope():
            pass
        Finalized()
        gc.callbacks.append(collected)
        gc.collect()
        gc.callbacks.remove(collected)
        logger.error("now")
        await asyncio.wait_for(inside(), 5)
        asyncio.get_running_loop().call_soon(lambda: found.__setitem__("callback", _here()))
        await asyncio.sleep(0)

    logger = logging.Logger("of its own")  # noqa: LOG001  # known to nobody else
    logger.addHandler(Handler())
    play(lambda slicer: slicer.start(handler(), Owner(1)))

    assert found == {
        "user": Place.SWITCH,
        "called by logging": Place.RAISE,
        "awaited by asyncio": Place.SWITCH,
        "callback": Place.RAISE,
        "finalizer": Place.NOWHERE,
        "collector": Place.NOWHERE,
        "about to await": Place.NOWHERE,
    }


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        (asyncio.tasks, Kind.ATOMIC), (anyio, Kind.ATOMIC), (logging, Kind.ATOMIC), (importlib, Kind.ATOMIC),
        (slices, Kind.ATOMIC), (threading, Kind.LOCKING), (queue, Kind.LOCKING), (re, Kind.NEUTRAL),
        (subprocess, Kind.NEUTRAL), (pd, Kind.USER), (sys.modules[__name__], Kind.USER),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)  # fmt: skip
def test_code_is_sorted_by_where_it_lies(module: Any, kind: Kind) -> None:
    """The standard library is neutral but for what holds locks or is the loop; the rest is user code."""
    assert kind_of(module.__file__) is kind


def test_frozen_imports_are_left_alone() -> None:
    """The import system has no file; it is known by its name."""
    assert kind_of("<frozen importlib._bootstrap>") is Kind.ATOMIC
    assert kind_of("<frozen os>") is Kind.NEUTRAL
    assert kind_of("<ipython-input-1>") is Kind.USER
    assert all(places.WAITS.values())


# A random program is a tree, carried out twice. What each of its tasks sees must be the same. Whether a sibling's
# step comes before or after another's is no part of a result, so whoever cancels waits until its victim waits.
leaves = st.one_of(
    st.tuples(st.just("busy"), st.integers(1, 3)),
    st.tuples(st.just("checkpoints"), st.integers(1, 3)),
    st.tuples(st.just("fail"), st.just(None)),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["group", "tasks", "sequence"]), st.lists(inner, min_size=1, max_size=4)),
        st.tuples(st.sampled_from(["victim", "failing", "shielded", "scoped", "context"]), inner),
    ),
    max_leaves=10,
)
depth = contextvars.ContextVar("depth", default=0)
task_path: contextvars.ContextVar[tuple[int, ...]] = contextvars.ContextVar("task_path", default=())


class Trace:
    """Carries out one random program; each task's notes, in order, under the task's place in the tree."""

    def __init__(self) -> None:
        self.notes: dict[tuple[int, ...], list[Any]] = {}

    def note(self, *what: Any) -> None:
        self.notes.setdefault(task_path.get(), []).append((*what, depth.get()))

    async def run(self, tree: Any) -> None:
        """One node of the tree."""
        kind, what = tree
        self.note("enters", kind)
        try:
            await getattr(self, "_" + kind)(what)
        except BaseException as error:
            self.note(type(error).__name__, "in", kind)
            raise
        finally:
            busy(0.0003)
            self.note("leaves", kind)

    async def caught(self, tree: Any) -> None:
        try:
            await self.run(tree)
        except KeyError:
            self.note("caught")

    async def child(self, tree: Any, number: int, run: Callable[[Any], Awaitable[None]]) -> None:
        task_path.set((*task_path.get(), number))
        await run(tree)

    async def _busy(self, length: int) -> None:
        busy(length * 0.0007)

    async def _checkpoints(self, times: int) -> None:
        for number in range(times):
            await anyio.lowlevel.checkpoint()
            self.note(number)

    async def _fail(self, _: None) -> None:
        raise KeyError("of the program")

    async def _sequence(self, trees: list[Any]) -> None:
        for tree in trees:
            await self.run(tree)

    async def _group(self, trees: list[Any]) -> None:
        async with anyio.create_task_group() as group:
            for number, tree in enumerate(trees):
                group.start_soon(self.child, tree, number, self.caught)

    async def _tasks(self, trees: list[Any]) -> None:
        tasks = [asyncio.create_task(self.child(tree, number, self.run)) for number, tree in enumerate(trees)]
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        self.note([type(end).__name__ for end in ends])

    async def _victim(self, tree: Any, end: Callable[[Any], None] = lambda group: group.cancel_scope.cancel()) -> None:
        async with anyio.create_task_group() as group:
            ready = anyio.Event()

            async def victim(_: Any) -> None:
                try:
                    await self.caught(tree)
                    ready.set()
                    await anyio.sleep_forever()
                finally:
                    busy(0.002)
                    self.note("victim left")

            group.start_soon(self.child, tree, 0, victim)
            await ready.wait()
            end(group)

    async def _failing(self, tree: Any) -> None:
        def end(group: Any) -> None:
            raise KeyError("ends the group")

        try:
            await self._victim(tree, end)
        except* KeyError as errors:
            self.note(len(errors.exceptions))

    async def _shielded(self, tree: Any) -> None:
        with anyio.CancelScope(shield=True):
            await self.caught(tree)

    async def _scoped(self, tree: Any) -> None:
        with anyio.CancelScope() as scope:
            await self.caught(tree)
            scope.cancel()
            busy(0.002)
            await anyio.lowlevel.checkpoint()
            self.note("not reached")

    async def _context(self, tree: Any) -> None:
        token = depth.set(depth.get() + 1)
        await self.caught(tree)
        depth.reset(token)


def _plain(tree: Any) -> dict[tuple[int, ...], list[Any]]:
    trace = Trace()
    asyncio.run(trace.caught(tree))
    return trace.notes


def _sliced(tree: Any) -> dict[tuple[int, ...], list[Any]]:
    trace = Trace()

    async def program(slicer: Slicer) -> None:
        beside: list[Coroutine[Any, Any, Any]] = [endless(), ticks(1000)]
        owners = [Owner(2), Owner(3)]
        others = [slicer.start(coro, owner) for coro, owner in zip(beside, owners, strict=True)]
        await slicer.start(trace.caught(tree), Owner(1))
        for other, owner in zip(others, owners, strict=True):
            slicer.interrupt(owner, KeyError("enough"))
            other.cancel()
            await ended(other)

    play(program, slice_s=0.001, grace_s=10)
    return trace.notes


@settings(max_examples=60)
@given(trees)
def test_a_program_gives_the_same_with_slices_as_without(tree: Any) -> None:
    """Nested awaits, task groups, cancellations and busy loops: every task sees the same, in the same order."""
    assert _sliced(tree) == _plain(tree)
