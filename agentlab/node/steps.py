"""Steps: recorded effects inside a message, each begun and ended in the kernel's journal.

A step's end is durable before its handler sees the result. A ``once`` step's start is durable before it
runs. A step that an earlier delivery finished is not run: the journal answers.
"""

from __future__ import annotations

import contextvars
import inspect
import time
from collections.abc import Callable
from typing import Any

from agentlab.errors import ToolFailed
from agentlab.ground.redaction import redact_name
from agentlab.node.attempts import Tries, billed, cut, ended, settle_failure, wait_turn
from agentlab.node.replay import Claim, digest_of, label
from agentlab.node.resident import Died, Resident, current
from agentlab.node.struck import meet_step
from agentlab.tools import Tool
from agentlab.tools import function as functions
from agentlab.wire.packing import pack, unpack

around: contextvars.ContextVar[str] = contextvars.ContextVar("agentlab_around", default="")
"""The label of the step whose effect runs."""


def claim(resident: Resident, kind: str, name: str, args: Any) -> Claim:
    """Find the step's place in the journal, at once, in the order in which the handler asks."""
    assert resident.key is not None
    outer, digest, name = around.get(), digest_of(args), redact_name(name)
    number, mark, kept = resident.journal.next(kind, name, f"{outer}\n{digest}" if outer else digest)
    if kept is None and resident.journal.left and not resident.diverged:
        resident.diverged = True
        resident.host.say.diverged(placement=resident.life, key=resident.key, name=name)
    return Claim(resident.key, number, mark, kept)


async def carry_out(
    resident: Resident, found: Claim, work: Callable[[], Any], *, once: bool, given: str, dependency: str | None = None
) -> Any:  # fmt: skip
    """Run a step, in as many attempts as its faults allow, or let the journal answer for it."""
    if found.is_done:
        return answered(resident, found, given)
    host = resident.host
    if found.mark[0] != "call":  # a call leaves behind everything noted before it, or stays in the node
        await host.settled()
    if resident.ending is not None:
        raise Died(resident.ending)  # what is left of a life that was ended begins no step: its successor may
    if host.chaos:
        work = await meet_step(resident, found, work)
    before, tries = around.get(), Tries(once=once, dependency=dependency)
    if dependency is not None:  # while it waits for that, a ``once`` step is in no doubt
        begin(resident, found, once=False, given=given)
        await wait_turn(resident, found, tries)
    if dependency is None or once:
        begin(resident, found, once=once, given=given)
    if once:
        await host.settled()
    around.set(label(found.mark))
    try:
        while True:
            try:
                value = work()
                if inspect.isawaitable(value):
                    value = await value
                result = pack(value, f"the result of step {found.mark[1]!r}", keep=host.durable)
                break
            except BaseException as error:  # returns when there may be another attempt
                await settle_failure(resident, found, tries, error)
    finally:
        around.set(before)
    took, tokens = time.perf_counter() - tries.began, billed(found.mark, value)
    if tries.permit is not None:
        tries.permit.give_back("ok", tokens=sum((tokens or (0, 0))[:2]))
    if found.mark[0] == "call":  # its answer is on record already: asked again, it is answered from there
        host.say_later.called(
            placement=resident.life, key=found.key, number=found.number, took=took, result=result, gave=brief(value)
        )
        return value
    ended(resident, found, took=took, result=result, gave=brief(value), tokens=tokens)
    await host.settled()  # a handler that has seen a result may act on it in ways that nobody journals
    return value


async def inside_step(name: str, work: Callable[[], Any]) -> Any:
    """Do what a step does where nothing is journaled, in ``on_start``."""
    before = around.get()
    around.set(name)
    try:
        value = work()
        return await value if inspect.isawaitable(value) else value
    finally:
        around.set(before)


def answered(resident: Resident, found: Claim, given: str) -> Any:
    """What the journal says of a finished step."""
    assert found.kept is not None
    assert found.kept.result is not None
    value = unpack(found.kept.result, resident.host.link)
    resident.host.say.replayed(
        placement=resident.life, key=found.key, number=found.number, mark=found.mark, given=given, gave=brief(value)
    )
    return value


def begin(resident: Resident, found: Claim, *, once: bool, given: str) -> None:
    """Tell the kernel that a step begins."""
    resident.host.noted += 1
    say = resident.host.say if once else resident.host.say_later  # nobody waits for the begin of any other
    say.step(
        placement=resident.life, key=found.key, number=found.number, mark=found.mark, once=once, at=time.time_ns(),
        given=given,
    )  # fmt: skip


def at_once(resident: Resident, kind: str, work: Callable[[], Any]) -> Any:
    """A step that neither waits nor acts on the world: the time of day, say."""
    if resident.key is None:
        return work()
    found = claim(resident, kind, kind, ())
    if found.is_done:
        return answered(resident, found, "")
    begin(resident, found, once=False, given="")
    value = work()
    result = pack(value, kind, keep=resident.host.durable)
    ended(resident, found, took=0.0, result=result, gave=brief(value))
    return value


def check_given(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse what cannot be called like that: a ``once`` step that never began is in no doubt.

    Raises:
        TypeError: The function does not take these arguments.
        ToolFailed: The tool does not take this input.
    """
    inspect.signature(function).bind(*args, **kwargs)
    check = getattr(function, "check", None)
    if check is not None:
        check(*args, **kwargs)


def told(resident: Resident, tool: Tool) -> None:
    """An agent's code calls a tool: outside a step nothing keeps its result, so a restart would call it again.

    Raises:
        ToolFailed: The tool must run once.
    """
    path = resident.agent.path
    if tool.once:
        raise ToolFailed(
            f"{tool.name} is once=True, and {path} called it without a step: delivered again, the message would repeat "
            f"it. Write: await self.step({tool.name}, ...)."
        )
    said: set[str] = resident.agent.__dict__.setdefault("_tools_called_bare", set())
    if tool.name not in said:
        said.add(tool.name)
        text = "is not journaled, and runs again when the message is delivered again"
        line = f"{tool.name} was called without a step: it {text}. Write: await self.step({tool.name}, ...)."
        resident.host.say.log(placement=resident.life, line=line)


def _outside(tool: Tool) -> None:
    resident = current.get()
    if resident is None:
        return
    if tool.approve and around.get().rpartition("\n")[2].split(" ")[1:3] != ["tool", redact_name(tool.name)]:
        raise ToolFailed(
            f"{tool.name} needs a person's word (approve=True), and {resident.agent.path} called it without a step of "
            f"its own. Write in the handler: await self.step({tool.name}, ...)."
        )
    if not around.get():
        told(resident, tool)


functions.outside = _outside


def name_of(function: Any) -> str:
    """A function's name, a tool's, or that of what a partial stands for."""
    while hasattr(function, "func"):
        function = function.func
    return str(getattr(function, "__name__", None) or getattr(function, "name", None) or type(function).__name__)


def brief(*values: Any) -> str:
    """Values as one would write them, cut."""
    try:
        return cut(", ".join(repr(value) for value in values))
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # any __repr__ may fail; its effect is none the worse
        return f"(its repr raised {type(error).__name__})"


def given_text(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Arguments as one would write them, cut."""
    named = (f"{name}={brief(value)}" for name, value in kwargs.items())
    return cut(", ".join([*map(brief, args), *named]))
