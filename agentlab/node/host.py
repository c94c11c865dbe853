"""The host: keeps the agents of one node, hands them their messages, reports what became of them.

An agent at rest is a ``Resident`` and its state; a task exists only while its mailbox holds something.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from agentlab.agent.arguments import signature_of
from agentlab.agent.base import HOOKS, Agent
from agentlab.agent.snapshot import Image
from agentlab.errors import InvalidArgument
from agentlab.exits import Crash, Exit
from agentlab.faults import Action
from agentlab.node import forked
from agentlab.node.attempts import ending_of
from agentlab.node.line import Line
from agentlab.node.link import InsideLink, awaited
from agentlab.node.log import AgentLog
from agentlab.node.mailbox import Delivery, Item, Replace, Stop
from agentlab.node.orders import Orders, hearing_of
from agentlab.node.resident import Died, Ending, Resident, current, nothing, revived, shown
from agentlab.node.states import build, committed, put, take_back, upgrade
from agentlab.node.struck import meet_message
from agentlab.ref.link import Outgoing, links
from agentlab.slicing.sliced import Owner
from agentlab.slicing.slices import Slicer
from agentlab.wire.codec import Frame
from agentlab.wire.exceptions import as_reason, describe, encode_reason, repr_of
from agentlab.wire.frames import Asker, ToNode
from agentlab.wire.packing import pack, unpack
from agentlab.wire.stubs import named
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
            about: ``number``; ``lab``: its id; ``durable``: it has a file, which keeps JSON only; ``kind``;
                ``on_fault``: the limits of the lab's actions by kind of fault; ``chaos``: a plan is on; ``watched``:
                somebody looks on.
        """
        super().__init__()
        self.number: int = about["number"]
        self.durable: bool = about["durable"]
        self.kind: str = about["kind"]
        self.on_fault = {kind: Action(**limits) for kind, limits in about["on_fault"].items()}
        self.chaos: bool = about["chaos"]
        self.watched: bool = about["watched"]
        self._word = word
        self.link = InsideLink(self, about["lab"])
        if self.kind != "kernel":
            links[about["lab"]] = self.link
        self._sock = sock
        self.residents: dict[int, Resident] = {}
        self.classes: dict[int, type[Agent]] = {}
        self.numbers: dict[type, int] = {}  # the same by class
        self.paths: dict[str, Resident] = {}
        self._posted: dict[int, asyncio.Future[Any]] = {}  # calls within the node, by their messages' keys
        self.keys: Iterator[int] = iter(())
        self._slicer: Slicer

    async def begin(self) -> asyncio.Future[None]:
        """Begin to serve; what is done when the kernel's end of the socket closes."""
        self.thread = threading.get_ident()
        forked.watch(self)
        self._log = AgentLog(self.say)
        self._slicer = Slicer(asyncio.get_running_loop(), cells=self._word.cells, on_busy=self._too_busy)
        if self.kind != "kernel":
            sys.stdout = sys.stderr = self._log
        self._slicer.install(slicing=self.kind != "kernel")
        self.hears = hearing_of(Orders(self))
        gone = await self.connect(self._sock)
        self.say.ready(pid=os.getpid())
        return gone

    def end(self) -> None:
        """The kernel is gone; no agent code delays the end."""
        if self.kind != "kernel":
            os._exit(0)

    def disown(self) -> None:
        """This is a process that an agent has forked: its code may run on, and nothing of it speaks for the node."""
        self._sock.close()
        if self.thread != threading.get_ident():
            return  # its thread is not here: nothing of it runs any more
        forked.have_the_process()
        if self.kind != "kernel":
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        for resident in self.residents.values():
            if resident.mailbox:
                resident.mailbox.clear()
            resident.ending = Ending("forked")  # the handler that returns goes no further
        self._slicer.__class__ = forked.Orphan
        handler = type(self)._message.__code__
        self._report_end = lambda *_: forked.leave_with_the_code(handler)  # type: ignore[method-assign]
        self.raised = lambda owner, error: forked.leave(error)  # type: ignore[method-assign]
        loop: Any = self._loop
        loop._ready.clear()  # what was due is the node's
        loop._run_once = loop.end_of_turn = forked.leave

    def raised(self, owner: Owner | None, error: BaseException) -> None:
        """Something was raised where no handler catches it: the crash of the agent whose code it was."""
        if not isinstance(owner, Resident) or owner.ending is not None or owner.life not in self.residents:
            self._log.write(repr_of(error) + "\n")
            return
        cells = self._word.cells
        ran, cells[0] = cells[0], owner.life  # its exception's methods are its code too
        crash = Crash(*describe(error))
        cells[0] = ran
        self.end_life(owner, Ending(crash, "own"))

    async def sliced(self, work: Callable[[], Any]) -> Any:
        """Do what runs code of agents, as the agent whose code this is: in slices, and charged to it."""
        resident = current.get()
        if resident is None or resident.life not in self.residents:
            return work()
        task = self._slicer.start(_done(work), resident)
        resident.adopt(task)
        return await task

    def misheard(self, frame: Frame, error: BaseException) -> None:
        """What an agent made raised when the kernel's message was acted on."""
        life: int | None = named(ToNode, frame).get("placement")
        if frame[0] == "start" and life is not None and life not in self.residents:
            self.say.failed(placement=life, reason=encode_reason(Crash(*describe(error))), key=None, blame="own")
        else:
            self.raised(None if life is None else self.residents.get(life), error)

    # calls within the node

    def post(
        self, message: Outgoing, payload: bytes, origin: Asker, *, redeliver: bool
    ) -> asyncio.Future[Any] | None:  # fmt: skip
        """Hand a call to a neighbour on this node, and tell the kernel; None if it must go by the kernel.

        The caller sees the answer before it is committed. Nothing that depends on it leaves the node earlier: what
        the node says is committed in its order, and an effect outside waits for ``settled``. A call must not
        overtake what its caller has sent before by the kernel.
        """
        path, method = message.path, message.method
        caller, target = current.get(), self.paths.get(path)
        if caller is None or target is None or not target.open or target.suspended or target.ending is not None:
            return None
        if caller.away or self._settled < caller.sent or method not in type(target.agent).__agent_messages__:
            return None
        key = next(self.keys, None)
        if key is None:
            return None
        ticket, answer = self._expect()
        self._posted[key] = answer
        answer.add_done_callback(lambda _: self._posted.pop(key, None))
        self.say_later.posted(
            placement=caller.life, ticket=ticket, origin=origin, target=target.life, key=key, path=path, method=method,
            payload=payload, redeliver=redeliver, sent_at=time.time_ns(),
        )  # fmt: skip
        target.post(Delivery(key, method, payload, [], [], f"{path} {key}", redeliver))
        self.work(target)
        return answer

    def check(self, path: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise InvalidArgument if the arguments do not fit the message of an agent that lives here."""
        target = self.paths.get(path)
        if target is not None and method in type(target.agent).__agent_messages__:
            signature_of(type(target.agent), method).check(args, kwargs, path)

    # lives

    def number_of(self, cls: type) -> int | None:
        """Under which number the kernel has sent the class, if it has."""
        return self.numbers.get(cls)

    async def _start(self, resident: Resident, initial: Image, kept: Image) -> None:
        """Build the agent from its last commit, else from what its child spec gave, else from its defaults."""
        migrated = build(resident, initial, kept)
        hook = getattr(resident.agent, "on_start", None)
        if hook is not None:
            await awaited(hook())
        changes = resident.changes()
        resident.keep(changes)
        resident.started = True
        self.say.started(placement=resident.life, changes=[*migrated, *changes])
        for cast in resident.casts:  # as after a message: what a start that failed wanted to say is not said
            resident.cast(cast)
        for timer in resident.timers:
            resident.set_timer(timer)
        resident.casts, resident.timers = [], []
        if resident.stopping is not None:
            await self._stop(resident, resident.stopping)

    def work(self, resident: Resident, state: tuple[Image, Image] | None = None) -> None:
        """See to the mailbox; first of all, with a ``state``, start the life: with what it was given, or last kept."""
        if resident.task is None:
            resident.task = self._slicer.start(self._drain(resident, state), resident)

    async def _drain(self, resident: Resident, state: tuple[Image, Image] | None) -> None:
        try:
            if state is not None:
                await self._start(resident, *state)
            while resident.mailbox and (not resident.suspended or not isinstance(resident.mailbox[0], Delivery)):
                await self._handle(resident, resident.mailbox.popleft())
        except Died as died:
            self._report_end(resident, died.ending)
        except Exit as leave:
            self._report_end(resident, Ending(as_reason(leave.reason), "own"))
        except BaseException as error:  # whatever an agent raises is its crash, never the node's
            self._report_end(resident, resident.ending or await ending_of(resident, error))
        finally:
            resident.task = None
            resident.rest()
        if resident.mailbox and not resident.suspended and resident.life in self.residents:
            self.work(resident)

    async def _handle(self, resident: Resident, item: Item) -> None:
        if isinstance(item, Delivery):
            await self._message(resident, item)
        elif isinstance(item, Stop):
            await self._stop(resident, Ending(item.reason))
        elif isinstance(item, Replace):
            replaced = put(resident, item.fields, committed(resident))
            self.say.replaced(placement=resident.life, ticket=item.ticket, changes=replaced)
        else:
            changes, why = upgrade(resident, self.classes[item.number])
            self.say.upgraded(placement=resident.life, number=item.number, changes=changes, why=why)

    async def _message(self, resident: Resident, message: Delivery) -> None:
        resident.take(message)
        key, method = message.key, message.method
        self._word.cells[2] = key  # its handler begins within this very slice
        started, clock = time.time_ns(), time.perf_counter()
        args, kwargs = unpack(message.payload, self.link)
        if method in HOOKS:
            args = (args[0], revived(args[1]))
        elif key not in self._posted and not self._fits(resident, key, method, args, kwargs):  # else checked when sent
            return
        trace = shown(method, args, kwargs) if resident.traced else None
        self.say_later.begun(placement=resident.life, key=key, at=started, shown=trace)
        if not message.redeliver:  # whatever it does next, nobody begins it again
            self.flush()
        handler = getattr(resident.agent, method, *((nothing,) if method in HOOKS else ()))
        try:
            if self.chaos:
                await meet_message(resident, method)
            result = await awaited(handler(*args, **kwargs))
        except BaseException:  # however it ends when its message is taken back
            if resident.withdrawn != key or resident.ending is not None:
                raise
        if resident.ending is not None:
            raise Died(resident.ending)
        if resident.withdrawn == key:
            self._take_back(resident, key)
        else:
            self._done(resident, message, result, started=started, took=time.perf_counter() - clock)
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
            self.say.refused(placement=resident.life, key=key, why=str(error), argument=error.argument)
            return False
        return True

    def _burnt(self, resident: Resident) -> bool:
        """Whether the agent keeps using up its slices: it leaves, between two messages, for a node at low priority."""
        resident.burns = resident.burns + 1 if resident.busy > BURNT_SECONDS else 0
        if resident.burns < 2:
            return False
        resident.mailbox.clear()
        self._forget(resident)
        self.say.burnt(placement=resident.life)
        return True

    def _forget(self, resident: Resident) -> None:
        del self.residents[resident.life]
        if self.paths.get(resident.agent.path) is resident:
            del self.paths[resident.agent.path]
        self._log.finish(resident.life)

    def _done(self, resident: Resident, message: Delivery, result: Any, *, started: int, took: float) -> None:
        key, method = message.key, message.method
        changes = resident.changes()
        answer = pack(result, f"the result of {resident.agent.path}.{method}", keep=None if self.durable else False)
        lost = resident.journal.lost
        if lost:
            why = f"{method} did not ask again for {', '.join(lost)}, which cannot be taken back"
            raise Died(Ending(("diverged", why)))
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
        say.done(
            placement=resident.life, key=key, answer=answer, changes=changes, casts=casts, timers=timers,
            started=started, took=took, answered=answered,
        )  # fmt: skip
        resident.key = None
        if caller is not None and answered:
            caller.set_result(answer)

    def _take_back(self, resident: Resident, key: int) -> None:
        """A message was withdrawn while it was in hand: nothing of it shows."""
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        take_back(resident)
        self.say.withdrawn(placement=resident.life, key=key)

    async def _stop(self, resident: Resident, ending: Ending) -> None:
        hook = getattr(resident.agent, "on_stop", None)
        if hook is not None:
            await awaited(hook(ending.reason))
        raise Died(ending)

    def _report_end(self, resident: Resident, ended: Ending) -> None:
        """Tell the kernel, once, that a life is over; none of its code acts on the world after this.

        Args:
            resident: The life. One that was reported already is left alone.
            ended: How its own code ended. If it was ended from outside, that counts.
        """
        if resident.life not in self.residents:
            return
        self._forget(resident)
        ending = resident.ending = resident.ending or ended
        for task in tuple(resident.tasks or ()):
            task.cancel()
        life, key, reason, blame = resident.life, resident.key, encode_reason(ending.reason), ending.blame
        if resident.started:
            self.say.ended(placement=life, reason=reason, key=key, blame=blame, why=ending.why)
        else:
            self.say.failed(placement=life, reason=reason, key=key, blame=blame)

    # lives that are ended from outside

    def end_life(self, resident: Resident, ending: Ending) -> None:
        """End a life wherever its code stands; what counts is the last that was said of it."""
        resident.ending = ending
        if resident.task is None:
            self._report_end(resident, ending)
            return
        self._loop.call_later(GONE_SECONDS, self._report_end, resident, ending)
        self._reach(resident)

    def _reach(self, resident: Resident) -> None:
        """Interrupt what is left of a life's code, until it is over."""
        task = resident.task
        if task is None or task.done():
            return
        assert resident.ending is not None
        if not self._slicer.interrupt(resident, Died(resident.ending)):
            task.cancel()
        self._loop.call_later(REACH_SECONDS, self._reach, resident)

    def _too_busy(self, owner: Owner) -> None:
        """A message has held the node for longer than its agent may; called where it stands."""
        assert isinstance(owner, Resident)
        if owner.ending is None and owner.life in self.residents:
            text = f"one message held the node for more than max_busy={owner.max_busy:g} s"
            self.end_life(owner, Ending(Crash("TooBusy", text), "charged"))


async def _done(work: Callable[[], Any]) -> Any:
    return work()
