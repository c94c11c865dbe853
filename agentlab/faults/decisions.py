"""What to do about one failed attempt: pure, so that every case of it can be tried in a test."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from agentlab.faults.actions import ACTIONS, Action, Does, Policy
from agentlab.faults.kinds import Fault

OUTAGE = "an outage: nobody is answered there"
"""The rule by which an attempt counts for nothing; attempts in the store are known by it."""


class Decision(NamedTuple):
    """What is done about a failed attempt.

    Attributes:
        does: The action.
        delay: Seconds to wait before the next attempt; 0 unless there is one.
        why: The rule that it met, in words.
    """

    does: Does
    delay: float
    why: str

    @property
    def tries_again(self) -> bool:
        """Whether there is another attempt."""
        return self.does in ("retry_step", "wait")


def decide(
    fault: Fault, policy: Policy, *, attempts: int, same: int, waited: float, jitter: float, may_repeat: bool = True,
    outage: bool = False,
) -> Decision:  # fmt: skip
    """Decide what is done about a failed attempt at a step.

    Args:
        fault: What it failed of.
        policy: What is done about which kind.
        attempts: Attempts of this delivery, this one included.
        same: How often a fault of this kind was met on this very request, now included, over all deliveries.
        waited: Seconds that this delivery has waited between attempts.
        jitter: Chance, from 0 to 1.
        may_repeat: Whether another attempt does no harm; a ``once`` step's may.
        outage: Whether what it depends on is down: it waits as long as that takes, and no limit is touched.
    """
    action = policy.get(fault.kind) or ACTIONS["crash"]
    if action.does not in ("retry_step", "wait"):
        return Decision(action.does, 0.0, rule_of(fault, action.does))
    if not may_repeat:
        return Decision("crash", 0.0, "it is once=True, and may have happened")
    if outage:
        return Decision("wait", delay_of(action, attempts, fault.retry_after, jitter), OUTAGE)
    assert action.same is not None and action.attempts is not None and action.total is not None  # noqa: PT018
    if same >= action.same:
        return Decision("park", 0.0, f"{same} times {fault.kind} on the same request, so it is no chance")
    if attempts >= action.attempts:
        return Decision("crash", 0.0, f"{attempts} attempts, and no more are allowed")
    delay = delay_of(action, attempts, fault.retry_after, jitter)
    if waited + delay > action.total:
        return Decision("crash", 0.0, f"it would wait for more than {action.total:g} s in all")
    most = "" if action.attempts == math.inf else f" of {action.attempts:g}"
    return Decision(action.does, delay, f"attempt {attempts + 1}{most} in {delay:.2g} s")


def rule_of(fault: Fault, does: Does) -> str:
    """The row of the table that a fault met, in words."""
    return f"{fault.kind}: {RULES[does]}"


RULES: Mapping[Does, str] = {
    "tell_model": "the model is told",
    "retry_step": "no more attempts",
    "wait": "no more attempts",
    "crash": "its handler decides",
    "park": "no restart mends it",
    "escalate": "its supervisor is to hear of it at once",
}


def delay_of(action: Action, attempts: int, retry_after: float | None, jitter: float) -> float:
    """Seconds before the next attempt.

    The back-off doubles; half of it is chance, so that those who failed together do not come back together. What the
    other side asks for is the least, up to ``max_wait``, and a tenth more by chance.

    Source: "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015), its equal jitter.
    """
    assert action.first is not None and action.maximum is not None and action.max_wait is not None  # noqa: PT018
    backoff = min(action.first * 2.0 ** min(attempts - 1, 60), action.maximum) * (0.5 + 0.5 * jitter)
    asked = min(retry_after or 0.0, action.max_wait) * (1.0 + 0.1 * jitter)
    return max(backoff, asked)
