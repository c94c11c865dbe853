"""Control operations: what a person (or an agent) may ask of an agent or a supervisor, beside messages.

Each operation exists once, as a function in the runtime's loop; ``operations`` lists them.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from numbers import Integral
from typing import Any

from agentlab.agent.snapshot import Image, difference
from agentlab.books.agents import Entry
from agentlab.books.history import packed
from agentlab.control.children import administer, entry_at, find, living, record_status
from agentlab.control.resume import resume_one
from agentlab.errors import CallTimeout, Crashed, InvalidArgument, InvalidState, NotRunning, StepFailed, UnknownLetter
from agentlab.exits import Crash, reason_text
from agentlab.ground.given import shown
from agentlab.ground.words import meant
from agentlab.kernel.runtime import Runtime
from agentlab.supervision.words import Signal, StopSupervisor
from agentlab.wire.exceptions import describe, encode_reason
from agentlab.wire.frames import ToNode

ANSWER_SECONDS = 1.0
"""How long a node may take to say what an agent is doing: a handler in C code keeps it from answering."""

REPLACE_SECONDS = 60.0
"""How long ``replace_state`` waits for the end of the message in hand."""


# looking


def status(runtime: Runtime, path: str) -> str:
    """A word of the contract; ``stopped`` for what is not there (any more)."""
    entry = runtime.desk.entries.get(path)
    if entry is not None:
        return runtime.desk.status(entry)
    record = runtime.desk.tree.find(path)
    if record is None and runtime.desk.waiting.below(path) is not None:
        return "parked"
    if record is None and runtime.desk.supervisors.knows(path):
        above = next((r for place in _above(path) if (r := runtime.desk.tree.find(place)) is not None), None)
        return record_status(above) if above is not None and above.state in COMING else "stopped"
    return "stopped" if record is None else record_status(record)


COMING = ("starting", "restarting", "backing_off")
"""States of a supervisor that is about to bring back what is below it."""


def _above(path: str) -> Iterator[str]:
    while path:
        path = path.rsplit("/", 1)[0]
        yield path or "/"


def incarnation(runtime: Runtime, path: str) -> int:
    """The number of the present life, from 1; of an agent or of a supervisor, as ``lab.agents`` has it."""
    entry = runtime.desk.entries.get(path)
    if entry is not None:
        return entry.incarnation
    record = runtime.desk.tree.find(path)
    if record is not None and record.is_supervisor:
        return runtime.desk.supervisors.count(path)
    place = runtime.desk.waiting.below(path)
    return 0 if place is None else place.past[0]


def node(runtime: Runtime, path: str) -> int | None:
    """The number of the agent's node."""
    return entry_at(runtime, path).node


def state(runtime: Runtime, path: str) -> dict[str, Any]:
    """The committed state; no class is needed to read it."""
    place = runtime.desk.waiting.below(path)
    return entry_at(runtime, path).state() if place is None else place.state(runtime.desk.ledger.store)


async def info(runtime: Runtime, path: str) -> dict[str, Any]:
    """What is known of an agent, also while it is busy.

    ``cpu_s``: CPU seconds of this incarnation's code; ``memory``: bytes of its state as JSON. Both are None
    where its node does not answer within a second: the agent holds it with C code.
    """
    entry = entry_at(runtime, path)
    head = entry.in_hand
    meter = await _meter(runtime, entry) if entry.life else None
    cpu, memory = meter if meter is not None else (None, None)
    return {
        "path": path,
        "status": runtime.desk.status(entry),
        "incarnation": entry.incarnation,
        "restarts": entry.restarts,
        "node": entry.node,
        "mailbox": len(entry.pending),
        "message": head.method if head else None,
        "message_age_s": (time.time_ns() - head.begun) / 1e9 if head else None,
        "step": head.step if head else None,
        "handled": entry.handled,
        "memory": memory,
        "cpu_s": cpu,
        "links": len(runtime.signals.links.linked(entry.life)),
        "reason": reason_text(entry.reason) if entry.reason is not None else None,
    }


async def _meter(runtime: Runtime, entry: Entry) -> tuple[float, int] | None:
    """CPU seconds and bytes of state; of a life that no node has, the books know both."""
    if entry.is_asleep:
        return 0.0, sum(len(json.dumps(value)) for value in entry.state().values())
    found: tuple[float, int] | None = await runtime.placing.ask(
        entry, lambda node, ticket: node.meter(placement=entry.place, ticket=ticket), timeout=ANSWER_SECONDS
    )
    return found


async def draft(runtime: Runtime, path: str) -> dict[str, Any]:
    """The state in hand: uncommitted while a message is handled, else the same as ``state``."""
    entry = entry_at(runtime, path)
    texts = None
    if entry.life and not entry.is_asleep:
        texts = await runtime.placing.ask(
            entry, lambda node, ticket: node.draft(placement=entry.place, ticket=ticket), timeout=ANSWER_SECONDS
        )
    if texts is None:
        return entry.state()
    return {name: json.loads(text) for name, text in texts.items()}


def log(runtime: Runtime, path: str) -> str:
    """What the agent printed."""
    return "\n".join(entry_at(runtime, path).log or ())


# steering


def suspend(runtime: Runtime, path: str) -> None:
    """Take no more messages; the one in hand is finished, the others wait."""
    _suspended(runtime, living(runtime, path, "suspend"), True)


def resume(runtime: Runtime, path: str) -> None:
    """Go on."""
    _suspended(runtime, living(runtime, path, "resume"), False)


def _suspended(runtime: Runtime, entry: Entry, on: bool) -> None:
    if entry.suspended != on:
        entry.suspended = on
        runtime.desk.ledger.events.note_event(
            "suspended" if on else "resumed", entry.path, incarnation=entry.incarnation
        )
        runtime.placing.tell(entry, wake=False).suspend(placement=entry.place, on=on)
    runtime.desk.settle(entry)


def trace(runtime: Runtime, path: str, on: bool = True) -> None:
    """Note every message of this agent as an event, with its arguments."""
    entry = entry_at(runtime, path)
    if not isinstance(on, bool):  # a node could not be told of anything else, nor of what is told with it
        raise InvalidArgument(f"trace: on must be True or False; got {shown(on)}. Nothing was done.", argument="on")
    entry.traced = on
    runtime.placing.tell(entry, wake=False).trace(placement=entry.place, on=on)


async def replace_state(runtime: Runtime, path: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Set fields between two messages: validated, checkpointed, logged. The new committed state."""
    entry = entry_at(runtime, path)
    image = checked(entry, fields, "replace_state")
    await set_state(runtime, entry, image, "replace_state")
    runtime.desk.ledger.events.note_event(
        "state_replaced", path, incarnation=entry.incarnation, detail=", ".join(sorted(image))
    )
    runtime.desk.due()
    return entry.state()


async def set_state(runtime: Runtime, entry: Entry, image: Image, op: str) -> None:
    """Set fields in a checkpoint of its own: between two messages of an agent that runs, else in the books."""
    end = runtime.now() + REPLACE_SECONDS
    while entry.life:
        await runtime.desk.changes.until(lambda: not entry.life or entry.is_reachable, entry.path, end)
        if entry.is_reachable and await _replaced(runtime, entry, image, end - runtime.now()):
            return
        if runtime.now() >= end:
            raise CallTimeout(
                f"{op}: {entry.path!r} did not come to the end of a message within {REPLACE_SECONDS:g} s. "
                "Nothing was replaced yet; look: ref.info()."
            )
    entry.next_seq()
    runtime.desk.ledger.children.note_checkpoint(entry, difference(entry.image(), image))


async def _replaced(runtime: Runtime, entry: Entry, image: Image, timeout: float) -> bool:
    """Whether this life has set the fields; it may end before, or leave its node."""

    def ask(node: ToNode, ticket: int) -> None:
        node.replace(placement=entry.place, ticket=ticket, fields=image)

    return await runtime.placing.ask(entry, ask, timeout=max(0.0, timeout)) is not None


# doubt


def doubts(runtime: Runtime, path: str) -> list[dict[str, Any]]:
    """``once`` steps of the message in hand that began and did not finish."""
    entry = entry_at(runtime, path)
    journal = entry.pending[0].journal if entry.pending and not entry.pending[0].begun else None
    return [
        {"step": step.number, "name": step.name, "message": entry.pending[0].method, "began": step.began}
        for step in (journal.doubts if journal is not None else ())
    ]


async def settle(runtime: Runtime, path: str, step: int | str, result: bytes | None) -> None:
    """A person says what became of a step in doubt; when none is left, the message goes on."""
    entry = entry_at(runtime, path)
    message = entry.pending[0] if entry.pending and not entry.pending[0].begun else None  # what runs is in no doubt
    journal = message.journal if message is not None else None
    found = [s for s in (journal.doubts if journal is not None else ()) if step in (s.number, s.name)]
    if message is None or journal is None or len(found) != 1:
        names = ", ".join(f"{s.number} ({s.name})" for s in (journal.doubts if journal is not None else ())) or "none"
        raise StepFailed(f"settle: {shown(step)} names no single step in doubt at {path!r}; in doubt: {names}.")
    settled = found[0]
    journal.settle(settled.number, result)
    if result is not None:
        settled.finished = True
        runtime.desk.ledger.messages.note_step(entry, message, settled, "ok", 0.0, result, "", "settled by a person")
    else:
        runtime.desk.ledger.messages.forget_step(message, settled)
    detail = f"{settled.name}: {'its result was given' if result is not None else 'it may run again'}"
    runtime.desk.ledger.events.note_event("settled", path, detail=detail)
    if not journal.doubts and not entry.life:
        await go_on(runtime, entry)


async def go_on(runtime: Runtime, entry: Entry) -> None:
    """Start an agent that was parked for a message that a person has decided: a restart as any, but uncounted."""
    supervisor = entry.record.supervisor
    if supervisor is not None:  # refused where that one does not run: it goes on when its supervisor does
        await runtime.machine.ask(supervisor.path, "start_again", entry.record.id)


def checked(entry: Entry, fields: dict[str, Any], op: str) -> Image:
    """Values that a person gave for fields, as JSON; InvalidState names one that does not fit."""
    known = entry.kind.cls.__agent_fields__
    unknown = [name for name in fields if name not in known]
    if unknown:
        names = ", ".join(known) or "none"
        raise InvalidState(
            f"{op}: {entry.kind.name} has no field {unknown[0]!r};{meant(unknown[0], known)} its fields: {names}."
        )
    return entry.kind.initial(fields)


def retry(runtime: Runtime, what: int | str | None) -> int:
    """Send dead letters again, as casts: one by its number, those of an agent by its path, or all; how many."""
    runtime.flush()
    ledger = runtime.desk.ledger
    what = int(what) if isinstance(what, Integral) else what  # NumPy's, from the frame
    if isinstance(what, int) and not 0 <= what < 1 << 63:
        raise UnknownLetter(f"retry: there is no dead letter {what}. Look: lab.dead_letters().")
    column = "path" if isinstance(what, str) else "id"
    where, args = ("", ()) if what is None else (f" WHERE {column} = ?", (what,))
    letters = ledger.store.select(f"SELECT id, path, method, payload, sender FROM dead{where} ORDER BY id", args)  # noqa: S608  # ours
    if isinstance(what, int) and not letters:
        raise UnknownLetter(f"retry: there is no dead letter {what}. Look: lab.dead_letters().")
    sent = 0
    for number, path, method, payload, sender in letters:
        data = packed(ledger.store, payload)
        if data is not None:
            ledger.messages.drop_dead_letter(number, path)
            runtime.mail.send(path, method, data, sender=sender)
            sent += 1
        elif what == number:
            raise UnknownLetter(
                f"retry: dead letter {number} ({path}.{method}) cannot be sent again: its arguments are not in the "
                "store, which keeps what JSON can hold and no secrets. Send it anew: ref.cast."
            )
    runtime.desk.due()
    return sent


# ending


def crash(runtime: Runtime, path: str, crash: Crash | None = None) -> None:
    """Raise inside the agent now."""
    entry = living(runtime, path, "crash")
    crash = crash or Crash(*describe(Crashed(f"{path} was told to crash"), own=True))
    runtime.lives.end(entry, dataclasses.replace(crash, traceback=""))


def kill(runtime: Runtime, path: str) -> None:
    """End an agent at once; a supervisor is killed with all below it."""
    record = find(runtime, path)
    if record.is_supervisor:
        if record.life:
            runtime.machine.feed(Signal(record.life, "kill"))
        return
    runtime.lives.end(living(runtime, path, "kill"), "killed")


async def stop(runtime: Runtime, path: str, reason: Any = "normal") -> None:
    """Stop in good order, for good: a permanent child is not restarted either."""
    record = find(runtime, path)
    if record.is_supervisor:
        if not record.life and record.supervisor is not None:
            await administer(runtime, record, "terminate_child", record.id)
            return
        call, future = runtime.machine.expect()
        runtime.machine.feed(StopSupervisor(call, path, reason))
        await future
        return
    entry = entry_at(runtime, path)
    if not entry.life:
        if not entry.is_down:
            await administer(runtime, record, "terminate_child", record.id)
        elif record.state == "parked" and not entry.is_stopped:
            runtime.register.stop_parked(entry, reason)
        return
    entry.order_end(reason, then="parked" if entry.spec.restart == "permanent" else "judged", for_good=True)
    await _stop_life(runtime, entry, reason)


async def _stop_life(runtime: Runtime, entry: Entry, reason: Any) -> None:
    """Ask a life to end after the messages before; past its ``shutdown`` seconds it is killed."""
    life = entry.life
    runtime.desk.settle(entry)
    limit = entry.spec.shutdown
    end = runtime.now() + limit if isinstance(limit, (int, float)) else None
    say = runtime.placing.reach(entry) if limit != "brutal_kill" else None
    if say is None:
        runtime.lives.end(entry, "killed")
    else:
        say.stop(placement=entry.place, reason=encode_reason(reason))
    while entry.life == life:
        left = None if end is None else end - runtime.now()
        if left is not None and left <= 0:
            runtime.lives.end(entry, "killed")
            left = None
        await runtime.desk.changes.at(entry.path, left)


async def restart(runtime: Runtime, path: str) -> None:
    """Stop in good order if it runs, then start the next incarnation; uncounted, as an administrator's act.

    Messages wait for it, of a supervisor those of all below it. Where the start fails they are given up.
    """
    record = find(runtime, path)
    entry = runtime.desk.entries.get(path)
    if await resume_one(runtime, path, "restart"):
        return
    if entry is not None and entry.life:
        if entry.is_starting:
            raise NotRunning(f"restart: {path!r} is still starting. Wait for it, or kill() it.")
        entry.order_end("shutdown", then="returns", for_good=False)
        entry.lowered = False
        await _stop_life(runtime, entry, "shutdown")
    elif entry is not None and (doubt := entry.doubt) is not None:
        raise NotRunning(f"restart: {path!r} is {doubt}.")
    elif record.is_supervisor and record.life:
        with runtime.desk.supervisors.coming_back(path):
            await administer(runtime, record, "terminate_child", record.id)
    await administer(runtime, record, "restart_child", record.id)


def exit_signal(runtime: Runtime, path: str, reason: Any) -> None:
    """An exit signal from a stranger, as OTP's ``exit/2``."""
    record = find(runtime, path)
    if not record.is_supervisor:
        runtime.lives.exit_signal(living(runtime, path, "exit"), reason, "")
    elif record.life:
        runtime.machine.feed(Signal(record.life, reason))
