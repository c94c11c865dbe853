"""The words of the supervision machine: what it is told, what it says, and how it answers a call.

Events go in, commands come out; neither knows a clock, a thread or an agent. A *life* is one start attempt
of a child: a positive integer, never used twice, like a pid. An exit reason is any term; ``"normal"``,
``"shutdown"`` and ``("shutdown", anything)`` are graceful, everything else is a crash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from agentlab.supervision.records import Record


@dataclass(slots=True)
class Started:
    """The life's start succeeded; ``info`` is handed to the caller that asked for the start."""

    life: int
    info: Any = None  # any term


@dataclass(slots=True)
class Ignored:
    """The life's start said: do not start me. That is success without a process."""

    life: int


@dataclass(slots=True)
class Failed:
    """The life's start failed and nothing of it runs."""

    life: int
    reason: Any  # any term


Then = Literal["", "park", "again"]
"""What becomes of a child that ended: what its restart type says, or that."""


@dataclass(slots=True)
class Exited:
    """The life ended.

    ``then="park"`` keeps the record down, uncounted, whatever its restart type. ``then="again"`` starts the child
    again, it alone and uncounted: it did nothing wrong. If that start fails, it is retried as in any restart.
    """

    life: int
    reason: Any  # any term
    then: Then = ""


@dataclass(slots=True)
class Signal:
    """An exit signal from a stranger to a supervisor: ``"kill"`` kills it, anything else is ignored."""

    life: int
    reason: Any  # any term


@dataclass(slots=True)
class Due:
    """The timer of an ``Arm`` command ran out."""

    timer: int


Operation = Literal[
    "start_child",
    "start_children",
    "add_running",
    "adopt_child",
    "terminate_child",
    "park_child",
    "restart_child",
    "start_again",
    "delete_child",
    "which_children",
    "count_children",
    "get_childspec",
]


class Instance(NamedTuple):
    """An instance of a ``simple_one_for_one`` supervisor by its id; OTP has only pids for them."""

    id: str


class Call:
    """An administration call to a supervisor, by its path or by its life.

    ``start_child`` takes a ``Child``; or an id, fields, and the ``Child`` that many share; or, under
    ``simple_one_for_one``, an instance's id (None: the next number) and its fields. ``start_children`` and
    ``add_running`` take a list of those: a ``Child``, or a tuple. The others take an id; under
    ``simple_one_for_one`` a life, as OTP takes a pid, or an ``Instance``. ``park_child`` takes an id and a reason.
    ``start_again`` starts a child that is down as its supervisor would: uncounted, and retried if that start fails.
    """

    __slots__ = ("args", "call", "op", "supervisor")

    def __init__(self, call: int, supervisor: str | int, op: Operation, *args: Any) -> None:  # by operation
        self.call = call
        self.supervisor = supervisor
        self.op = op
        self.args = args

    def __repr__(self) -> str:
        return f"Call({self.call!r}, {self.supervisor!r}, {self.op!r}, {', '.join(map(repr, self.args))})"


@dataclass(slots=True)
class StopSupervisor:
    """Stop a supervisor, by its path or life, with a reason; its own supervisor reacts as to any exit."""

    call: int
    supervisor: str | int
    reason: Any = "normal"  # any term


@dataclass(slots=True)
class Shutdown:
    """The orderly end of the whole tree, asked for by the process that started the root."""

    call: int
    reason: Any = "shutdown"  # any term


Event = Started | Ignored | Failed | Exited | Signal | Due | Call | StopSupervisor | Shutdown


@dataclass(slots=True)
class Start:
    """Start this life of the record's child; answer ``Started``, ``Ignored`` or ``Failed``."""

    life: int
    record: Record


@dataclass(slots=True)
class Begun:
    """These children run from here on: there is nothing to do to start them."""

    records: list[Record]


@dataclass(slots=True)
class SignalWorker:
    """Send the life an exit signal from its supervisor; answer ``Exited`` when it is gone.

    ``"shutdown"``: end in an orderly way; ``"kill"``: at once, it cannot be trapped; ``"killed"``: its
    supervisor was killed. A life that is still starting answers ``Failed``, or ``Started`` then ``Exited``.
    """

    life: int
    reason: Any  # any term


@dataclass(slots=True)
class Arm:
    """Report ``Due(timer)`` after so many seconds."""

    timer: int
    seconds: float


@dataclass(slots=True)
class Disarm:
    """Forget the timer; a ``Due`` that is on its way does no harm."""

    timer: int


@dataclass(slots=True)
class Answer:
    """The result of a call: a value, or :class:`Refused`."""

    call: int
    result: Any  # by operation: Up, None, list[ChildInfo], Counts, Child, a list of results, or Refused


FactKind = Literal[
    "supervisor_init",
    "supervisor_started",
    "supervisor_failed",
    "supervisor_exited",
    "child_terminated",
    "start_error",
    "shutdown_error",
    "restarting",
    "backing_off",
    "gave_up",
    "parked",
    "stopping",
    "down",
    "removed",
]


@dataclass(slots=True)
class Fact:
    """Something that is now true, for the event log.

    ======================  =========================================================================
    ``kind``                meaning; ``reason``; ``detail``
    ======================  =========================================================================
    ``supervisor_init``     a supervisor begins to start its children
    ``supervisor_started``  all its children run
    ``supervisor_failed``   it did not come up; why
    ``supervisor_exited``   it ended; why
    ``child_terminated``    OTP's report of an exit that counts as an error; why
    ``start_error``         OTP's report of a failed start; why
    ``shutdown_error``      a child did not end as asked; how it ended; for ``simple_one_for_one`` a count
    ``restarting``          a restart is counted and begins; why; :class:`Used`
    ``backing_off``         the restart waits; why; the seconds
    ``gave_up``             the record's supervisor needed too many restarts; ``"shutdown"``; :class:`GaveUp`
    ``parked``              kept, but down until ``restart_child``; why; :class:`GaveUp` or None
    ``stopping``            it was asked to end
    ``down``                kept without a process; why (``"ignored"``: its start said so)
    ``removed``             the record, and all below it, is gone for good; why
    ======================  =========================================================================
    """

    kind: FactKind
    record: Record
    life: int | None
    reason: Any = None  # any term
    detail: Any = None  # by kind, see above

    @property
    def path(self) -> str:
        """The path of its record."""
        return self.record.path


Command = Start | Begun | SignalWorker | Arm | Disarm | Answer | Fact


class Up(NamedTuple):
    """A start that succeeded; ``life`` is None if the child ignored it."""

    record: Record
    life: int | None
    info: Any = None  # any term


RefusalKind = Literal[
    "already_started",
    "already_present",
    "running",
    "restarting",
    "not_found",
    "simple_one_for_one",
    "max_children",
    "invalid_spec",
    "start_failed",
    "noproc",
    "exit",
]


@dataclass(slots=True)
class Refused:
    """A call without success, with OTP's word for it.

    ``reason``: the start's for ``start_failed``, the supervisor's for ``exit``, ``(kind, value)`` for
    ``invalid_spec``. ``cause``: the ``InvalidSpec``, where there is one.
    """

    kind: RefusalKind
    reason: Any = None  # any term
    life: int | None = None
    cause: BaseException | None = None


class ChildInfo(NamedTuple):
    """One line of ``which_children``, newest first."""

    id: str
    life: int | Literal["restarting"] | None
    type: str
    record: Record


class Counts(NamedTuple):
    """What ``count_children`` answers."""

    specs: int
    active: int
    supervisors: int
    workers: int


class Used(NamedTuple):
    """How much of a limit is used: ``restarts`` of ``allowed`` in the last ``seconds``."""

    restarts: int
    allowed: float
    seconds: float


class GaveUp(NamedTuple):
    """Why a limit was passed: whose restart was one too many, and the crashes inside the window."""

    record: Record
    crashes: tuple[tuple[float, str, Any], ...]  # when (loop time), id, reason (any term)
    limit: Used
