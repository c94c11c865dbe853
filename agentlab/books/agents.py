"""Agents in the books: one entry each, for as long as its supervisor keeps its spec.

The books are the truth. A node's mailbox is a copy that may be lost with the node; the message stays in the
books until its outcome is committed, and is delivered again from there.
"""

from __future__ import annotations

import json
import time
from collections import deque
from typing import Any, Literal

from agentlab.agent.snapshot import Image, plain
from agentlab.books.classes import Kind
from agentlab.books.messages import NOTHING, Message
from agentlab.books.phase import DORMANT, MOVING, STARTING, WAKING, Phased
from agentlab.supervision.records import Record

LOG_LINES = 1000
"""Lines of an agent's prints that are kept at hand; all of them are events."""

Status = Literal["starting", "running", "busy", "waiting", "suspended", "backing_off", "parked", "stopped"]
"""What an agent does now, in the words of the contract."""

UNSETTLED = ("starting", "restarting", "stopping", "backing_off")
"""What the machine says of an agent for which something is still to come."""

Undo = tuple[str, str | list[str] | None, int | None]
"""A field as it was: its name and value; or, of a transcript, its end and where that began."""


class Entry(Phased):
    """One agent in the books, for as long as its supervisor keeps its spec."""

    __slots__ = (
        "asking",
        "fields",
        "handled",
        "incarnation",
        "initial",
        "isolated",
        "kind",
        "log",
        "lowered",
        "node",
        "offences",
        "path",
        "pending",
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
        "wants",
    )  # fmt: skip

    def __init__(self, record: Record, kind: Kind) -> None:
        super().__init__()
        self.path = record.path
        self.spec = record.spec
        self.kind = kind
        self.record = record
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
        self.suspended = False
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
        old.incarnation, old.node, old.log = self.incarnation, self.node, self.lines()
        old.asking, self.asking = self.asking, {}
        self.pass_on(old)
        return old

    def ask_no_more(self) -> None:
        """A life is over: what it asked outside a message is not waited for."""
        for key in [key for key in self.asking if isinstance(key, int)]:
            del self.asking[key]

    @property
    def doubt(self) -> str | None:
        """Why the message in hand cannot be delivered again by itself: a ``once`` step may have happened."""
        journal = self.pending[0].journal if self.pending else None
        if journal is None or not journal.doubts:
            return None
        names = ", ".join(step.name for step in journal.doubts)
        return f"in doubt: {names} began and did not finish; ref.doubts() shows it, ref.settle(...) decides"

    def accept(self, message: Message) -> None:
        """Put a message last in the mailbox."""
        if self.pending is NOTHING:
            self.pending = deque()
        self.pending.append(message)

    def next_seq(self) -> int:
        """Count one more of what has a number: a checkpoint, or a message that was decided."""
        self.seq += 1
        return self.seq

    # where it stands

    @property
    def is_starting(self) -> bool:
        """Whether the life is not up yet: no message is handed to it."""
        return self.phase is MOVING or self.record.state in ("starting", "undefined")

    @property
    def is_first_start(self) -> bool:
        """Whether the machine waits for word of this start; of a life that moves it knows that it runs."""
        return self.phase is STARTING and self.record.state in ("starting", "undefined")

    @property
    def is_up(self) -> bool:
        """Whether messages are handed to its life."""
        return self.life != 0 and not self.is_starting

    @property
    def is_coming_up(self) -> bool:
        """Whether word is awaited that it runs on its node."""
        return self.phase is WAKING or self.is_starting

    @property
    def is_known_to_run(self) -> bool:
        """Whether a start that fails is the end of a life: the machine knows it as running, or as being ended."""
        return self.phase is MOVING or self.phase is WAKING or self.is_ending

    @property
    def is_reachable(self) -> bool:
        """Whether its life can be asked something: on its node, or on the one that it would get for that."""
        return self.is_up and (self.phase is DORMANT or self.place != 0)

    @property
    def handles_messages(self) -> bool:
        """Whether a node may begin its next message."""
        return self.is_up and not (self.suspended or self.is_asleep)

    @property
    def may_run_code(self) -> bool:
        """Whether its node, if that lives, may be running code of its life now."""
        return self.place != 0 and (bool(self.pending) or self.is_ending or self.is_starting)

    @property
    def may_rest(self) -> bool:
        """Whether the agent needs no node to come up: its state is what its last commit says."""
        plain = self.spec.isolation == "node" and self.spec.restore == "checkpoint" and not self.isolated
        return plain and self.wants is None and not hasattr(self.kind.cls, "on_start")

    @property
    def may_sleep(self) -> bool:
        """Whether a life that has to leave its node needs no other one now: it runs, and nothing waits for it."""
        runs = self.record.state == "running" and not (self.phase is MOVING or self.is_ending or self.pending)
        return runs and self.may_rest

    @property
    def waits_for_its_turn(self) -> bool:
        """Whether its start or its next message has not begun, so that another node may serve it."""
        return not self.is_ending and (self.is_starting or (bool(self.pending) and self.in_hand is None))

    @property
    def in_hand(self) -> Message | None:
        """The message whose handler runs, if its node has said so."""
        return self.pending[0] if self.pending and self.pending[0].begun else None

    @property
    def waits_for_person(self) -> bool:
        """Whether its handler runs, and goes on when a person has allowed a tool, or refused it."""
        message = self.in_hand
        return message is not None and message.journal is not None and message.journal.waits_for_person

    @property
    def takes_calls(self) -> bool:
        """Whether somebody may wait for its answer: it runs, or is about to."""
        return not self.is_down

    @property
    def takes_casts(self) -> bool:
        """The same, or it or its team is parked: casts wait until somebody starts that again."""
        if not self.is_down:
            return True
        record = self.record
        return not self.is_asked_to_stop and (record.state == "parked" or record.parked_above is not None)

    @property
    def is_active(self) -> bool:
        """Whether it keeps the lab from being idle."""
        if self.pending and not self.is_down and (not self.suspended or self.pending[0].begun):
            return self.pending[0].journal is None or self.is_ending or not self.waits_for_person
        if self.ordered is not None and self.is_ending:
            return True
        return self.phase is MOVING or self.record.state in UNSETTLED

    def status(self, *, closing: bool) -> Status:
        """Its status, a word of the contract.

        Args:
            closing: The lab is being closed: nobody starts it again.
        """
        state = self.record.state
        if state == "parked":
            return "stopped" if self.is_asked_to_stop else "parked"
        if state == "undefined":
            return "stopped" if self.is_down or closing else _between(self.record)
        if state == "backing_off":
            return "backing_off"
        if state in ("starting", "restarting") or self.phase is MOVING:
            return "starting"
        if state == "running" and not self.life:  # its end waits for its supervisor, which is at work on another's
            return "starting"
        if self.in_hand is not None:
            return "waiting" if self.in_hand.step else "busy"
        if self.suspended:
            return "suspended"
        return "busy" if self.pending else "running"

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
        lives = f"{self.phase.name}, life {self.life}, incarnation {self.incarnation}"
        return f"Entry({self.path}, {lives}, {len(self.pending)} pending)"


def _between(record: Record) -> Status:
    """The word for one that was stopped to start again, with a sibling that may have to wait, or its supervisor."""
    parent = record.parent
    while parent is not None:
        together = parent.spec.strategy in ("one_for_all", "rest_for_one")
        waits = not parent.dead and together and any(kid.state == "backing_off" for kid in parent.children.values())
        if waits or parent.record.state == "backing_off":
            return "backing_off"
        parent = parent.record.parent
    return "starting"
