"""The way in for agents: what they ask of their lab comes from their node, perhaps as a step, and is answered there."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from agentlab.agent.base import Agent
from agentlab.books.agents import Entry
from agentlab.books.messages import Answer
from agentlab.control.again import start_again
from agentlab.control.budgets import reserve
from agentlab.control.children import (
    entry_at,
    find,
    join,
    start,
    whereis,
)  # fmt: skip
from agentlab.control.local import local_model
from agentlab.control.operations import FUNCTIONS
from agentlab.control.servers import coming_endpoint, simulator, token
from agentlab.errors import AgentLabError, CallCycle
from agentlab.kernel.runtime import Runtime
from agentlab.kernel.steps import Act
from agentlab.node.replay import APPROVAL
from agentlab.node.steps import brief
from agentlab.ref.link import links
from agentlab.wire.asks import read_control, read_start
from agentlab.wire.frames import Asker
from agentlab.wire.operations import OPERATIONS
from agentlab.wire.packing import pack


async def serve(runtime: Runtime, caller: Entry | None, op: str, args: Sequence[Any], answer: Answer) -> None:
    """Answer what an agent asked of its lab, perhaps in a step."""
    act = answer if isinstance(answer, Act) else None
    if op == APPROVAL:
        return  # a person answers it
    try:
        value = await _serve(runtime, caller, op, args, None if act is None else act.origin)
        packed = pack(value, f"the result of {op}", keep=None if runtime.desk.ledger.durable else False)
    except Exception as error:  # the agent that asked gets it, whatever it is
        answer(None, error)
    else:
        if act is not None:
            act.gave = brief(value)
        answer(packed)


async def _serve(
    runtime: Runtime, caller: Entry | None, op: str, args: Sequence[Any], asker: Asker | None
) -> Any:  # fmt: skip
    if op == "start":
        what, id, under, options = read_start(args[0], _classes(runtime), links[runtime.lab_id])
        _refuse_circle(runtime, caller, under or "/", op)
        if len(args) > 1:  # exist_ok
            return (await start_again(runtime, what, id, under, options, asker=asker, patient=False))[0]
        return await start(runtime, what, id, under, options, asker=asker)
    if op == "whereis":
        return whereis(runtime, args[0])
    if op == "simulator":
        return await simulator(runtime)
    if op == "local":
        return await local_model(runtime, *args)
    if op == "scratch":
        return runtime.scratch()
    if op == "reserve":
        label, model, *wanted = args
        return reserve(runtime, caller, (label, model), *wanted)
    if op == "token":
        return token(runtime, "" if caller is None else caller.path)
    if op == "endpoint":
        return await coming_endpoint(runtime, args[0])
    if op == "paused":
        return runtime.calls.paused((args[0], args[1]))
    if op == "publish":
        return runtime.mail.publish(args[0], args[1], args[2], caller.path if caller is not None else "")
    if op == "control":
        name, path, data = args
        kind = functools.partial(_class_at, runtime, path)
        given = read_control(name, data, _classes(runtime), links[runtime.lab_id], kind)
        return await _controlled(runtime, caller, name, path, given, asker)
    if caller is not None and caller.life:
        SELF[op](runtime, caller, *args)
    return None


def _classes(runtime: Runtime) -> Callable[[int], type[Agent]]:
    return lambda number: runtime.desk.kinds[number].cls


def _class_at(runtime: Runtime, path: str) -> type[Agent]:
    return entry_at(runtime, path).kind.cls


async def _controlled(  # noqa: PLR0917  # as it was asked
    runtime: Runtime, caller: Entry | None, name: str, path: str, given: tuple[Any, ...], asker: Asker | None
) -> Any:  # fmt: skip
    about = OPERATIONS[name]
    if about.children:
        _refuse_circle(runtime, caller, path, name)
    if caller is not None and about.between_messages and path == caller.path and _busy(runtime, caller):
        raise CallCycle(
            f"{path} asks for {name} of itself, which waits for the end of the message that asks: "
            f"{path} → {path}. Set the fields themselves: self.field = value."
        )
    ends = caller is not None and _ends(caller, name, path, given)
    options = {"asker": None if ends else asker} if about.promised else {}
    value = FUNCTIONS[name](runtime, path, *given, **options)
    if not about.waits:
        return value
    if ends:
        runtime.spawn(_unheard(value))  # it ends when the handler does, which would wait for it
        return None
    return await value


async def _unheard(work: Awaitable[Any]) -> None:
    with contextlib.suppress(AgentLabError):
        await work


def _busy(runtime: Runtime, caller: Entry) -> bool:
    """Whether a handler of the agent runs, or its ``on_start``."""
    return caller.is_starting or caller.in_hand is not None


def _ends(caller: Entry, name: str, path: str, given: tuple[Any, ...]) -> bool:
    """Whether it ends who asks for it: the agent itself, or a supervisor above it."""
    if not OPERATIONS[name].ends:
        return False
    ended = join(path, given[0]) if name == "terminate_child" else path
    return f"{caller.path}/".startswith(f"{ended.rstrip('/')}/")


def _refuse_circle(runtime: Runtime, caller: Entry | None, supervisor: str, op: str) -> None:
    """A supervisor that waits for this agent's start serves nobody, least of all the agent."""
    if caller is None or not caller.is_starting or find(runtime, supervisor).supervisor is None:
        return
    record = caller.record.supervisor
    while record is not None:
        if record.path == supervisor:
            raise CallCycle(
                f"{caller.path} asks for {op} under {supervisor!r}, which waits for its on_start: "
                f"{caller.path} → {supervisor} → {caller.path}. Do it in a message, after the start."
            )
        record = record.supervisor


def _subscribe(runtime: Runtime, caller: Entry, topic: str) -> None:
    if runtime.desk.is_outlived(caller):
        return  # a subscription is the agent's, and it goes on in another life
    runtime.desk.topics.setdefault(topic, {})[caller.path] = None
    caller.topics |= {topic}


def _unsubscribe(runtime: Runtime, caller: Entry, topic: str) -> None:
    runtime.desk.topics.get(topic, {}).pop(caller.path, None)
    caller.topics -= {topic}


SELF: dict[str, Callable[..., None]] = {
    "link": lambda runtime, caller, path: runtime.lives.link(caller, path),
    "unlink": lambda runtime, caller, path: runtime.signals.unlink(caller, path),
    "monitor": lambda runtime, caller, path: runtime.signals.monitor(caller, path),
    "demonitor": lambda runtime, caller, path: runtime.signals.demonitor(caller, path),
    "subscribe": _subscribe,
    "unsubscribe": _unsubscribe,
}
"""What an agent asks about itself."""
