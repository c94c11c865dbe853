"""Options, rounds in which every side has its turn, and one JSON line per figure."""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import json
import math
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any

import psutil
from scipy.special import stdtrit

from kit import machine

Values = dict[str, Any]
"""What one side measured, by name; ``missing`` instead says why there is nothing."""

Side = Callable[[], Values]

SURE = 10.0
"""Percent: a figure is judged if half of its interval is less of it, and the work of others was less of the machine."""

COUNT = "a count"

MOST = 12
"""Rounds after which nothing becomes surer."""

YOUNG = 90.0
"""Seconds after its start in which a script begins further rounds: it ends within two minutes."""

LOOK_SECONDS = 0.3
"""So long the load by others is looked at."""

BEGAN = time.monotonic()


PACKAGES = ("jupyter-agentlab", "langgraph", "langgraph-checkpoint-sqlite", "pykka", "ray", "inspect-ai")


class Options:
    """``--quick``: sizes by ten smaller and one round, to try a script in seconds.

    Args:
        doc: What the script is.
        rounds: Of every figure, if no other number is given.
        parts: What it measures, part by part, each within two minutes: ``turns.py 50 500``.
    """

    def __init__(self, doc: str | None, rounds: int = 3, parts: Sequence[str] = ()) -> None:
        parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
        if parts:
            parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(parts)}; all of them if none")
        parser.add_argument("--quick", action="store_true", help="sizes by ten smaller, one round")
        parser.add_argument("--rounds", type=int, help=f"rounds of every figure ({rounds})")
        given = parser.parse_args()
        self.quick: bool = given.quick
        self.rounds: int = given.rounds or (1 if given.quick else rounds)
        self.parts: list[str] = (given.parts if parts else []) or list(parts)
        if unknown := set(self.parts) - set(parts):
            parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(parts)}")

    def size(self, full: int) -> int:
        """A size, or a tenth of it."""
        return max(1, full // 10) if self.quick else full

    def sizes(self, most: int) -> list[int]:
        """Three sizes, a factor of ten apart."""
        return sorted({max(1, self.size(most) // part) for part in (100, 10, 1)})


def measure(doc: str | None, parts: Mapping[str, Callable[[Report, Options], None]], rounds: int = 3) -> None:
    """What a script does: print the figures of the parts that are asked for, or of all."""
    options = Options(doc, rounds, tuple(parts))
    report = Report(options)
    for part in options.parts:
        parts[part](report, options)


class Found(dict[str, Values]):
    """Per side the median of each value, or why it is missing.

    Attributes:
        rounds: Per side what each round measured.
        foreign: How busy the machine was with other work, in percent of all its processors.
    """

    def __init__(self, rounds: Mapping[str, list[Values]], missing: Mapping[str, Values], foreign: float) -> None:
        super().__init__({name: missing.get(name) or _medians(many) for name, many in rounds.items()})
        self.rounds = rounds
        self.foreign = foreign

    def interval(self, value: str, peer: str | None = None) -> float | None:
        """Half of the 95 % interval of a value of ours, or of its ratio to a peer's, in percent of it.

        By Student's t over the rounds, of logarithms, since a busy machine makes figures larger by a factor. None if
        there were fewer than two rounds.
        """
        ours = [values.get(value) for values in self.rounds["agentlab"]]
        theirs = [values.get(value) for values in self.rounds.get(peer, [])] if peer else [1.0]
        if len(set(theirs)) == 1:  # measured once
            theirs *= len(ours)
        logs = [math.log(one / other) for one, other in zip(ours, theirs, strict=False) if one and other]
        if len(logs) < 2 or len(logs) < len(ours):
            return None
        return 100 * math.expm1(float(stdtrit(len(logs) - 1, 0.975) * statistics.stdev(logs) / math.sqrt(len(logs))))


def in_turn(rounds: int, *, sure: Sequence[str] = (), **sides: Side) -> Found:
    """Let every side measure once per round (A B A B), and again until the figure is sure.

    A side that fails says so in its place; the others go on. Between two rounds the load by others is looked at.

    Args:
        rounds: At least so many.
        sure: A value of ours and, if one stands beside it, a peer. Rounds go on until the interval of the value, or of
            the ratio, is under ``SURE``, for ``MOST`` rounds at most and while the script is younger than ``YOUNG``.
        sides: Ours is ``agentlab``.
    """
    found: dict[str, list[Values]] = {name: [] for name in sides}
    missing: dict[str, Values] = {}
    foreign = [_foreign()]
    while True:
        for name, measure in sides.items():
            if name in missing:
                continue
            values = _measured(name, measure)
            if "missing" in values:
                missing[name] = values
            else:
                found[name].append(values)
        foreign.append(_foreign())
        so_far = Found(found, missing, statistics.mean(foreign))
        done = len(foreign) - 1
        late = done >= MOST or time.monotonic() - BEGAN > YOUNG or "agentlab" in missing
        if done >= rounds and (late or rounds == 1 or not sure or _is_sure(so_far, sure)):
            return so_far


def _is_sure(found: Found, sure: Sequence[str]) -> bool:
    value, *peers = sure
    half = found.interval(value, next((peer for peer in peers if found.rounds.get(peer)), None))
    return half is not None and half < SURE


def _foreign() -> float:
    """How busy the machine is with what is not ours, in percent of all its processors."""
    everybody, ours, began = _busy(), machine.cpu(machine.family()), time.monotonic()
    time.sleep(LOOK_SECONDS)
    others = _busy() - everybody - (machine.cpu(machine.family()) - ours)
    return max(0.0, 100 * others / (time.monotonic() - began) / psutil.cpu_count())


def _busy() -> float:
    """Seconds of processor time that anybody has used."""
    used = psutil.cpu_times()
    return sum(used) - used.idle - getattr(used, "iowait", 0.0) - getattr(used, "guest", 0.0)


def once(measure: Side) -> Side:
    """The same side, measured in its first turn only: for peers that take ten seconds to begin."""
    return functools.cache(measure)


def _measured(name: str, measure: Side) -> Values:
    try:
        return measure()
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return {"missing": f"{name} failed: {type(error).__name__}: {str(error)[:200]}"}


def _medians(many: Sequence[Values]) -> Values:
    return {name: statistics.median(values[name] for values in many if name in values) for name in many[0]}


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which that share lies; ``values`` need not be sorted."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * share))]


class Report:
    """Prints figures.

    Args:
        options: Those of the script; a quick run is marked in every line.
    """

    def __init__(self, options: Options | None = None) -> None:
        self._quick = {"quick": True} if options is not None and options.quick else {}
        self._versions = {"python": platform.python_version()}
        for name in PACKAGES:
            try:
                self._versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue

    def say(
        self, figure: str, found: Found, value: str, unit: str, *, peers: Sequence[str] = (),
        target: str = "", most: float | None = None, least: float | None = None,
        ratio_most: Mapping[str, float] | None = None, ratio_least: Mapping[str, float] | None = None,
        judged: bool = True, by: str | None = None, **about: Any,
    ) -> None:  # fmt: skip  # a line of the table, by its columns
        """Print one line: our value beside the peers'.

        Args:
            figure: Begins with its row: ``P4 call and reply ...``.
            found: What ``in_turn`` returned.
            value: The name of the value in it.
            unit: Of ours and theirs.
            peers: Whose values stand beside ours; the ratio is to the first.
            target: What is to be reached, in words; the limits say it in numbers.
            most: The largest value that meets the target, ``least`` the smallest.
            ratio_most: By peer, the largest that ours divided by theirs may be; ``ratio_least`` the smallest.
            judged: False where the target speaks of another size; then none of this is looked at. What is not sure
                (``SURE``), or was measured once, is not judged either: ``met`` is null.
            by: The value by whose interval this one is judged: a difference that may be nothing has none of its own. Or
                ``COUNT``: no load of the machine changes this one, and one round is enough.
            about: ``size`` for what grows by factors of ten; notes.
        """
        ours = found["agentlab"].get(value)
        target = target if judged else ""
        line: dict[str, Any] = {"figure": figure, "target": target, "agentlab": _short(ours), "unit": unit}
        if ours is None:
            line["why"] = found["agentlab"].get("missing", "not measured")
        theirs = {peer: found[peer].get(value) for peer in peers}
        highest = [most] + [share * known for peer, share in (ratio_most or {}).items() if (known := theirs.get(peer))]
        lowest = [least] + [share * known for peer, share in (ratio_least or {}).items() if (known := theirs.get(peer))]
        beside = next((peer for peer, known in theirs.items() if known), None)
        half = found.interval(by) if by and by != COUNT else found.interval(value, beside)
        verdict = _met(ours, highest, lowest) if judged and target else {}
        is_sure = by == COUNT or (half is not None and half < SURE and found.foreign < SURE)
        if verdict and ours is not None and not is_sure:
            verdict = {"met": None}
        noise = {"interval": _short(half), "foreign": round(found.foreign, 1)}
        self._print(line | _beside(ours, theirs, found) | verdict | noise | about)

    def _print(self, line: dict[str, Any]) -> None:
        print(json.dumps(line | self._quick | {"versions": self._versions}, ensure_ascii=False), flush=True)


def _beside(ours: float | None, theirs: Mapping[str, float | None], found: dict[str, Values]) -> dict[str, Any]:
    """The peers' part of a line."""
    if not theirs:
        return {}
    (name, first), *others = theirs.items()
    part: dict[str, Any] = {"peer": _short(first), "peer_name": name}
    if ours is not None and first:
        part["ratio"] = _short(ours / first)
    if others:
        part["others"] = {other: _short(value) for other, value in others if value is not None}
    gone = {peer: found[peer].get("missing", "not measured") for peer, value in theirs.items() if value is None}
    return part | ({"missing": gone} if gone else {})


def _met(ours: float | None, highest: Sequence[float | None], lowest: Sequence[float | None]) -> dict[str, bool]:
    """Whether every limit holds that can be judged; nothing if none can. Where there is no value of ours none holds."""
    if ours is None:
        return {"met": False}
    above = [limit for limit in highest if limit is not None]
    below = [limit for limit in lowest if limit is not None]
    holds = ours <= min(above, default=inf) and ours >= max(below, default=-inf)
    return {"met": holds} if above or below else {}


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
