"""The host: keeps the agents of one node, hands them their messages, reports what became of them.

An agent at rest is a ``Resident`` and its state; a task exists only while its mailbox holds something.
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from agentlab.agent.arguments import signature_of
from agentlab.agent.base import HOOKS, Agent
from agentlab.agent.snapshot import Image, migrated
from agentlab.errors import InvalidArgument
from agentlab.exits import Crash, Exit
from agentlab.ground.tracebacks import Source, learn
from agentlab.node.changing import build, committed, put, take_back, upgrade
from agentlab.node.context import InsideContext
from agentlab.node.forked import watch
from agentlab.node.line import Line
from agentlab.node.link import InsideLink, awaited
from agentlab.node.log import AgentLog
from agentlab.node.resident import Blame, Died, Resident, current, draft, nothing, revived, shown
from agentlab.ref.link import links
from agentlab.slicing.sliced import Owner
from agentlab.slicing.slices import Slicer
from agentlab.wire.exceptions import as_reason, decode_reason, describe, encode_reason, repr_of
from agentlab.wire.packing import pack, unpack
from agentlab.wire.word import Word

BURNT_SECONDS = 0.25
"""Who holds the node so long in each of two messages running goes on at low priority."""

GONE_SECONDS = 0.05
"""So long what is left of a life that was ended may clean up before its successor may start."""

REACH_SECONDS = 1.0
"""Code that goes on after its life was ended is interrupted again, so often."""


class Host(Line):
    """All agents of this node, at their end of the line to the kernel."""

    def __init__(self, sock: socket.socket, word: Word, about: dict[str, Any]) -> None:
        """Make the host of a node.

        Args:
            sock: The line to the kernel.
            word: Where the kernel reads whose code runs.
            about: ``number``; ``lab``: its id; ``durable``: it has a file, which keeps JSON only; ``kind``.
        """
        super().__init__()
        self.number: int = about["number"]
        self.durable: bool = about["durable"]
        self.kind: str = about["kind"]
        self._word = word
        self.link = InsideLink(self, about["lab"])
        if self.kind != "kernel":
            links[about["lab"]] = self.link
        self._sock = sock
        self._residents: dict[int, Resident] = {}
        self._classes: dict[int, type[Agent]] = {}
        self._numbers: dict[type, int] = {}  # the same by class
        self._paths: dict[str, Resident] = {}
        self._posted: dict[int, asyncio.Future[Any]] = {}  # calls within the node, by their messages' keys
        self._keys: Iterator[int] = iter(())
        self._slicer: Slicer

    async def begin(self) -> asyncio.Future[None]:
        """Begin to serve; what is done when the kernel's end of the socket closes."""
        self.thread = threading.get_ident()
        watch(self)
        self._log = AgentLog(self)
        self._slicer = Slicer(asyncio.get_running_loop(), cells=self._word.cells, on_busy=self._too_busy)
        if self.kind != "kernel":
            sys.stdout = sys.stderr = self._log
        self._slicer.install(slicing=self.kind != "kernel")
        gone = await self.connect(self._sock)
        self.say("ready", self.number, os.getpid())
        return gone

    def end(self) -> None:
        """The kernel is gone; no agent code delays the end."""
        if self.kind != "kernel":
            os._exit(0)

    def raised(self, owner: Owner | None, error: BaseException) -> None:
        """Something was raised where no handler catches it: the crash of the agent whose code it was."""
        if not isinstance(owner, Resident) or owner.reason is not None or owner.life not in self._residents:
            self._log.write(repr_of(error) + "\n")
            return
        cells = self._word.cells
        ran, cells[0] = cells[0], owner.life  # its exception's methods are its code too
        crash = Crash(*describe(error))
        cells[0] = ran
        self._end(owner, crash, blame="own")

    async def sliced(self, work: Callable[[], Any]) -> Any:
        """Do what runs code of agents, as the agent whose code this is: in slices, and charged to it."""
        resident = current.get()
        if resident is None or resident.life not in self._residents:
            return work()
        task = self._slicer.start(_done(work), resident)
        resident.adopt(task)
        return await task

    def misheard(self, message: tuple[Any, ...], error: BaseException) -> None:
        """What an agent made raised when the kernel's message was acted on."""
        kind, life = message[0], message[1] if len(message) > 1 else None
        if kind == "start" and life not in self._residents:
            self.say("failed", life, encode_reason(Crash(*describe(error))), None, "own")
        else:
            self.raised(self._residents.get(life) if type(life) is int else None, error)

    # calls within the node

    def post(
        self, path: str, method: str, payload: bytes, redeliver: bool, origin: tuple[int | None, int]
    ) -> asyncio.Future[Any] | None:
        """Hand a call to a neighbour on this node, and tell the kernel; None if it must go by the kernel.

        The caller sees the answer before it is committed. Nothing that depends on it leaves the node earlier: what
        the node says is committed in its order, and an effect outside waits for ``settled``. A call must not
        overtake what its caller has sent before by the kernel.
        """
        caller, target = current.get(), self._paths.get(path)
        if caller is None or target is None or not target.open or target.suspended or target.reason is not None:
            return None
        if caller.away or self._settled < caller.sent or method not in type(target.agent).__agent_messages__:
            return None
        key = next(self._keys, None)
        if key is None:
            return None
        ticket, answer = self._expect()
        self._posted[key] = answer
        answer.add_done_callback(lambda _: self._posted.pop(key, None))
        self.say_later(
            "posted", caller.life, ticket, origin, target.life, key, path, method, payload, redeliver, time.time_ns()
        )
        target.post(("message", key, method, payload, [], f"{path} {key}", redeliver))
        self._work(target)
        return answer

    def check(self, path: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise InvalidArgument if the arguments do not fit the message of an agent that lives here."""
        target = self._paths.get(path)
        if target is not None and method in type(target.agent).__agent_messages__:
            signature_of(type(target.agent), method).check(args, kwargs, path)

    def _on_keys(self, first: int, count: int) -> None:
        """Numbers for the messages of calls within the node."""
        self._keys = iter(range(first, first + count))

    # lives

    def number_of(self, cls: type) -> int | None:
        """Under which number the kernel has sent the class, if it has."""
        return self._numbers.get(cls)

    def _on_class(self, number: int, data: bytes, cells: dict[str, Source]) -> None:
        learn(cells)
        try:
            found = unpack(data)
            if isinstance(found, BaseException):
                raise found
            self._classes[number], self._numbers[found] = found, number
        except BaseException as error:  # the class's module may raise anything when it is imported here
            self._classes[number] = _unloadable(error)

    def _on_start(  # a frame, in the order of its parts
        self, life: int, cls: int, path: str, incarnation: int, max_busy: float | None, *state: dict[str, Any]
    ) -> None:
        kind = self._classes[cls]
        agent = object.__new__(kind)
        resident = Resident(self, life, agent)
        resident.max_busy = math.inf if max_busy is None else max_busy
        agent._context = InsideContext(self, resident, kind, path, incarnation)
        self._residents[life] = self._paths[path] = resident
        self._work(resident, state)

    async def _start(self, resident: Resident, initial: dict[str, Any], kept: dict[str, Any]) -> None:
        """Build the agent from its last commit, else from what its child spec gave, else from its defaults."""
        migrated = build(resident, initial, kept)
        hook = getattr(resident.agent, "on_start", None)
        if hook is not None:
            await awaited(hook())
        changes = resident.changes()
        resident.keep(changes)
        resident.started = True
        resident.say("started", [*migrated, *changes])
        for cast in resident.casts:  # as after a message: what a start that failed wanted to say is not said
            self.cast(resident, cast)
        for timer in resident.timers:
            resident.say("timer", *timer)
        resident.casts, resident.timers = [], []
        if resident.stopping is not None:
            await self._stop(resident, resident.stopping)

    def _work(self, resident: Resident, state: tuple[dict[str, Any], ...] = ()) -> None:
        if resident.task is None:
            resident.task = self._slicer.start(self._drain(resident, state), resident)

    async def _drain(self, resident: Resident, state: tuple[dict[str, Any], ...]) -> None:
        try:
            if state:
                await self._start(resident, *state)
            while resident.mailbox and (not resident.suspended or resident.mailbox[0][0] != "message"):
                await self._handle(resident, resident.mailbox.popleft())
        except Died as died:
            self._gone(resident, died.reason)
        except Exit as leave:
            self._gone(resident, as_reason(leave.reason), "own")
        except BaseException as error:  # whatever an agent raises is its crash, never the node's
            self._gone(resident, None if resident.reason is not None else Crash(*describe(error)), "own")
        finally:
            resident.task = None
            resident.rest()
        if resident.mailbox and not resident.suspended and resident.life in self._residents:
            self._work(resident)

    async def _handle(self, resident: Resident, message: tuple[Any, ...]) -> None:
        kind, *parts = message
        if kind == "message":
            await self._message(resident, *parts)
        elif kind == "stop":
            await self._stop(resident, *parts)
        elif kind == "replace":
            self._replace(resident, *parts)
        else:
            self._upgrade(resident, *parts)

    async def _message(  # noqa: PLR0917  # a frame, in the order of its parts
        self, resident: Resident, key: int, method: str, payload: bytes, journal: list[tuple[Any, ...]], seed: str,
        redeliver: bool,
    ) -> None:  # fmt: skip
        resident.take(key, journal, seed)
        started, clock = time.time_ns(), time.perf_counter()
        args, kwargs = unpack(payload, self.link)
        if method in HOOKS:
            args = (args[0], revived(args[1]))
        elif key not in self._posted and not self._fits(resident, key, method, args, kwargs):  # else checked when sent
            return
        trace = shown(method, args, kwargs) if resident.traced else None
        self.say_later("begun", resident.life, key, started, trace)
        if not redeliver:  # whatever it does next, nobody begins it again
            self.flush()
        handler = getattr(resident.agent, method, *((nothing,) if method in HOOKS else ()))
        try:
            result = await awaited(handler(*args, **kwargs))
        except BaseException:  # however it ends when its message is taken back
            if resident.withdrawn != key or resident.reason is not None:
                raise
        if resident.reason is not None:
            raise Died(resident.reason)
        if resident.withdrawn == key:
            self._take_back(resident, key)
        else:
            self._done(resident, key, method, result, started, time.perf_counter() - clock)
        if resident.stopping is not None:
            await self._stop(resident, resident.stopping)
        if self.kind == "pool" and self._burnt(resident):
            return
        if len(resident.mailbox) > 0:
            await asyncio.sleep(0)  # a busy mailbox lets its neighbours have a turn

    def _fits(self, resident: Resident, key: int, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether the agent takes these arguments; its sender, on another node, may not have known its class."""
        try:
            signature_of(type(resident.agent), method).check(args, kwargs, resident.agent.path)
        except InvalidArgument as error:
            resident.key = None
            resident.say("refused", key, str(error), error.argument)
            return False
        return True

    def _burnt(self, resident: Resident) -> bool:
        """Whether the agent keeps using up its slices: it leaves, between two messages, for a node at low priority."""
        resident.burns = resident.burns + 1 if resident.busy > BURNT_SECONDS else 0
        if resident.burns < 2:
            return False
        resident.mailbox.clear()
        self._forget(resident)
        resident.say("burnt")
        return True

    def _forget(self, resident: Resident) -> None:
        del self._residents[resident.life]
        if self._paths.get(resident.agent.path) is resident:
            del self._paths[resident.agent.path]
        self._log.finish(resident.life)

    def _done(  # noqa: PLR0917  # a frame, in the order of its parts
        self, resident: Resident, key: int, method: str, result: Any, started: int, took: float
    ) -> None:
        changes = resident.changes()
        answer = pack(result, f"the result of {resident.agent.path}.{method}", keep=None if self.durable else False)
        lost = resident.journal.lost
        if lost:
            raise Died(("diverged", f"{method} did not ask again for {', '.join(lost)}, which cannot be taken back"))
        casts, resident.casts = resident.casts, []
        timers, resident.timers = resident.timers, []
        resident.keep(changes)
        caller = self._posted.get(key)
        answered = caller is not None and not caller.done()
        if casts or answered:
            self.noted += 1
        if casts:
            resident.sent = self.noted
        say = self.say_later if answered and not (casts or timers) else self.say
        say("done", resident.life, key, answer, changes, casts, timers, started, took, answered)
        resident.key = None
        if caller is not None and answered:
            caller.set_result(answer)

    def _take_back(self, resident: Resident, key: int) -> None:
        """A message was withdrawn while it was in hand: nothing of it shows."""
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        take_back(resident)
        resident.say("withdrawn", key)

    async def _stop(self, resident: Resident, reason: Any) -> None:
        hook = getattr(resident.agent, "on_stop", None)
        if hook is not None:
            await awaited(hook(reason))
        raise Died(reason)

    def _gone(self, resident: Resident, reason: Any, blame: Blame = "none") -> None:
        """A life is over: by itself, with this reason and blame, unless it was ended from outside."""
        if resident.life not in self._residents:
            return
        self._forget(resident)
        if resident.reason is not None:
            reason, blame = resident.reason, resident.blame
        for task in tuple(resident.tasks or ()):
            task.cancel()
        resident.reason = reason  # what is left of its code begins no step and sends nothing
        resident.say("exit" if resident.started else "failed", encode_reason(reason), resident.key, blame)

    # what the kernel tells a life

    def _on_message(self, life: int, *message: Any) -> None:
        resident = self._residents.get(life)
        if resident is not None:
            resident.post(("message", *message))
            if not resident.suspended:
                self._work(resident)

    def _on_stop(self, life: int, reason: Any) -> None:
        """An orderly stop that somebody asked for: after what is in the mailbox before it."""
        resident = self._residents.get(life)
        if resident is not None:
            resident.post(("stop", decode_reason(reason)))
            resident.suspended = False
            self._work(resident)

    def _on_signal(self, life: int, reason: Any) -> None:
        """A shutdown that the agent traps: the next thing it handles."""
        resident = self._residents.get(life)
        if resident is not None:
            resident.post(("stop", decode_reason(reason)), first=True)
            resident.suspended = False
            self._work(resident)

    def _on_end(self, life: int, reason: Any) -> None:
        """The kernel ends a life, wherever its code stands; a successor waits for our word that it is gone."""
        resident = self._residents.get(life)
        if resident is not None:
            self._end(resident, decode_reason(reason))

    def _end(self, resident: Resident, reason: Any, *, blame: Blame = "none") -> None:
        resident.reason, resident.blame = reason, blame
        if resident.task is None:
            self._gone(resident, reason)
            return
        self._loop.call_later(GONE_SECONDS, self._gone, resident, reason)
        self._reach(resident)

    def _reach(self, resident: Resident) -> None:
        """Interrupt what is left of a life's code, until it is over."""
        task = resident.task
        if task is None or task.done():
            return
        if not self._slicer.interrupt(resident, Died(resident.reason)):
            task.cancel()
        self._loop.call_later(REACH_SECONDS, self._reach, resident)

    def _too_busy(self, owner: Owner) -> None:
        """A message has held the node for longer than its agent may; called where it stands."""
        assert isinstance(owner, Resident)
        if owner.reason is None and owner.life in self._residents:
            text = f"one message held the node for more than max_busy={owner.max_busy:g} s"
            self._end(owner, Crash("TooBusy", text), blame="charged")

    def _on_withdraw(self, life: int, key: int) -> None:
        """Drop a message that has not begun; interrupt one that has. One that is done is not here any more."""
        resident = self._residents.get(life)
        if resident is None:
            return
        if resident.key == key and resident.task is not None:
            resident.withdrawn = key
            resident.task.cancel()
            return
        found = next((m for m in resident.mailbox if m[0] == "message" and m[1] == key), None)
        if found is not None:
            resident.mailbox.remove(found)
            resident.say("withdrawn", key)

    def _on_open(self, life: int) -> None:
        """All that waited for this life is in its mailbox: what neighbours call it comes after that."""
        resident = self._residents.get(life)
        if resident is not None:
            resident.open = True

    def _on_held(self, life: int, ticket: int) -> None:
        """The message in hand by its key; 0 if there is none."""
        resident = self._residents.get(life)
        self.say("told", ticket, 0 if resident is None else resident.key or 0)

    def _on_trace(self, life: int, on: bool) -> None:
        resident = self._residents.get(life)
        if resident is not None:
            resident.traced = on

    def _on_draft(self, life: int, ticket: int) -> None:
        """The state in hand, uncommitted, as JSON texts; what does not fit its type is shown as text."""
        resident = self._residents.get(life)
        if resident is not None:
            self.say("told", ticket, draft(resident.agent))

    def _on_meter(self, life: int, ticket: int) -> None:
        """CPU seconds of its handlers so far, and the bytes of its state."""
        resident = self._residents.get(life)
        if resident is not None:
            self.say("told", ticket, (resident.cpu, sum(map(len, draft(resident.agent).values()))))

    def _on_replace(self, life: int, ticket: int, fields: Image) -> None:
        """New values for fields, set between two messages."""
        self._next(life, ("replace", ticket, fields))

    def _on_upgrade(self, life: int, cls: int) -> None:
        """Newer code for the agent, from its next message on."""
        self._next(life, ("upgrade", cls))

    def _next(self, life: int, what: tuple[Any, ...]) -> None:
        """Do this before the next message."""
        resident = self._residents.get(life)
        if resident is not None:
            resident.post(what, first=True)
            self._work(resident)

    def _replace(self, resident: Resident, ticket: int, fields: Image) -> None:
        resident.say("replaced", ticket, put(resident, fields, committed(resident)))

    def _upgrade(self, resident: Resident, cls: int) -> None:
        try:
            changes = upgrade(resident, self._classes[cls])
        except Exception as error:  # whatever migrate raises
            resident.say("upgraded", cls, None, ": ".join(describe(error)[:2]))
        else:
            resident.say("upgraded", cls, changes, None)

    def _on_migrate(self, life: int, ticket: int, cls: int, image: Image) -> None:
        """The same for the state of an agent that does not run."""
        try:
            self.say("told", ticket, (migrated(self._classes[cls], image), None))
        except BaseException as error:  # whatever migrate raises
            self.say("told", ticket, (None, ": ".join(describe(error)[:2])))

    def _on_suspend(self, life: int, suspended: bool) -> None:
        resident = self._residents.get(life)
        if resident is not None:
            resident.suspended = suspended
            if not suspended and resident.mailbox:
                self._work(resident)


async def _done(work: Callable[[], Any]) -> Any:
    return work()


def _unloadable(error: BaseException) -> type[Agent]:
    """Stands for a class that could not be loaded here: every start of it fails and says why."""
    why = ": ".join(describe(error)[:2])

    class Unloadable(Agent):
        async def on_start(self) -> None:
            raise RuntimeError(
                f"the agent's class could not be loaded in a node: {why}. "
                "A node imports modules by the same sys.path as the kernel."
            ) from error

    return Unloadable
