"""Three in the morning: a provider is down for three minutes, with 400 of 10,000 agents in the middle of a task.

    python tests/benchmarks/drill.py [--quick]

``agentlab``: with the breaker, as it is without any settings. ``own retries``: no breaker; each agent tries a model
call eight times, as the fault table has it for faults of one call, and then crashes, as of anything. ``restarts``:
plain OTP, each fault a crash. ``LangGraph``: its ``RetryPolicy()`` on the node that asks the model; ``LangGraph, 8
tries``: its policy with our tries and times, of whatever is raised (``peers/by_langgraph_drill.py``). A task takes six
tool calls and seven of the model. Everything about calls is counted in the simulator's log.
"""

from __future__ import annotations

import functools

from kit import peers
from kit.report import COUNT, Found, Options, Report, Values, in_turn

from agentlab.drill import How, drill

AGENTS, BUSY, SECONDS = 10_000, 400, 180
LONGEST = 1_200.0  # seconds for a peer's night
OTHERS = ["own retries", "restarts", "LangGraph", "LangGraph, 8 tries"]


def night(agents: int, busy: int, seconds: int, how: How) -> Values:
    """What came of one of ours."""
    report = drill(agents, busy, seconds, how=how)
    return {
        "right": report.right, "lost": busy - report.right, "repeated": report.repeated, "wasted": report.wasted,
        "calls": report.calls, "last_s": report.last_s, "found_s": report.found_s, "restarts": report.restarts,
        "before_p99": report.latency("before", 0.99), "p99": report.latency("during", 0.99),
    }  # fmt: skip


def nights(agents: int, busy: int, seconds: int) -> Found:
    """What came of each, one after the other."""
    ours = functools.partial(night, agents, busy, seconds)
    sizes = {"agents": agents, "busy": busy, "seconds": seconds}
    theirs = functools.partial(peers.python, "langgraph_drill", "night", patience=LONGEST, **sizes)
    sides = {
        "agentlab": functools.partial(ours, "breaker"),
        "own retries": functools.partial(ours, "retries"),
        "restarts": functools.partial(ours, "restarts"),
        "LangGraph": functools.partial(theirs, retries="default"),
        "LangGraph, 8 tries": functools.partial(theirs, retries="eight"),
    }
    return in_turn(1, **sides)


def tell(report: Report, found: Found, busy: int, seconds: int) -> None:
    """Print a line for each figure."""
    name = f"drill, {busy} tasks, {seconds} s"
    report.say(
        f"{name}: tasks that ended well", found, "right", "tasks", peers=OTHERS, target="all", least=busy, by=COUNT
    )
    report.say(f"{name}: tasks lost", found, "lost", "tasks", peers=OTHERS, target="0", most=0, by=COUNT)
    report.say(
        f"{name}: finished model calls made again",
        found,
        "repeated",
        "calls",
        peers=OTHERS,
        target="0",
        most=0,
        by=COUNT,
    )
    report.say(f"{name}: calls that the provider saw while it was down", found, "calls", "calls", peers=OTHERS)
    report.say(f"{name}: tokens that went for nothing", found, "wasted", "tokens", peers=OTHERS)
    report.say(f"{name}: from its recovery until the last task is over", found, "last_s", "s", peers=OTHERS)
    report.say(f"{name}: from its recovery until the breaker closed", found, "found_s", "s")
    report.say(f"{name}: the others' p99 before", found, "before_p99", "ms", peers=OTHERS)
    report.say(f"{name}: the others' p99 while it was down", found, "p99", "ms", peers=OTHERS)


def main() -> None:
    """Print the figures."""
    options = Options(__doc__, rounds=1)
    busy, seconds = options.size(BUSY), options.size(SECONDS)
    tell(Report(options), nights(options.size(AGENTS), busy, seconds), busy, seconds)


if __name__ == "__main__":
    main()
