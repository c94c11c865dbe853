"""Attempts at a step: how each ended is told to the kernel, and whether there is another is decided by the fault table.

``steps.carry_out`` makes an attempt; where it fails, ``settle_failure`` returns when the next may begin, or raises.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import ChainMap
from collections.abc import Mapping
from typing import Any

from agentlab import faults
from agentlab.errors import StepFailed
from agentlab.exits import Crash
from agentlab.faults import Decision, Fault, classify, decide, rule_of
from agentlab.ground.counts import counts_of
from agentlab.ground.redaction import redact
from agentlab.node.admission import Permit, admit
from agentlab.node.replay import Claim
from agentlab.node.resident import Died, Ending, Resident
from agentlab.wire.exceptions import describe
from agentlab.wire.frames import Blame, Mark, Tokens

LONGEST = 2000
"""Characters of a step's input and output that the steps' frame shows."""

ENDS: Mapping[faults.Does, Blame] = {"park": "parked", "escalate": "escalated"}
"""Actions that end a life without asking its handler."""

READ = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
"""What a model took in, as the Messages API counts it; what came from a cache is last."""

LEFT = "left"
"""The outcome of a step whose next attempt was never made: it is over, and there is nothing to show."""


class Tries:
    """What one delivery has tried of one step so far."""

    __slots__ = ("began", "count", "dependency", "excused", "once", "permit", "waited")

    def __init__(self, *, once: bool, dependency: str | None = None) -> None:
        self.once = once
        self.dependency = dependency
        self.permit: Permit | None = None
        self.count = 0
        self.excused = 0  # attempts that an outage ended: they count for nothing
        self.waited = 0.0
        self.began = time.perf_counter()


async def settle_failure(resident: Resident, found: Claim, tries: Tries, error: BaseException) -> None:
    """Decide about an attempt that failed: return when the next may begin; else end the step, and raise.

    Raises:
        BaseException: The error itself, for the handler.
    """
    took = time.perf_counter() - tries.began
    tries.count += 1
    fault = classify(error)
    outage = await _is_outage(resident, found, tries, fault)
    tries.excused += outage
    decision = _decide(resident, found.mark, tries, fault, error, outage=outage)
    gave, tokens = cut(": ".join(describe(error)[:2])), billed(found.mark, error)
    if not decision.tries_again:
        ran = getattr(error, "ran", True) is not False
        ended(
            resident, found, outcome="failed", took=took, result=None, gave=gave, fault=fault.kind, tokens=tokens,
            ran=ran,
        )  # fmt: skip
        if decision.does in ENDS:
            end_here(resident, Ending(Crash(*describe(error), fault.kind), ENDS[decision.does], decision.why))
        if isinstance(error, StepFailed):
            error.does = decision.does
        raise error
    resident.host.noted += 1
    resident.host.say.tried(
        placement=resident.life, key=found.key, number=found.number, took=took, gave=gave, fault=fault.kind,
        does=decision.does, delay=decision.delay, why=decision.why, tokens=tokens, outage=outage,
    )  # fmt: skip
    await wait_turn(resident, found, tries, decision.delay, counts=not outage)


async def _is_outage(resident: Resident, found: Claim, tries: Tries, fault: Fault) -> bool:
    """Say how an attempt went, and hear whether what it depends on is down."""
    if tries.permit is None:
        return False
    try:
        return await tries.permit.fail(fault)
    except BaseException:  # nobody waits for the step any more
        ended(resident, found, outcome=LEFT, took=0.0, result=None, gave="")
        raise


def end_here(resident: Resident, ending: Ending) -> None:
    """End a life where its step stands: no handler catches what it could not mend.

    Raises:
        Died: Always.
    """
    if asyncio.current_task() is resident.task:
        resident.ending = ending
    else:  # of several steps at once: the handler stands elsewhere, and may never look at this one
        resident.host.end_life(resident, ending)
    raise Died(ending) from None


async def ending_of(resident: Resident, error: BaseException) -> Ending:
    """How a life ends of what its code raised: as a crash, unless the table says that no restart mends it.

    It waits for nothing. But the exception's methods are the agent's code, which is sliced only below coroutines.
    """
    if not isinstance(error, Exception):
        return Ending(Crash(*describe(error)), "own")
    fault = classify(error)
    crash = Crash(*describe(error), fault.kind)
    if resident.key is None:
        return Ending(crash, "own")
    does = policy_of(resident).get(fault.kind, faults.ACTIONS["crash"]).does
    return Ending(crash, ENDS[does], rule_of(fault, does)) if does in ENDS else Ending(crash, "own")


def _decide(
    resident: Resident, mark: Mark, tries: Tries, fault: Fault, error: BaseException, *, outage: bool
) -> Decision:  # fmt: skip
    same = 0 if outage else resident.journal.note_fault(mark, fault.kind)
    if not isinstance(error, Exception) or mark[0] == "call":  # a call is answered from its record, or joined
        return Decision("crash", 0.0, "")
    jitter = random.random()  # noqa: S311  # no secret
    may_repeat = not tries.once or (isinstance(error, StepFailed) and not error.ran)
    return decide(
        fault, policy_of(resident), attempts=tries.count if outage else tries.count - tries.excused, same=same,
        waited=tries.waited, jitter=jitter, may_repeat=may_repeat, outage=outage,
    )  # fmt: skip


def policy_of(resident: Resident) -> faults.Policy:
    """What is done about which fault of this agent: by its class, else by its lab, else by the table."""
    own: dict[str, faults.Action] = type(resident.agent).__agent_faults__
    return ChainMap(own, resident.host.on_fault, dict(faults.ACTIONS))


async def wait_turn(
    resident: Resident, found: Claim, tries: Tries, after: float = 0.0, *, counts: bool = True
) -> None:  # fmt: skip
    """Wait until the next attempt may begin, for its dependency too; it begins when all that was said is committed."""
    try:
        tries.permit = await admit(resident, found, tries.dependency, after)
        tries.waited += after if counts else 0.0
        await resident.host.settled()
        if resident.ending is not None:
            raise Died(resident.ending)  # what is left of a life that was ended makes no attempt
    except BaseException:
        if tries.permit is not None:
            tries.permit.give_back("unknown")
        ended(resident, found, outcome=LEFT, took=0.0, result=None, gave="")
        raise
    resident.host.say_later.tries_again(
        placement=resident.life, key=found.key, number=found.number, at=time.time_ns()
    )  # fmt: skip
    tries.began = time.perf_counter()


def ended(
    resident: Resident, found: Claim, *, outcome: str = "ok", took: float, result: bytes | None, gave: str,
    fault: str | None = None, tokens: Tokens = None, ran: bool = True,
) -> None:  # fmt: skip
    """Tell the kernel that a step has ended; ``settled`` waits until that is committed."""
    resident.host.noted += 1
    resident.host.say.stepped(
        placement=resident.life, key=found.key, number=found.number, outcome=outcome, took=took, result=result,
        gave=gave, fault=fault, tokens=tokens, ran=ran,
    )  # fmt: skip


def billed(mark: Mark, value: Any) -> Tokens:
    """Tokens that a model call took in and gave, as its answer says; or at least, as its failure does."""
    if mark[0] != "model":
        return None
    usage = value.get("usage") if isinstance(value, dict) else getattr(value, "usage_lower_bound", None)
    if not isinstance(usage, dict) or not usage:
        return None
    counts = counts_of(usage)
    read = [counts.get(name, 0) for name in READ]
    cost = value.get("cost_usd") if isinstance(value, dict) else getattr(value, "cost_usd", None)
    known = isinstance(cost, float) and 0 <= cost < math.inf
    return sum(read), counts.get("output_tokens", 0), read[-1], cost if known else None


def cut(text: str) -> str:
    """A text without secrets, not too long."""
    text = redact(text)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
