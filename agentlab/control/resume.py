"""A lab that was stored is opened again: its tree, its states, its incarnations.

The store names agent classes and never holds them. A class that this process has not defined leaves its
agents (or the whole supervisor above them) parked, with a reason that says what to run.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agentlab.agent.snapshot import fits
from agentlab.books.clock import Timer
from agentlab.books.history import journal, note_failures, seed, steps
from agentlab.books.messages import Message
from agentlab.books.remembered import AGAIN, ASKED, Place, missing_line, missing_of
from agentlab.control.children import expect, is_simple, ref_of
from agentlab.control.many import AT_ONCE
from agentlab.errors import NotRunning
from agentlab.ground.words import counted
from agentlab.kernel.runtime import Runtime
from agentlab.ref.ref import Ref
from agentlab.store.database import Store
from agentlab.store.rows import AnswerRow, BegunRow, InboxRow, TimerRow
from agentlab.supervision.child import Child
from agentlab.supervision.records import Record, State
from agentlab.supervision.words import Refused
from agentlab.wire.packing import JSON


def bring_back(runtime: Runtime, past: list[Place], *, run: bool) -> None:
    """Start the root and, with ``run``, what ran when the lab ended; else everything is parked."""
    runtime.run(_take_over, runtime)  # first: a node that is ready gets numbers, which must be new ones
    runtime.begin()
    coming = runtime.submit(_bring_back, runtime, past, run)
    try:
        coming.result()
    finally:
        coming.cancel()  # where the wait was interrupted, no more are started


def lines_of(
    runtime: Runtime, file: Path | None = None, past: Sequence[Place] = (), how: bool | str = True
) -> list[str]:  # fmt: skip
    """What a person is told: what is back, parked, and which classes are missing for what waits.

    Args:
        runtime: Where.
        file: The lab's, if it was just opened.
        past: What the store had, then.
        how: Whether it is asked, then, before anybody runs.
    """
    line = missing_line(runtime.run(runtime.desk.waiting.missing))
    if past and how == "ask":
        many = f"{counted(len(past), 'place')} of the tree {'is' if len(past) == 1 else 'are'}"
        line = f"{file}: {many} back, parked. lab.resume() runs them. {line}".rstrip()
    return [line] if line else []


def _take_over(runtime: Runtime) -> None:
    """Take over what the lab had in hand; it waits until everybody is there."""
    runtime.timers.hold(True)
    runtime.unread.hold(unread(runtime))


async def _bring_back(runtime: Runtime, past: list[Place], run: bool) -> None:
    try:
        await _bring_all_back(runtime, past, run)
    finally:
        runtime.unread.release()
        runtime.timers.hold(False)


async def _bring_all_back(runtime: Runtime, past: list[Place], run: bool) -> None:
    runtime.desk.ledger.children.expect_agents({place.path: place.past for top in past for place in top.walk()})
    asleep: list[tuple[Place, Child]] = []
    for place in past:
        spec = place.child()
        waits = missing_of(spec) or (None if run else ASKED)
        reason = waits if place.status == "running" else place.down or place.status
        if reason is None and _sleeps(runtime, place, spec):
            asleep.append((place, spec))
            continue
        await _run_asleep(runtime, "/", asleep)
        if reason is None:
            await _run(runtime, place, spec)
            continue
        await _adopt(runtime, place, spec, reason)
    await _run_asleep(runtime, "/", asleep)


async def _adopt(runtime: Runtime, place: Place, spec: Child, reason: str) -> None:
    """Keep it down, as it was; it waits to be resumed unless it was down already when the lab ended."""
    runtime.desk.ledger.children.as_stored.add(place.path)
    if place.status == "running" or (place.status == "parked" and place.strategy is not None):
        runtime.desk.waiting.add(place, reason)
    how = _how(runtime, place.parent, spec)
    item = how if len(how) > 1 else spec
    made = await runtime.machine.ask(place.parent, "adopt_child", item, reason)
    if isinstance(made, Refused):  # its supervisor is down, or has it
        runtime.desk.waiting.remove(place)
        return
    entry = runtime.desk.entries.get(place.path)
    if entry is not None and place.status == "stopped":
        entry.stop_for_good()


async def _run(runtime: Runtime, place: Place, spec: Child) -> None:
    parent = place.parent
    reason = missing_of(spec)
    if reason is not None and not _is_simple(runtime, parent):
        await _adopt(runtime, place, spec, reason)
        return
    with _left_down(runtime, place):
        result = await runtime.machine.ask(parent, "start_child", *_how(runtime, parent, spec))
    if isinstance(result, Refused) and result.kind != "already_started":  # that one an on_start has asked for
        await runtime.machine.ask(parent, "adopt_child", spec, result.reason)
        return
    await _add_dynamic(runtime, place)


@contextlib.contextmanager
def _left_down(runtime: Runtime, place: Place) -> Iterator[None]:
    """While a supervisor starts: the children in its spec that did not run when the lab ended stay as they were."""
    down = list(_declared_and_down(place))
    for below in down:
        runtime.desk.ledger.children.as_stored.add(below.path)
        state: State = "parked" if below.status == "parked" else "undefined"
        runtime.desk.tree.leave_down(below.path, state, below.down or below.status)
    try:
        yield
    finally:
        runtime.desk.tree.leave_down_no_more(below.path for below in down)


def _declared_and_down(place: Place) -> Iterator[Place]:
    for below in place.below:
        if below.dynamic:
            continue
        if below.status != "running":
            yield below
        else:
            yield from _declared_and_down(below)


async def _add_dynamic(runtime: Runtime, place: Place) -> None:
    asleep: list[tuple[Place, Child]] = []
    for below in place.below:
        spec = below.child() if below.dynamic else None
        if spec is not None and below.status == "running" and _sleeps(runtime, below, spec):
            asleep.append((below, spec))
            continue
        await _run_asleep(runtime, place.path, asleep)
        if spec is not None and below.status != "running":
            await _adopt(runtime, below, spec, below.down or below.status)
        elif spec is not None:
            await _run(runtime, below, spec)
        else:
            await _add_dynamic(runtime, below)
    await _run_asleep(runtime, place.path, asleep)


def _sleeps(runtime: Runtime, place: Place, spec: Child) -> bool:
    """Whether the agent runs again without a node until somebody reaches for it: its state is what its class wants."""
    cls: Any = spec.what
    plain = spec.isolation == "node" and spec.restore == "checkpoint" and spec.type == "worker"
    if not plain or hasattr(cls, "on_start") or missing_of(spec) is not None:
        return False
    return fits(
        cls, runtime.desk.kinds.of(cls).initial(spec.fields), runtime.desk.ledger.children.stored_state(place.path)
    )


async def _run_asleep(runtime: Runtime, parent: str, asleep: list[tuple[Place, Child]]) -> None:
    """Those that nothing has to be started for, together; the list is empty afterwards."""
    for start in range(0, len(asleep), AT_ONCE):
        part = asleep[start : start + AT_ONCE]
        items = [how if len(how := _how(runtime, parent, spec)) > 1 else spec for _, spec in part]
        results = await runtime.machine.ask(parent, "add_running", items)
        if isinstance(results, Refused):
            break  # the supervisor does not run, nor do those that it would keep
        for (_, spec), result in zip(part, results, strict=True):
            if isinstance(result, Refused):
                await runtime.machine.ask(parent, "adopt_child", spec, result.reason)
        await asyncio.sleep(0)
    asleep.clear()


def _is_simple(runtime: Runtime, parent: str) -> bool:
    return is_simple(runtime.desk.tree.find(parent))


def _how(runtime: Runtime, parent: str, spec: Child) -> tuple[Any, ...]:
    return (spec.id, dict(spec.fields)) if _is_simple(runtime, parent) else (spec,)


def unread(runtime: Runtime) -> dict[str, list[Message]]:
    """Messages that the store kept, by path, with their journals; timers and answers go where they belong."""
    store, clock = runtime.desk.ledger.store, runtime.own_time.clock
    unhandled = store.select_rows(InboxRow, "ORDER BY place")
    asking = {row.key for row in unhandled}
    for answer in store.select_rows(AnswerRow):
        if answer.asker in asking:
            runtime.undecided.answers[answer.asker, answer.asker_step] = JSON + answer.payload.encode()
    for timer in store.select_rows(TimerRow):
        payload = JSON + timer.payload.encode()
        clock.add(Timer(timer.id, timer.path, timer.method, payload, timer.due_at, timer.every_s))
    found: dict[str, list[Message]] = {}
    for row in unhandled:
        message = _message(store, row)
        if message.origin is not None and message.origin[0] not in asking:
            message.origin = None  # who asked is decided: nobody will ask for the answer again
        found.setdefault(row.path, []).append(message)
    (highest,) = store.select(
        "SELECT max(n) FROM (SELECT max(max(key), max(place)) n FROM inbox UNION ALL SELECT max(message_key) FROM step"
        " UNION ALL SELECT max(id) FROM timer UNION ALL SELECT max(asker) FROM answer"
        " UNION ALL SELECT max(message_key) FROM begun UNION ALL SELECT max(key) FROM message"
        " UNION ALL SELECT max(key) FROM fork)"
    )
    runtime.desk.numbers.go_past(highest[0] or 0)
    return found


def _message(store: Store, row: InboxRow) -> Message:
    origin = (row.asker, row.asker_step) if row.asker is not None and row.asker_step is not None else None
    message = Message(
        row.key, row.method, JSON + row.payload.encode(), row.sender, None, redeliver=bool(row.redeliver), origin=origin
    )
    message.sent_at, message.place, message.deliveries, message.kept = row.sent_at, row.place, row.deliveries, True
    done = steps(store, row.key)
    begun = store.select_rows(BegunRow, "WHERE message_key = ?", (row.key,))
    kept = journal(done)
    note_failures(store, row, kept)
    if done or begun or kept.faults or kept.retried:
        message.journal = kept
        for began in begun:
            step = message.journal.steps.get(began.step)
            if step is None:
                message.journal.begin(began.step, tuple(json.loads(began.mark)), bool(began.once), began.at)
            else:
                step.once = bool(began.once)
    message.seed = seed(store, row.path, row.key)
    return message


async def resume(
    runtime: Runtime,
    wanted: Callable[[Place], bool] = lambda place: place.status == "running",
    specs: Mapping[str, Child] | None = None,
) -> list[Ref]:
    """Start what waits since the lab was opened again and can start now; the refs of what runs.

    Args:
        runtime: Where.
        wanted: Which places.
        specs: How to keep those at some paths, where somebody has said it anew; else it is as stored.

    Raises:
        StartFailed, Exception: As the first that did not come up; the others are resumed all the same.
    """
    places = [place for place in runtime.desk.waiting.places.values() if wanted(place)]
    if not places:
        return []
    runtime.timers.hold(True)
    runtime.unread.hold(_taken_out(runtime, places))
    try:
        return await _resume(runtime, places, specs or {})
    finally:
        runtime.unread.release()
        runtime.timers.hold(False)


def _taken_out(runtime: Runtime, places: list[Place]) -> dict[str, list[Message]]:
    """The messages of those that are about to start: they wait until all of them are there."""
    found: dict[str, list[Message]] = {}
    for path in (below.path for place in places for below in place.walk()):
        if path in runtime.desk.waiting.mail:
            found[path] = runtime.desk.waiting.mail.pop(path)
        entry = runtime.desk.entries.peek(path)
        if entry is not None and entry.is_down and entry.pending:
            found[path] = list(entry.pending)
            entry.pending.clear()
    return found


async def resume_one(runtime: Runtime, path: str, op: str) -> bool:
    """Start what waits at a path, all below it included; whether there is such a place.

    Raises:
        NotRunning: Its class is not defined.
    """
    place = runtime.desk.waiting.places.get(path)
    record = runtime.desk.tree.find(path)
    if place is None or record is None or record.state != "parked":
        return False
    why = missing_of(place.child())
    if why is not None:
        raise NotRunning(f"{op}: {path!r} cannot start; {why}.")
    await resume(runtime, lambda one: one is place)
    return True


async def _resume(runtime: Runtime, places: list[Place], specs: Mapping[str, Child]) -> list[Ref]:
    started: list[Ref] = []
    failed: list[Exception] = []
    for place in places:
        record = runtime.desk.tree.find(place.path)
        if record is None or record.state != "parked":  # an on_start has resumed it, or somebody has stopped it
            runtime.desk.waiting.remove(place)
            started += [ref_of(runtime, record)] if record is not None and record.life is not None else []
            continue
        spec = specs.get(place.path) or place.child()
        if missing_of(spec) is not None:
            continue
        record.spec = spec  # the class may have been defined meanwhile
        runtime.desk.ledger.children.expect_agents(
            {below.path: below.past for below in place.walk() if below is not place}
        )
        try:
            await _start_again(runtime, place, record)
        except Exception as error:  # whatever on_start raises
            failed.append(error)
        else:
            started.append(ref_of(runtime, record))
    if failed:
        raise failed[0]
    return started


async def _start_again(runtime: Runtime, place: Place, record: Record) -> None:
    with _left_down(runtime, place):
        result = await runtime.machine.ask(place.parent, "restart_child", record.id)
    if not (isinstance(result, Refused) and result.kind == "running"):  # else another thread has resumed it
        expect(result, place.parent, "resume", (record.id,))
    runtime.desk.waiting.remove(place)
    entry = runtime.desk.entries.peek(place.path)
    if entry is not None:
        entry.reason = AGAIN
    if record.trouble is not None:
        record.trouble.reason = AGAIN
    await _add_dynamic(runtime, place)
