"""Messages, their steps and timers, and dead letters, as rows: what must outlive the kernel until it is decided.

Nothing here is durable yet, and nobody is told of it: see ``agentlab.kernel.turn``.
"""

from __future__ import annotations

import json
import time
from collections import Counter

from agentlab.books.accounts import Accounts
from agentlab.books.agents import Entry
from agentlab.books.clock import Timer
from agentlab.books.journal import Step
from agentlab.books.messages import Message
from agentlab.ground.redaction import leaked, redact_name
from agentlab.kernel.eventlog import EventLog
from agentlab.kernel.page import Page
from agentlab.node.replay import label
from agentlab.store.schema import SPENT
from agentlab.wire.frames import Asker, Tokens
from agentlab.wire.packing import JSON

SPENDING = frozenset({"model", "tool", "step"})
"""Kinds of steps whose time is an agent's own; what it asks of others is theirs."""


class MessageLog:
    """Keeps messages until their outcomes are decided, and notes the outcomes and the steps.

    Attributes:
        letters: How many dead letters there are, by path.
        spent: Tokens that the model calls of an agent took in and gave, and what they cost, by path.
        accounts: What budgets there are, and what has come to them.
    """

    def __init__(self, page: Page, events: EventLog) -> None:
        self._page = page
        self._events = events
        select = page.store.select
        self.letters = Counter(dict(select("SELECT path, count(*) FROM dead GROUP BY path")))
        self.spent: dict[str, tuple[int, int, float | None]] = {path: tuple(sums) for path, *sums in select(SPENT)}
        self.accounts = Accounts(select, has_past=bool(select("SELECT 1 FROM step LIMIT 1")))

    def note_outcome(  # noqa: PLR0917 - of whom, of what, how it went
        self, entry: Entry, message: Message, outcome: str, error: str | None, started: int, took: int
    ) -> None:
        """One message's outcome."""
        self._page.batch.add_message(
            path=entry.path, seq=entry.seq, method=message.method, sender=message.sender, sent_at=message.sent_at,
            started_at=started, ended_at=started + took, outcome=outcome, error=error, key=message.key,
            deliveries=message.deliveries + 1 if outcome == "ok" else max(1, message.deliveries),
            payload=self._text(message.payload) if message.journal is not None else None,  # without steps: said again
        )  # fmt: skip

    def _text(self, packed: bytes | None) -> str | None:
        """A packed value as the store keeps it; None if it cannot. A store in memory, which nobody else reads, can."""
        if packed is None or (self._page.durable and packed[:1] != JSON):
            return None
        if not self._page.durable:
            return packed.decode("latin-1")
        text = packed[1:].decode()
        return text if leaked(text) is None else None

    def keep_message(self, path: str, message: Message) -> None:
        """A message that must outlive the kernel: durable until its outcome is; one with a key in it is not."""
        text = self._text(message.payload) if self._page.durable and not message.kept else None
        if text is None or message.payload[:1] != JSON:
            return
        message.kept = True
        asker, asker_step = message.origin or (None, None)
        self._page.batch.add_inbox(
            key=message.key, path=path, method=message.method, payload=text, sender=message.sender,
            sent_at=message.sent_at, redeliver=int(message.redeliver), deliveries=message.deliveries, asker=asker,
            asker_step=asker_step, place=message.place,
        )  # fmt: skip

    def charge_delivery(self, message: Message) -> None:
        """It was charged one more delivery."""
        if message.kept:
            self._page.batch.add("delivered", message.deliveries, message.key)

    def drop_message(self, message: Message) -> None:
        """Its outcome is decided: nothing of it is needed to deliver it again."""
        if message.kept:
            self._page.batch.add("out", message.key)
        if message.journal is not None and self._page.durable:
            self._page.batch.add("out_begun", message.key)
            self._page.batch.add("out_answer", message.key)

    def keep_answer(self, origin: tuple[int, int], answer: bytes) -> None:
        """What an agent's call was answered, kept until the asker's message is over."""
        text = self._text(answer) if self._page.durable and answer[:1] == JSON else None
        if text is not None:
            asker, asker_step = origin
            self._page.batch.add_answer(asker=asker, asker_step=asker_step, payload=text)

    def drop_answer(self, origin: Asker) -> None:
        """What was answered does not hold, or nobody will ask for it again."""
        if self._page.durable and not self._page.closing:
            self._page.batch.add("not_answered", *origin)

    def note_step_began(self, message: Message, step: Step) -> None:
        """A step whose start must be known after a crash: a ``once`` step, or one that others know by its number."""
        if self._page.durable and (step.once or step.reaches):
            mark = json.dumps(step.mark)
            self._page.batch.add_begun(
                message_key=message.key, step=step.number, mark=mark, once=int(step.once), at=step.began
            )  # fmt: skip

    def note_step(  # noqa: PLR0917 - of whom, of what, how it went
        self, entry: Entry, message: Message, step: Step, outcome: str, took: float, result: bytes | None,
        given: str, gave: str, *, replayed: bool = False, seq: int | None = None, tokens: Tokens = None,
        fault: str | None = None,
    ) -> None:  # fmt: skip
        """One attempt at one effect, of the message in hand or of the one with the number ``seq``."""
        kind, name, _, _ = step.mark
        attempt = message.deliveries + 1 + (message.journal.retried[step.mark] if message.journal is not None else 0)
        raised = gave.split(":", 1)[0] if outcome == "failed" else None
        took_in, gave_out, cached, cost = tokens or (None, None, None, None)
        if tokens is not None:
            before = self.spent.get(entry.path, (0, 0, None))
            known = None if cost is None else cost + (before[2] or 0.0)
            self.spent[entry.path] = (
                before[0] + tokens[0],
                before[1] + tokens[1],
                before[2] if known is None else known,
            )
        if kind in SPENDING and not replayed and not self.accounts.is_empty:
            failed = outcome == "failed"
            self.accounts.settle(entry.record, label(step.mark), billed=tokens, took=took, failed=failed)
        self._page.batch.add_step(
            path=entry.path, message_seq=entry.seq + 1 if seq is None else seq, message_key=message.key,
            step=step.number, attempt=attempt, kind=kind, name=name, mark=json.dumps(step.mark),
            once=int(step.once), started_at=step.began, took_s=took, outcome=outcome, replayed=int(replayed),
            fault=raised if fault in (None, "crash") else fault, tokens_in=took_in, tokens_out=gave_out,
            cost_usd=cost, tokens_cached=cached, input=given, output=gave, result=self._text(result),
        )  # fmt: skip

    def forget_step(self, message: Message, step: Step) -> None:
        """A step in doubt may run again."""
        if self._page.durable:
            self._page.batch.add("not_begun", message.key, step.number)

    def note_steps_taken_back(self, entry: Entry, message: Message, steps: list[Step]) -> None:
        """Finished steps that are taken back, because the handler died of what they gave."""
        for step in steps:
            self._page.batch.add("rewound", message.key, step.number)
        entry.rewound = len(steps)
        self._events.note_event("rewound", entry.path, detail=", ".join(step.name for step in steps))

    def keep_timer(self, timer: Timer, ahead: int) -> None:
        """A timer that outlives the kernel; ``ahead``: how far the wall clock is ahead of the lab's own time (ns)."""
        payload = self._text(timer.payload) if self._page.durable and timer.payload[:1] == JSON else None
        if payload is not None:
            self._page.batch.add_timer(
                id=timer.number, path=timer.path, method=timer.method, payload=payload, due_at=timer.due_at + ahead,
                every_s=timer.every,
            )  # fmt: skip

    def drop_timer(self, number: int) -> None:
        """A timer is done."""
        if self._page.durable:
            self._page.batch.add("timer_gone", number)

    def add_dead_letter(self, path: str, message: Message, reason: str) -> None:
        """A message that nobody will handle; nobody has seen whether there is such a path or method."""
        path, method = redact_name(path), redact_name(message.method)
        self._page.batch.add_dead(
            at=time.time_ns(), path=path, method=method, payload=self._text(message.payload), sender=message.sender,
            deliveries=message.deliveries, reason=reason,
        )  # fmt: skip
        self.letters[path] += 1
        self._events.touch_path("/")
        self._events.note_event("dead_letter", path, reason=reason, detail=method)

    def drop_dead_letter(self, number: int, path: str) -> None:
        """A dead letter was sent again."""
        self._page.batch.add("dead_gone", number)
        self.letters[path] -= 1
        self._events.touch_path(path)
        self._events.touch_path("/")
