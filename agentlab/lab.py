"""Lab: the running whole. What a person holds in a cell, a script, a thread or a test."""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import operator
import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from agentlab import faults, frames
from agentlab.agent.arguments import signature_of
from agentlab.agent.base import Agent
from agentlab.books.remembered import Place, missing_line, remembered
from agentlab.control.again import start_again, start_many_again
from agentlab.control.askers import serve
from agentlab.control.cells import BLOCKING, KernelLink, answer_of
from agentlab.control.children import start, whereis
from agentlab.control.held import OneLabPerFile, hold, let_go, turn
from agentlab.control.local import checked_options
from agentlab.control.many import start_many
from agentlab.control.progress import in_notebook, remark, result, tell
from agentlab.control.resume import bring_back, resume
from agentlab.control.rows import rows as make_rows
from agentlab.control.servers import endpoint, simulator
from agentlab.control.simulated import Sim
from agentlab.errors import InvalidArgument, InvalidSpec, LabClosed
from agentlab.events import Feed, Row
from agentlab.frames.spending import By
from agentlab.ground import interrupts
from agentlab.ground.given import each_one, file_of, path_of, seconds, shown, text_of
from agentlab.ground.interpreter import locked, require_lock
from agentlab.ground.prose import Prose
from agentlab.ground.words import counted, spelt
from agentlab.kernel.runtime import Runtime
from agentlab.kernel.watch import Patience
from agentlab.pool.fork import close_shared
from agentlab.ref.budget import BudgetOf
from agentlab.ref.cell import RefInCell
from agentlab.ref.many import Refs
from agentlab.ref.ref import Ref
from agentlab.store.database import Store, Synchronous
from agentlab.store.retention import Keep, checked
from agentlab.supervision.budget import Budget
from agentlab.supervision.checks import check_instance
from agentlab.supervision.child import Child, Supervisor
from agentlab.wire.packing import pack

if TYPE_CHECKING:
    import pandas as pd

    from agentlab.sim.control import Endpoint

Resume = bool | Literal["ask"]
OnFull = Literal["fail", "memory"]

_open: weakref.WeakSet[Lab] = weakref.WeakSet()
os.register_at_fork(after_in_child=_open.clear)  # a forked child has no lab to close


class Frames:
    """The DataFrames of a store; a live lab and a stored one have the same."""

    _store: Store

    def events(self, *, path: str | None = None) -> pd.DataFrame:
        """What happened, one row per fact, oldest first. See ``agentlab.frames.events``."""
        return frames.events(self._read(), path=path)

    def messages(self, *, path: str | None = None) -> pd.DataFrame:
        """One row per handled message."""
        return frames.messages(self._read(), path=path)

    def steps(self, *, path: str | None = None) -> pd.DataFrame:
        """One row per attempt at one effect."""
        return frames.steps(self._read(), path=path)

    def restarts(self, *, path: str | None = None) -> pd.DataFrame:
        """One row per restart."""
        return frames.restarts(self._read(), path=path)

    def dead_letters(self, *, path: str | None = None) -> pd.DataFrame:
        """One row per message that could not be handled; ``lab.retry(number)`` sends it again."""
        return frames.dead_letters(self._read(), path=path)

    def spend(self, by: By = "path") -> pd.DataFrame:
        """What model calls have cost, by ``"path"``, ``"model"`` or ``"supervisor"``. See ``agentlab.frames.spend``."""
        return frames.spend(self._read(), by=by, held=self._held())

    def checkpoints(self, what: type[Agent] | Ref | str | None = None) -> pd.DataFrame:
        """One row per committed state; for one agent or one agent class with its fields as columns.

        Args:
            what: A ref or a path (``"/team/writer"``) for one agent; a class, or its name, for all of that class.
        """
        if isinstance(what, type) or (isinstance(what, str) and not what.startswith("/")):
            text_of(getattr(what, "__name__", what), "checkpoints: a class", "an agent class, or its name", "what")
            return frames.checkpoints(self._read(), cls=what if isinstance(what, str) else what.__name__)
        path = what.path if isinstance(what, Ref) else what
        return frames.checkpoints(self._read(), path=path)

    def _read(self) -> Store:
        return self._store

    def _held(self) -> dict[tuple[str, str], int]:
        """Tokens that are held back for model calls under way, by path and model."""
        return {}


class Lab(Frames, metaclass=OneLabPerFile):
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
        _check_options(nodes, redeliver, resume, synchronous, on_full)
        _check_limits(stall_notice, stall_seconds, node_memory)
        rows = faults.checked(on_fault or {}, "Lab")
        if budget is not None:
            check_instance(budget, Budget, "Lab: budget", "invalid_budget")
        limits = {"patience": Patience(stall_notice, stall_seconds), "node_memory": node_memory, "on_fault": rows}
        more = {"local": checked_options(local), "budget": budget}
        path = None if store is None else file_of(store, "Lab: store")
        self._file = None if path is None else Path(os.path.realpath(path))
        size = nodes or max(2, os.cpu_count() or 2)
        how = resume if resume is not None else "ask" if in_notebook() else True
        self._options = {
            "nodes": size, "redeliver": redeliver, "resume": how, "synchronous": synchronous, "keep": keep,
            "on_full": on_full, "stall_notice": stall_notice, "stall_seconds": stall_seconds,
            "node_memory": node_memory, "on_fault": on_fault, "local": local, "budget": budget,
        }  # fmt: skip
        self._inside = 0  # how many ``with`` blocks it is in
        self._store = Store(path, read_only=resume is False, synchronous=synchronous, keep=checked(keep))
        self._runtime: Runtime | None = None
        self._last: list[Row] = []  # the tree as it was before the lab was closed, for widgets
        if resume is not False:
            self._begin(size, how, redeliver=redeliver, in_memory=on_full == "memory", **limits, **more)

    def _begin(self, nodes: int, how: Resume, **options: Any) -> None:
        try:
            past = remembered(self._store)
            runtime = Runtime(self._store, nodes, serve=serve, **options)
        except BaseException:
            self._store.close()
            raise
        self._runtime = runtime
        self._link = KernelLink(runtime)
        _open.add(self)
        if self._file is not None:
            hold(self._file, self)
        try:
            bring_back(runtime, past, run=how is True)
            self._tell_of(past, how)
        except BaseException:
            with contextlib.suppress(Exception):  # what went wrong first is told
                self.close(2.0)
            raise

    def _tell_of(self, past: list[Place], how: Resume) -> None:
        """What is back, and what is missing."""
        runtime = self._live
        line = missing_line(runtime.run(runtime.desk.waiting.missing))
        if past and how == "ask":
            many = f"{counted(len(past), 'place')} of the tree {'is' if len(past) == 1 else 'are'}"
            line = f"{self._store.path}: {many} back, parked. lab.resume() runs them. {line}".rstrip()
        tell(filter(None, [line]), depth=6, asked=how == "ask")

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
        runtime = self._live
        path = None if under is None else path_of(under, "start", "under")
        name = id or getattr(what, "__name__", None) or getattr(what, "id", None) or shown(what)
        found = answer_of(
            runtime.submit(start_again if exist_ok else start, runtime, what, id, path, fields),
            lambda: f"the start of {name} goes on; nobody waits for it. Look: lab.agents(). End it: lab[path].kill().",
        )
        ref, told = found if exist_ok else (found, [])
        tell(told)
        remark(runtime.desk.remarks)
        made: RefInCell = ref
        return made

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
        if not (isinstance(cls, type) and issubclass(cls, Agent)):
            raise InvalidSpec(f"start_many: give an agent class; got {shown(cls)}. What needs options: lab.start.")
        given = each_one(n_or_fields, "start_many")
        runtime = self._live
        path = None if under is None else path_of(under, "start_many", "under")
        if "id" in options:
            raise InvalidSpec(f"start_many: each gets an id of its own, so none for all; got id={shown(options['id'])}")
        started = [0]
        progress = functools.partial(operator.setitem, started, 0)
        if exist_ok:
            given = [{**options, **fields} for fields in given]
            work = runtime.submit(start_many_again, runtime, cls, given, path, progress)
        else:
            work = runtime.submit(start_many, runtime, cls, given, path, progress, None, options)
        found = result(work, lambda: started[0], len(given))
        remark(runtime.desk.remarks)
        refs, told = found if exist_ok else (found, [])
        tell(told)
        made: Refs[RefInCell] = refs
        return made

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
        tell(filter(None, [missing_line(runtime.run(runtime.desk.waiting.missing))]))
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
        interrupts.whole(functools.partial(self._close_whole, timeout))

    def _close_whole(self, timeout: float) -> None:
        with contextlib.nullcontext() if self._file is None else turn(self._file):
            self._close(timeout)

    def _close(self, timeout: float) -> None:
        try:
            if self._runtime is not None and not self._runtime.closed:
                try:
                    self._last = self.rows() if self._runtime.begun else []
                finally:
                    self._runtime.close(timeout)
        finally:
            _open.discard(self)
            let_go(self)
            self._store.close()

    @property
    def closed(self) -> bool:
        """Whether the lab has ended."""
        return self._runtime is None or self._runtime.closed

    def __enter__(self) -> Self:
        self._inside += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._inside -= 1
        if self._inside <= 0:
            self.close()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        import anyio.to_thread

        await anyio.to_thread.run_sync(self.__exit__, kind, error, tb)

    # seeing

    def agents(self) -> pd.DataFrame:
        """One row per agent and supervisor as it is now."""
        return frames.stored_agents(self._store) if self._runtime is None else frames.agents(self.rows())

    def rows(self, paths: Iterable[str] | None = None) -> list[Row]:
        """The tree as plain rows, in start order, depth first; only ``paths`` if given. Any thread.

        Of a closed lab: the rows as they were, all stopped.
        """
        runtime = self._live
        if paths is not None and (isinstance(paths, (str, bytes)) or not isinstance(paths, Iterable)):
            raise InvalidArgument(f"rows: paths must be several paths, or None; got {shown(paths)}", argument="paths")
        wanted = None if paths is None else [path_of(path, "rows", "each of paths") for path in paths]
        if runtime.closed:
            ended = (row._replace(status="stopped", mailbox=0, node=None) for row in self._last)
            return [row for row in ended if wanted is None or row.path in wanted]
        found: list[Row] = runtime.run(make_rows, runtime, wanted)
        return found

    def feed(self) -> Feed:
        """An inbox of committed events and of the places that changed; close it when done."""
        return self._live.hub.open()

    def tree(self) -> Any:
        """The live supervision tree, as a widget."""
        if self._runtime is not None and self._runtime.thread.away:
            self._runtime.thread.check()
        return importlib.import_module("agentlab_widgets").TreeWidget(self)

    @property
    def budget(self) -> BudgetOf:
        """What all agents together may spend on models, and have: ``limit``, ``used``, ``left``; ``add`` raises it."""
        return BudgetOf(self._link, "/")

    def _held(self) -> dict[tuple[str, str], int]:
        found: dict[tuple[str, str], int] = {}
        return found if self.closed else self._live.run(self._live.desk.ledger.messages.accounts.reserved)

    def publish(self, topic: str, method: str, *args: Any, **kwargs: Any) -> int:
        """Cast to every subscriber of a topic; how many there are. InvalidArgument if one of them would refuse it."""
        runtime = self._live
        text_of(topic, "publish: topic", "a text", "topic")
        text_of(method, "publish: method", "the name of a message", "method")
        for entry in runtime.run(runtime.mail.heard_by, topic):
            if method in entry.kind.cls.__agent_messages__:
                signature_of(entry.kind.cls, method).check(args, kwargs, entry.path)
        payload = pack((args, kwargs), f"what is published to {topic!r}", keep=runtime.desk.ledger.durable)
        count: int = runtime.run(runtime.mail.publish, topic, method, payload)
        return count

    def explain(self, ref: Ref | str) -> str:
        """Why an agent is in the state it is in, in a paragraph, from its events."""
        path = path_of(ref, "explain", "ref")
        return Prose(BLOCKING["explain"](self._live, path if path.startswith("/") else "/" + path))

    def endpoint(self, ref: Ref | str) -> Endpoint:
        """Where the server of an agent (a ``ServerAgent``) listens, and its token, which its ``repr`` does not show.

        Raises:
            NotRunning: There is no such agent, or it serves nowhere.
        """
        from agentlab.sim.control import Endpoint

        return Endpoint(**self._live.run(endpoint, self._live, path_of(ref, "endpoint", "ref")))

    @property
    def sim(self) -> Sim:
        """The simulator that answers for models called ``sim``, to steer it; it starts when it is first used."""
        return Sim(self)

    def simulator(self) -> Endpoint:
        """Where the lab's simulator listens, and its token; it is started when first asked for."""
        from agentlab.sim.control import Endpoint

        runtime = self._live
        return Endpoint(**runtime.submit(simulator, runtime).result())

    def __repr__(self) -> str:
        where = "memory" if self._store.path is None else str(self._store.path)
        if self._runtime is None or self._runtime.closed:
            return f"Lab({where!r}, closed)"
        agents, nodes = self._runtime.run(self._runtime.count)
        return f"Lab({where!r}, {counted(agents, 'agent', sep='')}, {counted(nodes, 'node')})"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a Lab cannot travel; inside an agent it is self.lab.")


class StoredLab(Frames):
    """A lab's store, read only: the frames of a lab that runs elsewhere, or ran once."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._store = Store(file_of(path, "open_store: path"), read_only=True)

    def agents(self) -> pd.DataFrame:
        """One row per agent and supervisor, as last committed."""
        return frames.stored_agents(self._store)

    def approvals(self) -> pd.DataFrame:
        """One row per call of a tool that waits for a person; the lab itself takes the word: ``ref.approve(step)``."""
        return frames.approvals(self._store)

    def close(self) -> None:
        """Let go of the file."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"StoredLab({str(self._store.path)!r})"


def open_store(path: str | os.PathLike[str]) -> StoredLab:
    """Read a lab's store, also while the lab runs: ``open_store("run.lab").events()``."""
    return StoredLab(path)


def _check_options(nodes: Any, redeliver: Any, resume: Any, synchronous: Any, on_full: Any) -> None:
    if nodes is not None and (isinstance(nodes, bool) or not isinstance(nodes, int) or nodes < 1):
        raise InvalidSpec(f"Lab: nodes must be an int >= 1; got {shown(nodes)}", kind="invalid_nodes", value=nodes)
    if not isinstance(redeliver, bool):
        raise InvalidSpec(f"Lab: redeliver must be True or False; got {shown(redeliver)}", kind="invalid_redeliver",
                          value=redeliver)  # fmt: skip
    if resume not in (None, True, False, "ask"):
        raise InvalidSpec(
            f"Lab: resume must be True, False or 'ask'; got {shown(resume)}", kind="invalid_resume", value=resume
        )
    if synchronous not in ("NORMAL", "FULL"):
        raise InvalidSpec(
            f"Lab: synchronous must be 'NORMAL' or 'FULL'; got {shown(synchronous)}",
            kind="invalid_synchronous", value=synchronous,
        )  # fmt: skip
    if on_full not in ("fail", "memory"):
        raise InvalidSpec(
            f"Lab: on_full must be 'fail' or 'memory'; got {shown(on_full)}", kind="invalid_on_full", value=on_full
        )


def _check_limits(notice: Any, kill: Any, memory: Any) -> None:
    for name, value in (("stall_notice", notice), ("stall_seconds", kill)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise InvalidSpec(
                f"Lab: {name} must be seconds > 0; got {shown(value)}", kind=f"invalid_{name}", value=value
            )
    if memory is not None and (isinstance(memory, bool) or not isinstance(memory, int) or memory < 1):
        raise InvalidSpec(
            f"Lab: node_memory must be a number of bytes; got {shown(memory)}", kind="invalid_node_memory", value=memory
        )


@atexit.register
def _close_all() -> None:
    """A lab left open is closed at exit, also if another one's last rows could not be stored."""
    with contextlib.ExitStack() as stack:
        stack.callback(close_shared)
        for lab in list(_open):
            stack.callback(lab.close, timeout=2.0)
