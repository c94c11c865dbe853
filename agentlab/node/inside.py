"""What an agent sees of its lab from inside a node: its context, the lab's handle, refs that are awaited."""

from __future__ import annotations

import asyncio
import functools
import inspect
import io
import random
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from agentlab.agent.arguments import signature_of
from agentlab.agent.base import Agent
from agentlab.errors import NotRunning, UnknownMessage
from agentlab.ground.redaction import leaked, redact
from agentlab.node.acts import LOOKS, act
from agentlab.node.resident import Died, Resident, current
from agentlab.node.steps import Claim, at_once, carry_out, check_given, claim, given_text, inside_step, name_of
from agentlab.ref.ref import DEFAULT_TIMEOUT, Outgoing, Ref
from agentlab.slicing.places import run
from agentlab.wire.asks import write_control, write_start
from agentlab.wire.codec import pack, runs_code, unpack
from agentlab.wire.exceptions import as_reason

if TYPE_CHECKING:
    from agentlab.node.host import Host


class InsideContext:
    """An agent's means: who it is, and how it acts."""

    __slots__ = ("_cls_name", "_host", "_resident", "incarnation", "path")

    def __init__(self, host: Host, resident: Resident, cls: type[Agent], path: str, incarnation: int) -> None:
        self._host = host
        self._resident = resident
        self._cls_name = cls.__name__
        self.path = path
        self.incarnation = incarnation

    @property
    def id(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def ref(self) -> Ref:
        """The agent's own ref."""
        return Ref(self._host.link, self.path, self._cls_name)

    @property
    def lab(self) -> LabInside:
        """The lab as the agent sees it."""
        return LabInside(self._host)

    async def step(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one effect, journaled; in ``on_start``, which is not a message, it just runs."""
        resident = self._resident
        if resident.key is None:
            return await inside_step(name_of(function), functools.partial(run, function, args, kwargs))
        once = bool(getattr(function, "once", False))
        if once:
            check_given(function, args, kwargs)
        found = claim(resident, str(getattr(function, "kind", "step")), name_of(function), (args, kwargs))
        said = getattr(function, "said", None)  # by a model call; else the effect may change what it is given
        given = given_text(args, kwargs) if said is None else redact(said)
        return await carry_out(resident, found, functools.partial(run, function, args, kwargs), once=once, given=given)

    def now(self) -> datetime:
        """The time of day, the same for every delivery of a message."""
        found: datetime = at_once(self._resident, "now", lambda: datetime.now(UTC))
        return found

    @property
    def random(self) -> random.Random:
        """Chance that falls the same way for every delivery of a message."""
        return self._resident.random

    def later(self, seconds: float, *, again: bool) -> Later:
        """A message to itself, later."""
        return Later(self._resident, seconds, again)

    def stop(self, reason: Any) -> None:
        """End after this message."""
        self._resident.stopping = as_reason(reason)

    def emit(self, text: str) -> None:
        """Text for the live transcript; passes by, is never stored as state."""
        self._resident.say("emit", str(text))

    def act(self, op: str, *args: Any) -> Awaitable[None]:
        """Ask the lab for something about this agent: sent now, awaited if wanted."""
        return act(self._host, "link", op, args, op, *args)


class Later:
    """``self.after(5).remind("tea")``: a message to oneself, which leaves with the commit."""

    def __init__(self, resident: Resident, seconds: float, again: bool) -> None:
        self._resident = resident
        self._seconds = seconds
        self._again = again

    def __getattr__(self, method: str) -> Callable[..., None]:
        agent = self._resident.agent
        if method not in type(agent).__agent_messages__:
            have = ", ".join(sorted(type(agent).__agent_messages__)) or "none"
            raise UnknownMessage(f"{agent.path!r} has no message {method!r}; it has: {have}.")

        def send(*args: Any, **kwargs: Any) -> None:
            signature_of(type(agent), method).check(args, kwargs, agent.path)
            what = f"the arguments of {agent.path}.{method}"
            timer = (self._seconds, self._again, method, pack((args, kwargs), what, keep=self._resident.host.durable))
            if self._resident.key is None and self._resident.started:
                self._resident.say("timer", *timer)
            else:
                self._resident.timers.append(timer)

        return send


class LabInside:
    """The lab as an agent sees it. Everything is awaited: the lab lives in another process.

    In a handler ``start``, ``publish`` and ``whereis`` are steps: asked at once, done once, and answered by the
    journal when the message is delivered again.
    """

    def __init__(self, host: Host) -> None:
        self._host = host

    def start(
        self, what: Any, *, id: str | None = None, under: Any = None, exist_ok: bool = False, **options: Any
    ) -> Awaitable[Ref]:  # fmt: skip
        """Start an agent, a child or a supervisor; as ``lab.start`` in a cell."""
        under_path = under.path if isinstance(under, Ref) else under
        data = write_start(what, id, under_path, options, self._host.number_of)
        also = (True,) if exist_ok else ()
        return act(self._host, "start", _name(what), (id, under_path, options, *also), "start", data, *also)

    def whereis(self, id: str) -> Awaitable[Ref | None]:
        """The ref of the agent with this id or path, or None."""
        return act(self._host, "look", "whereis", (id,), "whereis", id)

    def __getitem__(self, path: str) -> Ref:
        """The ref of that path, unchecked: a message to nobody raises NotRunning."""
        if (secret := leaked(path)) is not None:
            raise NotRunning(f"there is nothing at {redact(path)!r} in this lab: the path holds {secret}.")
        return Ref(self._host.link, path if path.startswith("/") else "/" + path)

    def publish(self, topic: str, method: str, *args: Any, **kwargs: Any) -> Awaitable[int]:
        """Cast to every subscriber of a topic, now; how many there are. A handler that dies later published it."""
        payload = pack((args, kwargs), f"what is published to {topic!r}", keep=self._host.durable)
        return act(self._host, "publish", f"{topic}.{method}", (args, kwargs), "publish", topic, method, payload)

    async def simulator(self) -> dict[str, str]:
        """Where the lab's simulator listens: ``base_url`` and ``api_key``; no step, as the next kernel has another."""
        return dict(unpack(await self._host.ask("simulator")))

    def __repr__(self) -> str:
        return f"<the lab, seen from node {self._host.number}>"


def _name(what: Any) -> str:
    """What is to be started, in a word."""
    return what.__name__ if isinstance(what, type) else str(getattr(what, "id", what))


def what_of(message: Outgoing) -> str:
    """A call's name as a step."""
    return f"{message.path}.{message.method}"


class InsideLink:
    """A ref's link inside a node: calls go to the kernel, casts leave with the commit."""

    awaited = True  # what send and control give must be awaited; the kernel's link blocks

    def __init__(self, host: Host, lab_id: str) -> None:
        self._host = host
        self.lab_id = lab_id

    def send(self, message: Outgoing) -> Any:
        """A call gives an awaitable; a cast waits for the commit of the message in hand."""
        what = f"the arguments of {message.path}.{message.method}"
        durable = self._host.durable
        payload = pack(
            (message.args, message.kwargs), what, keep=(None if message.call else True) if durable else False
        )
        resident = current.get()
        if message.call:
            given = (message.args, message.kwargs)
            found = claim(resident, "call", what_of(message), given) if resident and resident.key is not None else None
            return self._host.spawn(self._call(message, payload, resident, found))  # sent now, awaited when wanted
        if resident is not None and resident.reason is not None:
            raise Died(resident.reason)
        if resident is None or (resident.key is None and resident.started):
            self._host.cast(resident, (message.path, message.method, payload))
        else:
            resident.casts.append((message.path, message.method, payload))
        return None

    async def _call(self, message: Outgoing, payload: bytes, resident: Resident | None, found: Claim | None) -> Any:
        if resident is None or found is None:
            return await self._opened(await self._ask(message, payload, None))
        given = given_text(message.args, message.kwargs)
        key = (found.key, found.number)  # the callee answers it once, however often it is asked
        fresh = found.kept is None  # else it may have been answered, or be under way, which the kernel knows
        work = functools.partial(self._answer, message, payload, key, fresh=fresh)
        return await carry_out(resident, found, work, once=False, given=given)

    async def _answer(self, message: Outgoing, payload: bytes, key: tuple[int | None, int], *, fresh: bool) -> Any:
        return await self._opened(await self._ask(message, payload, key, fresh=fresh))

    async def _opened(self, data: bytes) -> Any:
        """An answer; what runs code of the class that it is of is sliced."""
        if runs_code(data):
            return await self._host.sliced(functools.partial(unpack, data, self))
        return unpack(data, self)

    async def _ask(
        self, message: Outgoing, payload: bytes, key: tuple[int | None, int] | None, *, fresh: bool = False
    ) -> Any:
        timeout = DEFAULT_TIMEOUT if message.timeout is None else message.timeout
        redeliver = message.redeliver is not False
        if fresh and key is not None:
            answer = self._host.post(message.path, message.method, payload, redeliver, key)
            if answer is not None:
                return await self._host.wait(answer, f"{message.path}.{message.method}", timeout)
        return await self._host.ask("call", message.path, message.method, payload, redeliver, key, timeout=timeout)

    def control(self, op: str, path: str, *args: Any) -> Any:
        """A control operation, awaited."""
        data = write_control(op, args, self._host.number_of)
        kind = "look" if op in LOOKS else "start" if op == "start_child" else "control"
        given = tuple(map(_name, args)) if kind == "start" else args
        return act(self._host, kind, f"{path}.{op}", given, "control", op, path, data)

    def keep(self, value: Any) -> bytes:
        """A value as a journal keeps it."""
        return pack(value, "the result", keep=self._host.durable)

    def methods(self, path: str) -> frozenset[str] | None:
        """Known to the kernel only, which refuses an unknown one."""
        return None

    def unknown(self, path: str, method: str, cls_name: str) -> UnknownMessage:
        """Known to the kernel only."""
        return UnknownMessage(f"{path!r} has no message {method!r}.")

    def here(self) -> str | None:
        """The path of the agent whose code runs, or None."""
        resident = current.get()
        return resident.agent.path if resident is not None else None

    def function(self, path: str, method: str) -> Callable[..., Any] | None:
        """Known to the kernel only."""
        return None

    def check(self, path: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise InvalidArgument if they do not fit a neighbour's method; who is elsewhere is checked where it is."""
        self._host.check(path, method, args, kwargs)


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


async def awaited(value: Any) -> Any:
    """The value, or what it gives when awaited: handlers may be ``def`` or ``async def``."""
    return await value if asyncio.iscoroutine(value) or inspect.isawaitable(value) else value
