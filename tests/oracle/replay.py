"""Hold the supervision machine against what real Erlang/OTP supervisors did.

    python -m tests.oracle.replay FILE [--live] [--only PREFIX] [--first N]

``FILE`` (plain or ``.gz``) holds one scenario per line, with the trace of the real thing. Every record's events,
result, tree and reports are compared; scenarios that the recorder calls a quirk (``h-quirk...``) are left out.
With ``--live`` the scenarios happen on a real lab; ``tests/oracle/live.py`` says what is compared there.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from agentlab import Lab
from tests.oracle import live
from tests.oracle.said import patiently, unsaid
from tests.oracle.world import SimulatedWorld, World

Json = Any  # as json reads it


def scenarios(file: Path, first: int | None = None) -> Iterator[dict[str, Json]]:
    """Those that are to be replayed, of the first lines of the file or of all."""
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8") as lines:
        for line in itertools.islice(lines, first):
            if line.strip():
                scenario = json.loads(line)
                if not scenario["id"].startswith("h-quirk"):
                    yield scenario


def replay(
    scenario: dict[str, Json],
    world_of: Callable[[dict[str, Json]], World] = SimulatedWorld,
    compared: Callable[..., list[str]] | None = None,
) -> list[str]:
    """What differs from the recording, first difference first; empty if nothing does."""
    world = world_of(scenario["root"])
    steps: list[dict[str, Json] | None] = [None, *scenario["steps"]]
    for number, recorded in enumerate(scenario["trace"]):
        if number == 0:
            result = world.start()
        elif number < len(steps):
            step = steps[number]
            assert step is not None
            result = world.step(step)
        else:
            result = world.shutdown()
        differences = (compared or compare)(recorded, result, world)
        if differences:
            doing = steps[number] if number < len(steps) else "shutdown"
            return [f"record {number}: {json.dumps(doing)}", *differences]
    return []


def compare(recorded: dict[str, Json], result: Json, world: World) -> list[str]:
    """What differs between one record and what just happened."""
    events, reports = world.take()
    unordered = recorded.get("unordered", False)
    pairs = {
        "ev": (recorded["ev"], ordered(events) if unordered else events),
        "rep": (recorded.get("rep", []), ordered(reports) if unordered else reports),
        "res": (recorded.get("res"), result),
        "tree": (recorded["tree"], world.tree()),
    }
    return [
        f"{key}\n  recorded {json.dumps(want)}\n  replayed {json.dumps(got)}"
        for key, (want, got) in pairs.items()
        if want != got
    ]


def ordered(rows: list[Json]) -> list[Json]:
    """Rows whose order means nothing, in the order of their compact JSON text."""
    return sorted(rows, key=lambda row: json.dumps(row, separators=(",", ":"), sort_keys=True))


def attempt(scenario: dict[str, Json], replayed: Callable[[dict[str, Json]], list[str]] = replay) -> list[str]:
    """Replay; an exception in the replay is a difference too."""
    try:
        return replayed(scenario)
    except Exception as error:  # one broken scenario must not hide the others
        return [f"{type(error).__name__}: {error}"]


class LiveReplay:
    """Replays on a real lab, one for all scenarios; a scenario that fails gets its successor a new one.

    Where a time of a few milliseconds is part of a scenario, one that fails is tried once more with longer ones.
    """

    def __init__(self) -> None:
        self._lab: Lab | None = None

    def __call__(self, scenario: dict[str, Json]) -> list[str]:
        """What differs from the recording."""
        differences = self._differences(scenario)
        patient = patiently(scenario) if differences else None
        return differences if patient is None else self._differences(patient)

    def _differences(self, scenario: dict[str, Json]) -> list[str]:
        lab = self._lab = self._lab or Lab(nodes=2)
        world = live.LiveWorld(lab, scenario["root"])
        differences = ["it did not end"]
        try:
            differences = replay(scenario, lambda root: world, live.compare)
        finally:
            world.close()
            if differences:
                self.close()
        return differences

    def close(self) -> None:
        """End the lab."""
        if self._lab is not None:
            self._lab.close()
            self._lab = None


def main(arguments: list[str]) -> int:
    """Replay a file; print each failure, then the count. The exit status: 1 if anything differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.replay", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--live", action="store_true", help="on a real Lab instead of the simulated world")
    parser.add_argument("--only", default="", metavar="PREFIX", help="scenarios whose id begins so")
    parser.add_argument("--first", type=int, metavar="N", help="scenarios of the file's first N lines")
    options = parser.parse_args(arguments)
    chosen = (
        scenario for scenario in scenarios(options.file, options.first) if scenario["id"].startswith(options.only)
    )
    tally = replay_live(chosen) if options.live else replay_all(chosen)
    skipped = f", {tally['skipped']} skipped" if tally["skipped"] else ""
    print(f"{tally['passed']} passed, {tally['failed']} failed{skipped}")
    return 1 if tally["failed"] else 0


def replay_all(
    chosen: Iterable[dict[str, Json]], replayed: Callable[[dict[str, Json]], list[str]] = replay
) -> Counter[str]:
    """Replay; print each failure. How many passed and failed."""
    tally: Counter[str] = Counter()
    for scenario in chosen:
        differences = attempt(scenario, replayed)
        tally["failed" if differences else "passed"] += 1
        if differences:
            print(f"{scenario['id']}: {' '.join(differences)}")
    return tally


def replay_live(chosen: Iterable[dict[str, Json]]) -> Counter[str]:
    """The same on a real lab; scenarios that cannot be said there are counted too, with the reason."""
    said: list[dict[str, Json]] = []
    skipped = 0
    for scenario in chosen:
        why = unsaid(scenario)
        if why is None:
            said.append(scenario)
        else:
            skipped += 1
            print(f"{scenario['id']} skipped: {why}")
    replayed = LiveReplay()
    try:
        tally = replay_all(said, replayed)
    finally:
        replayed.close()
    return tally + Counter(skipped=skipped)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
