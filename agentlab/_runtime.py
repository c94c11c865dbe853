"""The runtime: the kernel-side loop that joins supervision, nodes, store and hub.

It runs in a thread of its own, so that a busy cell does not hold up the supervisor. Cells hand messages and
control operations over; nodes report; the supervision machine decides; and at the end of each loop turn one
commit makes everything of that turn durable before any reply, message or event of it leaves.

Invariants: commit before reply; publish after commit; one writer of the store.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import time
import uuid
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from anyio.from_thread import start_blocking_portal

from agentlab._books import Entry, Kinds, Message, is_graceful, reason_text
from agentlab._ledger import Ledger
from agentlab._pool import Node, Pool, SimulatorProcess
from agentlab._tree_words import (
    Answer,
    Arm,
    Call,
    Command,
    Disarm,
    Due,
    Exited,
    Fact,
    Failed,
    Shutdown,
    SignalWorker,
    Start,
    Started,
)
from agentlab._wire import decode_reason, describe, encode_reason, pack, revive, unpack
from agentlab.agent import Crash
from agentlab.child import Supervisor
from agentlab.errors import AgentDown, AgentLabError, LabClosed, MailboxFull, NotRunning, StoreError, UnknownMessage
from agentlab.events import Hub
from agentlab.ref import Outgoing, Reply
from agentlab.store import Store
from agentlab.supervision import Tree

Serve = Callable[..., Coroutine[Any, Any, None]]
"""``serve(runtime, op, args, answer)``: answers one question of an agent."""

MAX_DELIVERIES = 3
MAX_MAILBOX = 10_000


class Runtime:
    """One lab's loop: books, machine, nodes, store, hub."""

    def __init__(self, store: Store, nodes: int, *, serve: Serve, redeliver: bool = True) -> None:
        """Start the loop's thread.

        Args:
            store: Where everything is committed; the runtime is its only writer.
            nodes: How many node processes there are.
            serve: Answers what agents ask of their lab; it stands a floor above.
            redeliver: Whether messages are delivered again unless they say otherwise.
        """
        self.lab_id = uuid.uuid4().hex
        self._serve = serve
        self.hub = Hub()
        self.kinds = Kinds()
        self.entries: dict[str, Entry] = {}
        self.closed = False
        self._redeliver = redeliver
        self._lives: dict[int, Entry] = {}
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._numbers = itertools.count(1)
        self._inbox: deque[Any] = deque()
        self._pumping = False
        self._waiting_starts: list[int] = []
        self._posts: deque[tuple[Outgoing, bytes, Reply | None]] = deque()
        self._posted = False
        self._flush_due = False
        self._idle_waiters: list[asyncio.Future[None]] = []
        self._active: set[Entry] = set()
        self._restless: set[Any] = set()  # records of supervisors and agents that wait for a restart
        self._tasks: set[asyncio.Task[Any]] = set()
        self.ledger = Ledger(store, self.hub)
        self.tree: Tree
        self.pool: Pool
        self._size = nodes
        self._sim: SimulatorProcess | None = None
        self._sim_lock: asyncio.Lock
        self.began = time.time_ns()
        self.supervisor_incarnations: dict[str, int] = {}
        self._portal_cm = start_blocking_portal(name=f"agentlab-{self.lab_id[:6]}")
        self._portal = self._portal_cm.__enter__()
        self.loop: asyncio.AbstractEventLoop = self._portal.call(_running_loop)

    # from any thread

    def begin(self, root: Supervisor) -> None:
        """Start the root supervisor and the nodes; returns when the supervisor runs."""
        self._portal.call(self._begin, root)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function in the runtime's thread and give its result."""
        if self.closed:
            raise LabClosed("this lab is closed. Start another: Lab().")
        return self._portal.call(function, *args)

    def submit(self, work: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> concurrent.futures.Future[Any]:
        """Begin a coroutine function in the runtime's thread."""
        if self.closed:
            raise LabClosed("this lab is closed. Start another: Lab().")
        return self._portal.start_task_soon(work, *args)

    def send(self, message: Outgoing) -> Reply | None:
        """Hand a message over; the runtime takes all that wait in one turn."""
        what = f"{message.path}.{message.method}"
        payload = pack((message.args, message.kwargs), f"the arguments of {what}")
        reply = Reply(what, message.timeout) if message.call else None
        if self.closed:
            raise LabClosed(f"{what}: this lab is closed. Start another: Lab().")
        if not message.call:
            entry = self.entries.get(message.path)
            if entry is not None and len(entry.pending) >= MAX_MAILBOX:
                raise _full(entry)
        self._posts.append((message, payload, reply))
        if not self._posted:
            self._posted = True
            self.loop.call_soon_threadsafe(self._take_posts)
        return reply

    def close(self, timeout: float = 10.0) -> None:
        """Stop the tree in good order, then the nodes; what is committed stays."""
        if self.closed:
            return
        try:
            self._portal.start_task_soon(self._close, timeout).result(timeout + 10)
        finally:
            self.closed = True
            self._portal_cm.__exit__(None, None, None)

    # in the loop

    async def simulator(self) -> dict[str, str]:
        """Where the lab's simulator listens; it is started when first asked for."""
        async with self._sim_lock:
            if self._sim is None or self._sim.process.poll() is not None:
                self._sim = SimulatorProcess()
                await self._sim.ready()
        return self._sim.endpoint

    def count(self) -> tuple[int, int]:
        """How many agents and nodes there are."""
        return len(self.entries), len(self.pool.nodes)

    async def _begin(self, root: Supervisor) -> None:
        self._sim_lock = asyncio.Lock()
        self.tree = Tree(root, independent_root=True, root_limit=None)
        self.pool = Pool(self._size, self.lab_id, self._hear, self._node_lost)
        self.obey(self.tree.start(self.now()))
        await self.pool.fill()
        self.due()

    def now(self) -> float:
        """The loop's time, for the machine."""
        return self.loop.time()

    def _take_posts(self) -> None:
        self._posted = False
        posts = self._posts
        while posts:
            message, payload, reply = posts.popleft()
            answer = _answer_to(reply) if reply is not None else None
            redeliver = self._redeliver if message.redeliver is None else message.redeliver
            self.post(
                message.path, Message(next(self._numbers), message.method, payload, "", answer, redeliver=redeliver)
            )
        self.due()

    def post(self, path: str, message: Message) -> None:
        """Put a message into an agent's mailbox, or refuse it."""
        entry = self.entries.get(path)
        error: AgentLabError | None = None
        if entry is None or self.is_down(entry):
            error = NotRunning(self._why_not(path, message.method))
            if entry is not None and message.answer is None and self.status(entry) == "parked":
                error = None  # casts wait for a parked agent
        elif message.method not in entry.kind.cls.__agent_messages__:
            have = ", ".join(sorted(entry.kind.cls.__agent_messages__)) or "none"
            error = UnknownMessage(f"{path!r} has no message {message.method!r}; {entry.kind.name} has: {have}.")
        elif len(entry.pending) >= MAX_MAILBOX:
            error = _full(entry)
        if error is not None or entry is None:
            if message.answer is not None:
                message.answer(None, error)
            else:
                self.ledger.event("dead_letter", path, reason=reason_text(error), detail=message.method)
            return
        entry.pending.append(message)
        self._active.add(entry)
        self.ledger.touch(path)
        if entry.life and not self._starting(entry):
            self._hand_over(entry, message)

    def _hand_over(self, entry: Entry, message: Message) -> None:
        node = self.pool.nodes.get(entry.node or 0)
        if node is not None:
            node.say("message", entry.life, message.key, message.method, message.payload)

    def feed(self, event: Any) -> None:
        """Tell the machine what happened and carry out what it says, without recursion."""
        self._inbox.append(event)
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._inbox:
                self.obey(self.tree.handle(self._inbox.popleft(), self.now()))
        finally:
            self._pumping = False
        self.due()

    def obey(self, commands: list[Command]) -> None:
        """Carry out the machine's commands."""
        for command in commands:
            if isinstance(command, Start):
                self._start(command)
            elif isinstance(command, SignalWorker):
                self._signal(command)
            elif isinstance(command, Arm):
                self._timers[command.timer] = self.loop.call_later(command.seconds, self._ring, command.timer)
            elif isinstance(command, Disarm):
                handle = self._timers.pop(command.timer, None)
                if handle is not None:
                    handle.cancel()
            elif isinstance(command, Answer):
                future = self._calls.pop(command.call, None)
                if future is not None and not future.done():
                    future.set_result(command.result)
            else:
                self._note(command)

    def _ring(self, timer: int) -> None:
        if self._timers.pop(timer, None) is not None:
            self.feed(Due(timer))

    def expect(self) -> tuple[int, asyncio.Future[Any]]:
        """A number for a call to the machine, and the future of its answer."""
        number = next(self._numbers)
        future = self._calls[number] = self.loop.create_future()
        return number, future

    async def turn(self, seconds: float) -> None:
        """Let the loop go on, until something was committed or so many seconds have passed."""
        waiter = self.loop.create_future()
        self._idle_waiters.append(waiter)
        await asyncio.wait([waiter], timeout=seconds)

    def discard(self, path: str) -> None:
        """Forget an agent whose very first start failed."""
        entry = self.entries.get(path)
        if entry is not None:
            self._forget(entry, entry.reason)

    async def ask_tree(self, supervisor: str, op: Any, *args: Any) -> Any:
        """An administration call; its result, or ``Refused``."""
        number, future = self.expect()
        self.feed(Call(number, supervisor, op, *args))
        return await future

    # the machine's commands

    def _start(self, command: Start) -> None:
        record, life = command.record, command.life
        entry = self._entry_of(record)
        entry.life, entry.ending, entry.asked, entry.down = life, False, False, False
        self._lives[life] = entry
        self._active.add(entry)
        self._restless.discard(record)
        self._place(entry)

    def _entry_of(self, record: Any) -> Entry:
        path = record.path
        entry = self.entries.get(path)
        if entry is None:
            entry = Entry(record, self.kinds.of(record.spec.what))
            self.entries[path] = entry
            self.ledger.recall(entry)
            self.ledger.keep_child(record, entry)
        elif entry.record is not record or entry.spec is not record.spec:
            entry.belong_to(record, self.kinds.of(record.spec.what))
            self.ledger.keep_child(record, entry)
        return entry

    def _place(self, entry: Entry, avoid: int | None = None) -> None:
        """Send a starting agent to a node; it waits if there is none."""
        if not self.pool.nodes:
            self._waiting_starts.append(entry.life)
            return
        node = self.pool.pick(entry.node, avoid=avoid if avoid is not None else entry.shunned)
        entry.shunned = None
        entry.node = node.number
        node.agents += 1
        if entry.kind.number not in node.classes:
            node.classes.add(entry.kind.number)
            node.say("class", entry.kind.number, entry.kind.data)
        fresh = entry.spec.restore == "fresh"
        if fresh:
            entry.fields = {}
        node.say("start", entry.life, entry.kind.number, entry.path, entry.incarnation + 1, entry.image())
        self.ledger.touch(entry.path)

    def _signal(self, command: SignalWorker) -> None:
        entry = self._lives.get(command.life)
        if entry is None:
            return
        if command.reason == "kill":
            self.kill(entry)
            return
        entry.ending = True
        self._active.add(entry)
        node = self.pool.nodes.get(entry.node or 0)
        if node is not None:
            node.say("signal", entry.life, encode_reason(command.reason))
        else:
            self._ended(entry, entry.life, command.reason, None, own=False)

    def kill(self, entry: Entry) -> None:
        """End a life now: for the books it is over at once, whatever its node is busy with."""
        node = self.pool.nodes.get(entry.node or 0)
        if node is not None:
            node.say("signal", entry.life, "kill")
        entry.shunned = entry.node  # what is left of the old life may still be busy there
        self._ended(entry, entry.life, "killed", None, own=False)

    def _note(self, fact: Fact) -> None:
        record = fact.record
        self.ledger.fact(fact)
        if record.is_supervisor:
            self._note_supervisor(fact)
        entry = self.entries.get(fact.path)
        if entry is None and fact.kind == "parked" and not record.is_supervisor:
            entry = self._entry_of(record)  # kept, but never started by this process
        if fact.kind in ("backing_off", "restarting"):
            self._restless.add(record)
        elif fact.kind in ("supervisor_started", "parked", "down", "removed", "gave_up"):
            self._restless.discard(record)
        if entry is None or entry.record is not record:
            return
        if fact.kind == "removed":
            self._forget(entry, fact.reason)
        elif fact.kind == "down":
            entry.down = True
            self._drop_pending(entry, fact.reason)
            self.ledger.keep_child(record, entry)
        elif fact.kind == "parked":
            entry.down, entry.reason = True, fact.reason
            self._drop_pending(entry, fact.reason, casts=entry.asked)
            self.ledger.keep_child(record, entry)
        self.settle(entry)

    def _note_supervisor(self, fact: Fact) -> None:
        """A supervisor came up, or is gone and everything below it with it."""
        path = fact.path
        if fact.kind == "supervisor_started":
            self.supervisor_incarnations[path] = self.supervisor_incarnations.get(path, 0) + 1
        elif fact.kind in ("down", "parked", "removed") and not self.ledger.closing:
            below = [entry for place, entry in self.entries.items() if place.startswith(path + "/")]
            for entry in below:
                if fact.kind == "removed":
                    self._forget(entry, fact.reason)
                else:
                    entry.down = True
                    self._drop_pending(entry, fact.reason)

    def _forget(self, entry: Entry, reason: Any) -> None:
        self._drop_pending(entry, reason)
        self.entries.pop(entry.path, None)
        self._active.discard(entry)
        self.ledger.forget(entry)

    def _drop_pending(self, entry: Entry, reason: Any, *, casts: bool = True) -> None:
        """Nobody will read these messages: callers learn it, casts become dead letters."""
        kept = [m for m in entry.pending if m.answer is None and not casts]
        dropped = [m for m in entry.pending if m.answer is not None or casts]
        entry.pending = deque(kept)
        for message in dropped:
            self._give_up(entry, message, reason)

    # what nodes report

    def _hear(self, node: Node, messages: list[tuple[Any, ...]]) -> None:
        for message in messages:
            getattr(self, "_on_" + message[0])(node, *message[1:])
        self.due()

    def _on_ready(self, node: Node, number: int, pid: int) -> None:
        node.ready = True
        self.ledger.event("node_started", "/", node=number, detail=f"process {pid}")

    def _on_started(self, node: Node, life: int, changes: list[Any]) -> None:
        entry = self._present(life)
        if entry is None:
            return
        entry.incarnation += 1
        entry.since = time.time_ns()
        if changes:
            self.ledger.checkpoint(entry, changes)
        self.ledger.started(entry)
        entry.moving = False
        self.feed(Started(life))
        for message in entry.pending:
            self._hand_over(entry, message)
        self.settle(entry)

    def _on_failed(  # noqa: PLR0917 - the parts of a frame, in its order
        self, node: Node, life: int, reason: Any, key: Any, own: bool, steps: Any
    ) -> None:
        entry = self._lives.get(life)
        if entry is None:
            return
        if entry.moving:  # the machine knows this life as running
            self._ended(entry, life, decode_reason(reason), None, own=own)
            return
        self._leave(entry, life)
        entry.reason = decode_reason(reason)
        self.ledger.event("start_failed", entry.path, node=node.number, reason=reason_text(entry.reason))
        self.feed(Failed(life, entry.reason))
        self.settle(entry)

    def _on_begun(self, node: Node, life: int, key: int, at: int) -> None:
        entry = self._present(life)
        if entry is not None and entry.pending and entry.pending[0].key == key:
            entry.pending[0].begun = at
            self.ledger.touch(entry.path)

    def _on_step(self, node: Node, life: int, key: int | None, name: str | None) -> None:
        entry = self._present(life)
        if entry is not None and entry.pending and entry.pending[0].key == key:
            entry.pending[0].step = name
            self.ledger.touch(entry.path)

    def _on_done(  # noqa: PLR0917 - as above
        self, node: Node, life: int, key: int, answer: bytes, changes: list[Any], casts: list[Any],
        steps: list[Any], started: int, took: float,
    ) -> None:  # fmt: skip
        entry = self._present(life)
        if entry is None or not entry.pending or entry.pending[0].key != key:
            return  # a life that is over: its message was or will be delivered again
        message = entry.pending.popleft()
        entry.seq += 1
        entry.handled += 1
        entry.node_deaths = 0
        self.ledger.handled(entry, message, "ok", None, started, int(took * 1e9))
        self.ledger.steps(entry, steps)
        if changes:
            self.ledger.checkpoint(entry, changes)
        if message.answer is not None:
            self.ledger.after_commit(message.answer, answer)
        for path, method, payload in casts:
            self.post(path, Message(next(self._numbers), method, payload, entry.path, None))
        self.settle(entry)

    def _on_exit(  # noqa: PLR0917 - as above
        self, node: Node, life: int, reason: Any, key: int | None, own: bool, steps: Any
    ) -> None:
        entry = self._lives.get(life)
        if entry is not None:
            self.ledger.steps(entry, steps)
            self._ended(entry, life, decode_reason(reason), key, own=own)

    def _on_log(self, node: Node, life: int, line: str) -> None:
        entry = self._lives.get(life)
        if entry is None:
            self.ledger.event("log", "/", node=node.number, detail=line)
        else:
            self.ledger.log(entry, line)

    def _on_emit(self, node: Node, life: int, text: str) -> None:
        entry = self._lives.get(life)
        if entry is not None:
            self.ledger.emitted(entry, text)

    def _on_cast(self, node: Node, path: str, method: str, payload: bytes) -> None:
        self.post(path, Message(next(self._numbers), method, payload, "", None))

    def _on_ask(self, node: Node, life: int, ticket: int, op: str, *args: Any) -> None:
        entry = self._lives.get(life)
        if life and entry is None:
            return  # who asked is gone

        def answer(value: Any, error: BaseException | None = None) -> None:
            node.say("answer", ticket, value, None if error is None else encode_reason(Crash(*describe(error))))
            self.due()

        if op == "call":
            path, method, payload, redeliver = args
            sender = entry.path if entry is not None else ""
            self.post(path, Message(next(self._numbers), method, payload, sender, answer, redeliver=redeliver))
        else:
            self.spawn(self._serve(self, op, args, answer))

    # ends

    def _ended(self, entry: Entry, life: int, reason: Any, key: int | None, *, own: bool) -> None:
        """A life is over: book it, judge the message in hand, tell the machine."""
        if entry.life != life:  # its successor runs already: its supervisor was killed
            self._lives.pop(life, None)
            self.feed(Exited(life, reason))
            return
        asked = entry.asked
        self._leave(entry, life)
        entry.reason = reason
        self.ledger.ended(entry, reason)
        if entry.pending:
            self._judge(entry, entry.pending[0], reason, key, own=own)
        self.feed(Exited(life, reason, park=asked and entry.spec.restart == "permanent"))
        self.settle(entry)

    def _judge(self, entry: Entry, message: Message, reason: Any, key: int | None, *, own: bool) -> None:
        """What becomes of the message in hand when its handler dies."""
        if key != message.key and not message.begun:
            return
        message.begun, message.step = 0, None
        if own and not is_graceful(reason):
            message.deliveries += 1
        if not message.redeliver or message.deliveries >= MAX_DELIVERIES or (own and is_graceful(reason)):
            entry.pending.popleft()
            self._give_up(entry, message, reason)

    def _give_up(self, entry: Entry, message: Message, reason: Any) -> None:
        """End a message without success, after the commit that says so."""
        self.ledger.handled(entry, message, "failed", reason_text(reason), message.begun or time.time_ns(), 0)
        if message.answer is None:
            self.ledger.event("dead_letter", entry.path, reason=reason_text(reason), detail=message.method)
            return
        tries = f" after {message.deliveries} deliveries" if message.deliveries > 1 else ""
        down = AgentDown(
            f"{entry.path}.{message.method} was not answered: the agent ended with {reason_text(reason)!r}{tries}. "
            f"Its life so far: lab.events().query(\"path == '{entry.path}'\").",
            reason,
        )
        if isinstance(reason, Crash):
            down.__cause__ = revive(reason)
        self.ledger.after_commit(message.answer, None, down)

    def _leave(self, entry: Entry, life: int) -> None:
        self._lives.pop(life, None)
        node = self.pool.nodes.get(entry.node or 0)
        if node is not None:
            node.agents -= 1
        entry.life, entry.ending = 0, False

    def _node_lost(self, node: Node) -> None:
        """A node died. Its agents did nothing wrong: they move, uncounted, with their states and messages."""
        code = node.process.poll()
        moved = [entry for entry in self._lives.values() if entry.node == node.number]
        self.ledger.event("node_down", "/", node=node.number, detail=f"{len(moved)} agents move", reason=_died_of(code))
        delay = self.pool.refill_delay()
        self.loop.call_later(delay, lambda: self.spawn(self._refill()))
        for entry in moved:
            self._move(entry, node)
        self.due()

    def _move(self, entry: Entry, node: Node) -> None:
        if entry.ending:
            entry.node = None
            self._ended(entry, entry.life, "killed", None, own=False)
            return
        if entry.pending and entry.pending[0].begun:
            entry.node_deaths += 1
            message = entry.pending[0]
            message.begun, message.step = 0, None
            if not message.redeliver or entry.node_deaths >= MAX_DELIVERIES:
                entry.pending.popleft()
                entry.node_deaths = 0
                self._give_up(entry, message, "node_down")
        entry.moving = entry.moving or not self._starting(entry)
        entry.reason = "node_down"
        self.ledger.moved(entry, node.number)
        self._place(entry, avoid=node.number)

    async def _refill(self) -> None:
        await self.pool.fill()
        waiting, self._waiting_starts = self._waiting_starts, []
        for life in waiting:
            entry = self._lives.get(life)
            if entry is not None:
                self._place(entry)
        self.due()

    # status

    def _present(self, life: int) -> Entry | None:
        """The agent whose present life this is; None for a life that has a successor."""
        entry = self._lives.get(life)
        return entry if entry is not None and entry.life == life else None

    def _starting(self, entry: Entry) -> bool:
        return entry.moving or entry.record.state in ("starting", "undefined")

    def is_down(self, entry: Entry) -> bool:
        """Whether nobody will read a message: stopped or parked, not merely between two lives."""
        return entry.down

    def status(self, entry: Entry) -> str:
        """The agent's status, a word of the contract."""
        state = entry.record.state
        if state == "parked":
            return "stopped" if entry.asked else "parked"
        if state == "undefined":
            return "stopped"
        if state == "backing_off":
            return "backing_off"
        if state in ("starting", "restarting") or entry.moving:
            return "starting"
        if entry.suspended:
            return "suspended"
        if not entry.pending:
            return "running"
        return "waiting" if entry.pending[0].step else "busy"

    def _why_not(self, path: str, method: str) -> str:
        entry = self.entries.get(path)
        if entry is None:
            return f"{path}.{method}: there is no agent {path!r} in this lab. Look: lab.agents()."
        why = f" ({reason_text(entry.reason)})" if entry.reason is not None else ""
        status = self.status(entry)
        return f"{path}.{method}: the agent is {status}{why}. Start it again: ref.restart()."

    def settle(self, entry: Entry) -> None:
        """Note whether the agent rests, and wake who waits for that."""
        state = entry.record.state
        busy = bool(entry.pending) and not entry.suspended and not self.is_down(entry)
        if busy or entry.ending or entry.moving or state in ("starting", "restarting", "stopping", "backing_off"):
            self._active.add(entry)
        else:
            self._active.discard(entry)
        self.ledger.touch(entry.path)
        self.due()

    async def wait_idle(self) -> None:
        """Return when every mailbox is empty, no handler runs and no restart is pending."""
        while True:
            for entry in list(self._active):
                self.settle(entry)
            if not self._active and not self._restless and not self._posts and not self._waiting_starts:
                return
            waiter = self.loop.create_future()
            self._idle_waiters.append(waiter)
            await waiter

    def unrest(self) -> list[str]:
        """What keeps the lab from being idle, for the error."""
        busy = [f"{entry.path} ({self.status(entry)}, {len(entry.pending)} messages)" for entry in self._active]
        return busy + [f"{record.path} ({record.state})" for record in self._restless]

    # the end of a turn

    def due(self) -> None:
        """Have this turn's work committed and sent at its end."""
        if not self._flush_due:
            self._flush_due = True
            self.loop.call_soon(self._flush)

    def flush(self) -> None:
        """Commit what this turn has done so far, for somebody who wants to read it."""
        self._flush()

    def _flush(self) -> None:
        self._flush_due = False
        try:
            self.ledger.commit()
        except StoreError as error:
            self._uncommitted(error)
        self.pool.flush()
        if self._idle_waiters and not self._posts:
            waiters, self._idle_waiters = self._idle_waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def _uncommitted(self, error: StoreError) -> None:
        """The store refused: nothing of the turn happened. The agents in it go back to their last commit."""
        for entry in self.ledger.undo(error):
            if entry.life:
                self.kill(entry)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine in the loop and keep it alive."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _close(self, timeout: float) -> None:
        self.ledger.closing = True
        call, future = self.expect()
        self.feed(Shutdown(call))
        await asyncio.wait([future], timeout=timeout)
        for entry in self.entries.values():
            self._drop_pending(entry, "shutdown")
        self._flush()
        self.pool.close()
        if self._sim is not None:
            self._sim.close()
        for task in self._tasks:
            task.cancel()
        self.ledger.close()


async def _running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def _answer_to(reply: Reply) -> Callable[[Any, BaseException | None], None]:
    def answer(value: Any, error: BaseException | None = None) -> None:
        if error is not None:
            reply._settle(lambda: _raise(error))
        else:
            reply._settle(lambda: unpack(value))

    return answer


def _raise(error: BaseException) -> None:
    raise error


def _full(entry: Entry) -> MailboxFull:
    return MailboxFull(
        f"{entry.path} has {len(entry.pending):,} messages waiting; a mailbox holds up to {MAX_MAILBOX:,}. "
        "Nothing accepted was dropped; wait for it: lab.wait_idle()."
    )


def _died_of(code: int | None) -> str:
    if code is None:
        return "the line was cut"
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
