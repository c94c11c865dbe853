"""What must be true after a run, whatever was done to it: checked against books, store and system."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentlab.errors import CallTimeout, InvalidArgument, InvariantBroken
from agentlab.frames.stored import StoredLab
from agentlab.ground.given import seconds, shown
from agentlab.ground.words import counted
from agentlab.kernel.runtime import Runtime
from agentlab.lab import Lab
from agentlab.store.check import check
from agentlab.store.database import Store

MOST = 10
"""Findings that are told of each invariant."""

GONE_SECONDS = 10.0
"""So long the system may take to end what a dead node has left."""


@dataclass
class Report:
    """What ``invariants`` looked at; true, for a lab of which something does not hold is an ``InvariantBroken``.

    Attributes:
        looked_at: By invariant, how many things were looked at.
        broken: By invariant, what does not hold, a sentence each.
    """

    looked_at: dict[str, int] = field(default_factory=dict)
    broken: dict[str, list[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return not any(self.broken.values())

    def __repr__(self) -> str:
        lines = []
        for name, count in self.looked_at.items():
            found = self.broken.get(name, [])
            lines.append(f"{name}: {f'{len(found):,} BROKEN' if found else 'holds'} ({count:,} looked at)")
            lines += [f"  {what}" for what in found[:MOST]]
            lines += [f"  and {len(found) - MOST:,} more"] if len(found) > MOST else []
        return "\n".join(lines)


def invariants(lab: Lab | StoredLab, *, timeout: float = 10.0) -> Report:
    """Check, after a run, what must be true of it however many died: in a script, a cell or a test.

    * *nothing acknowledged lost*: states, outcomes and messages in the books are those of the store, and it is whole;
    * *nothing finished run twice*: no message was handled, and no step finished, a second time;
    * *nobody left waiting*: no message is in hand or in a mailbox, and no agent waits for an answer;
    * *no orphan process*: no node that was replaced has left a process behind.

    Of a lab that is closed, or only read, the store is looked at, and processes. A step that was taken back after a
    crash had not finished, for its result was not kept; it may run again.

    Args:
        lab: A lab, running or not.
        timeout: Seconds for it to become idle first.

    Raises:
        InvariantBroken: Something does not hold; ``report`` says what.
    """
    if not isinstance(lab, Lab | StoredLab):
        raise InvalidArgument(f"invariants: give a lab; got {shown(lab)}.", argument="lab")
    runtime = _rested(lab, seconds(timeout, "invariants: timeout"))
    report = Report()
    checks: Mapping[str, Callable[[], Iterator[str | int]]] = {
        "nothing acknowledged lost": lambda: _lost(lab._read(), runtime),
        "nothing finished run twice": lambda: _twice(lab._read()),
        "nobody left waiting": lambda: _waiting(runtime),
        "no orphan process": lambda: _orphans(lab._read(), runtime, read_only=isinstance(lab, StoredLab)),
    }
    for name, found in checks.items():
        results = list(found())
        report.looked_at[name] = sum(count for count in results if isinstance(count, int))
        report.broken[name] = [what for what in results if isinstance(what, str)]
    if not report:
        raise InvariantBroken(f"what must hold after a run does not:\n{report!r}\nSee lab.events().", report=report)
    return report


def _rested(lab: Lab | StoredLab, timeout: float) -> Runtime | None:
    """The runtime of a lab that is alive, once it is idle, or not in time."""
    if not isinstance(lab, Lab) or lab.closed:
        return None
    with contextlib.suppress(CallTimeout):  # who is busy is found below
        lab.wait_idle(timeout)
    return lab._live


def _lost(store: Store, runtime: Runtime | None) -> Iterator[str | int]:
    if store.path is not None and store.path.exists():
        found = check(store.path)
        yield sum(found.rows.values())
        yield from found.damage
    if runtime is None:
        return
    images, handled, kept = runtime.run(_books, runtime)
    yield len(images)
    for path, image in images.items():
        initial, now = image
        if {**initial, **store.state(path)} != now:
            yield f"{path}: its state is not the one that was committed last"
    yield len(handled)
    if store.keep is None:
        counts = dict(store.select("SELECT path, count(*) FROM message WHERE outcome = 'ok' GROUP BY path"))
        for path, count in handled.items():
            if counts.get(path, 0) < count:
                yield f"{path} has handled {count:,} messages, and the store knows of {counts.get(path, 0):,}"
    stored = dict(store.select("SELECT key, path FROM inbox"))
    yield len(stored)
    for key in stored.keys() ^ kept.keys():
        place, missing = (kept[key], "the store has") if key in kept else (stored[key], "the books have")
        yield f"{place}: message {key} was accepted and is not decided, and {missing} it not"


Images = dict[str, tuple[dict[str, Any], dict[str, Any]]]


def _books(runtime: Runtime) -> tuple[Images, dict[str, int], dict[int, str]]:
    """In the lab's thread: states, how many messages each agent has handled, and those that are kept for later."""
    runtime.flush()
    entries = [entry for entry in runtime.desk.entries.values() if entry.incarnation]
    images = {entry.path: (dict(entry.initial), json.loads(json.dumps(entry.image()))) for entry in entries}
    handled = {entry.path: entry.handled for entry in entries}
    kept = {m.key: entry.path for entry in runtime.desk.entries.values() for m in entry.pending if m.kept}
    for path, waiting in (*runtime.desk.waiting.mail.items(), *runtime.placing.unread.items()):
        kept.update({message.key: path for message in waiting if message.kept})
    return images, handled, kept


def _twice(store: Store) -> Iterator[str | int]:
    for (count,) in store.select("SELECT count(*) FROM message"):
        yield count
    for path, method, count in store.select(
        "SELECT path, method, count(*) FROM message WHERE outcome = 'ok' AND key IS NOT NULL"
        " GROUP BY key HAVING count(*) > 1"
    ):
        yield f"{path}: a message {method} was handled {count} times"
    for (count,) in store.select("SELECT count(*) FROM step WHERE replayed = 0"):
        yield count
    for path, seq, step, name, count in store.select(
        "SELECT path, message_seq, step, name, count(*) FROM step WHERE outcome = 'ok' AND replayed = 0"
        " AND message_key IS NOT NULL GROUP BY message_key, step, mark HAVING count(*) > 1"
    ):
        yield f"{path}: step {step} ({name}) of message {seq} finished {count} times"


def _waiting(runtime: Runtime | None) -> Iterator[str | int]:
    if runtime is not None:
        looked, found = runtime.run(_who_waits, runtime)
        yield looked
        yield from found


def _who_waits(runtime: Runtime) -> tuple[int, list[str]]:
    """In the lab's thread."""
    desk, found = runtime.desk, []
    for entry in desk.entries.values():
        status = desk.status(entry)
        if entry.pending:
            words = ", ".join(dict.fromkeys(message.method for message in entry.pending))
            waits = counted(len(entry.pending), "message")
            found.append(f"{entry.path} ({status}): {waits} undecided ({words})")
        found += [f"{entry.path} ({status}) waits for an answer of {asked}" for asked in entry.asking.values()]
    known = {entry.record for entry in desk.entries.values() if entry.pending}
    found += [f"{record.path} is {record.state}" for record in desk.tree.in_hand if record not in known]
    return len(desk.entries) + desk.entries.dormant, found


def _orphans(store: Store, runtime: Runtime | None, *, read_only: bool) -> Iterator[str | int]:
    """Every node leads a session of its own: who is in that of a node which is gone was left behind by it."""
    nodes = [
        int(detail.removeprefix("process "))
        for (detail,) in store.select("SELECT detail FROM event WHERE kind = 'node_started'")
    ]
    yield len(nodes)
    gone = set(nodes) - {os.getpid()}  # which is that of a node that is a thread here
    if read_only:  # its lab may run elsewhere
        gone = {pid for pid in gone if not Path(f"/proc/{pid}").exists()}
    end = time.monotonic() + GONE_SECONDS
    while found := _left_by(gone - _alive(runtime)):
        if time.monotonic() > end:
            yield from (f"process {pid} ({name}) is left of the node {node}" for pid, name, node in found)
            return
        time.sleep(0.02)


def _alive(runtime: Runtime | None) -> set[int]:
    if runtime is None:
        return set()
    found: set[int] = runtime.run(lambda: {node.process.pid for node in runtime.desk.pool.nodes.values()})
    return found


def _left_by(nodes: set[int]) -> list[tuple[int, str, int]]:
    """Processes in the sessions of nodes that are gone: number, name, node. None where the system does not say."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat") if nodes else ():
        with contextlib.suppress(OSError, ValueError, IndexError):
            name, _, rest = path.read_text().partition("(")[2].rpartition(")")
            state, _, _, session = rest.split()[:4]
            if int(session) in nodes and state not in "ZX":
                found.append((int(path.parent.name), name, int(session)))
    return found
