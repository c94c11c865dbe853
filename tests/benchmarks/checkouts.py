"""This checkout beside another one of agentlab, in turn: calls (P4, P5), crashes (P7, P8) and waits (P11).

    git worktree add /tmp/before c4b9086
    python tests/benchmarks/checkouts.py /tmp/before [--quick] [--rounds 7]

Both run with the packages of this environment. Whether a change of the code's shape has made it slower is seen in the
ratio of the processor time of all processes; a figure is worse where that is above 1.05.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from pathlib import Path

from kit import peers
from kit.report import Options, Report, Values, in_turn

HERE = Path(__file__).parents[2]


def measured(checkout: Path, what: str, **sizes: int | str) -> Values:
    """What ``by_checkout.py`` finds with the packages of a checkout, in its nodes too."""
    kept = dict(os.environ)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(checkout), str(checkout / "widgets")])
    try:
        with contextlib.chdir(checkout):  # where ``python -m agentlab.node`` looks first
            values = peers.python("checkout", what, patience=300, **sizes)
    finally:
        os.environ.clear()
        os.environ.update(kept)
    if values.pop("from", str(checkout)) != str(checkout):
        return {"missing": f"not the agentlab of {checkout} was imported"}
    return values


def main() -> None:
    """Print the figures."""
    before = Path(sys.argv.pop(1)).resolve() if sys.argv[1:] and not sys.argv[1].startswith("-") else None
    options = Options(__doc__, rounds=7)
    if before is None or not (before / "agentlab").is_dir():
        raise SystemExit("name the folder of the other checkout: git worktree add /tmp/before COMMIT")
    report = Report(options)
    size = options.size
    figures: dict[str, tuple[str, dict[str, int | str]]] = {
        "P4 a call within a node": ("calls", {"pairs": 10, "times": size(1000)}),
        "P5 a call from a cell": ("cell", {"times": size(3000)}),
        "P7 a crash and the next answer": ("crashes", {"times": size(1500)}),
        "P8 one of 400 of 10,000 that crash at once": (
            "storm", {"agents": size(10_000), "victims": size(400), "times": 5},
        ),
        "P11 a step that waits, memory": ("waits", {"agents": size(3000), "times": 10, "ms": 200, "where": "memory"}),
        "P11 a step that waits, durable": ("waits", {"agents": size(3000), "times": 10, "ms": 200, "where": "durable"}),
    }  # fmt: skip
    for figure, (what, sizes) in figures.items():
        found = in_turn(
            options.rounds,
            agentlab=functools.partial(measured, HERE, what, **sizes),
            before=functools.partial(measured, before, what, **sizes),
        )
        report.say(f"{figure}, CPU of all processes", found, "cpu_us", "us", peers=["before"],
                   target="≤ 1.05 × before", ratio_most={"before": 1.05})  # fmt: skip
        report.say(f"{figure}, wall", found, "ms", "ms", peers=["before"])


if __name__ == "__main__":
    main()
