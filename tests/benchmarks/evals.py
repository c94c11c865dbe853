"""Evals beside Inspect AI (P22): what a sample costs, and what becomes of a run when things go wrong.

    python tests/benchmarks/evals.py [--quick] [--rounds 3] [outage] [killed] ...

Both sides run the same sums against the same simulator, each in a process of its own, 64 samples at once and all else
as it comes (``peers/by_evals.py``, ``peers/by_inspect.py``). Processor time is that of all processes of a side; the
simulator's is not in it. Memory is looked at from outside, twice a second: the proportional set size of all processes
of a side, at its largest. Ours streams its answers and journals each call durably where a run is kept; Inspect's
client reads an answer whole, and its log has a sample once it has ended. ``Inspect, no live log`` is Inspect with
``log_realtime=False``. What a provider was paid for is counted in the simulator's log. Runs
to which something happens, and those of 10,000 samples, take minutes and are made once.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from kit import machine, peers
from kit.report import COUNT, Found, Options, Report, Side, Values, in_turn, measure, once
from kit.sim import Sim

SIDES = {"agentlab": "evals", "Inspect": "inspect"}
LONGEST = 2_700.0  # seconds for one side of one figure
COSTS = {1: 1_000, 5: 500}  # turns of a sample, and samples, where processor time is measured
MOST = 10_000  # samples of a run that is kept
SAMPLES, TURNS = 100, 3  # of a run to which something happens
OUTAGE_S = 30.0
POISONED_S = 180.0  # seconds that a run with a poisoned sample has to end


def others(sim: Sim) -> list[psutil.Process]:
    """All processes below this one, but the simulator."""
    return [each for each in psutil.Process().children(recursive=True) if each.pid != sim.process.pid]


@contextlib.contextmanager
def peak(sim: Sim) -> Iterator[list[float]]:
    """The largest memory of all other processes while this is open, in megabytes: one value, set at its end."""
    found, over, most = [], threading.Event(), 0.0

    def look() -> None:
        nonlocal most
        while not over.wait(0.5):
            now = 0
            for each in others(sim):
                with contextlib.suppress(psutil.Error):
                    now += machine.pss(each)
            most = max(most, now / 1e6)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()
        found.append(most)


def asked(side: str, what: str, patience: float = LONGEST, **sizes: int | str) -> Values:
    """What a side measures in a process of its own."""
    return peers.python(SIDES[side], what, patience=patience, **sizes)


def kept(sim: Sim, side: str, samples: int) -> Values:
    """A run of one turn that is kept; its peak, and then the same call once more."""
    sim.control.forget()
    with tempfile.TemporaryDirectory() as folder, peak(sim) as most:
        found = asked(side, "run", folder=folder, samples=samples, turns=1)
        if "missing" in found:
            return found
        finished = asked(side, "again", folder=folder, samples=samples, turns=1)
    return {**finished, **found, "peak_mb": most[0]}


def outage(sim: Sim, side: str, samples: int, seconds: float) -> Values:
    """The provider refuses all calls for a while, from a third of the run on."""
    sim.control.forget()
    sim.control.faults(latency_s=0.2)
    with tempfile.TemporaryDirectory() as folder, _started(side, folder, samples) as process:
        _until(sim, samples * TURNS // 3)
        sim.control.faults([{"mode": "529"}])
        time.sleep(seconds)
        (refused,) = sim.control.struck()
        sim.control.faults(latency_s=0.2)
        recovered = time.monotonic()
        process.wait(LONGEST)
        last = time.monotonic() - recovered
        found = asked(side, "again", folder=folder, samples=samples, turns=TURNS)
    return {**found, "refused": refused, "last_s": last}


def killed(sim: Sim, side: str, samples: int) -> Values:
    """The process is killed when half of the calls were made, and the same call made again."""
    sim.control.forget()
    sim.control.faults(latency_s=0.2)
    with tempfile.TemporaryDirectory() as folder:
        with _started(side, folder, samples):
            _until(sim, samples * TURNS // 2)
        found = asked(side, "run", folder=folder, samples=samples, turns=TURNS)
    return {**found, "twice": sim.paid() - samples * TURNS}


def poisoned(sim: Sim, side: str, samples: int, raises: int) -> Values:
    """For one sample the provider fails for ever, or the solver raises."""
    sim.control.forget()
    sim.control.faults([] if raises else [{"mode": "500", "prompt": "poison"}])
    with tempfile.TemporaryDirectory() as folder:
        sizes: dict[str, Any] = {"folder": folder, "samples": samples, "turns": TURNS, "poison": 1, "raises": raises}
        found = asked(side, "run", patience=POISONED_S, **sizes)
    struck = 0 if raises else sim.control.struck()[0]
    sim.control.clear()
    return {**({"over": 0} if "missing" in found else found), "struck": struck}  # else nobody says how many are right


@contextlib.contextmanager
def _started(side: str, folder: str, samples: int) -> Iterator[subprocess.Popen[bytes]]:
    """A side at a run of some turns; it and all below it are killed when this ends."""
    script = Path(__file__).parent / "peers" / f"by_{SIDES[side]}.py"
    given = [f"folder={folder}", f"samples={samples}", f"turns={TURNS}"]
    command = [sys.executable, str(script), "run", *given]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(60)


def _until(sim: Sim, calls: int) -> None:
    """Until so many calls have come in; asked seldom, for the simulator has the same cores."""
    while sim.control.requests() < calls:
        time.sleep(0.2)


def both(measured: Callable[[str], Values]) -> Found:
    """What becomes of each side's run, one after the other."""
    return in_turn(1, **{side: functools.partial(measured, side) for side in SIDES})


@contextlib.contextmanager
def simulator() -> Iterator[Sim]:
    """One, for as long as this is open."""
    sim = Sim()
    try:
        yield sim
    finally:
        sim.process.kill()
        sim.process.wait()


def say_costs(turns: int, report: Report, options: Options) -> None:
    """P22: processor time of a sample."""
    samples = options.size(COSTS[turns])
    sides: dict[str, Side] = {
        side: functools.partial(asked, side, "costs", samples=samples, turns=turns) for side in SIDES
    }
    sides["Inspect, no live log"] = once(functools.partial(sides["Inspect"], realtime=0))
    with simulator():
        found = in_turn(options.rounds, sure=["cpu_ms", "Inspect"], **sides)
    name = f"P22 {samples:,} samples of {turns} {'turns' if turns > 1 else 'turn'}"
    names = ["Inspect", "Inspect, no live log"]
    report.say(f"{name}: CPU a sample", found, "cpu_ms", "ms", peers=names, target="≤ 1/3 of Inspect",
               ratio_most={"Inspect": 1 / 3})  # fmt: skip
    report.say(f"{name}: wall", found, "wall_s", "s", peers=names)
    report.say(f"{name}: right", found, "right", "samples", peers=names, target="all", least=samples, by=COUNT)


def say_bar(report: Report, options: Options) -> None:
    """P22: the bar."""
    samples = options.size(MOST)
    with simulator():
        found = in_turn(options.rounds, agentlab=functools.partial(asked, "agentlab", "bar", samples=samples, turns=1))
    report.say(f"P22 the bar of {samples:,} samples", found, "percent", "% of a core", target="≤ 1 %", most=1.0,
               look_ms=round(found["agentlab"].get("look_ms", 0.0), 2))  # fmt: skip


def say_tree(report: Report, options: Options) -> None:
    """P22: an open tree."""
    samples = options.size(MOST)
    with simulator():
        found = in_turn(options.rounds, agentlab=functools.partial(asked, "agentlab", "tree", samples=samples, turns=1))
    names = ("ms", "messages", "first_bytes", "last_bytes", "most_bytes", "samples_s")
    about = {name: round(found["agentlab"].get(name, 0.0), 1) for name in names}
    report.say(f"P22 an open tree during {samples:,} samples", found, "percent", "% of a core", target="≤ 3 %, as P13",
               most=3.0, **about)  # fmt: skip


def say_kept(full: int, report: Report, options: Options) -> None:
    """P22: memory and the same call once more."""
    samples = options.size(full)
    with simulator() as sim:
        ours, theirs = (functools.partial(kept, sim, side, samples) for side in SIDES)
        theirs = once(theirs) if full == MOST else theirs  # three minutes
        found = in_turn(options.rounds, sure=["cpu_ms", "Inspect"], agentlab=ours, Inspect=theirs)
    about: dict[str, Any] = {"peers": ["Inspect"], "size": samples, "judged": full == MOST}
    report.say("P22 a kept run of one turn: CPU a sample; samples", found, "cpu_ms", "ms",
               target="≤ 1/3 of Inspect", ratio_most={"Inspect": 1 / 3}, **about)  # fmt: skip
    report.say("P22 a kept run: memory of all processes; samples", found, "peak_mb", "MB",
               target="≤ 1/4 of Inspect", ratio_most={"Inspect": 1 / 4}, **about)  # fmt: skip
    report.say("P22 a finished run is called again; samples", found, "call_s", "s",
               target="≤ 2 s", most=2.0, **about)  # fmt: skip
    report.say("P22 a finished run is called again: CPU; samples", found, "call_cpu_s", "s", **about)


def say_outage(report: Report, options: Options) -> None:
    """P22: the provider is down for a while."""
    samples, seconds = options.size(SAMPLES), 3.0 if options.quick else OUTAGE_S
    with simulator() as sim:
        found = both(functools.partial(outage, sim, samples=samples, seconds=seconds))
    down, names = f"P22 {samples} samples of {TURNS} turns, the provider down for {seconds:g} s", ["Inspect"]
    report.say(f"{down}: right", found, "right", "samples", peers=names, target="all", least=samples, by=COUNT)
    report.say(f"{down}: calls that it saw meanwhile", found, "refused", "calls", peers=names)
    report.say(f"{down}: from its recovery to the end", found, "last_s", "s", peers=names)


def say_killed(report: Report, options: Options) -> None:
    """P22: a run is killed half way."""
    samples, names = options.size(SAMPLES), ["Inspect"]
    with simulator() as sim:
        found = both(functools.partial(killed, sim, samples=samples))
    name = f"P22 {samples} samples of {TURNS} turns, killed half way, called again"
    report.say(f"{name}: right", found, "right", "samples", peers=names, target="all", least=samples, by=COUNT)
    report.say(f"{name}: calls paid twice", found, "twice", "calls", peers=names, target="≤ 64, those in the air",
               most=64, by=COUNT)  # fmt: skip


def say_poisoned(raises: int, report: Report, options: Options) -> None:
    """P22: one sample for which the provider fails for ever, or the solver raises."""
    samples, names = options.size(SAMPLES), ["Inspect"]
    with simulator() as sim:
        found = both(functools.partial(poisoned, sim, samples=samples, raises=raises))
    what = "the solver raises at one" if raises else "the provider fails for one for ever"
    name = f"P22 {samples} samples of {TURNS} turns, {what}"
    report.say(f"{name}: the run is over within {POISONED_S:g} s", found, "over", "(1: it is)", peers=names,
               target="1", least=1, by=COUNT)  # fmt: skip
    report.say(f"{name}: right", found, "right", "samples", peers=names, target="all others",
               least=samples - 1, by=COUNT)  # fmt: skip
    if not raises:
        report.say(f"{name}: calls for that one", found, "struck", "calls", peers=names)


PARTS = {
    "outage": say_outage,
    "killed": say_killed,
    "poisoned": functools.partial(say_poisoned, 0),
    "raises": functools.partial(say_poisoned, 1),
    "turn": functools.partial(say_costs, 1),
    "turns": functools.partial(say_costs, 5),
    "bar": say_bar,
    "tree": say_tree,
    "kept-100": functools.partial(say_kept, MOST // 100),
    "kept-1,000": functools.partial(say_kept, MOST // 10),
    "kept": functools.partial(say_kept, MOST),
}

if __name__ == "__main__":
    measure(__doc__, PARTS)
