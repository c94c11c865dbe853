"""What an agent sees of its lab from inside a node: its context, the lab's handle, refs that are awaited."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import io
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agentlab._secrets import redact
from agentlab._wire import describe, pack, unpack
from agentlab.agent import Agent
from agentlab.ref import DEFAULT_TIMEOUT, Outgoing, Ref

if TYPE_CHECKING:
    from agentlab.node.host import Host, Resident

current: contextvars.ContextVar[Resident | None] = contextvars.ContextVar("agentlab_current", default=None)
"""The agent whose code runs."""


class InsideContext:
    """An agent's means: who it is, and how it acts."""

    def __init__(self, host: Host, resident: Resident, cls: type[Agent], path: str, incarnation: int) -> None:
        self._host = host
        self._resident = resident
        self.path = path
        self.id = path.rsplit("/", 1)[-1]
        self.incarnation = incarnation
        self.ref = Ref(host.link, path, cls.__name__)
        self.lab = LabInside(host)

    async def step(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one effect and note it: name, start, duration, outcome, what it took and gave."""
        started, clock = time.time_ns(), time.perf_counter()
        resident, name, given = self._resident, _name(function), _brief(args, kwargs)  # the effect may change them
        resident.step_number += 1
        number, outcome, gave = resident.step_number, "failed", ""
        resident.say("step", resident.key, name)
        try:
            result = function(*args, **kwargs)
            if inspect.isawaitable(result):
                result = await result
            outcome, gave = "ok", _brief(result)
            return result
        except BaseException as error:
            gave = _cut(": ".join(describe(error)[:2]))
            raise
        finally:
            took = time.perf_counter() - clock
            resident.say("step", resident.key, None)
            kind = str(getattr(function, "kind", "step"))
            resident.steps.append((number, kind, name, started, took, outcome, given, gave))

    def stop(self, reason: Any) -> None:
        """End after this message."""
        self._resident.stopping = reason

    def emit(self, text: str) -> None:
        """Text for the live transcript; passes by, is never stored as state."""
        self._resident.say("emit", str(text))

    def act(self, op: str, *args: Any) -> asyncio.Task[None]:
        """Ask the lab for something about this agent: sent now, awaited if wanted."""
        return self._host.spawn(self._host.ask(op, *args))


def _name(function: Any) -> str:
    while hasattr(function, "func"):  # functools.partial
        function = function.func
    return str(getattr(function, "__name__", None) or getattr(function, "name", None) or type(function).__name__)


def _brief(*values: Any) -> str:
    try:
        return _cut(", ".join(repr(value) for value in values))
    except Exception as error:  # any class may have a __repr__ that fails; its effect is none the worse for it
        return f"(its repr raised {type(error).__name__})"


def _cut(text: str) -> str:
    text = redact(text)
    return text if len(text) <= 2000 else text[:1997] + "..."


class LabInside:
    """The lab as an agent sees it. Everything is awaited: the lab lives in another process."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def start(self, what: Any, *, id: str | None = None, under: Any = None, **options: Any) -> Ref:
        """Start an agent, a child or a supervisor; as ``lab.start`` in a cell."""
        under_path = under.path if isinstance(under, Ref) else under
        data = pack((what, id, under_path, options), "what lab.start was given")
        path, cls_name = await self._host.ask("start", data)
        return Ref(self._host.link, path, cls_name)

    async def whereis(self, id: str) -> Ref | None:
        """The ref of the agent with this id or path, or None."""
        found = await self._host.ask("whereis", id)
        return Ref(self._host.link, *found) if found else None

    def __getitem__(self, path: str) -> Ref:
        """The ref of that path, unchecked: a message to nobody raises NotRunning."""
        return Ref(self._host.link, path if path.startswith("/") else "/" + path)

    async def publish(self, topic: str, method: str, *args: Any, **kwargs: Any) -> int:
        """Cast to every subscriber of a topic; how many there are."""
        payload = pack((args, kwargs), f"what is published to {topic!r}")
        return int(await self._host.ask("publish", topic, method, payload))

    async def simulator(self) -> dict[str, str]:
        """Where the lab's simulator listens: ``base_url`` and ``api_key``."""
        return dict(await self._host.ask("simulator"))

    def __repr__(self) -> str:
        return f"<the lab, seen from node {self._host.number}>"


class InsideLink:
    """A ref's link inside a node: calls go to the kernel, casts leave with the commit."""

    awaited = True  # what send and control give must be awaited; the kernel's link blocks

    def __init__(self, host: Host, lab_id: str) -> None:
        self._host = host
        self.lab_id = lab_id

    def send(self, message: Outgoing) -> Any:
        """A call gives an awaitable; a cast waits for the commit of the message in hand."""
        what = f"the arguments of {message.path}.{message.method}"
        payload = pack((message.args, message.kwargs), what)
        resident = current.get()
        if message.call:
            task = self._host._loop.create_task(self._call(message, payload))  # sent now, awaited when wanted
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # an unwanted error is no news
            return task
        if resident is None or resident.key is None:
            self._host.say("cast", message.path, message.method, payload)
        else:
            resident.casts.append((message.path, message.method, payload))
        return None

    async def _call(self, message: Outgoing, payload: bytes) -> Any:
        timeout = DEFAULT_TIMEOUT if message.timeout is None else message.timeout
        data = await self._host.ask(
            "call", message.path, message.method, payload, message.redeliver is not False, timeout=timeout
        )
        return unpack(data)

    def control(self, op: str, path: str, *args: Any) -> Any:
        """A control operation, awaited."""
        return self._host.control(op, path, args)

    def methods(self, path: str) -> frozenset[str] | None:
        """Known to the kernel only, which refuses an unknown one."""
        return None

    def check(self, path: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The kernel checks."""


class AgentLog(io.TextIOBase):
    """``sys.stdout`` of a node: what an agent prints goes to that agent's log, line by line.

    Agents may print from threads of their own; what the host itself prints goes to the node's log.
    """

    LONGEST = 100_000  # characters of a line; a longer one leaves in pieces

    def __init__(self, host: Host) -> None:
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._open: dict[int, str] = {}

    def write(self, text: str) -> int:
        """Take text; whole lines leave."""
        resident = current.get()
        key = resident.life if resident else 0
        if threading.get_ident() == self._thread:
            self._take(key, text)
        else:
            self._loop.call_soon_threadsafe(self._take, key, text)
        return len(text)

    def _take(self, key: int, text: str) -> None:
        *lines, rest = (self._open.pop(key, "") + text).split("\n")
        while len(rest) > self.LONGEST:
            lines.append(rest[: self.LONGEST])
            rest = rest[self.LONGEST :]
        for line in lines:
            self._host.say("log", key, redact(line))
        if rest:
            self._open[key] = rest

    def finish(self, life: int) -> None:
        """A life is over: its last line leaves, whole or not."""
        if life in self._open:
            self._take(life, "\n")

    def writable(self) -> bool:
        """Text may be written, and no more: there is no file below and no terminal."""
        return True


def route_prints(host: Host) -> AgentLog:
    """Send what agents print, to either stream, to their logs; a cell's output is no place for it."""
    log = AgentLog(host)
    sys.stdout = sys.stderr = log
    return log


async def awaited(value: Any) -> Any:
    """The value, or what it gives when awaited: handlers may be ``def`` or ``async def``."""
    return await value if asyncio.iscoroutine(value) or inspect.isawaitable(value) else value
