"""The supervision machine: a whole tree of supervisors as a pure state machine.

Events and the time go in, commands come out; no I/O, no clock, no asyncio. The laboratory runs on it, and
so does the replay of what real Erlang/OTP supervisors did (``tests/oracle``).

    tree = Tree(Supervisor("team", child(Writer, id="w1"), child(Writer, id="w2")))
    tree.start(now=0.0)                         # [Fact(supervisor_init), Start(2, w1)]
    tree.handle(Started(2), now=0.1)            # [Start(3, w2)]
    tree.handle(Started(3), now=0.2)            # [Fact(supervisor_started)]
    tree.handle(Exited(2, ValueError()), 1.0)   # [Fact(child_terminated), Fact(restarting), Start(4, w1)]

How it is cut: ``supervision/words`` are the events, commands and results; ``supervision/records`` what is kept per
child; ``supervision/board`` what supervisor processes share, and their mailboxes; ``supervision/process`` one
supervisor, ``supervision/restarts`` its decisions when a child ends, ``supervision/calls`` its administration calls.
The rules are those of Erlang/OTP's ``supervisor``, as measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from agentlab.errors import InvalidSpec
from agentlab.exits import is_graceful
from agentlab.supervision.board import Board, Host, News
from agentlab.supervision.calls import OPERATIONS
from agentlab.supervision.child import Child, Limit, Supervisor
from agentlab.supervision.records import Keeper, Record, State, SupervisorRecord
from agentlab.supervision.restarts import Supervising
from agentlab.supervision.words import (
    Answer,
    Arm,
    Begun,
    Call,
    ChildInfo,
    Command,
    Counts,
    Disarm,
    Due,
    Event,
    Exited,
    Fact,
    Failed,
    GaveUp,
    Ignored,
    Operation,
    Refused,
    Shutdown,
    Signal,
    SignalWorker,
    Start,
    Started,
    StopSupervisor,
    Then,
    Up,
    Used,
)

__all__ = [
    "Answer",
    "Arm",
    "Begun",
    "Call",
    "ChildInfo",
    "Command",
    "Counts",
    "Disarm",
    "Due",
    "Event",
    "Exited",
    "Fact",
    "Failed",
    "GaveUp",
    "Ignored",
    "Keeper",
    "Operation",
    "Record",
    "Refused",
    "Shutdown",
    "Signal",
    "SignalWorker",
    "Start",
    "Started",
    "State",
    "StopSupervisor",
    "SupervisorRecord",
    "Tree",
    "Up",
    "Used",
    "is_graceful",
]


class Tree:
    """A supervision tree.

    Args:
        spec: The root. It is checked when the tree starts, as any supervisor.
        random: A number from [0, 1), for the jitter of back-offs.
        independent_root: The root is the laboratory's own: it has no intensity limit, always comes up, and
            its children, all of them added by calls, are independent: a slow start or stop of one holds up
            nothing about another, and at the end all are asked to stop in reverse start order, side by side.
        root_limit: The ``own_limit`` of the independent root's children that have none.
        ask_supervisors: A supervisor's start is a ``Start`` command too: ``Started`` lets it go on and start
            its children, ``Failed`` and ``Ignored`` are its result. For worlds whose supervisors may fail by
            themselves.

    Attributes:
        root: The record of the root.
    """

    def __init__(
        self,
        spec: Supervisor,
        *,
        random: Callable[[], float] = lambda: 0.5,
        independent_root: bool = False,
        root_limit: Limit | None = None,
        ask_supervisors: bool = False,
    ) -> None:
        if independent_root and (spec.strategy != "one_for_one" or spec.auto_shutdown != "never" or spec.children):
            raise InvalidSpec(
                f"supervisor {spec.name!r}: an independent root is one_for_one, has no auto_shutdown, and gets its "
                f"children by start_child; got {spec!r}, auto_shutdown={spec.auto_shutdown!r}",
                kind="bad_combination",
                value=spec,
            )
        self._board = Board(random, ask_supervisors)
        self._independent = independent_root
        self._root_limit = root_limit
        what = Child(what=spec, id=spec.name, shutdown="infinity", type="supervisor")
        self.root = SupervisorRecord(None, spec.name, what, None)

    def start(self, now: float) -> list[Command]:
        """Start the root; ``now`` is loop time in seconds, and never goes back."""
        board = self._board
        board.now = now
        life = board.new_life(self.root)
        if board.asks:
            board.commands.append(Start(life, self.root))
        else:
            self._boot(self.root, None)
        return board.pump()

    def handle(self, event: Event, now: float) -> list[Command]:
        """What is to be done, now that this has happened. Events about lives that are over do nothing."""
        self._board.now = now
        _HANDLERS[type(event)](self, event)
        return self._board.pump()

    @property
    def alive(self) -> bool:
        """Whether the root starts or runs."""
        return self.root.life is not None

    def leave_down(self, path: str, state: State, reason: Any) -> None:  # any term
        """The next start of its supervisor leaves this declared child as it was: parked, or ``undefined``."""
        self._board.stays_down[path] = state, reason

    def leave_down_no_more(self, paths: Iterable[str]) -> None:
        """Forget those that no start has come to."""
        for path in paths:
            self._board.stays_down.pop(path, None)

    def find(self, path: str) -> Record | None:
        """The record at ``/team/writer``; None if there is none now."""
        record: Record | None = self.root
        for part in path.split("/"):
            if part:
                record = record.children.get(part) if record is not None else None
        return record

    def find_life(self, life: int) -> Record | None:
        """The record of a life that starts or runs, also of one whose supervisor was killed."""
        return self._board.lives.get(life)

    def records(self) -> Iterator[Record]:
        """The root and all below it, in start order, depth first."""
        return self.root.walk()

    @property
    def idle(self) -> bool:
        """No start, stop or restart is in hand and no back-off is pending."""
        return not self._board.waiters and not self._board.timers

    @property
    def in_hand(self) -> list[Record]:
        """What keeps the tree from being idle: records that start, stop, or wait for their restart."""
        board = self._board
        waiting = [board.lives[life] for life in board.waiters if life in board.lives]
        return waiting + [record for _, record in board.timers.values() if record is not None]

    def _boot(self, record: SupervisorRecord, info: Any) -> None:  # any term
        process = Supervising.boot(self._board, record, info)
        if record is self.root and self._independent:
            process.lanes = {}
            process.child_limit = self._root_limit

    def _starting(self, life: int) -> Record | None:
        """The record of a life the world may speak for: not a supervisor that runs here."""
        return None if life in self._board.processes else self._board.lives.get(life)

    def _on_started(self, event: Started) -> None:
        record = self._starting(event.life)
        if record is None or record.state not in ("starting", "stopping"):
            return
        if isinstance(record, SupervisorRecord):
            self._boot(record, event.info)
        else:
            self._board.started(record, event.info)

    def _on_ignored(self, event: Ignored) -> None:
        record = self._starting(event.life)
        if record is not None and record.state in ("starting", "stopping"):
            self._board.ended(record, "ignored", "normal")

    def _on_failed(self, event: Failed) -> None:
        self._gone(event.life, event.reason, "")

    def _on_exited(self, event: Exited) -> None:
        self._gone(event.life, event.reason, event.then)

    def _gone(self, life: int, reason: Any, then: Then) -> None:  # any term
        record = self._starting(life)
        if record is not None:
            kind = "failed" if record.state == "starting" else "exited"
            self._board.ended(record, kind, reason, then)

    def _on_signal(self, event: Signal) -> None:
        process = self._board.processes.get(event.life)
        if process is not None and event.reason == "kill":
            process.kill()

    def _on_due(self, event: Due) -> None:
        board = self._board
        lane, record = board.timers.pop(event.timer, (None, None))
        if lane is not None:
            board.ready.append((lane, News("due", event.timer)))
        elif record is not None and record.parent is not None and not record.parent.dead:
            board.processes[record.parent.life].post(Supervising.on_due, record, event.timer, key=record.id)

    def _on_call(self, event: Call) -> None:
        process = self._process(event.supervisor)
        if process is None:
            self._refuse(event.call)
            return
        key = event.args[0] if event.args else None
        key = key.id if isinstance(key, Child) else key
        process.post(OPERATIONS[event.op], *event.args, call=event.call, key=key if isinstance(key, str) else None)

    def _on_stop(self, event: StopSupervisor) -> None:
        process = self._process(event.supervisor)
        if process is None:
            self._refuse(event.call)
        else:
            process.parent_exited(event.reason, call=event.call)

    def _on_shutdown(self, event: Shutdown) -> None:
        self._on_stop(StopSupervisor(event.call, "/", event.reason))

    def _process(self, supervisor: str | int) -> Host | None:
        if isinstance(supervisor, int):
            return self._board.processes.get(supervisor)
        record = self.find(supervisor)
        return None if record is None or record.life is None else self._board.processes.get(record.life)

    def _refuse(self, call: int) -> None:
        self._board.commands.append(Answer(call, Refused("noproc")))


_HANDLERS: dict[type, Callable[[Tree, Any], None]] = {  # each handler takes its own event
    Started: Tree._on_started,
    Ignored: Tree._on_ignored,
    Failed: Tree._on_failed,
    Exited: Tree._on_exited,
    Signal: Tree._on_signal,
    Due: Tree._on_due,
    Call: Tree._on_call,
    StopSupervisor: Tree._on_stop,
    Shutdown: Tree._on_shutdown,
}
