"""``python -m agentlab.drill --agents 10000 --busy 400 --minutes 3``: the night passes, and a table tells of it.

Its exit code is 1 if a rule of the drill was broken.
"""

from __future__ import annotations

import argparse
import sys

from agentlab.drill.night import drill


def main() -> int:
    """Run it; 0 if all is well."""
    parser = argparse.ArgumentParser(prog="python -m agentlab.drill", description="A provider goes down at 3 a.m.")
    parser.add_argument("--agents", type=int, default=10_000, help="agents in the lab")
    parser.add_argument("--busy", type=int, default=400, help="those of them in the middle of a task")
    parser.add_argument("--minutes", type=float, default=3.0, help="how long the provider is down")
    parser.add_argument("--speed", type=float, default=1.0, help="a faster clock: all waits are so much shorter")
    parser.add_argument(
        "--how", choices=("breaker", "retries", "restarts"), default="breaker",
        help="what meets the faults: the breaker; each agent's own retries; plain restarts",
    )  # fmt: skip
    given = parser.parse_args()
    report = drill(given.agents, given.busy, given.minutes * 60.0, speed=given.speed, how=given.how)
    print(report)  # noqa: T201  # what it is for
    broken = [*report.broken, *(["the others were answered later than before"] if report.slowed else [])]
    for rule in broken:
        print(f"BROKEN: {rule}")  # noqa: T201
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
