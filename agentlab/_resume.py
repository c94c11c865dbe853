"""A lab that was stored is opened again: its tree, its states, its incarnations.

The store names agent classes and never holds them. A class that this process has not defined leaves its
agents (or the whole supervisor above them) parked, with a reason that says what to run.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import dataclass, field
from typing import Any

from agentlab._admin import expect, ref_of
from agentlab._books import Message
from agentlab._clock import Timer
from agentlab._image import fits
from agentlab._many import AT_ONCE
from agentlab._past import journal, seed, steps
from agentlab._runtime import Runtime
from agentlab._specs import Missing, home, load
from agentlab._tree_words import Refused
from agentlab._wire import JSON
from agentlab.child import Child, Supervisor
from agentlab.ref import Ref
from agentlab.store import Store

ASKED = "the lab was opened again; lab.resume() runs it"


@dataclass
class Place:
    """One place of the stored tree, with what is below it."""

    path: str
    spec: str
    dynamic: bool
    status: str
    past: tuple[int, int, int]
    below: list[Place] = field(default_factory=list)

    def child(self) -> Child:
        """The child spec, with the static children of a supervisor."""
        return load(self.spec, tuple(place.child() for place in self.below if not place.dynamic))

    def walk(self) -> list[Place]:
        """This place and all below it."""
        return [self, *(place for child in self.below for place in child.walk())]


def remembered(store: Store) -> list[Place]:
    """The children of the root that the store holds, each with its tree."""
    seqs = dict(
        store.select(
            "SELECT path, max(seq) FROM (SELECT path, max(seq) seq FROM message GROUP BY path"
            " UNION ALL SELECT path, max(seq) FROM checkpoint GROUP BY path) GROUP BY path"
        )
    )
    rows = store.select(
        "SELECT path, parent, spec, dynamic, status, incarnation, restarts, seq FROM child ORDER BY rowid"
    )
    places: dict[str, Place] = {}
    top: list[Place] = []
    for path, _, spec, dynamic, status, incarnation, restarts, seq in rows:
        places[path] = Place(path, spec, bool(dynamic), status, (incarnation, restarts, max(seq, seqs.get(path, 0))))
    for path, parent, *_ in rows:
        if parent in places:
            places[parent].below.append(places[path])
        elif parent == "/":  # else its supervisor did not come up: whoever asked for that one asks again
            top.append(places[path])
    return top


def bring_back(runtime: Runtime, past: list[Place], *, run: bool) -> None:
    """Start the root and, with ``run``, what ran when the lab ended; else everything is parked."""
    runtime.begin(Supervisor("lab"))
    runtime.submit(_bring_back, runtime, past, run).result()


async def _bring_back(runtime: Runtime, past: list[Place], run: bool) -> None:
    runtime.timers.hold(True)
    runtime.lives.hold(unread(runtime))
    try:
        await _bring_all_back(runtime, past, run)
    finally:
        runtime.lives.release()
        runtime.timers.hold(False)


async def _bring_all_back(runtime: Runtime, past: list[Place], run: bool) -> None:
    runtime.desk.ledger.expect({place.path: place.past for top in past for place in top.walk()})
    asleep: list[tuple[Place, Child]] = []
    for place in past:
        spec = place.child()
        reason = _missing(spec) or (None if run and place.status == "running" else ASKED if not run else place.status)
        if reason is None and _sleeps(runtime, place, spec):
            asleep.append((place, spec))
            continue
        await _run_asleep(runtime, "/", asleep)
        if reason is None:
            await _run(runtime, place, spec)
            continue
        runtime.desk.ledger.as_stored.add(place.path)
        expect(await runtime.ask_tree("/", "adopt_child", spec, reason), "/", "start_child", (spec,))
        entry = runtime.desk.entries.get(place.path)
        if entry is not None and place.status == "stopped":
            entry.asked = True
    await _run_asleep(runtime, "/", asleep)


async def _run(runtime: Runtime, place: Place, spec: Child) -> None:
    parent = place.path.rsplit("/", 1)[0] or "/"
    result = await runtime.ask_tree(parent, "start_child", *_how(runtime, parent, spec))
    if isinstance(result, Refused):
        await runtime.ask_tree(parent, "adopt_child", spec, result.reason)
        return
    await _add_dynamic(runtime, place)


async def _add_dynamic(runtime: Runtime, place: Place) -> None:
    asleep: list[tuple[Place, Child]] = []
    for below in place.below:
        spec = below.child() if below.dynamic else None
        if spec is not None and _sleeps(runtime, below, spec):
            asleep.append((below, spec))
            continue
        await _run_asleep(runtime, place.path, asleep)
        if spec is not None:
            await _run(runtime, below, spec)
        else:
            await _add_dynamic(runtime, below)
    await _run_asleep(runtime, place.path, asleep)


def _sleeps(runtime: Runtime, place: Place, spec: Child) -> bool:
    """Whether the agent runs again without a node until somebody reaches for it: its state is what its class wants."""
    cls: Any = spec.what
    plain = spec.isolation == "node" and spec.restore == "checkpoint" and spec.type == "worker"
    if not plain or hasattr(cls, "on_start") or _missing(spec) is not None:
        return False
    return fits(cls, runtime.desk.kinds.of(cls).initial(spec.fields), runtime.desk.ledger.store.state(place.path))


async def _run_asleep(runtime: Runtime, parent: str, asleep: list[tuple[Place, Child]]) -> None:
    """Those that nothing has to be started for, together; the list is empty afterwards."""
    for start in range(0, len(asleep), AT_ONCE):
        part = asleep[start : start + AT_ONCE]
        items = [how if len(how := _how(runtime, parent, spec)) > 1 else spec for _, spec in part]
        results = await runtime.ask_tree(parent, "add_running", items)
        if isinstance(results, Refused):
            break  # the supervisor does not run, nor do those that it would keep
        for (_, spec), result in zip(part, results, strict=True):
            if isinstance(result, Refused):
                await runtime.ask_tree(parent, "adopt_child", spec, result.reason)
        await asyncio.sleep(0)
    asleep.clear()


def _how(runtime: Runtime, parent: str, spec: Child) -> tuple[Any, ...]:
    record = runtime.desk.tree.find(parent)
    simple = record is not None and getattr(record.spec.what, "strategy", "") == "simple_one_for_one"
    return (spec.id, dict(spec.fields)) if simple else (spec,)


def unread(runtime: Runtime) -> dict[str, list[Message]]:
    """Messages that the store kept, by path, with their journals; timers and answers go where they belong."""
    store, mail, clock = runtime.desk.ledger.store, runtime.mail, runtime.desk.clock
    rows = store.select("SELECT * FROM inbox ORDER BY place")
    asking = {row[0] for row in rows}
    for asker, step, payload in store.select("SELECT asker, asker_step, payload FROM answer"):
        if asker in asking:
            mail.answers[asker, step] = JSON + payload.encode()
    for number, path, method, payload, due_at, every in store.select("SELECT * FROM timer"):
        clock.add(Timer(number, path, method, JSON + payload.encode(), due_at, every))
    found: dict[str, list[Message]] = {}
    for row in rows:
        message = _message(store, row)
        if message.origin is not None and message.origin[0] not in asking:
            message.origin = None  # who asked is decided: nobody will ask for the answer again
        found.setdefault(row[1], []).append(message)
    (highest,) = store.select(
        "SELECT max(n) FROM (SELECT max(max(key), max(place)) n FROM inbox UNION ALL SELECT max(message_key) FROM step"
        " UNION ALL SELECT max(id) FROM timer UNION ALL SELECT max(asker) FROM answer"
        " UNION ALL SELECT max(message_key) FROM begun UNION ALL SELECT max(key) FROM message"
        " UNION ALL SELECT max(key) FROM fork)"
    )
    runtime.desk.numbers = itertools.count((highest[0] or 0) + 1)
    return found


def _message(store: Store, row: tuple[Any, ...]) -> Message:
    key, path, method, payload, sender, sent_at, redeliver, deliveries, asker, asker_step, place = row
    origin = (asker, asker_step) if asker is not None else None
    message = Message(key, method, JSON + payload.encode(), sender, None, redeliver=bool(redeliver), origin=origin)
    message.sent_at, message.place, message.deliveries, message.kept = sent_at, place, deliveries, True
    done = steps(store, key)
    begun = store.select("SELECT step, mark, at, once FROM begun WHERE message_key = ?", (key,))
    if done or begun:
        message.journal = journal(done)
        for number, mark, at, once in begun:
            step = message.journal.steps.get(number)
            if step is None:
                message.journal.begin(number, tuple(json.loads(mark)), bool(once), at)
            else:
                step.once = bool(once)
    message.seed = seed(store, path, key)
    return message


def _missing(spec: Child) -> str | None:
    """What to run before this child can start; None if nothing is missing."""
    if isinstance(spec.what, Supervisor):
        return next((why for kid in spec.what.children if (why := _missing(kid)) is not None), None)
    if isinstance(spec.what, type) and issubclass(spec.what, Missing):
        return f"its class is not defined: {home(spec.what)}"
    return None


async def resume_all(runtime: Runtime) -> list[Ref]:
    """Start what was parked when the lab was opened again and can start now; the refs of what runs."""
    runtime.timers.hold(True)
    runtime.lives.hold({entry.path: list(entry.pending) for entry in runtime.desk.entries.values() if entry.down})
    for path in runtime.lives.unread:
        runtime.desk.entries[path].pending.clear()
    try:
        return await _resume_all(runtime)
    finally:
        runtime.lives.release()
        runtime.timers.hold(False)


async def _resume_all(runtime: Runtime) -> list[Ref]:
    started = []
    for place in remembered(runtime.desk.ledger.store):
        record = runtime.desk.tree.find(place.path)
        if record is None or record.state != "parked":
            continue
        spec = place.child()
        if _missing(spec) is not None:
            continue
        record.spec = spec  # the class may have been defined meanwhile
        runtime.desk.ledger.expect({below.path: below.past for below in place.walk()[1:]})
        expect(await runtime.ask_tree("/", "restart_child", record.id), "/", "resume", (record.id,))
        await _add_dynamic(runtime, place)
        started.append(ref_of(runtime, record))
    return started
