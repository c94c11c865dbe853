"""The lab as an agent sees it from inside a node: a handle to start others, and refs that are awaited."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any

from agentlab.errors import NotRunning, UnknownMessage
from agentlab.ground.redaction import leaked, redact
from agentlab.node.acts import act
from agentlab.node.home import Home
from agentlab.node.replay import Claim
from agentlab.node.resident import Died, Resident, current
from agentlab.node.steps import carry_out, claim, given_text
from agentlab.ref.budget import BudgetOf
from agentlab.ref.inside import Answer, RefInside, written
from agentlab.ref.link import Outgoing
from agentlab.ref.ref import Ref
from agentlab.ref.reply import DEFAULT_TIMEOUT
from agentlab.tools import mcp
from agentlab.wire.asks import write_control, write_start
from agentlab.wire.frames import Asker
from agentlab.wire.operations import OPERATIONS
from agentlab.wire.packing import pack, runs_code, unpack


class LabInside:
    """The lab as an agent sees it. Everything is awaited: the lab lives in another process.

    In a handler ``start``, ``publish`` and ``whereis`` are steps: asked at once, done once, and answered by the
    journal when the message is delivered again.
    """

    def __init__(self, host: Home) -> None:
        self._host = host

    def start(
        self, what: Any, *, id: str | None = None, under: Any = None, exist_ok: bool = False, **options: Any
    ) -> Answer[RefInside]:  # fmt: skip
        """Start an agent, a child or a supervisor; as ``lab.start`` in a cell."""
        under_path = under.path if isinstance(under, Ref) else under
        data = write_start(what, id, under_path, options, self._host.number_of)
        also = (True,) if exist_ok else ()
        given = (id, under_path, options, *also)
        return act(self._host, "start", _name(what), given, "start", data, *also, asked="self.lab.start(...)")

    def whereis(self, id: str) -> Answer[RefInside | None]:
        """The ref of the agent with this id or path, or None."""
        return act(self._host, "look", "whereis", (id,), "whereis", id, asked="self.lab.whereis(...)")

    def __getitem__(self, path: str) -> RefInside:
        """The ref of that path, unchecked: a message to nobody raises NotRunning."""
        path = str.__str__(path)  # a text of a class of its own may do anything when it is looked at
        if (secret := leaked(path)) is not None:
            raise NotRunning(f"there is nothing at {redact(path)!r} in this lab: the path holds {secret}.")
        return RefInside(self._host.link, path if path.startswith("/") else "/" + path)

    def publish(self, topic: str, method: str, *args: Any, **kwargs: Any) -> Answer[int]:
        """Cast to every subscriber of a topic, now; how many there are. A handler that dies later published it."""
        payload = pack((args, kwargs), f"what is published to {topic!r}", keep=self._host.durable)
        name, asked = f"{topic}.{method}", "self.lab.publish(...)"
        return act(self._host, "publish", name, (args, kwargs), "publish", topic, method, payload, asked=asked)

    @property
    def budget(self) -> BudgetOf:
        """What all agents of the lab together may spend; as ``ref.budget``."""
        return BudgetOf(self._host.link, "/")

    @property
    def asker(self) -> str:
        """The path of the agent that sees it."""
        return self._host.link.here() or ""

    async def simulator(self) -> dict[str, str]:
        """Where the lab's simulator listens: ``base_url`` and ``api_key``; no step, as the next kernel has another."""
        return dict(unpack(await self._host.ask("simulator")))

    async def local(self, model: str, file: str) -> dict[str, str]:
        """Where the server of a local model listens: ``base_url`` and ``api_key``; waits for it. No step, as above."""
        return dict(unpack(await self._host.ask("local", model, file)))

    async def token(self) -> str:
        """A secret of this agent, the same for all its lives while the lab is open; no step, and nowhere stored."""
        return str(unpack(await self._host.ask("token")))

    async def scratch(self) -> str:
        """A folder of the lab for what need not outlast it; no step."""
        return str(unpack(await self._host.ask("scratch")))

    async def endpoint(self, path: str) -> dict[str, str]:
        """Where the server of an agent listens: ``base_url`` and ``api_key``; no step, as the next kernel's differ."""
        return dict(unpack(await self._host.ask("endpoint", path)))

    def __repr__(self) -> str:
        return f"<the lab, seen from node {self._host.number}>"


async def _endpoint(path: str) -> dict[str, str]:
    resident = current.get()
    if resident is None:
        raise NotRunning(f"{path} can only be reached by an agent of its lab.")
    return await LabInside(resident.host).endpoint(path)


mcp.endpoint = _endpoint


def _name(what: Any) -> str:
    """What is to be started, in a word."""
    return what.__name__ if isinstance(what, type) else str(getattr(what, "id", what))


def what_of(message: Outgoing) -> str:
    """A call's name as a step."""
    return f"{message.path}.{message.method}"


class InsideLink:
    """A ref's link inside a node: calls go to the kernel, casts leave with the commit."""

    def __init__(self, host: Home, lab_id: str) -> None:
        self._host = host
        self.lab_id = lab_id

    def ref(self, path: str, cls_name: str = "?") -> RefInside:
        """A ref as agents hold it."""
        return RefInside(self, path, cls_name)

    def may_wait(self) -> bool:
        """Nobody waits in a node's loop; who wants an answer awaits it."""
        return False

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
        if resident is not None and resident.ending is not None:
            raise Died(resident.ending)
        cast = (message.path, message.method, payload)
        if resident is None:
            self._host.cast(cast)
        elif resident.key is None and resident.started:
            resident.cast(cast)
        else:
            resident.casts.append(cast)
        return None

    async def _call(self, message: Outgoing, payload: bytes, resident: Resident | None, found: Claim | None) -> Any:
        if resident is None or found is None:
            return await self._opened(await self._ask(message, payload, None))
        given = given_text(message.args, message.kwargs)
        origin = (found.key, found.number)  # the callee answers it once, however often it is asked
        fresh = found.kept is None  # else it may have been answered, or be under way, which the kernel knows
        work = functools.partial(self._answer, message, payload, origin, fresh=fresh)
        return await carry_out(resident, found, work, once=False, given=given)

    async def _answer(self, message: Outgoing, payload: bytes, origin: Asker, *, fresh: bool) -> Any:
        return await self._opened(await self._ask(message, payload, origin, fresh=fresh))

    async def _opened(self, data: bytes) -> Any:
        """An answer; what runs code of the class that it is of is sliced."""
        if runs_code(data):
            return await self._host.sliced(functools.partial(unpack, data, self))
        return unpack(data, self)

    async def _ask(self, message: Outgoing, payload: bytes, origin: Asker | None, *, fresh: bool = False) -> Any:
        timeout = DEFAULT_TIMEOUT if message.timeout is None else message.timeout
        redeliver = message.redeliver is not False
        if fresh and origin is not None:
            answer = self._host.post(message, payload, origin, redeliver=redeliver)
            if answer is not None:
                return await self._host.wait(answer, f"{message.path}.{message.method}", timeout, origin)

        def ask(life: int, ticket: int) -> None:
            self._host.say.call(
                placement=life, ticket=ticket, path=message.path, method=message.method, payload=payload,
                redeliver=redeliver, origin=origin,
            )  # fmt: skip

        return await self._host.wait(self._host.put(ask), f"call {(message.path, message.method)}", timeout, origin)

    def control(self, op: str, path: str, *args: Any) -> Any:
        """A control operation, awaited."""
        data = write_control(op, args, self._host.number_of)
        kind = "look" if OPERATIONS[op].looks else "start" if op == "start_child" else "control"
        given = tuple(map(_name, args)) if kind == "start" else args
        return act(self._host, kind, f"{path}.{op}", given, "control", op, path, data, asked=written(op))

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


async def awaited(value: Any) -> Any:
    """The value, or what it gives when awaited: handlers may be ``def`` or ``async def``."""
    return await value if asyncio.iscoroutine(value) or inspect.isawaitable(value) else value
