"""Why an agent is in the state it is in: a paragraph, told from its events."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from agentlab.control.approvals import called, waiting
from agentlab.control.children import find, record_status
from agentlab.events import EventKind
from agentlab.exits import reason_text
from agentlab.kernel.runtime import Runtime
from agentlab.supervision.records import Record

ENDS: tuple[EventKind, ...] = ("crashed", "killed", "exited", "start_failed", "node_down", "supervisor_exited")


def explain(runtime: Runtime, path: str) -> str:
    """One paragraph; times are UTC."""
    runtime.flush()
    place = runtime.desk.waiting.below(path)
    if place is not None:
        return f"{path} is parked, as it was after incarnation {place.past[0]}: {place.why}. Its state: ref.state."
    record = runtime.desk.tree.find(path)
    if record is None:
        return _gone(runtime, path)
    entry = runtime.desk.entries.get(path)
    now = runtime.desk.status(entry) if entry is not None else record_status(record)
    told = [_now(path, now, record)]
    if entry is not None:
        told[0] += f", incarnation {entry.incarnation}" + (f", on node {entry.node}" if entry.has_node else "")
    events = _events(runtime, path)
    told += _past(events)
    told += _moved(events)
    waits = runtime.desk.waiting.places.get(path)
    if waits is not None and waits.status == "running" and now == "parked":
        told.append(f"It waits: {waits.why}")
    elif entry is not None:
        told += _waited(events, now) + _present(runtime, entry, now)
    return ". ".join(sentence.rstrip(".") for sentence in told if sentence) + "."


def _events(runtime: Runtime, path: str) -> list[tuple[Any, ...]]:
    return runtime.desk.ledger.store.select(
        "SELECT at, kind, reason, detail, incarnation FROM event WHERE path = ? AND kind <> 'log' ORDER BY seq", (path,)
    )


def _gone(runtime: Runtime, path: str) -> str:
    """The same of what is not in the tree now; NotRunning where nothing ever was."""
    events = _events(runtime, path)
    if not events:
        find(runtime, path)
    told = [f"{path} is not there: {_why_gone(runtime, path, events)}", *_past(events)]
    return ". ".join(sentence.rstrip(".") for sentence in told) + "."


def _why_gone(runtime: Runtime, path: str, events: list[tuple[Any, ...]]) -> str:
    removed = next((e for e in reversed(events) if e[1] in ("removed", "started", "supervisor_started")), None)
    if removed is not None and removed[1] == "removed":
        return f"it was removed at {_clock(removed[0])} ({removed[2]})"
    gone, above = path, path.rsplit("/", 1)[0]
    while above and runtime.desk.tree.find(above) is None:
        gone, above = above, above.rsplit("/", 1)[0]
    record = runtime.desk.tree.find(above or "/")
    if record is not None and record.life is None:
        return f"its supervisor {above} is {record_status(record)}; it comes back with that one, by its ref.restart()"
    return f"its supervisor {gone} is gone, and it with that" if gone != path else "it did not outlast its supervisor"


def _now(path: str, status: str, record: Record) -> str:
    above = record.supervisor
    who = f" under {above.path!r} ({getattr(above.spec.what, 'strategy', '?')})" if above is not None else ""
    return f"{path} ({record.spec.restart}{who}) is {status}"


def _past(events: list[tuple[Any, ...]]) -> list[str]:
    """What happened to it: how often it ended, why the last time, what was decided then, and whether it began anew."""
    ends = [number for number, event in enumerate(events) if event[1] in ENDS]
    if not ends:
        return ["It never ended by itself"] if events else []
    crashes = sum(events[number][1] in ("crashed", "killed") for number in ends)
    told = [f"It ended {_times(len(ends))}" + _how(crashes, len(ends))]
    last = ends[-1]
    told.append(f"Last, at {_clock(events[last][0])}, {_end(events, last)}")
    later = events[last + 1 :]
    decided = [event for event in later if event[1] in DECISIONS]
    if decided:
        _, kind, _, detail, _ = decided[-1]
        told.append(f"Then its supervisor {DECISIONS[kind]}" + (f" ({detail})" if detail else ""))
    begun = [event for event in later if event[1] in ("started", "supervisor_started")]
    if begun:
        told.append(f"It began anew at {_clock(begun[-1][0])}")
    return told


def _how(crashes: int, ends: int) -> str:
    """How many of the ends were crashes."""
    if not crashes:
        return ""
    if crashes < ends:
        return f", {_times(crashes)} of them by a crash or a kill"
    return ", by a crash or a kill" if ends == 1 else ", each time by a crash or a kill"


MOVES: Mapping[EventKind, str] = {
    "node_stalled": "Its node was held by somebody's C code, so it went on elsewhere",
    "low_priority": "It kept using up its slices, so it goes on at low priority; ref.restart() brings it back",
    "fenced": "Its code did not let go of a message that was skipped, so it began anew",
    "isolated": "It has a node of its own",
}
"""Why an agent is where it is, by kind of event."""


def _moved(events: list[tuple[Any, ...]]) -> list[str]:
    """Why it left the node that it was on."""
    last = next((event for event in reversed(events) if event[1] in MOVES), None)
    return [] if last is None else [MOVES[last[1]] + (f": {last[3]}" if last[3] else "")]


def _end(events: list[tuple[Any, ...]], number: int) -> str:
    """Why one life ended."""
    _, kind, reason, _, incarnation = events[number]
    before = events[number - 1] if number else None
    if kind == "node_down":
        return "its node died, which was not its fault"
    if kind == "start_failed":
        return f"it did not come up: {reason}"
    if kind == "supervisor_exited":
        gave_up = next((e for e in events[:number][::-1] if e[1] in ("gave_up", "supervisor_started")), None)
        why = f": it {gave_up[3]}" if gave_up is not None and gave_up[1] == "gave_up" else ""
        return f"it ended with {reason}{why}"
    if before is not None and before[1] == "linked_exit":
        return f"{before[3]}, to which it is linked, ended with {reason}, and it with that"
    return f"incarnation {incarnation} ended with {reason}"


DECISIONS: Mapping[EventKind, str] = {
    "escalated": "was told at once",
    "restarting": "restarted it",
    "backing_off": "set a restart after a wait",
    "parked": "parked it, and left its siblings alone",
    "stopped": "left it down",
}
"""What a supervisor decided, by kind of event."""


def _waited(events: list[tuple[Any, ...]], now: str) -> list[str]:
    """What failed, if a step of it waits for its next attempt."""
    last = next((event for event in reversed(events) if event[1] in (*ENDS, *TRIES)), None)
    if now != "waiting" or last is None or last[1] not in TRIES:
        return []
    return [f"It has last failed at {_clock(last[0])}, with {last[2]} ({last[3]})"]


TRIES: tuple[EventKind, ...] = ("waiting", "retrying")
"""Events that say that an attempt at a step failed, and when the next is."""


def _present(runtime: Runtime, entry: Any, now: str) -> list[str]:
    told = []
    doubt = entry.doubt if entry.pending and not entry.pending[0].begun else None
    if doubt is not None:
        told.append(f"Its message {entry.pending[0].method} is {doubt}")
    elif now == "stopped" and entry.is_asked_to_stop:
        told.append(f"It was asked to stop ({reason_text(entry.reason)}), so nobody restarts it")
    elif now == "parked" and entry.pending and entry.pending[0].parked is not None:
        told.append(f"It met a fault: {entry.pending[0].parked.why}")
        told.append("Mend what it names; ref.restart() tries again, and what its message has finished is not repeated")
    elif now in ("parked", "stopped"):
        told.append("ref.restart() starts it again")
    told += [
        f"A person is waited for since {_clock(step.began)}, to allow {called(step)}: ref.approve({step.number}), or "
        f"ref.approve({step.number}, yes=False)"
        for step in waiting(entry)
    ]
    if entry.pending:
        head = entry.pending[0]
        tries = f", delivered {_times(head.deliveries + 1)}" if head.deliveries else ""
        hand = f"In hand: {head.method}{tries}" + (f", in step {head.step}" if head.step else "")
        more = len(entry.pending) - 1
        waits = f"; behind it {more} more {'waits' if more == 1 else 'wait'} in the mailbox" if more else ""
        told.append((hand if head.begun else f"Next: {head.method}") + waits)
    letters = runtime.desk.ledger.messages.letters.get(entry.path, 0)
    if letters:
        are = "is a dead letter" if letters == 1 else "are dead letters"
        told.append(f"{letters:,} of its messages {are}: lab.dead_letters(path={entry.path!r})")
    if entry.suspended:
        told.append("It is suspended: ref.resume() lets it go on")
    return told


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _clock(at: int) -> str:
    return datetime.fromtimestamp(at / 1e9, UTC).strftime("%H:%M:%S")
