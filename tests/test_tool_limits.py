"""Tools that misbehave: in threads, in processes of their own, at their limits, and what the agent is told."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from agentlab import Agent, Lab, tool
from agentlab.errors import InvalidSpec, StepFailed, ToolFailed
from agentlab.faults import classify
from agentlab.tools import Tool
from tests.conftest import wait_for

SOON = 0.2
"""A timeout that what hangs is to meet (seconds)."""


CELL_OF_FAILURES = """
import ctypes, os, signal, threading, time

def leave() -> None:
    "End the process."
    os._exit(3)


def die() -> None:
    "Kill the process."
    os.kill(os.getpid(), signal.SIGKILL)


def segfault() -> int:
    "Read where nothing is."
    return len(ctypes.string_at(1))


def give_nothing() -> None:
    "Return None."


def give_much() -> str:
    "Return 10 MB."
    return "x" * 10_000_000


def give_a_lock():
    "Return what is no data."
    return threading.Lock()


def end() -> None:
    "Raise what is no Exception."
    raise SystemExit("enough")


def fail() -> None:
    "Raise."
    raise ValueError("no such page")


def loop() -> None:
    "Never come to an end."
    while True:
        pass


def sleep() -> None:
    "Block."
    time.sleep(600)


def grow() -> int:
    "Take memory without end."
    taken = []
    while True:
        taken.append(bytearray(10_000_000))


def grow_unseen() -> int:
    "Take memory that no limit of the process counts."
    import mmap

    taken = []
    for _ in range(30):
        taken.append(mmap.mmap(-1, 10_000_000))
        taken[-1].write(b"x" * 10_000_000)
    time.sleep(600)
"""

FAILURES: dict[str, Any] = {"__name__": "a_cell_of_failures"}
exec(CELL_OF_FAILURES, FAILURES)  # as a cell is: what travels takes its code along, and imports no tests


ISOLATED = [
    ("leave", {}, "leave failed: its process ended with exit code 3 and gave no result"),
    ("die", {}, "die failed: its process was killed by SIGKILL and gave no result"),
    ("segfault", {}, "segfault failed: its process was killed by SIGSEGV and gave no result"),
    ("give_nothing", {}, "null"),
    ("give_much", {}, "[cut: these are the first 50000 of 10000000 characters]"),
    ("give_a_lock", {}, "give_a_lock returned lock, which is neither text nor JSON"),
    ("end", {}, "end failed: SystemExit: enough"),
    ("fail", {}, "fail failed: ValueError: no such page"),
    ("loop", {"timeout": SOON}, "loop failed: its process was killed at its timeout of 0.2 s"),
    ("sleep", {"timeout": SOON}, "sleep failed: its process was killed at its timeout of 0.2 s"),
    ("grow", {"max_memory": 50 << 20}, "grow failed: it met its max_memory of 52,428,800 bytes"),
    ("grow_unseen", {"max_memory": 50 << 20}, "its process was killed at its max_memory of 52,428,800 bytes"),
]


@pytest.mark.parametrize(("name", "limits", "says"), ISOLATED, ids=[name for name, *_ in ISOLATED])
async def test_an_isolated_tool_says_what_became_of_it(name, limits, says):
    """Whatever it does to its process, its agent gets a text, of scope tool where it failed."""
    made = Tool(FAILURES[name], isolated=True, **limits)

    try:
        told, fault = await made.run({}), None
    except ToolFailed as error:
        told, fault = str(error), classify(error)

    assert says in told
    assert fault is None or (fault.kind, fault.scope) == ("tool_failed", "tool")


async def test_several_isolated_tools_run_at_once_and_print_where_the_caller_prints(capsys):
    """Each has a process; what they print is not lost, and no line is cut by that of another."""

    @tool(isolated=True)
    def number(n: int) -> int:
        for part in (f"this is {n}", "\nits last ", "word", " is ", f"{n}"):  # more writes than one print() makes
            print(part, end="")
            time.sleep(0.05)
        return os.getpid()

    told = await asyncio.gather(*(number.run({"n": n}) for n in range(3)))

    assert len(set(told) | {str(os.getpid())}) == 4
    printed = capsys.readouterr().out
    assert sorted(re.findall(r"this is \d\n", printed)) == ["this is 0\n", "this is 1\n", "this is 2\n"]
    assert sorted(re.findall(r"its last word is \d", printed)) == [f"its last word is {n}" for n in range(3)]


async def test_a_cancelled_isolated_tool_is_killed_with_what_it_has_started(tmp_path):
    """Nobody waits for it any more, so nothing of it is left."""
    place = tmp_path / "pids"

    @tool(isolated=True)
    def start_one() -> None:
        import subprocess  # in its process

        child = subprocess.Popen(["sleep", "600"])
        place.with_suffix(".new").write_text(f"{os.getpid()} {child.pid}")
        place.with_suffix(".new").rename(place)
        child.wait()

    task = asyncio.create_task(start_one.run({}))
    await asyncio.to_thread(wait_for, place.exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    wait_for(lambda: all(is_gone(int(pid)) for pid in place.read_text().split()))


async def test_a_plain_tool_runs_in_a_thread_and_holds_nobody():
    """Two that block at once; the second lets the first go on."""
    met = threading.Barrier(2, timeout=60)

    @tool
    def meet() -> str:
        met.wait()
        return threading.current_thread().name

    assert await asyncio.gather(meet.run({}), meet.run({})) == ["agentlab-tool-meet"] * 2


async def test_a_thread_at_its_timeout_is_told_to_end():
    """The wait ends at once, the thread at its next line; the error says so."""

    @tool(timeout=SOON)
    def spin() -> None:
        while True:
            time.sleep(0.001)

    with pytest.raises(ToolFailed, match=r"spin failed: it was not done at its timeout of 0\.2 s; its thread was told"):
        await spin.run({})

    wait_for(lambda: "agentlab-tool-spin" not in {thread.name for thread in threading.enumerate()})


async def test_what_a_thread_gives_after_its_timeout_is_heard_by_nobody():
    """It may come back from where nobody reaches it: no result, and no error, of it goes anywhere."""
    back, odd = threading.Event(), []
    asyncio.get_running_loop().set_exception_handler(lambda loop, about: odd.append(about))

    @tool(timeout=SOON)
    def late(fail: bool) -> str:
        back.wait(60)
        if fail:
            raise ValueError("late")
        return "late"

    for fail in (False, True):
        with pytest.raises(ToolFailed, match="not done at its timeout"):
            await late.run({"fail": fail})
    back.set()
    await asyncio.to_thread(
        wait_for, lambda: "agentlab-tool-late" not in {thread.name for thread in threading.enumerate()}
    )
    await asyncio.sleep(0)  # what they have left for the loop is done

    assert odd == []


async def test_an_async_tool_at_its_timeout_is_cancelled():
    """Its own clean-up runs; a TimeoutError of its own is no late end."""
    cleaned = []

    @tool(timeout=SOON)
    async def hang() -> None:
        try:
            await asyncio.sleep(600)
        finally:
            cleaned.append("up")

    @tool(timeout=60)
    async def give_up() -> None:
        raise TimeoutError("the page did not answer")

    with pytest.raises(ToolFailed, match=r"not done at its timeout of 0\.2 s, and was cancelled"):
        await hang.run({})
    with pytest.raises(ToolFailed, match="give_up failed: TimeoutError: the page did not answer"):
        await give_up.run({})

    assert cleaned == ["up"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"timeout": 0}, "timeout must be seconds above 0; got 0"),
        ({"timeout": float("inf")}, "timeout must be seconds above 0; got inf"),
        ({"max_memory": 5}, "max_memory needs isolated=True"),
        ({"max_memory": -1, "isolated": True}, "max_memory must be at least 1 byte; got -1"),
    ],
)
def test_limits_that_cannot_be_kept_are_refused(options, says):
    """Where the tool is made."""
    with pytest.raises(InvalidSpec, match=says):
        Tool(FAILURES["fail"], **options)


async def test_a_tool_that_runs_once_and_was_killed_is_no_answer_for_a_model():
    """It would try again; the error is one that nobody tells a model."""
    with pytest.raises(StepFailed, match=r"exit code 3.*in doubt") as caught:
        await Tool(FAILURES["leave"], isolated=True, once=True).run({})

    assert not isinstance(caught.value, ToolFailed)
    assert caught.value.fault.kind == "in_doubt"


def is_gone(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] == "Z"
    except FileNotFoundError:
        return True


CELL = """
from agentlab import tool

FACTOR = 7

@tool(isolated=True)
def times(n: int) -> int:
    "Multiply by a number of the notebook's."
    print("times runs")
    return n * FACTOR

@tool(isolated=True, once=True)
def pay(place: str) -> str:
    "Pay, and die before anybody hears of it."
    import os
    with open(place, "a") as file:
        file.write("paid")
    os._exit(1)

@tool(isolated=True)
def hang(place: str) -> str:
    "Say which process this is, and hang."
    import os, time
    with open(place + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(place + ".new", place)
    time.sleep(600)
"""


class Worker(Agent):
    """Runs what it is given, in steps."""

    async def use(self, name: str, given: dict[str, Any] | int | str) -> Any:
        """Call a tool of the cell."""
        return await self.step(TOOLS[name], given)


TOOLS: dict[str, Any] = {"__name__": "a_notebook_that_no_process_can_import"}
exec(CELL, TOOLS)  # as a cell is


@pytest.fixture(scope="module")
def lab():
    """One lab for all."""
    with Lab(nodes=1) as made:
        yield made


def test_a_tool_of_a_cell_runs_isolated_in_an_agent(lab):
    """Its function travels; a model's input and a person's arguments both do; what it prints is the agent's."""
    worker = lab.start(Worker, id="worker")

    assert worker.call.use("times", 6).result(60) == 42
    assert worker.call.use("times", {"n": 6}).result(60) == "42"

    wait_for(lambda: worker.log().count("times runs") == 2)


def test_an_isolated_tool_dies_with_its_node(lab, tmp_path):
    """No process outlives the node that it works for."""
    worker = lab.start(Worker, id="mortal", restart="temporary")
    worker.cast.use("hang", str(tmp_path / "pid"))
    wait_for((tmp_path / "pid").exists)
    pid = int((tmp_path / "pid").read_text())

    os.kill(node_pid(pid), signal.SIGKILL)

    wait_for(lambda: is_gone(pid))
    worker.stop()


def node_pid(pid: int) -> int:
    """Who started a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[1])


def test_a_once_tool_whose_process_died_is_in_doubt_and_not_repeated(lab, tmp_path):
    """The agent waits for a person, who says how it was."""
    place = tmp_path / "account"
    worker = lab.start(Worker, id="payer")
    reply = worker.call.use("pay", {"place": str(place)})
    wait_for(lambda: worker.status == "parked")
    assert [doubt["name"] for doubt in worker.doubts()] == ["pay"]
    worker.settle("pay", "paid 5")

    assert reply.result(60) == "paid 5"
    assert place.read_text() == "paid"
