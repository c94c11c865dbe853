"""The runtime: the kernel-side loop that joins supervision, nodes, store and hub.

It runs in a thread of its own, so that a busy cell does not hold up the supervisor. Cells hand messages and
control operations over; nodes report; the supervision machine decides; and at the end of each loop turn one
commit makes everything of that turn durable before any reply, message or event of it leaves.

Invariants: commit before reply; publish after commit; one writer of the store.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import secrets
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from agentlab.books.agents import Entry
from agentlab.books.messages import Answer
from agentlab.errors import CallTimeout, LabClosed, StoreError
from agentlab.events import Hub
from agentlab.faults import Action
from agentlab.ground.words import counted
from agentlab.kernel.calls import Calls
from agentlab.kernel.desk import Desk
from agentlab.kernel.failures import Failures
from agentlab.kernel.idle import Idleness
from agentlab.kernel.lives import Lives
from agentlab.kernel.mail import Mail
from agentlab.kernel.own_time import OwnTime
from agentlab.kernel.placing import Placing
from agentlab.kernel.posts import Posts
from agentlab.kernel.register import Register
from agentlab.kernel.reports import Reports
from agentlab.kernel.signals import Signals
from agentlab.kernel.steps import Steps
from agentlab.kernel.strikes import Strikes
from agentlab.kernel.thread import Coming, LoopThread
from agentlab.kernel.timers import Timers
from agentlab.kernel.turn import AGAIN_SECONDS, Ledger
from agentlab.kernel.undecided import Undecided
from agentlab.kernel.unread import Unread
from agentlab.kernel.upgrades import Upgrades
from agentlab.kernel.watch import Patience, Watch
from agentlab.pool.fork import shared
from agentlab.pool.pool import Node, Pool
from agentlab.store.database import Store
from agentlab.supervision.budget import Budget
from agentlab.supervision.child import Supervisor
from agentlab.supervision.tree import Tree
from agentlab.supervision.words import Shutdown
from agentlab.wire.codec import Frame
from agentlab.wire.pickles import role


class Serve(Protocol):
    """Answers what agents ask of their lab; it stands a floor above, with all that may be asked."""

    def __call__(
        self, runtime: Runtime, caller: Entry | None, op: str, args: tuple[Any, ...], answer: Answer, /
    ) -> Coroutine[Any, Any, None]:  # fmt: skip
        """Answer one question."""


CLOSED_PER_SECOND = 1_000
"""Agents that end in a second, at the least, when a lab closes; on a machine that is busy with other things too."""

UNDONE_SECONDS = 10.0
"""So long a lab may take to close that does not wait for its agents."""


class Runtime:
    """One lab's loop, in a thread of its own."""

    def __init__(
        self, store: Store, nodes: int, *, serve: Serve, redeliver: bool = True, in_memory: bool = False,
        patience: Patience | None = None, node_memory: int | None = None, on_fault: Mapping[str, Action] | None = None,
        local: Mapping[str, int] | None = None, budget: Budget | None = None,
    ) -> None:  # fmt: skip
        """Start the loop's thread.

        Args:
            store: Where everything is committed; the runtime is its only writer.
            nodes: How many node processes there are.
            serve: Answers what agents ask of their lab; it stands a floor above.
            redeliver: Whether messages are delivered again unless they say otherwise.
            patience: How long a node may stall.
            node_memory: Bytes that a node may use; its share of the machine's memory if left out.
            on_fault: What is done about which kind of fault, where that is not the table's own.
            local: How servers of local models are started: ``slots``, ``context``, ``threads``, ``seed``.
            budget: What all agents may spend on models.
            in_memory: Whether the lab goes on in memory while the store's disk is full.
        """
        self.lab_id = uuid.uuid4().hex
        self.secret = secrets.token_bytes(32)  # the tokens of servers are made of it; it stays here
        self.hub = Hub(self._on_looking)
        ledger = Ledger(store, self.hub, in_memory=in_memory)  # it reads, which may fail: the thread begins after it
        self.thread = LoopThread(f"agentlab-{self.lab_id[:6]}")
        tree = Tree(Supervisor("lab", bring_back=False, budget=budget), independent_root=True)
        pool = Pool(
            nodes, self.lab_id, self, durable=ledger.durable, node_memory=node_memory, on_fault=on_fault
        )  # fmt: skip
        self.desk = Desk(ledger, self.thread.loop, tree, pool)
        self.thread.loop.end_of_turn = self.flush
        self.placing = Placing(self.desk)
        self.breakers = self.placing.breakers
        self.own_time = OwnTime(self.desk)
        self.undecided = Undecided(self.desk)
        self.failures = Failures(self.desk, self.undecided)
        self.mail = Mail(
            self.desk, self.placing, self.own_time, undecided=self.undecided, failures=self.failures,
            redeliver=redeliver,
        )  # fmt: skip
        self.calls = Calls(self.desk, self.mail, self.placing, self.undecided)
        self.timers = Timers(self.desk, self.own_time, self.mail)
        self.posts = Posts(self.desk, self.mail, self.thread, self.lab_id)
        self.steps = Steps(self.desk, self.undecided, self.breakers)
        self.signals = Signals(self.desk, self.mail, self.lab_id)
        self.register = Register(self.desk, self.failures, self.own_time)
        self.lives = Lives(
            self.desk, self.placing, self.signals, failures=self.failures, undecided=self.undecided,
            register=self.register,
        )  # fmt: skip
        self.machine = self.lives.machine
        self.unread = Unread(self.desk, self.mail, self.placing, self.lives)
        self.watch = Watch(self.desk, self.failures, self.placing, self.lives, patience or Patience())
        self.upgrades = Upgrades(self.desk, self.placing)
        self.strikes = Strikes(self.desk, self.lives)
        self.reports = Reports(
            self.desk, placing=self.placing, undecided=self.undecided, mail=self.mail, calls=self.calls,
            lives=self.lives, steps=self.steps, timers=self.timers, upgrades=self.upgrades, strikes=self.strikes,
            above=self,
        )  # fmt: skip
        self.idleness = Idleness(self.desk, self.posts, self.placing)
        self._scratch: str | None = None
        self.local = dict(local or {})
        self.began = time.time_ns()
        self._serve = serve
        self._again: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self.begun = False
        self._cut = asyncio.Event()  # who closes the lab does not wait for its agents
        self._ended: asyncio.Task[None] | None = None

    # from any thread

    def begin(self) -> None:
        """Start the root supervisor and the nodes; returns when the supervisor runs.

        Raises:
            NodeDown: No node can be started.
        """
        shared().wait_ready()  # here, where an interrupt is felt, and not in the loop
        beginning = self.submit(self._begin)
        try:
            beginning.result()
        except BaseException:
            concurrent.futures.wait([beginning], UNDONE_SECONDS)  # a moment; what it has started is to be ended
            raise

    @property
    def closed(self) -> bool:
        """Whether it has ended, or runs in another process than this one."""
        return self.thread.why is not None

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function in the runtime's thread and give its result."""
        return self.thread.run(function, *args)

    def submit(self, work: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Coming:
        """Begin a coroutine function in the runtime's thread."""
        return self.thread.submit(work, *args)

    def close(self, timeout: float = 10.0) -> None:
        """Stop the tree in good order, then the nodes; what is committed stays.

        An interrupt ends the wait for the agents; the nodes are ended all the same.
        """
        if self.closed:
            return
        try:
            if self.begun:
                self._close_begun(timeout)
        finally:
            self.thread.post(self.desk.pool.close)  # lines that are left end with their loop, or nobody closes them
            self.thread.end()
            self.desk.pool.kill()  # whoever is left by a lab that did not come to its end
            self._sweep()

    def _close_begun(self, timeout: float) -> None:
        many = len(self.desk.entries) + self.desk.entries.dormant
        closing = self.submit(self._close, timeout)
        limit = timeout + UNDONE_SECONDS + many / CLOSED_PER_SECOND
        try:
            closing.result(limit)
        except BaseException as error:
            self.thread.post(self._cut.set)
            done, _ = concurrent.futures.wait([closing], UNDONE_SECONDS)
            if not isinstance(error, TimeoutError):
                raise
            if done:  # cut short, it has closed all the same
                closing.result(0)
                return
            raise CallTimeout(
                f"close: {counted(many, 'agent')} had not ended after {limit + UNDONE_SECONDS:g} s; the lab and its "
                "nodes are ended all the same, and what was committed is in the store. Longer: close(timeout=...)."
            ) from None

    # in the loop

    async def _begin(self) -> None:
        role.carries = True
        self.begun = True
        self.machine.start()
        await self.desk.pool.begin()
        self.watch.look()
        self.desk.due()

    def now(self) -> float:
        """The loop's time, for the machine (seconds)."""
        return self.desk.loop.time()

    def scratch(self) -> str:
        """A folder of this lab, for what need not outlast it."""
        if self._scratch is None:
            self._scratch = tempfile.mkdtemp(prefix="agentlab-")
            shared().keep(self._scratch)  # a kernel that is killed sweeps nothing
        return self._scratch

    def _sweep(self) -> None:
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    # nodes

    def hear(self, node: Node, frames: list[Frame]) -> None:
        """A node says something."""
        self.reports.hear(node, frames)

    def lost(self, node: Node) -> None:
        """A node died."""
        self.watch.lost(node)

    def unborn(self, node: Node, error: BaseException) -> None:
        """A node could not be forked."""
        self.watch.unborn(node, error)

    def _on_looking(self) -> None:
        """Somebody began to look on, or ceased to; in whatever thread that was."""
        with contextlib.suppress(LabClosed):
            self.thread.post(self._tell_watched)

    def _tell_watched(self) -> None:
        self.desk.pool.tell_watched(on=self.hub.watched)
        self.desk.due()

    def serve(self, caller: Entry | None, op: str, args: tuple[Any, ...], answer: Answer) -> None:
        """Begin to answer one question of an agent, or (None) of code that is no agent's."""
        self.spawn(self._serve(self, caller, op, args, answer))

    # waiting

    async def wait_idle(self, path: str = "/") -> None:
        """Return when the lab, or the agent with that path, is idle, and all that it did is committed."""
        await self.idleness.wait(path)
        self.flush()

    async def accepted(self) -> None:
        """Return when what was sent before is in the books, and durable; StoreError if it could not be stored yet."""
        self.posts.take()
        self.flush()
        if self.desk.ledger.refused is not None and not self.desk.ledger.in_memory:
            raise self.desk.ledger.refused

    def count(self) -> tuple[int, int]:
        """How many agents (stopped ones do not count) and nodes there are."""
        agents = sum(entry.takes_casts for entry in self.desk.entries.values())
        return agents + self.desk.entries.dormant, len(self.desk.pool.nodes)

    # the end of a turn

    def flush(self) -> None:
        """Commit what this turn did, then send what waited for that."""
        self.desk.loop.due = False
        ledger, changes = self.desk.ledger, self.desk.changes
        if ledger.closed:
            return
        touched = ledger.touched if changes.waiting else ()
        try:
            ledger.commit()
        except StoreError as error:
            self._uncommitted(error)
        else:
            if self.desk.loop.due and not ledger.has_news:
                self.desk.loop.due = False  # what was told made it due: it leaves below
        if ledger.waits and (self._again is None or self._again.when() <= self.now()):
            self._again = self.desk.loop.call_later(AGAIN_SECONDS, self.desk.due)
        self.timers.look()
        self.desk.pool.flush()
        if self.idleness.waiters:
            self.idleness.look_again()
        if touched:
            changes.tell(touched)
        ledger.store.trim()

    def _uncommitted(self, error: StoreError) -> None:
        """The store refused: the turn's messages fail, and their agents go back to their last commits, uncounted."""
        outcomes = self.desk.ledger.take_back(error)
        for outcome in outcomes:
            self.mail.fail(outcome, error)
            self.lives.start_over_misled()
        for entry in dict.fromkeys(outcome.entry for outcome in outcomes):
            self.lives.start_over(entry)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine in the loop and keep it alive."""
        task = self.desk.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _close(self, timeout: float) -> None:
        if self._ended is None:
            self._ended = self.desk.loop.create_task(self._end(timeout))
        await asyncio.wait([self._ended])  # whoever closes it too waits for the same end
        self._ended.result()

    async def _end(self, timeout: float) -> None:
        self.desk.ledger.begin_closing()
        call, future = self.machine.expect()
        self.machine.feed(Shutdown(call))
        cut = self.desk.loop.create_task(self._cut.wait())
        await asyncio.wait([future, cut], timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        cut.cancel()
        for entry in self.desk.entries.values():
            self.failures.drop(entry, "shutdown")
        self.flush()
        self.watch.close()
        self.breakers.close()
        self.desk.pool.close()
        for task in self._tasks:
            task.cancel()
        self.desk.ledger.close()
