"""Time travel: an agent goes back to a checkpoint, or others go on from one of its checkpoints or steps.

Nothing of the past is copied or undone. A rewound agent gets a new checkpoint with an old state; a fork's past
is its original's, up to where they part (``agentlab.books.history``), and the steps of that past are not paid again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from numbers import Integral
from typing import Any, NamedTuple

from agentlab.agent.base import HOOKS
from agentlab.agent.snapshot import Image, difference, is_older, load
from agentlab.books import history
from agentlab.books.agents import Entry
from agentlab.books.messages import Message
from agentlab.books.specs import home, is_missing
from agentlab.control.agents import checked, set_state
from agentlab.control.children import entry_at, expect, is_simple, join, promised
from agentlab.errors import InvalidSpec, InvalidState, NotRunning, UnknownCheckpoint, UnknownMessage
from agentlab.ground.given import shown
from agentlab.kernel.runtime import Runtime
from agentlab.ref.link import links
from agentlab.ref.many import Refs
from agentlab.ref.ref import Ref
from agentlab.supervision.checks import check_id
from agentlab.supervision.records import Record
from agentlab.wire.frames import Asker

Mark = int | tuple[int, int] | None
"""A checkpoint's ``seq``; a message's ``seq`` and one of its steps; or the last checkpoint."""


MOST_FORKS = 1_000_000
"""Forks of one call: their names are found in one turn of the loop, in which the lab does nothing else."""


class Origin(NamedTuple):
    """Where forks begin: a state, and perhaps a message that they handle again."""

    seq: int
    image: Image
    again: history.Handled | None
    done: list[history.Done]
    step: int
    text: str


async def rewind(runtime: Runtime, path: str, to: int) -> dict[str, Any]:
    """Set an agent back to a checkpoint, between two messages; the new committed state."""
    entry = entry_at(runtime, path)
    runtime.flush()
    to = _plain(to)
    _check_checkpoint(runtime, path, to, "rewind")
    await set_state(runtime, entry, await _image(runtime, entry, to), "rewind")
    runtime.desk.ledger.events.note_event("rewound_to", path, incarnation=entry.incarnation, detail=f"checkpoint {to}")
    runtime.desk.due()
    return entry.state()


def _check_checkpoint(runtime: Runtime, path: str, seq: Any, op: str) -> None:
    known = history.checkpoints(runtime.desk.ledger.store, path)
    if isinstance(seq, int) and not isinstance(seq, bool) and seq in known:
        return
    has = f"{len(known)}, from {known[0]} to {known[-1]}" if known else "none"
    raise UnknownCheckpoint(f"{op}: {path!r} has no checkpoint {shown(seq)}; it has {has}. Look: ref.checkpoints().")


async def _image(runtime: Runtime, entry: Entry, seq: int) -> Image:
    """The state at a checkpoint, as the agent's class has it; InvalidState if the class has changed too much."""
    past = runtime.desk.ledger.store.state(entry.path, seq)
    if is_missing(entry.kind.cls):
        return past
    if is_older(entry.kind.cls, entry.initial, past):
        past, why = await runtime.upgrades.migrate(past, entry.kind)
        if why is not None:
            raise InvalidState(f"checkpoint {seq} of {entry.path!r} was made by an older class: {why}")
    image: Image = {}
    for name, field in entry.kind.cls.__agent_fields__.items():
        saved = past.get(name, entry.initial.get(name))
        if saved is None:
            saved = [] if field.grows else field.dump(field.fresh())
        try:
            load(field, saved)
        except InvalidState as error:
            raise InvalidState(f"checkpoint {seq} of {entry.path!r} does not fit its class any more: {error}") from None
        image[name] = saved
    return image


async def fork(  # noqa: PLR0917  # as Ref.fork hands them over
    runtime: Runtime, path: str, at: Mark, id: str | None, n: int, fields: dict[str, Any], *,
    asker: Asker | None = None,
) -> Ref | Refs[Ref]:  # fmt: skip
    """Start agents beside this one that share its past, up to a checkpoint or a step; ``asker``: the step that asks."""
    entry = entry_at(runtime, path)
    _check_fork(entry, n)
    changed = checked(entry, fields, "fork")
    runtime.flush()
    origin = await _origin(runtime, entry, tuple(map(_plain, at)) if isinstance(at, tuple) else _plain(at))
    parent = entry.record.supervisor
    assert parent is not None
    names = _names(runtime, parent, id, f"{entry.record.id}-fork", n)
    paths = [join(parent.path, name) for name in names]
    made = [links[runtime.lab_id].ref(place, entry.kind.name) for place in paths]
    refs = made[0] if n == 1 else Refs(made)
    with promised(runtime, asker, paths[0], lambda record: refs):
        await _start(runtime, entry, parent, dict.fromkeys(names, fields), _birth(runtime, path, origin, changed))
    return refs


def _plain(number: Any) -> Any:
    """A whole number as Python's own: one from a frame is NumPy's."""
    if isinstance(number, bool):
        return number
    return int(number) if isinstance(number, Integral) else number


def _check_fork(entry: Entry, n: Any) -> None:
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MOST_FORKS:
        raise InvalidSpec(
            f"fork: n must be an int from 1 to {MOST_FORKS:,}; got {shown(n)}", kind="invalid_count", value=n
        )
    if is_missing(entry.kind.cls):
        raise NotRunning(f"fork: the class of {entry.path!r} is not defined: {home(entry.kind.cls)}.")


async def _origin(runtime: Runtime, entry: Entry, at: Any) -> Origin:
    if at is None:
        image = {name: list(saved) if isinstance(saved, list) else saved for name, saved in entry.fields.items()}
        return Origin(entry.seq, image, None, [], 0, f"{entry.path}, checkpoint {entry.seq}")
    if not isinstance(at, tuple):
        _check_checkpoint(runtime, entry.path, at, "fork")
        return Origin(at, await _image(runtime, entry, at), None, [], 0, f"{entry.path}, checkpoint {at}")
    if len(at) != 2 or not all(isinstance(part, int) and not isinstance(part, bool) for part in at):
        raise InvalidSpec(
            f"fork: at must be a checkpoint's seq, or (seq, step) of a message; got {shown(at)}",
            kind="invalid_at",
            value=at,
        )
    return await _again(runtime, entry, *at)


async def _again(runtime: Runtime, entry: Entry, seq: int, step: int) -> Origin:
    """The state before a message, and the message with the steps before ``step``."""
    store, path = runtime.desk.ledger.store, entry.path
    found = history.message(store, path, seq)
    if found is None:
        raise UnknownCheckpoint(f"fork: {path!r} has handled no message {seq}. Look: lab.messages(path={path!r}).")
    if found.payload is None:
        raise UnknownCheckpoint(
            f"fork: message {seq} of {path!r} ({found.method}) cannot be handled again: its arguments are not in the "
            "store, which keeps those of messages with steps, if JSON can hold them and no secret is in them. "
            f"Fork from the checkpoint before it: fork(at={seq - 1})."
        )
    if found.method not in entry.kind.cls.__agent_messages__ and found.method not in HOOKS:
        raise UnknownMessage(f"fork: message {seq} of {path!r} is {found.method!r}, which {entry.kind.name} has not.")
    done = history.steps(store, found.key)
    last = max((one.number for one in done), default=0) + 1
    if not 1 <= step <= last:
        raise UnknownCheckpoint(
            f"fork: message {seq} of {path!r} has no step {step}; a fork may begin at 1 to {last}. Look: lab.steps()."
        )
    kept = [one for one in done if one.number < step]
    text = f"{path}, message {seq} ({found.method}) from step {step} on"
    return Origin(seq - 1, await _image(runtime, entry, seq - 1), found, kept, step, text)


def _names(runtime: Runtime, parent: Record, id: str | None, base: str, n: int) -> list[str]:
    """Ids for the forks; those that nobody gave are numbered on from what is there."""
    if id is not None:
        check_id(id, "fork", "id")
        return [id] if n == 1 else [f"{id}-{number}" for number in range(1, n + 1)]
    names: list[str] = []
    number = 0
    while len(names) < n:
        number += 1
        if runtime.desk.tree.find(join(parent.path, f"{base}-{number}")) is None:
            names.append(f"{base}-{number}")
    return names


def _birth(runtime: Runtime, path: str, origin: Origin, changed: Image) -> Callable[[Entry], None]:
    """What a fork begins with; called when its entry is made, before it is placed."""
    ledger = runtime.desk.ledger

    def begin(entry: Entry) -> None:
        entry.seq = origin.seq
        entry.fields = {name: list(saved) if isinstance(saved, list) else saved for name, saved in origin.image.items()}
        again = None
        if origin.again is not None:
            message = _message(runtime, origin)
            again = (message.key, origin.again.key, origin.step)
        ledger.children.note_fork(entry, path, origin.seq, again=again, source=origin.text)
        ledger.children.note_checkpoint(entry, difference(entry.fields, changed))
        if again is not None:
            ledger.messages.keep_message(entry.path, message)
            runtime.mail.restore(entry, message)

    return begin


def _message(runtime: Runtime, origin: Origin) -> Message:
    """The message that a fork handles again, with the journal of the steps that are not run again."""
    again = origin.again
    assert again is not None
    assert again.payload is not None
    message = Message(next(runtime.desk.numbers), again.method, again.payload, again.sender, None)
    seeds = runtime.placing.seeds
    message.seed = seeds.get(again.key) or history.seed(runtime.desk.ledger.store, again.path, again.key)
    if runtime.placing.chance is not None:
        seeds[message.key] = message.seed
    if origin.done:
        message.journal = history.journal(origin.done)
    return message


async def _start(
    runtime: Runtime, entry: Entry, parent: Record, fields: dict[str, dict[str, Any]], birth: Callable[[Entry], None]
) -> None:  # fmt: skip
    record, births = entry.record, runtime.register.births
    simple = is_simple(parent)
    above = (record.fields or {}) if simple else record.initial
    own = {name: {**above, **given} for name, given in fields.items()}
    specs = [dataclasses.replace(record.spec, id=name, fields=given) for name, given in own.items()]
    asking: list[Any] = list(own.values()) if simple else specs
    births.update((id(one), birth) for one in asking)  # not by path: somebody else may ask for that one too
    try:
        if simple:
            found = [await runtime.machine.ask(parent.path, "start_child", *how) for how in own.items()]
        else:
            found = expect(await runtime.machine.ask(parent.path, "start_children", specs), parent.path, "fork", ())
    finally:
        for one in asking:
            births.pop(id(one), None)
    for name, up in zip(own, found, strict=True):
        expect(up, parent.path, "fork", (name,))
