"""The rows of a store, by name: a class per table that has checksums, and what each of its columns means.

``schema`` takes the columns of a table, and the statements that write it, from here. Whoever writes a row
says its columns by name, ``batch.add_step(path=..., kind=...)``; whoever reads whole rows asks ``Store.select_rows``.
The order of the columns is part of the checksums of rows that are stored. Times are nanoseconds since 1970, durations
seconds.

To add a column: a field at the end of its row, with a default, so that what writes it may come later; in ``schema``
the column, a new version, and its migration, which takes away the checksums of older rows, for they do not cover it
(``UPDATE step SET sum = NULL``); a line in ``frames/tables`` if people are to see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, get_type_hints

from agentlab.events import Event


class ChildRow(NamedTuple):
    """What a supervisor keeps, and how; the tree that a lab is opened with again.

    Attributes:
        path: Its place in the tree.
        parent: The path of its supervisor.
        spec: Its child spec as JSON (``books/specs``).
        dynamic: Whether it was added to its supervisor, whose spec does not have it.
        status: ``running``, ``stopped`` or ``parked``.
        incarnation: How often it has come up, restarts by hand and moves included.
        restarts: How often it was restarted after a crash.
        seq: The number of the last outcome when the row was written.
    """

    path: str
    parent: str | None
    spec: str
    dynamic: int
    status: str
    incarnation: int
    restarts: int
    seq: int


class MessageRow(NamedTuple):
    """The outcome of a message.

    Attributes:
        path: The agent that handled it, or was to.
        seq: The number of its outcome, from 1 on over all lives of the agent; the state after it has the same one.
        method: The method that it calls.
        sender: The path of who sent it; empty for a person.
        sent_at: When it was sent.
        started_at: When its handler began.
        ended_at: When its outcome was decided.
        deliveries: How often its handler began.
        outcome: ``ok``, ``failed``, ``cancelled`` and so on.
        error: What the caller is told if it is not ``ok``.
        key: Its number in the lab; that of the steps that it made.
        payload: Its arguments; None if it made no steps (nobody handles it again), or if the store cannot hold them.
    """

    path: str
    seq: int
    method: str
    sender: str
    sent_at: int
    started_at: int
    ended_at: int
    deliveries: int
    outcome: str
    error: str | None
    key: int | None
    payload: str | None


class CheckpointRow(NamedTuple):
    """A committed state; its values are rows of ``field`` and ``item``.

    Attributes:
        path: The agent.
        seq: The number of the outcome after which the state was this; 0 before the first.
        at: When.
        incarnation: The life that had it.
        bytes: The characters of the values that changed.
        cls: The name of the agent's class.
    """

    path: str
    seq: int
    at: int
    incarnation: int
    bytes: int
    cls: str


class FieldRow(NamedTuple):
    """A new value of a field.

    Attributes:
        path: The agent.
        name: The field.
        seq: The checkpoint from which on the field has this value.
        value: The value as JSON; None if the field is no more.
    """

    path: str
    name: str
    seq: int
    value: str | None


class ItemRow(NamedTuple):
    """A new item of a transcript.

    Attributes:
        path: The agent.
        name: The field.
        seq: The checkpoint from which on the item is there.
        place: Where; what stood there and after it before is gone.
        value: The item as JSON; None if the transcript ends before ``place``.
    """

    path: str
    name: str
    seq: int
    place: int
    value: str | None


class StepRow(NamedTuple):
    """An attempt at one effect inside a message.

    Attributes:
        path: The agent.
        message_seq: The number of its message's outcome.
        step: The number of the step in its message, from 1.
        attempt: Which attempt at this step it is, over all deliveries of the message, from 1.
        kind: ``step``, ``call``, ``model``, ``tool``, ``start`` and so on.
        name: What was called.
        started_at: When it began.
        took_s: How long it took.
        outcome: ``ok``, ``failed``, ``rewound`` and so on.
        fault: The kind of fault, if it failed; of a ``crash`` the class of the exception.
        tokens_in: Tokens that a model call took in; None if it was billed none.
        tokens_out: Tokens that a model call gave.
        cost_usd: What a model call cost; None where nobody knows the price.
        replayed: Whether the journal answered, and nothing was run.
        input: What it was given, as people read it.
        output: What it gave, as people read it; of one that failed why, and what was decided if it was tried again.
        message_key: Its message's number in the lab.
        mark: Kind, name, arguments and number as JSON, by which a message that is delivered again finds the step.
        result: What it gave, as the journal answers it.
        once: Whether it may run once only.
        tokens_cached: Of ``tokens_in`` those that the provider read from its cache.
    """

    path: str
    message_seq: int
    step: int
    attempt: int
    kind: str
    name: str
    started_at: int
    took_s: float
    outcome: str
    fault: str | None
    tokens_in: int | None
    tokens_out: int | None
    cost_usd: float | None
    replayed: int
    input: str
    output: str
    message_key: int
    mark: str
    result: str | None
    once: int
    tokens_cached: int | None = None


class BegunRow(NamedTuple):
    """A step that has begun and may not have finished, of a message whose outcome is not decided.

    Attributes:
        message_key: The message's number in the lab.
        step: The number of the step in its message.
        mark: As in ``StepRow``.
        once: Whether it may run once only.
        at: When it began.
    """

    message_key: int
    step: int
    mark: str
    once: int
    at: int


class InboxRow(NamedTuple):
    """A message that outlives the kernel, until its outcome is decided.

    Attributes:
        key: Its number in the lab.
        path: The agent that it is for.
        method: The method that it calls.
        payload: Its arguments as JSON.
        sender: The path of who sent it; empty for a person.
        sent_at: When it was sent.
        redeliver: Whether it is delivered again to the next life.
        deliveries: How often a life has died of it, or might have.
        asker: The number of the message of which a step asks this; None if nobody waits for the answer.
        asker_step: The number of that step.
        place: Its place in the order in which messages were accepted.
    """

    key: int
    path: str
    method: str
    payload: str
    sender: str
    sent_at: int
    redeliver: int
    deliveries: int
    asker: int | None
    asker_step: int | None
    place: int


class AnswerRow(NamedTuple):
    """What a step of a message was answered by another agent, until that message is over.

    Attributes:
        asker: The number of the message that asked.
        asker_step: The number of the step in it.
        payload: The answer as JSON.
    """

    asker: int
    asker_step: int
    payload: str


class TimerRow(NamedTuple):
    """A message that is sent later, or again and again.

    Attributes:
        id: The timer's number in the lab.
        path: The agent that it is for.
        method: The method that it calls.
        payload: Its arguments as JSON.
        due_at: When it is sent next.
        every_s: After how long again; None for once.
    """

    id: int
    path: str
    method: str
    payload: str
    due_at: int
    every_s: float | None


class DeadRow(NamedTuple):
    """A message that nobody will handle, and that a person may send again.

    Attributes:
        at: When that was decided.
        path: Where it was sent.
        method: The method that it calls.
        payload: Its arguments; None if the store cannot hold them.
        sender: The path of who sent it; empty for a person.
        deliveries: How often its handler began.
        reason: Why nobody will.
    """

    at: int
    path: str
    method: str
    payload: str | None
    sender: str
    deliveries: int
    reason: str


class RestartRow(NamedTuple):
    """An agent that came up again.

    Attributes:
        path: The agent.
        at: When.
        incarnation: The life that began.
        reason: Why the one before ended.
        fault: The kind of fault of which it died; of a ``crash`` the class of the exception.
        supervisor: The path of its supervisor.
        strategy: The supervisor's.
        backoff_s: How long the supervisor waited; nobody says it yet.
        downtime_s: How long the agent was down.
        rewound: How many finished steps of the message in hand were taken back.
    """

    path: str
    at: int
    incarnation: int
    reason: str
    fault: str | None
    supervisor: str | None
    strategy: str | None
    backoff_s: float | None
    downtime_s: float | None
    rewound: int


class ForkRow(NamedTuple):
    """An agent whose past is another's.

    Attributes:
        path: The fork.
        base_path: The agent whose past it is.
        base_seq: The checkpoint up to which it is.
        key: The number of the message that the fork handles again; None if it does not.
        base_key: The number of the base's own message.
        base_step: The first step of it that the fork runs; the journal answers the ones before.
    """

    path: str
    base_path: str
    base_seq: int
    key: int | None
    base_key: int | None
    base_step: int | None


Row = (
    ChildRow | Event | MessageRow | CheckpointRow | FieldRow | ItemRow | StepRow | BegunRow | InboxRow | AnswerRow
    | TimerRow | DeadRow | RestartRow | ForkRow
)  # fmt: skip
"""A row of a table that has checksums."""

ROWS: Mapping[str, type[Row]] = {
    "child": ChildRow, "event": Event, "message": MessageRow, "checkpoint": CheckpointRow, "field": FieldRow,
    "item": ItemRow, "step": StepRow, "begun": BegunRow, "inbox": InboxRow, "answer": AnswerRow, "timer": TimerRow,
    "dead": DeadRow, "restart": RestartRow, "fork": ForkRow,
}  # fmt: skip
"""The class of the rows of each table that has checksums."""

TABLES: Mapping[type[Any], str] = {row: table for table, row in ROWS.items()}
"""The table of each class of rows."""


def places(table: str, *names: str) -> tuple[int, ...]:
    """Where in a row of the table these columns stand."""
    return tuple(ROWS[table]._fields.index(name) for name in names)


def floats(table: str) -> tuple[int, ...]:
    """Where in a row of the table floats stand; SQLite makes a float of an int there."""
    return tuple(
        place for place, kind in enumerate(get_type_hints(ROWS[table]).values()) if kind in (float, float | None)
    )
