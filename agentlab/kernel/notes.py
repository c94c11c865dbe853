"""What happened, as rows of the batch in hand: checkpoints, outcomes, steps, events, children, forks.

Nothing here is durable yet, and nobody is told of it: see ``agentlab.kernel.turn``.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from agentlab.agent.snapshot import Change
from agentlab.books.agents import Entry, Undo
from agentlab.books.clock import Timer
from agentlab.books.dormant import Dormant
from agentlab.books.history import gone
from agentlab.books.journal import Step
from agentlab.books.messages import Message
from agentlab.books.specs import child_row
from agentlab.events import Event, EventKind, Move
from agentlab.exits import Crash, is_graceful, reason_text
from agentlab.ground.redaction import leaked, redact, redact_name
from agentlab.kernel.bulk import Alike, Facts, First, Paths, child_rows
from agentlab.kernel.promises import Promises
from agentlab.store.batch import Batch, Rows
from agentlab.store.database import Store
from agentlab.store.schema import SPENT
from agentlab.supervision.records import Record
from agentlab.supervision.words import Fact, FactKind, GaveUp, Used
from agentlab.wire.frames import Asker, Tokens
from agentlab.wire.packing import JSON


class Outcome:
    """What one message did: where it stands in the turn, and what takes it back."""

    __slots__ = ("after", "before", "entry", "message", "rows", "sent", "seq", "timers")

    def __init__(self, entry: Entry, message: Message, seq: int, row: int, after: int) -> None:
        self.entry = entry
        self.message = message
        self.seq = seq
        self.rows = slice(row, row)
        self.after = slice(after, after)
        self.before: list[Undo] = []
        self.sent: list[tuple[str, Message]] = []  # casts: to whom, and what
        self.timers: list[int] = []


class Notes:
    """The batch in hand, and the events' numbers.

    Attributes:
        durable: The store is a file.
        closing: The lab ends; its tree does not, and is brought back as it was.
        letters: How many dead letters there are, by path.
        spent: Tokens that the model calls of an agent took in and gave, by path.
        as_stored: Children that wait to be resumed: the store knows what they were.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.durable = store.path is not None
        self.closing = False
        self.as_stored: set[str] = set()
        self._batch = Batch()
        self._events: list[Event | Facts] = []
        self._alike: Alike | None = None
        self._touched: set[str] = set()
        self._outcome: Outcome | None = None  # the one that is being written down
        self._ended_at: dict[str, int] = {}
        last = store.select("SELECT max(seq) FROM event")
        self._seq = (last[0][0] or 0) if last else 0
        self._recalled: dict[str, tuple[int, int, int]] = {}
        self.promises = Promises()
        self.letters = Counter(dict(store.select("SELECT path, count(*) FROM dead GROUP BY path")))
        self.spent: dict[str, tuple[int, int]] = {path: (took, gave) for path, took, gave in store.select(SPENT)}
        self._bases = {path for (path,) in store.select("SELECT DISTINCT base_path FROM fork")}

    def event(
        self, kind: EventKind, path: str, *, incarnation: int | None = None, node: int | None = None,
        reason: str | None = None, detail: str | None = None, took_s: float | None = None,
    ) -> None:  # fmt: skip
        """Note a fact; it gets the next number."""
        self._note_alike()
        self._seq += 1
        reason, detail = reason and redact(reason), detail and redact(detail)
        event = Event(self._seq, time.time_ns(), kind, redact_name(path), incarnation, node, reason, detail, took_s)
        self._events.append(event)
        self._batch.add("event", *event)
        self._touched.add(path)

    def touch(self, path: str) -> None:
        """Say that this place of the tree looks different now."""
        self._touched.add(path)

    def checkpoint(self, entry: Entry, changes: list[Change]) -> None:
        """The state as it is after the message just handled (or after ``on_start``)."""
        undone = entry.apply(changes)
        if self._outcome is not None:
            self._outcome.before += undone
        size = 0
        for (name, text, start, items), (_, old, _) in zip(changes, undone, strict=True):
            if text is None and (old or not items) and (start >= 0 or isinstance(old, list)):  # it began anew there
                self._batch.add_item(path=entry.path, name=name, seq=entry.seq, place=max(0, start), value=None)
            if text is not None or start < 0:
                self._batch.add_field(path=entry.path, name=name, seq=entry.seq, value=text)
                size += len(text or "")
            for place, item in enumerate(items, start):
                self._batch.add_item(path=entry.path, name=name, seq=entry.seq, place=place, value=item)
                size += len(item)
        self._batch.add_checkpoint(
            path=entry.path, seq=entry.seq, at=time.time_ns(), incarnation=max(1, entry.incarnation), bytes=size,
            cls=entry.kind.name,
        )  # fmt: skip

    def handled(  # noqa: PLR0917 - of whom, of what, how it went
        self, entry: Entry, message: Message, outcome: str, error: str | None, started: int, took: int
    ) -> None:
        """One message's outcome."""
        self._batch.add_message(
            path=entry.path, seq=entry.seq, method=message.method, sender=message.sender, sent_at=message.sent_at,
            started_at=started, ended_at=started + took, outcome=outcome, error=error, key=message.key,
            deliveries=message.deliveries + 1 if outcome == "ok" else max(1, message.deliveries),
            payload=self.text(message.payload) if message.journal is not None else None,  # without steps: said again
        )  # fmt: skip

    def text(self, packed: bytes | None) -> str | None:
        """A packed value as the store keeps it; None if it cannot. A store in memory, which nobody else reads, can."""
        if packed is None or (self.durable and packed[:1] != JSON):
            return None
        if not self.durable:
            return packed.decode("latin-1")
        text = packed[1:].decode()
        return text if leaked(text) is None else None

    def kept(self, path: str, message: Message) -> None:
        """A message that must outlive the kernel: durable until its outcome is; one with a key in it is not."""
        text = self.text(message.payload) if self.durable and not message.kept else None
        if text is None or message.payload[:1] != JSON:
            return
        message.kept = True
        asker, asker_step = message.origin or (None, None)
        self._batch.add_inbox(
            key=message.key, path=path, method=message.method, payload=text, sender=message.sender,
            sent_at=message.sent_at, redeliver=int(message.redeliver), deliveries=message.deliveries, asker=asker,
            asker_step=asker_step, place=message.place,
        )  # fmt: skip

    def delivered(self, message: Message) -> None:
        """It was charged one more delivery."""
        if message.kept:
            self._batch.add("delivered", message.deliveries, message.key)

    def over(self, message: Message) -> None:
        """Its outcome is decided: nothing of it is needed to deliver it again."""
        if message.kept:
            self._batch.add("out", message.key)
        if message.journal is not None and self.durable:
            self._batch.add("out_begun", message.key)
            self._batch.add("out_answer", message.key)

    def answered(self, origin: tuple[int, int], answer: bytes) -> None:
        """What an agent's call was answered, kept until the asker's message is over."""
        text = self.text(answer) if self.durable and answer[:1] == JSON else None
        if text is not None:
            asker, asker_step = origin
            self._batch.add_answer(asker=asker, asker_step=asker_step, payload=text)

    def not_answered(self, origin: Asker) -> None:
        """What was answered does not hold, or nobody will ask for it again."""
        if self.durable and not self.closing:
            self._batch.add("not_answered", *origin)

    def _keep_promise(self, record: Record, status: str) -> None:
        """One commit holds what an act did to this child and the answer to whoever asked for it."""
        promise = self.promises.fulfil(record, status)
        if promise is not None:
            self.answered(promise.asker, promise.answer(record))

    def step_began(self, message: Message, step: Step) -> None:
        """A step whose start must be known after a crash: a ``once`` step, or one that others know by its number."""
        if self.durable and (step.once or step.reaches):
            mark = json.dumps(step.mark)
            self._batch.add_begun(
                message_key=message.key, step=step.number, mark=mark, once=int(step.once), at=step.began
            )  # fmt: skip

    def step_ended(  # noqa: PLR0917 - of whom, of what, how it went
        self, entry: Entry, message: Message, step: Step, outcome: str, took: float, result: bytes | None,
        given: str, gave: str, *, replayed: bool = False, seq: int | None = None, tokens: Tokens = None,
    ) -> None:  # fmt: skip
        """One attempt at one effect, of the message in hand or of the one with the number ``seq``."""
        kind, name, _, _ = step.mark
        took_in, gave_out = tokens or (None, None)
        if tokens is not None:
            before = self.spent.get(entry.path, (0, 0))
            self.spent[entry.path] = (before[0] + tokens[0], before[1] + tokens[1])
        self._batch.add_step(
            path=entry.path, message_seq=entry.seq + 1 if seq is None else seq, message_key=message.key,
            step=step.number, attempt=message.deliveries + 1, kind=kind, name=name, mark=json.dumps(step.mark),
            once=int(step.once), started_at=step.began, took_s=took, outcome=outcome, replayed=int(replayed),
            fault=gave.split(":", 1)[0] if outcome == "failed" else None, tokens_in=took_in, tokens_out=gave_out,
            cost_usd=None, input=given, output=gave, result=self.text(result),
        )  # fmt: skip

    def step_forgotten(self, message: Message, step: Step) -> None:
        """A step in doubt may run again."""
        if self.durable:
            self._batch.add("not_begun", message.key, step.number)

    def rewound(self, entry: Entry, message: Message, steps: list[Step]) -> None:
        """Finished steps that are taken back, because the handler died of what they gave."""
        for step in steps:
            self._batch.add("rewound", message.key, step.number)
        entry.rewound = len(steps)
        self.event("rewound", entry.path, detail=", ".join(step.name for step in steps))

    def timer(self, timer: Timer, ahead: int) -> None:
        """A timer that outlives the kernel; ``ahead``: how far the wall clock is ahead of the lab's own time (ns)."""
        payload = self.text(timer.payload) if self.durable and timer.payload[:1] == JSON else None
        if payload is not None:
            self._batch.add_timer(
                id=timer.number, path=timer.path, method=timer.method, payload=payload, due_at=timer.due_at + ahead,
                every_s=timer.every,
            )  # fmt: skip

    def timer_gone(self, number: int) -> None:
        """A timer is done."""
        if self.durable:
            self._batch.add("timer_gone", number)

    def dead(self, path: str, message: Message, reason: str) -> None:
        """A message that nobody will handle; nobody has seen whether there is such a path or method."""
        path, method = redact_name(path), redact_name(message.method)
        self._batch.add_dead(
            at=time.time_ns(), path=path, method=method, payload=self.text(message.payload), sender=message.sender,
            deliveries=message.deliveries, reason=reason,
        )  # fmt: skip
        self.letters[path] += 1
        self.touch("/")
        self.event("dead_letter", path, reason=reason, detail=method)

    def dead_gone(self, number: int, path: str) -> None:
        """A dead letter was sent again."""
        self._batch.add("dead_gone", number)
        self.letters[path] -= 1
        self.touch(path)
        self.touch("/")

    def started(self, entry: Entry) -> None:
        """A new incarnation runs."""
        self.event("started", entry.path, incarnation=entry.incarnation, node=entry.node)
        ended = self._ended_at.pop(entry.path, None)
        if entry.incarnation > 1:
            supervisor = entry.record.supervisor
            now = time.time_ns()
            self._batch.add_restart(
                path=entry.path, at=now, incarnation=entry.incarnation, reason=reason_text(entry.reason),
                fault=_fault(entry.reason), supervisor=supervisor.path if supervisor else None,
                strategy=_strategy(supervisor), backoff_s=None, downtime_s=(now - ended) / 1e9 if ended else None,
                rewound=entry.rewound,
            )  # fmt: skip
        entry.rewound = 0
        self.keep_child(entry.record, entry)

    def begun(self, records: list[Record], note: Dormant) -> None:
        """The same of agents that were started together under one supervisor, and of their first states."""
        supervisor = records[0].supervisor
        assert supervisor is not None
        above = supervisor.path
        paths = Paths(above, [record.id for record in records])
        if self.durable and not self.closing:
            self._batch.add_many("child", Rows(lambda: child_rows(records, paths, above), len(records)))
        First(records, paths, note).add_to(self._batch)
        self._note_all("started", paths, note.at, 1, None)
        self._touched.add(above)

    def alike(self, kind: EventKind, record: Record, incarnation: int | None, reason: Any) -> None:
        """Note a fact as ``event`` does; many in a row about siblings, with one reason, cost little."""
        known = self._alike
        if known is None or known.kind != kind or known.parent is not record.parent or known.reason is not reason:
            self._note_alike()
            known = self._alike = Alike(kind, record.parent, incarnation, reason)
        known.ids.append(record.id)

    def _note_alike(self) -> None:
        known, self._alike = self._alike, None
        if known is not None and known.parent is not None:
            paths = Paths(known.parent.record.path, known.ids)
            self._note_all(known.kind, paths, time.time_ns(), known.incarnation, reason_text(known.reason))

    def _note_all(self, kind: EventKind, paths: Paths, at: int, incarnation: int | None, reason: str | None) -> None:
        self._note_alike()
        facts = Facts(self._seq + 1, at, kind, paths, incarnation, reason)
        self._seq += len(paths)
        self._events.append(facts)
        self._batch.add_many("event", Rows(lambda: facts, len(paths)))

    def ended(self, entry: Entry, reason: Any, *, late: bool = False) -> None:
        """A life is over; ``late``: its successor was not waiting for that."""
        kind: EventKind = "exited" if is_graceful(reason) else "killed" if reason == "killed" else "crashed"
        detail = reason.traceback if isinstance(reason, Crash) else None
        if not late:
            self._ended_at[entry.path] = time.time_ns()
        text = reason_text(reason)
        self.event(kind, entry.path, incarnation=entry.incarnation, node=entry.node, reason=text, detail=detail)

    def failed(self, entry: Entry, node: int, reason: Any) -> None:
        """A life did not come up."""
        detail = reason.traceback if isinstance(reason, Crash) else None
        self.event("start_failed", entry.path, node=node, reason=reason_text(reason), detail=detail)

    def traced(self, entry: Entry, message: Message, shown: str) -> None:
        """A message of an agent that is traced."""
        self.event("message", entry.path, incarnation=entry.incarnation, node=entry.node, detail=shown)

    def moved(self, entry: Entry, why: Move) -> None:
        """An agent leaves its node for another: see ``Move``."""
        self._ended_at[entry.path] = time.time_ns()
        self.event(why, entry.path, incarnation=entry.incarnation, node=entry.node, reason=why)

    def log(self, entry: Entry, line: str) -> None:
        """A line that an agent printed."""
        line = line.encode("utf-8", "backslashreplace").decode("utf-8")
        entry.lines().append(line)
        self.event("log", entry.path, incarnation=entry.incarnation, node=entry.node, detail=line)

    def emitted(self, entry: Entry, text: str) -> None:
        """Text of the live transcript: it passes by, the hub alone sees it."""
        self._events.append(Event(0, time.time_ns(), "emit", entry.path, entry.incarnation, entry.node, None, text))

    def fact(self, fact: Fact, incarnation: int | None, newest: int) -> None:
        """What the supervision machine says, as an event where a person would want to know.

        Args:
            fact: What it says.
            incarnation: Of the supervisor whose life the fact is about.
            newest: The newest incarnation of a supervisor at that path.
        """
        self._touched.add(fact.path)
        if fact.record.supervisor is not None:
            self._touched.add(fact.record.supervisor.path)
        kind = EVENT_KINDS.get(fact.kind)
        if kind is not None:
            reason = reason_text(fact.reason) if fact.reason is not None else None
            self.event(kind, fact.path, incarnation=incarnation, reason=reason, detail=_detail(fact.detail))
        if self.closing:
            return  # the lab ends, its tree does not: it is brought back from here
        if fact.record.is_supervisor and fact.kind in ("supervisor_started", "down", "parked"):
            self.keep_child(fact.record, None, newest)

    def gone(self, record: Record) -> None:
        """Nothing is kept at its path any more."""
        if not self.closing:
            self._batch.add("gone", record.path)
            if record.is_supervisor:
                self._batch.add("gone_below", record.path + "/")
            self._keep_promise(record, "gone")

    def keep_child(self, record: Record, entry: Entry | None, incarnation: int = 1) -> None:
        """Write down that this child is kept, so that the lab can be opened again."""
        if record.state != "parked":
            self.as_stored.discard(record.path)
        if self.durable and record.supervisor is not None and not self.closing and record.path not in self.as_stored:
            row = child_row(record, entry, incarnation)
            self._batch.add("child", *row)
            self._keep_promise(record, row[4])

    def forget(self, path: str) -> None:
        """The agent is gone for good: a later one with its id starts fresh."""
        if self.closing:
            return
        self._recalled.pop(path, None)
        self._batch.add("gone", path)
        if path in self._bases:  # its forks' past is its own: it goes on under a name that no agent can have
            past = gone(path)
            for table in ("moved", "moved_items", "moved_checkpoints", "moved_fork", "moved_base"):
                self._batch.add(table, past, path)
            self._bases.discard(path)
            self._bases.add(past)
        for table in ("forget", "forget_items", "forget_checkpoints", "forget_fork"):
            self._batch.add(table, path)
        self._ended_at.pop(path, None)

    def fork(
        self, entry: Entry, base: str, seq: int, *, again: tuple[int, int, int] | None = None, source: str
    ) -> None:
        """An agent whose past is another's.

        Args:
            entry: The fork.
            base: The path whose past it is, up to ``seq``.
            seq: Up to where.
            again: The key of the message that it handles again; the key of the base's, and its first step to run.
            source: The same in words.
        """
        self._bases.add(base)
        key, base_key, base_step = again or (None, None, None)
        self._batch.add_fork(
            path=entry.path, base_path=base, base_seq=seq, key=key, base_key=base_key, base_step=base_step
        )  # fmt: skip
        self.event("forked", entry.path, detail=source)

    # an earlier life of the lab

    def expect(self, past: dict[str, tuple[int, int, int]]) -> None:
        """Agents that the store remembers: path to incarnation, restarts, seq."""
        self._recalled.update(past)

    def remembered(self, path: str) -> int:
        """How often a supervisor has come up in earlier kernels; told once."""
        return self._recalled.pop(path, (0,))[0]

    def remembers(self, path: str) -> bool:
        """Whether an agent at this path comes back."""
        return path in self._recalled

    def recall(self, entry: Entry) -> None:
        """Give an agent that the store remembers its past back."""
        past = self._recalled.pop(entry.path, None)
        if past is not None:
            entry.incarnation, entry.restarts, entry.seq = past
            entry.fields = self.store.state(entry.path)
            entry.reason = "the lab was opened again"


EVENT_KINDS: Mapping[FactKind, EventKind] = {
    "supervisor_started": "supervisor_started", "supervisor_failed": "supervisor_failed",
    "supervisor_exited": "supervisor_exited", "restarting": "restarting", "backing_off": "backing_off",
    "gave_up": "gave_up", "parked": "parked", "down": "stopped", "removed": "removed",
    "shutdown_error": "shutdown_error",
}  # fmt: skip
"""The machine's facts that are events, and the events' words."""


def _detail(detail: Any) -> str | None:
    if isinstance(detail, Used):
        return f"{detail.restarts} of {detail.allowed:g} restarts in {detail.seconds:g} s"
    if isinstance(detail, GaveUp):
        last = f": {reason_text(detail.crashes[-1][2])}" if detail.crashes else ""
        span = detail.crashes[-1][0] - detail.crashes[0][0] if detail.crashes else 0.0
        return f"gave up after {len(detail.crashes)} crash{'es' * (len(detail.crashes) != 1)} in {span:.1f} s{last}"
    if isinstance(detail, float):
        return f"waits {detail:.3g} s"
    return None if detail is None else str(detail)


def _fault(reason: Any) -> str | None:
    return reason.type if isinstance(reason, Crash) else None


def _strategy(supervisor: Record | None) -> str | None:
    return None if supervisor is None else str(getattr(supervisor.spec.what, "strategy", ""))
