"""The kernel's books: what the runtime knows of each agent, its messages, and its class.

The books are the truth. A node's mailbox is a copy that may be lost with the node; the message stays in the
books until its outcome is committed, and is delivered again from there.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from agentlab.agent.base import Agent, Transcript
from agentlab.agent.snapshot import Image, plain
from agentlab.books.journal import Journal
from agentlab.supervision.records import Record
from agentlab.wire.codec import pack, pack_class

LOG_LINES = 1000
"""Lines of an agent's prints that are kept at hand; all of them are events."""

Undo = tuple[str, str | list[str] | None, int | None]
"""A field as it was: its name and value; or, of a transcript, its end and where that began."""

NONE_GIVEN: Image = {}
"""What a child spec sets that sets no field; it is everybody's, and nobody changes it."""

Answer = Callable[[bytes | None, BaseException | None], None]
"""Takes the packed result of a call, or the error that ended it."""


class Message:
    """One message from the moment it was accepted to the commit of its outcome."""

    __slots__ = (
        "answer", "asker", "begun", "deliveries", "journal", "key", "kept", "method", "origin", "payload", "place",
        "redeliver", "seed", "sender", "sent_at", "step", "tried", "withdrawn",
    )  # fmt: skip

    def __init__(
        self, key: int, method: str, payload: bytes, sender: str, answer: Answer | None, *, redeliver: bool = True,
        origin: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        self.key = self.place = key  # the place: before whom it is handled; keys come in the order of acceptance
        self.method = method
        self.payload = payload
        self.sender = sender
        self.answer = answer
        self.redeliver = redeliver
        self.deliveries = 0
        self.sent_at = time.time_ns()
        self.begun = 0
        self.step: str | None = None
        self.journal: Journal | None = None  # once it has steps
        self.origin = origin  # of a call by an agent: its message, and the step there
        self.kept = False  # whether the store has it
        self.seed: str | None = None  # of its chance, where that is not its own
        self.asker: Asking | None = None  # of a call within a node: who may have seen its answer already
        self.tried = False  # a life that is over had it in hand
        self.withdrawn = ""  # the outcome, once somebody has ended it: its node has not said so yet


class Asking(NamedTuple):
    """Who asked a neighbour on its node; another placement of the agent has seen no answer of that."""

    entry: Entry
    place: int


class _Nothing(deque[Message]):
    """The mailbox of whoever has no message: an empty one of its own takes more than all the rest of an entry."""

    def append(self, message: Message) -> None:
        raise TypeError("this mailbox is everybody's; Entry.accept gives the agent its own")


NOTHING = _Nothing()


class Entry:
    """One agent in the books, for as long as its supervisor keeps its spec."""

    __slots__ = (
        "asked",
        "asking",
        "dormant",
        "down",
        "dying",
        "ending",
        "fields",
        "handled",
        "incarnation",
        "initial",
        "isolated",
        "kind",
        "life",
        "log",
        "lowered",
        "moving",
        "node",
        "offences",
        "parks",
        "path",
        "pending",
        "place",
        "reason",
        "restarts",
        "rewound",
        "record",
        "seq",
        "shunned",
        "since",
        "spec",
        "spec_text",
        "suspended",
        "suspicions",
        "topics",
        "traced",
        "waking",
        "wants",
    )  # fmt: skip

    def __init__(self, record: Record, kind: Kind) -> None:
        self.path = record.path
        self.spec = record.spec
        self.kind = kind
        self.record = record
        self.life = 0
        self.place = 0  # the number of its life's placement on a node
        self.incarnation = 0
        self.node: int | None = None
        self.shunned: int | None = None  # a node that the next life had better not get
        self.initial: Image = kind.initial({**record.spec.fields, **(record.fields or {})})
        self.fields: Image = {}
        self.pending: deque[Message] = NOTHING
        self.seq = 0
        self.spec_text = ""  # its child spec as the store has it
        self.restarts = 0  # over all its lives; a move from a dead node is none
        self.handled = 0
        self.reason: Any = None
        self.since = time.time_ns()
        self.ending = False  # told to die; its exit has not come yet
        self.dying: Any = None  # the reason, if it was told to die at once
        self.asked = False  # somebody asked for an orderly stop, for good
        self.parks = ""  # how the end in hand was asked for: "stop" for good, "restart", or "again" by the kernel
        self.suspended = False
        self.down = False  # kept without a process, and not about to get one
        self.dormant = False  # its life runs, and no node has it yet: nobody has reached for it
        self.waking = False  # a node has just got such a life, and has not said yet that it is up
        self.moving = False  # from a node that died; the machine knows it as running
        self.offences = 0  # nodes that died while they ran it
        self.suspicions = 0  # nodes that died with the message in hand, by nobody's visible fault
        self.lowered = False  # it keeps using up its slices, and runs at low priority
        self.isolated = False  # from its next placement on it has a node of its own, whatever its spec says
        self.traced = False
        self.rewound = 0  # steps taken back at its last end
        # Calls of its own that wait for an answer, and whom they asked: by message and step, else by ticket. The first
        # outlast a life: the next one waits for the same answer.
        self.asking: dict[tuple[int, int] | int, str] = {}
        self.topics: frozenset[str] = frozenset()
        self.wants: Kind | None = None  # newer code, from the next message on
        self.log: deque[str] | None = None

    def belong_to(self, record: Record, kind: Kind) -> None:
        """Go on under a new record: its supervisor was restarted, or its class is there now."""
        self.record, self.spec, self.kind, self.spec_text = record, record.spec, kind, ""
        self.initial = kind.initial({**record.spec.fields, **(record.fields or {})})

    def outlive(self) -> Entry:
        """Its life still ends although a successor starts: the entry that is left to that life."""
        old = Entry(self.record, self.kind)
        old.life, old.incarnation, old.node, old.log = self.life, self.incarnation, self.node, self.lines()
        old.place, self.place = self.place, 0
        old.ending, old.asking, self.asking = self.ending, self.asking, {}
        old.dormant, old.waking = self.dormant, self.waking
        return old

    def ask_no_more(self) -> None:
        """A life is over: what it asked outside a message is not waited for."""
        for key in [key for key in self.asking if isinstance(key, int)]:
            del self.asking[key]

    def accept(self, message: Message) -> None:
        """Put a message last in the mailbox."""
        if self.pending is NOTHING:
            self.pending = deque()
        self.pending.append(message)

    @property
    def asleep(self) -> bool:
        """Whether its life runs without a node that could tell anything of it."""
        return self.dormant or self.waking

    def lines(self) -> deque[str]:
        """Its log, to add to."""
        if self.log is None:
            self.log = deque(maxlen=LOG_LINES)
        return self.log

    def image(self) -> Image:
        """The state that the next incarnation starts from, as JSON texts."""
        return {**self.initial, **self.fields}

    def apply(self, changes: list[tuple[str, str | None, int, list[str]]]) -> list[Undo]:
        """Bring the state up to a commit, at the cost of what changed; what ``undo`` needs."""
        before: list[Undo] = []
        for name, text, start, items in changes:
            kept = self.fields.get(name)
            if text is not None:
                before.append((name, kept, None))
                self.fields[name] = text
            elif start < 0:  # the class has no such field any more
                before.append((name, self.fields.pop(name, None), None))
            elif isinstance(kept, list):
                before.append((name, kept[start:], start))
                kept[start:] = items
            else:
                first = self.initial.get(name)
                before.append((name, kept, None))
                self.fields[name] = [*(first[:start] if isinstance(first, list) else ()), *items]
        return before

    def undo(self, before: list[Undo]) -> None:
        """Take back what ``apply`` did."""
        for name, value, start in reversed(before):
            kept = self.fields.get(name)
            if start is not None and isinstance(kept, list) and isinstance(value, list):
                kept[start:] = value
            elif value is None:
                self.fields.pop(name, None)
            else:
                self.fields[name] = value

    def state(self) -> dict[str, Any]:
        """The committed state as JSON values."""
        saved = plain(self.image())
        if hasattr(self.kind.cls, "_undefined"):  # its class is not defined here; the commit has all its fields
            return saved
        state = {}
        for name, field in self.kind.cls.__agent_fields__.items():
            if name in saved:
                state[name] = saved[name]
            else:
                state[name] = None if field.required else json.loads(field.dump(field.default))
        return state

    def __repr__(self) -> str:
        return f"Entry({self.path}, life {self.life}, incarnation {self.incarnation}, {len(self.pending)} pending)"


class Kind:
    """An agent class as the books know it: a number, a name, and the bytes in which it travels."""

    __slots__ = ("_data", "cls", "number")

    def __init__(self, number: int, cls: type[Agent]) -> None:
        self.number = number
        self.cls = cls
        self._data: bytes | None = vars(cls).get("_travels_as")  # a stand-in: the bytes of what it stands for

    @property
    def name(self) -> str:
        """The class's name."""
        return self.cls.__name__

    @property
    def data(self) -> bytes:
        """The class for a node; made once. One that cannot travel is an error there, when it is to be started."""
        if self._data is None:
            try:
                self._data = pack_class(self.cls)
            except Exception as error:  # whatever a global of one of its methods raises
                why = (
                    f"{self.name} cannot travel to a node, with the globals that its methods use: {error}. Make "
                    "such an object in on_start, or inside the method, or in a module that the class imports."
                )
                self._data = pack(TypeError(why), self.name)
        return self._data

    @property
    def traps_shutdown(self) -> bool:
        """Whether its supervisor's shutdown waits for ``on_stop``: as the class says, else if it has that hook."""
        traps = self.cls.trap_exit
        return hasattr(self.cls, "on_stop") if traps is None else traps

    def first(self, fields: Mapping[str, object]) -> Image:
        """The whole state that an agent without ``on_start`` begins with, as its node would commit it."""
        given = self.initial(fields)
        image: Image = {}
        for name, field in self.cls.__agent_fields__.items():
            saved = given.get(name)
            if saved is None:
                saved = field.default.dump() if field.grows else field.dump(field.default)
            if saved or not field.grows:
                image[name] = saved
        return image

    def initial(self, fields: Mapping[str, object]) -> Image:
        """The fields that the child spec sets, as JSON texts."""
        if not fields:
            return NONE_GIVEN
        image: Image = {}
        for name, value in fields.items():
            field = self.cls.__agent_fields__[name]
            if field.annotation is Transcript:
                items = value if isinstance(value, Transcript) else Transcript(value)  # type: ignore[arg-type]  # checked
                image[name] = items.dump()
            else:
                image[name] = field.dump_given(value)
        return image


class Kinds:
    """The agent classes of a lab; a class that a cell defines anew is a new kind."""

    def __init__(self) -> None:
        self._by_class: dict[type[Agent], Kind] = {}
        self._by_number: list[Kind] = []

    def of(self, cls: type[Agent]) -> Kind:
        """The kind of a class."""
        kind = self._by_class.get(cls)
        if kind is None:
            kind = self._by_class[cls] = Kind(len(self._by_number), cls)
            self._by_number.append(kind)
        return kind

    def __getitem__(self, number: int) -> Kind:
        return self._by_number[number]
