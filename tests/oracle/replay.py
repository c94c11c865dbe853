"""Hold the supervision machine against what real Erlang/OTP supervisors did.

    python -m tests.oracle.replay FILE [--live]

``FILE`` (plain or ``.gz``) holds one scenario per line, with the trace of the real thing. Every record's events,
result, tree and reports are compared; scenarios that the recorder calls a quirk (``h-quirk...``) are left out.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.oracle.world import SimulatedWorld, World

Json = Any  # as json reads it


def scenarios(file: Path) -> Iterator[dict[str, Json]]:
    """Those that are to be replayed."""
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                scenario = json.loads(line)
                if not scenario["id"].startswith("h-quirk"):
                    yield scenario


def replay(scenario: dict[str, Json], world_of: Callable[[dict[str, Json]], World] = SimulatedWorld) -> list[str]:
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
        differences = compare(recorded, result, world)
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


def attempt(scenario: dict[str, Json]) -> list[str]:
    """Replay; an exception in the replay is a difference too."""
    try:
        return replay(scenario)
    except Exception as error:  # one broken scenario must not hide the others
        return [f"{type(error).__name__}: {error}"]


def main(arguments: list[str]) -> int:
    """Replay a file; print each failure, then the count. The exit status: 1 if anything differs."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.replay", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--live", action="store_true", help="on a real Lab instead of the simulated world")
    options = parser.parse_args(arguments)
    if options.live:
        print("--live: there is no live world yet; leave it out to replay in the simulated one", file=sys.stderr)
        return 2
    passed = failed = 0
    for scenario in scenarios(options.file):
        differences = attempt(scenario)
        passed, failed = passed + (not differences), failed + bool(differences)
        if differences:
            print(f"{scenario['id']}: {' '.join(differences)}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
