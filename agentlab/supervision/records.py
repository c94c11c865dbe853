"""What the supervision machine keeps per child. Small: a million children must be affordable."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from agentlab.supervision.child import Child, Supervisor

State = Literal["starting", "running", "restarting", "backing_off", "stopping", "undefined", "parked"]


class Window:
    """The restarts of the last ``max_seconds``: when, of whom, and why.

    The bound is inclusive, as OTP's; the seconds are exact where OTP's are whole.
    """

    __slots__ = ("crashes", "max_seconds")

    def __init__(self, max_seconds: float) -> None:
        self.max_seconds = max_seconds
        self.crashes: deque[tuple[float, str, Any]] = deque()

    def add(self, now: float, child: str, reason: Any) -> int:  # any term
        """Count one restart; the number of them inside the window."""
        self.crashes.append((now, child, reason))
        return self.used(now)

    def used(self, now: float) -> int:
        """Forget what lies before the window; the number of restarts inside it."""
        crashes, since = self.crashes, now - self.max_seconds
        while crashes and crashes[0][0] < since:
            crashes.popleft()
        return len(crashes)


class Trouble:
    """What is kept of a child only once it was in trouble: its last reason, its back-off, its own window."""

    __slots__ = ("attempt", "began", "last", "reason", "timer", "window")

    def __init__(self) -> None:
        self.reason: Any = None  # of the last crash, failed start, or end; any term
        self.attempt = 0  # restarts in a row, for the back-off
        self.began: float | None = None  # when it last came up (loop time)
        self.last: int | None = None  # the life that ended last
        self.timer: int | None = None  # of the back-off in hand
        self.window: Window | None = None  # for own_limit


class Record:
    """One child of one supervisor process.

    Attributes:
        id: Its name among its siblings.
        spec: How it is kept.
        fields: What this one was started with beyond ``spec.fields``, if it shares its spec with others.
        state: See ``State``; ``undefined`` is OTP's word for kept without a process.
        life: Of its process, or of the start in hand; None if there is none.
        restarts: How often its supervisor has started it again.
        trouble: More, once it has crashed.
        note: The world's own; the machine never looks at it.
    """

    __slots__ = ("fields", "id", "life", "note", "parent", "restarts", "spec", "state", "trouble")

    def __init__(self, parent: Keeper | None, id: str, spec: Child, fields: Mapping[str, object] | None) -> None:
        self.parent = parent
        self.id = id
        self.spec = spec
        self.fields = fields
        self.state: State = "undefined"
        self.life: int | None = None
        self.restarts = 0
        self.trouble: Trouble | None = None
        self.note: Any = None

    @property
    def path(self) -> str:
        """The ids from the root down, with ``/`` between them; the root is ``/``."""
        if self.parent is not None and self.parent.record.parent is None:  # most are children of the root
            return "/" + self.id
        parts: list[str] = []
        record: Record = self
        while record.parent is not None:
            parts.append(record.id)
            record = record.parent.record
        return "/" + "/".join(reversed(parts))

    @property
    def initial(self) -> Mapping[str, object]:
        """The initial values of its fields."""
        return self.spec.fields if not self.fields else {**self.spec.fields, **self.fields}

    @property
    def supervisor(self) -> Record | None:
        """The record of its supervisor; None for the root."""
        return None if self.parent is None else self.parent.record

    @property
    def parked_above(self) -> Record | None:
        """The supervisor above it that is parked, and brings it back when that is started again; None if none is."""
        above = self.supervisor
        while above is not None and above.state != "parked":
            above = above.supervisor
        return above

    @property
    def is_supervisor(self) -> bool:
        """Whether it keeps children of its own."""
        return self.spec.type == "supervisor"

    @property
    def children(self) -> Mapping[str, Record]:
        """Its children by id, in start order; none for an agent."""
        return {}

    def is_below(self, above: Record) -> bool:
        """Whether that supervisor keeps it, or keeps the one that does; one that took its path later does not."""
        record = self.supervisor
        while record is not None and record is not above:
            record = record.supervisor
        return record is above

    def walk(self) -> Iterator[Record]:
        """This record and all below it, in start order, depth first."""
        stack: list[Record] = [self]
        while stack:
            record = stack.pop()
            yield record
            stack.extend(reversed(list(record.children.values())))

    def __repr__(self) -> str:
        return f"Record({self.path!r}, {self.state}, life={self.life})"


class SupervisorRecord(Record):
    """A child that is a supervisor; its children are those of its running process.

    Attributes:
        keeper: The process, while it runs.
        past: The children that come back with its next process, from the end of one to when that has come up.
    """

    __slots__ = ("keeper", "past")

    def __init__(self, parent: Keeper | None, id: str, spec: Child, fields: Mapping[str, object] | None) -> None:
        super().__init__(parent, id, spec, fields)
        self.keeper: Keeper | None = None
        self.past: Past | None = None

    @property
    def children(self) -> Mapping[str, Record]:
        """Its children by id, in start order; none while it does not run."""
        return {} if self.keeper is None else self.keeper.children


class Former(NamedTuple):
    """A child that had been added to a supervisor: its record, how it was then, and what had been added to it."""

    record: Record
    state: State
    past: Past | None


class Past(NamedTuple):
    """The children that had been added to a supervisor, in order, by id; and to the supervisors in its spec."""

    added: dict[str, Former]
    below: dict[str, Past]


class Keeper:
    """One supervisor process as its children's records see it; it dies, and its record gets a new one.

    Attributes:
        record: The supervisor's own record.
        life: Of this process.
        spec: Its flags and its static children.
        children: By id, in start order.
        window: Its restarts; what its intensity is held against.
        dead: It has ended.
    """

    __slots__ = ("children", "dead", "life", "record", "spec", "window")

    def __init__(self, record: SupervisorRecord, life: int, spec: Supervisor) -> None:
        self.record = record
        self.life = life
        self.spec = spec
        self.children: dict[str, Record] = {}
        self.window = Window(spec.max_seconds)
        self.dead = False

    def add(self, id: str, spec: Child, fields: Mapping[str, object] | None = None) -> Record:
        """A new record, last in start order."""
        cls = SupervisorRecord if spec.type == "supervisor" else Record
        made = self.children[id] = cls(self, id, spec, fields)
        return made
