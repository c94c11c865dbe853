"""The node's loop, and what an agent's code raises out of it: in tasks, in callbacks, wherever nobody awaits it.

asyncio lets ``SystemExit`` and ``KeyboardInterrupt`` out of its loop, and hands what a callback or a forgotten task
raised to the loop's exception handler. In a node all of it is the crash of the agent whose code it was, and the
loop goes on. A loop that an agent stops goes on too.
"""

from __future__ import annotations

import asyncio
from typing import Any

from agentlab.ground.turns import TurnLoop
from agentlab.node.host import Host
from agentlab.slicing.sliced import Owner, Step, owner_of


def serve(host: Host) -> None:
    """Run the host's loop until the kernel is gone."""
    with asyncio.Runner(loop_factory=TurnLoop) as runner:
        loop = runner.get_loop()
        asyncio.set_event_loop(loop)
        gone = loop.run_until_complete(host.begin())
        loop.set_exception_handler(lambda loop, context: _handle(host, loop, context))
        while not gone.done() and not loop.is_closed():
            try:
                loop.run_until_complete(gone)
            except (SystemExit, KeyboardInterrupt) as error:
                host.raised(_behind(error), error)
            except RuntimeError:  # an agent has called loop.stop()
                continue
        host.end()


def _behind(error: BaseException) -> Owner | None:
    """Whose code a callback or a step of a task was, out of which this was raised."""
    at = error.__traceback__
    while at is not None:
        if at.tb_frame.f_code is asyncio.Handle._run.__code__:  # where the loop calls it
            return _owner(at.tb_frame.f_locals["self"])
        at = at.tb_next
    return None


def _owner(handle: Any) -> Owner | None:
    owner: Owner | None = handle._context.get(owner_of)
    return owner


def _handle(host: Host, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What a callback raised, or a task that nobody awaited."""
    error = context.get("exception")
    owner = _owner(context["handle"]) if "handle" in context else _maker(context.get("future") or context.get("task"))
    if error is None or owner is None:
        loop.default_exception_handler(context)
    else:
        host.raised(owner, error)


def _maker(task: object) -> Owner | None:
    step: object = task.get_coro() if isinstance(task, asyncio.Task) else None
    return step.owner if isinstance(step, Step) else None
