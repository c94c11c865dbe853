"""Lab: the running whole. What a person holds in a cell, a script, a thread or a test."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from agentlab import faults, frames
from agentlab.agent.base import Agent
from agentlab.books.remembered import remembered
from agentlab.control.askers import serve
from agentlab.control.cells import BLOCKING, KernelLink, answer_of
from agentlab.control.chaos import Chaos
from agentlab.control.children import whereis
from agentlab.control.held import OneLabPerFile, hold, let_go, turn
from agentlab.control.options import OnFull, Resume, options_of
from agentlab.control.progress import tell
from agentlab.control.resume import bring_back, lines_of, resume
from agentlab.control.servers import endpoint_for, simulator_for
from agentlab.control.simulated import Sim
from agentlab.control.starting import start_all, start_one
from agentlab.control.topics import publish
from agentlab.control.views import Views
from agentlab.errors import InvalidSpec, LabClosed
from agentlab.events import Row
from agentlab.frames.stored import Frames, StoredLab, open_store
from agentlab.ground import interrupts
from agentlab.ground.given import file_of, path_of, seconds, shown, text_of
from agentlab.ground.interpreter import locked, require_lock
from agentlab.ground.words import counted, spelt
from agentlab.kernel.runtime import Runtime
from agentlab.ref.cell import RefInCell
from agentlab.ref.many import Refs
from agentlab.ref.ref import Ref
from agentlab.store.database import Store, Synchronous
from agentlab.store.retention import Keep, checked
from agentlab.supervision.budget import Budget
from agentlab.supervision.child import Child, Supervisor
from agentlab.wire.blows import Decides

if TYPE_CHECKING:
    import pandas as pd

    from agentlab.sim.control import Endpoint

__all__ = ["Frames", "Lab", "StoredLab", "open_store"]


class Lab(Views, metaclass=OneLabPerFile):
    """A supervisor runtime resident in this process, and the nodes in which its agents run.

    ::

        lab = Lab()
        counter = lab.start(Counter, id="counter")
        counter.call.add(5).result()
        lab.close()

    A file has one lab in a process: ``Lab("run.lab")`` run again gives the same object, its agents undisturbed, until
    it is closed. ``with Lab("run.lab")`` within another closes it when the outermost ends; ``close()`` closes it for
    all who have it.

    Args:
        store: None keeps everything in memory; a path keeps it in that file. A path that holds a lab brings
            that lab back.
        nodes: How many node processes run agents; one per core, at least two, if left out.
        redeliver: Whether a message that was in hand when its agent died is delivered again.
        resume: What happens to the agents of a stored lab: ``True``: they run on; ``"ask"``: they are parked
            until ``resume()``; ``False``: the store is only read, also while the lab runs. ``"ask"`` in a notebook,
            else ``True``.
        synchronous: What a commit to a file survives. ``"NORMAL"``: the death of an agent, a node, the kernel,
            any process; ``"FULL"``: the machine losing its power too, for about 0.2 ms more per commit.
        keep: How much of the past the store keeps. None: all. A number: per agent the last so many
            checkpoints, messages (with their steps), restarts and events. A ``timedelta``: those so young. The
            newest checkpoint always stays.
        stall_notice: Seconds without progress, in C code that holds the interpreter, after which the other agents
            of a node are served by another one.
        stall_seconds: Seconds after which such a node is killed; the restart of the agent that held it counts.
        node_memory: Bytes that a node may use before it is killed; its share of four fifths of the machine's
            memory if left out.
        budget: What all agents together may spend on models; ``lab.budget`` shows and raises it.
        on_full: What happens while the disk of ``store`` is full. ``"fail"``: messages fail and states stay at
            their last commit, steps wait; all goes on by itself when there is space. ``"memory"``: the lab goes
            on; what it tells is not durable until there is space (events ``store_full``, ``store_written``), and
            lost if it is closed or killed before.
        on_fault: Rows that replace those of ``agentlab.faults.table()``, ``{"server_error": "crash"}``: what is done
            about which kind of fault. A class's own ``on_fault`` stands before them.
        local: How the servers of ``model="local"`` run, ``{"slots": 2, "context": 4096, "threads": 1}``: answers that
            they work on at once, tokens of one conversation, and processors that they may use (half of those that
            there are if left out). ``"seed"``: the same conversation gets the same answer.

    Raises:
        InvalidSpec: An option has a value that it cannot have, or other than that of the live lab; nothing was opened.
        UnsupportedPython: This Python runs without its global lock.
        StoreLocked, StoreDamaged, StoreTooNew, StoreReadOnly: The store cannot be used; it is left as it was.
    """

    @functools.partial(spelt, what="Lab")
    def __init__(  # noqa: PLR0913 - a lab's options, each by its name
        self, store: str | os.PathLike[str] | None = None, *, nodes: int | None = None, redeliver: bool = True,
        resume: Resume | None = None, synchronous: Synchronous = "NORMAL", keep: Keep = None,
        on_full: OnFull = "fail", stall_notice: float = 0.25, stall_seconds: float = 10.0,
        node_memory: int | None = None, on_fault: Mapping[str, str | faults.Action] | None = None,
        local: Mapping[str, int] | None = None, budget: Budget | None = None,
    ) -> None:  # fmt: skip
        require_lock(locked=resume is False or locked())
        given = {
            "nodes": nodes, "redeliver": redeliver, "resume": resume, "synchronous": synchronous, "keep": keep,
            "on_full": on_full, "stall_notice": stall_notice, "stall_seconds": stall_seconds,
            "node_memory": node_memory, "on_fault": on_fault, "local": local, "budget": budget,
        }  # fmt: skip
        self._options, of_runtime = options_of(given)
        path = None if store is None else file_of(store, "Lab: store")
        self._file = None if path is None else Path(os.path.realpath(path))
        self._inside = 0  # how many ``with`` blocks it is in
        self._store = Store(path, read_only=resume is False, synchronous=synchronous, keep=checked(keep))
        self._runtime: Runtime | None = None
        self._last: list[Row] = []  # the tree as it was before the lab was closed, for widgets
        if resume is not False:
            self._begin(self._options["resume"], of_runtime)

    def _begin(self, how: Resume, of_runtime: dict[str, Any]) -> None:
        try:
            past = remembered(self._store)
            runtime = Runtime(self._store, serve=serve, **of_runtime)
        except BaseException:
            self._store.close()
            raise
        self._runtime = runtime
        self._link = KernelLink(runtime)
        hold(self._file, self)
        try:
            bring_back(runtime, past, run=how is True)
            tell(lines_of(runtime, self._store.path, past, how), depth=5, asked=how == "ask")
        except BaseException:
            with contextlib.suppress(Exception):  # what went wrong first is told
                self.close(2.0)
            raise

    @property
    def _live(self) -> Runtime:
        if self._runtime is None:
            raise LabClosed("this lab was opened only to read (resume=False). Open it with resume=True to run it.")
        if self._runtime.thread.away:
            self._runtime.thread.check()
        return self._runtime

    def _read(self) -> Store:
        if self._runtime is not None and not self._runtime.closed:
            self._runtime.run(self._runtime.flush)
        return self._store

    # starting and finding

    def start(
        self, what: type[Agent] | Child | Supervisor, *, id: str | None = None, under: Ref | str | None = None,
        exist_ok: bool = False, **fields: Any,
    ) -> RefInCell:  # fmt: skip
        """Start an agent, a child or a supervisor; returns when its first incarnation runs.

        With ``exist_ok=True`` a cell may be run any number of times: what runs already is found, undisturbed; what is
        parked since the lab was opened again is resumed; what is kept but has ended starts where it was; what is
        absent starts afresh. A class that was defined again under its name is the same class.

        Args:
            what: An ``Agent`` class, a ``child(...)`` or a ``Supervisor(...)``.
            id: Its name among its siblings; the class's name in small letters if left out.
            under: A supervisor's ref or path; the root if left out.
            exist_ok: Whether it may be there already. It must be as it is asked for: the class, the options and
                initial values that are given, and all that a ``child(...)`` or a ``Supervisor(...)`` says.
            fields: Initial values of the agent's fields, and options of ``child``.

        Raises:
            InvalidSpec: It cannot be, or another one is there; nothing was started.
            AlreadyStarted, AlreadyPresent, MaxChildren: The supervisor does not take it.
            Exception: Whatever ``on_start`` raised.
        """
        __tracebackhide__ = True
        return start_one(self._live, what, id, under, fields, exist_ok=exist_ok)

    def start_many(
        self, cls: type[Agent], n_or_fields: int | Iterable[Mapping[str, Any]], *, under: Ref | str | None = None,
        exist_ok: bool = False, **options: Any,
    ) -> Refs[RefInCell]:  # fmt: skip
        """Start many agents of one class in one go: a number of them, or one per mapping of fields.

        ``options`` are those of ``child``, and initial values, for all of them; a mapping may say otherwise for one.
        More than 50 that share the limit of one supervisor are told of, once: give them ``own_limit=Limit(...)``.

        With ``exist_ok=True`` their ids are the class's name and the numbers from 1 (``counter-1`` ...), and each is
        found, resumed or started, as ``start`` does it.
        """
        return start_all(self._live, cls, n_or_fields, under, options, exist_ok=exist_ok)

    def __getitem__(self, path: str) -> RefInCell:
        """The ref at a path; KeyError if there is nothing."""
        path = text_of(path, "lab[...]: a path", "a text like '/team/writer'", "path")
        ref = self.whereis(path if path.startswith("/") else "/" + path)
        if ref is None:
            raise KeyError(f"there is nothing at {shown(path)}. Look: lab.agents().")
        return ref

    def _ipython_key_completions_(self) -> list[str]:
        return [] if self.closed else [row.path for row in self.rows()]

    def whereis(self, id: str) -> RefInCell | None:
        """The ref at a path or of that id, or None."""
        runtime = self._live
        ref: RefInCell | None = runtime.run(whereis, runtime, path_of(id, "whereis", "id"))
        return ref

    def __iter__(self) -> Iterator[RefInCell]:
        """The refs of all agents, in start order."""
        return iter([self[row.path] for row in self.rows() if row.kind == "agent"])

    # waiting, resuming, closing

    def wait_idle(self, timeout: float = 10.0) -> None:
        """Block until every mailbox is empty, no handler runs and no restart or back-off is pending.

        Parked and suspended agents do not count.

        Raises:
            CallTimeout: Not idle after ``timeout`` seconds; the message says who was busy.
        """
        __tracebackhide__ = True
        BLOCKING["wait_idle"](self._live, "/", seconds(timeout, "wait_idle: timeout"))

    def retry(self, what: int | Ref | str | None = None) -> int:
        """Send dead letters again, as casts; they leave ``dead_letters()``. How many were sent.

        Args:
            what: A letter's ``number``; an agent's ref or path for all of its letters; None for all that there are.

        Raises:
            UnknownLetter: There is no such letter, or the store does not have its arguments.
        """
        which: Any = what
        if which is not None and (isinstance(which, bool) or not isinstance(which, Integral)):
            which = path_of(which, "retry", "what")
        return int(BLOCKING["retry"](self._live, "/", which))

    def upgrade(self, cls: type[Agent]) -> pd.DataFrame:
        """Let the agents of a class of that name go on with this one, each between two messages.

        Their state is migrated: ``cls.migrate(state)``, if there is one, gets it as a dict of JSON values, as
        ``ref.state`` shows it, and returns the new one. New fields take their defaults; what the class has no
        field for is dropped. An agent whose state does not fit keeps the old code. What is no state (attributes
        whose names begin with ``_``) stays. To define a class again changes nothing until it is given here.

        Returns:
            One row per agent: ``path``; ``outcome``: ``upgraded``, ``refused``, or ``waits`` for an agent that is
            busy and takes the new code later; ``detail``: why.
        """
        if not (isinstance(cls, type) and issubclass(cls, Agent)):
            raise InvalidSpec(f"upgrade: give an agent class; got {shown(cls)}", kind="invalid_class", value=cls)
        runtime = self._live
        return frames.upgrades(answer_of(runtime.submit(runtime.upgrades.upgrade, cls)))

    def resume(self) -> list[RefInCell]:
        """Run the agents that are parked since the lab was opened again; their refs.

        Says which stay parked because their classes are not defined, and what to run for them.
        """
        runtime = self._live
        found: list[RefInCell] = answer_of(runtime.submit(resume, runtime))
        tell(lines_of(runtime))
        return found

    def close(self, timeout: float = 10.0) -> None:
        """Shut down in good order, children in reverse start order; nothing committed is lost.

        An interrupt (Ctrl-C, the stop button) ends the wait for the agents: the lab is closed all the same.

        Args:
            timeout: Seconds for the agents' ``on_stop``; then the nodes are ended.

        Raises:
            StoreError: The lab is closed, but what happened since its last commit could not be stored.
        """
        timeout = seconds(timeout, "close: timeout")
        if self._runtime is not None and self._runtime.thread.away:
            return  # it is its parent's
        if self._runtime is not None and self._runtime.thread.here:  # it cannot wait for itself
            threading.Thread(target=self.close, args=(timeout,), name="agentlab-close").start()
            return
        interrupts.whole(functools.partial(self._close, timeout))

    def _close(self, timeout: float) -> None:
        with contextlib.nullcontext() if self._file is None else turn(self._file), contextlib.ExitStack() as ends:
            ends.callback(self._store.close)  # the last of the three, whatever the others raise
            ends.callback(let_go, self)
            if self._runtime is not None and not self._runtime.closed:
                ends.callback(self._runtime.close, timeout)
                self._last = self.rows() if self._runtime.begun else []

    @property
    def closed(self) -> bool:
        """Whether the lab has ended."""
        return self._runtime is None or self._runtime.closed

    def __enter__(self) -> Self:
        self._inside += 1
        return self

    def __exit__(self, *failure: object) -> None:
        self._inside -= 1
        if self._inside <= 0:
            self.close()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *failure: object) -> None:
        import anyio.to_thread

        await anyio.to_thread.run_sync(self.__exit__, *failure)

    # having all of it do something

    def publish(self, topic: str, method: str, *args: Any, **kwargs: Any) -> int:
        """Cast to every subscriber of a topic; how many there are. InvalidArgument if one of them would refuse it."""
        return publish(self._live, topic, method, args, kwargs)

    def chaos(self, plan: Decides) -> Chaos:
        """``with lab.chaos(plan):`` a plan of ``agentlab.chaos`` strikes messages and steps of this lab's agents.

        Each strike is an event ``struck`` and a row of ``chaos_log()``.

        Raises:
            InvalidArgument: That is no plan.
            InvalidSpec: Another plan is on.
        """
        return Chaos(self._live, plan)

    def endpoint(self, ref: Ref | str) -> Endpoint:
        """Where the server of an agent (a ``ServerAgent``) listens, and its token, which its ``repr`` does not show.

        Raises:
            NotRunning: There is no such agent, or it serves nowhere.
        """
        return endpoint_for(self._live, path_of(ref, "endpoint", "ref"))

    @property
    def sim(self) -> Sim:
        """The simulator that answers for models called ``sim``, to steer it; it starts when it is first used."""
        return Sim(self)

    def simulator(self) -> Endpoint:
        """Where the lab's simulator listens, and its token; it is started when first asked for."""
        return simulator_for(self._live)

    def __repr__(self) -> str:
        where = "memory" if self._store.path is None else str(self._store.path)
        if self._runtime is None or self._runtime.closed:
            return f"Lab({where!r}, closed)"
        agents, nodes = self._runtime.run(self._runtime.count)
        return f"Lab({where!r}, {counted(agents, 'agent', sep='')}, {counted(nodes, 'node')})"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a Lab cannot travel; inside an agent it is self.lab.")
