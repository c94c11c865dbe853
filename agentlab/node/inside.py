"""What an agent sees of its lab from inside a node: its context, the lab's handle, refs that are awaited."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agentlab._wire import pack, unpack
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
        resident = self._resident
        resident.step_number += 1
        number, outcome, output = resident.step_number, "failed", ""
        resident.say("step", resident.key, _name(function))
        try:
            result = function(*args, **kwargs)
            if inspect.isawaitable(result):
                result = await result
            outcome, output = "ok", result
            return result
        except BaseException as error:
            output = f"{type(error).__name__}: {error}"
            raise
        finally:
            took = time.perf_counter() - clock
            resident.say("step", resident.key, None)
            resident.steps.append((number, _name(function), started, took, outcome, _brief(args, kwargs), _brief(output)))

    def stop(self, reason: Any) -> None:
        """End after this message."""
        self._resident.stopping = reason

    def emit(self, text: str) -> None:
        """Text for the live transcript; passes by, is never stored as state."""
        self._resident.say("emit", str(text))


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", None) or getattr(function, "name", None) or type(function).__name__)


def _brief(*values: Any) -> str:
    shown = ", ".join(repr(v) for v in values)
    return shown if len(shown) <= 2000 else shown[:1997] + "..."


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

    async def simulator(self) -> dict[str, str]:
        """Where the lab's simulator listens: ``base_url`` and ``api_key``."""
        return dict(await self._host.ask("simulator"))

    def __repr__(self) -> str:
        return f"<the lab, seen from node {self._host.number}>"


class InsideLink:
    """A ref's link inside a node: calls go to the kernel, casts leave with the commit."""

    def __init__(self, host: Host, lab_id: str) -> None:
        self._host = host
        self.lab_id = lab_id

    def send(self, message: Outgoing) -> Any:
        """A call gives an awaitable; a cast waits for the commit of the message in hand."""
        what = f"the arguments of {message.path}.{message.method}"
        payload = pack((message.args, message.kwargs), what)
        resident = current.get()
        if message.call:
            return self._call(message, payload)
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


class AgentLog:
    """``sys.stdout`` of a node: what an agent prints goes to that agent's log, line by line."""

    encoding = "utf-8"

    def __init__(self, host: Host) -> None:
        self._host = host
        self._open: dict[int, str] = {}

    def write(self, text: str) -> int:
        """Take text; whole lines leave."""
        resident = current.get()
        key = resident.life if resident else 0
        *lines, rest = (self._open.pop(key, "") + text).split("\n")
        for line in lines:
            self._host.say("log", key, line)
        if len(rest) > 100_000:
            self._host.say("log", key, rest)
        elif rest:
            self._open[key] = rest
        return len(text)

    def flush(self) -> None:
        """Nothing waits but unfinished lines."""

    def isatty(self) -> bool:
        """No terminal here."""
        return False


def route_prints(host: Host) -> None:
    """Send what agents print to their logs."""
    sys.stdout = AgentLog(host)  # type: ignore[assignment]  # print needs write and flush only


async def awaited(value: Any) -> Any:
    """The value, or what it gives when awaited: handlers may be ``def`` or ``async def``."""
    return await value if asyncio.iscoroutine(value) or inspect.isawaitable(value) else value
