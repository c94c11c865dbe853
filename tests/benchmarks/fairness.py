"""Agents beside agents, and a supervisor beside a cell, that hold on to the processor (P9, P14).

    python tests/benchmarks/fairness.py [--quick] [--rounds 3] [tickers] [cell]

P9: tickers loop over ``anyio.sleep(0.01)`` inside a handler and note how late they go on, all on the only node; the
same beside agents that run ``while True: pass``, ``time.sleep`` and a read from a socket that nobody writes to. Where
tickers no longer come back within ``PATIENCE`` the line says so. P14: a process whose main thread runs
``while True: pass`` keeps a lab whose agents crash, each at most ten times a second and all together fifty times; from
the moment an agent raises to its next life.
"""

from __future__ import annotations

import functools
import json
import socket
import subprocess
import sys
import time
from array import array
from collections.abc import Iterable

import anyio
from kit import peers
from kit.report import Options, Report, Side, Values, in_turn, measure, quantile

from agentlab import Agent, Lab, Reply

PERIOD = 0.01
IDLE = "the same, main thread idle"
BESIDE = {0: "nothing", 1: "an endless loop", 4: "four endless loops"}
LEAD = 1.0  # seconds for the tickers to begin and the hogs to be on
PATIENCE = 10.0  # seconds beyond the window until tickers count as held up for ever


class Ticker(Agent):
    """Goes on every ten milliseconds, and notes how late."""

    async def tick(self, since: float, until: float) -> bytes:
        """Milliseconds of lateness between two moments of the machine's monotonic clock, as an array of floats."""
        late = array("f")
        await anyio.sleep(self.random.random() * PERIOD)
        while (began := time.monotonic()) < until:
            await anyio.sleep(PERIOD)
            if began > since:
                late.append((time.monotonic() - began - PERIOD) * 1e3)
        return late.tobytes()


class Hog(Agent):
    """Holds on to the processor, or to its thread."""

    async def endless(self) -> None:
        """An endless loop."""
        while True:
            pass

    async def sleeping(self) -> None:
        """``time.sleep``, again and again."""
        while True:
            time.sleep(0.5)  # noqa: ASYNC251  # the very mistake that is measured

    async def reading(self) -> None:
        """A blocking read of what never comes."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.recv(1)


def lateness(tickers: int, hogs: int, what: str, seconds: float) -> Values:
    """How late so many tickers go on beside so many hogs."""
    lab = Lab(nodes=1)
    try:
        refs = lab.start_many(Ticker, tickers)
        others = lab.start_many(Hog, hogs)
        since = time.monotonic() + LEAD
        replies = refs.call(timeout=600).tick(since, since + seconds)
        time.sleep(LEAD / 2)
        if hogs:
            getattr(others.cast, what)()
        return _joined(replies, LEAD / 2 + seconds + PATIENCE)
    finally:
        lab.close(timeout=0.5)


def _joined(replies: Iterable[Reply], patience: float) -> Values:
    end = time.monotonic() + patience
    late = array("f")
    for reply in replies:
        try:
            late.frombytes(reply.result(max(0.0, end - time.monotonic())))
        except TimeoutError:
            return {"missing": f"tickers were held up for more than {PATIENCE:g} s"}
    return {"p50": quantile(late, 0.5), "p99": quantile(late, 0.99), "max": max(late)}


def tickers(report: Report, options: Options) -> None:
    """P9, beside nothing, endless loops, sleeps and reads."""
    seconds = 1 if options.quick else 2
    few, some, many = options.sizes(1000)
    cases = [(few, 1, "endless"), (some, 1, "endless"), *((many, hogs, "endless") for hogs in (0, 1, 4))]
    cases += [(many, 1, "sleeping"), (many, 1, "reading")]
    for size, hogs, what in cases:
        sides: dict[str, Side] = {"agentlab": functools.partial(lateness, size, hogs, what, seconds)}
        if what == "endless":
            sides["BEAM"] = functools.partial(peers.beam, f"ticks:lateness({size}, {hogs}, {seconds})")
        if not hogs:
            sides["asyncio"] = functools.partial(peers.python, "asyncio", "lateness", tickers=size, seconds=seconds)
        found = in_turn(options.rounds, sure=["p99", *list(sides)[1:2]], **sides)
        beside = {"endless": BESIDE[hogs], "sleeping": "time.sleep", "reading": "a blocking socket"}[what]
        name = f"P9 lateness of tickers of 10 ms beside {beside}; tickers"
        others = [side for side in sides if side != "agentlab"]
        report.say(f"{name}, p99", found, "p99", "ms", peers=others, size=size, target="≤ 4 ms", most=4.0)
        report.say(f"{name}, max", found, "max", "ms", peers=others, size=size, target="≤ 10 ms", most=10.0)


KERNEL = """
import _thread, json, sys, threading, time
from agentlab import Agent, Lab, Supervisor, child

class Crasher(Agent):
    period: float

    def on_start(self) -> None:
        self.after(self.random.uniform(0.5, 1.5) * self.period).boom()

    def boom(self) -> None:
        raise RuntimeError(f"at {time.time()}")

agents, seconds, busy = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "busy"
with Lab(redeliver=False) as lab:
    group = lab.start(Supervisor("crashers", max_restarts=10**6))
    lab.start_many(Crasher, [{"period": max(0.1, agents / 50)}] * agents, under=group)
    began = time.time()
    threading.Timer(seconds, _thread.interrupt_main).start()
    try:
        while busy:
            pass
        time.sleep(2 * seconds)
    except KeyboardInterrupt:
        pass
    events = lab.events()
    late, raised = [], {}
    for kind, path, reason, at in events[["kind", "path", "reason", "at"]].itertuples(index=False):
        if kind == "crashed" and " at " in str(reason):
            raised[path] = float(str(reason).split(" at ")[1].split()[0])
        elif kind == "started" and raised.get(path, 0) > began:
            late.append((at.timestamp() - raised.pop(path)) * 1e3)
late.sort()
print(json.dumps({"p50": late[len(late) // 2], "p99": late[int(len(late) * 0.99)], "restarts": len(late)}))
"""


def restarts(agents: int, seconds: float, main_thread: str) -> Values:
    """A process with a lab of agents that crash, fifty times a second in all; its main thread is busy or idle."""
    command = [sys.executable, "-c", KERNEL, str(agents), str(seconds), main_thread]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + 4 * seconds, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        return {"missing": (done.stderr.strip().splitlines() or ["it printed nothing"])[-1][:200]}
    values: Values = json.loads(lines[-1])
    return values


def busy_cell(report: Report, options: Options) -> None:
    """P14."""
    seconds = 2 if options.quick else 3
    for size in sorted({options.size(100) // part for part in (100, 10, 1)} - {0}):
        found = in_turn(
            options.rounds,
            agentlab=functools.partial(restarts, size, seconds, "busy"),
            **{IDLE: functools.partial(restarts, size, seconds, "idle")},
        )
        name = "P14 from a crash to the next life while a cell loops for ever; agents that crash"
        about = {"size": size, "peers": [IDLE]}
        report.say(f"{name}, p50", found, "p50", "ms", **about)
        report.say(f"{name}, p99", found, "p99", "ms", target="≤ 30 ms", most=30.0, **about)


PARTS = {"tickers": tickers, "cell": busy_cell}

if __name__ == "__main__":
    measure(__doc__, PARTS)
