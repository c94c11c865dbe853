"""The past of an agent as the store has it: its checkpoints, its messages, the journals of these; also of forks.

A fork's past is that of its base, up to where they parted, and nothing of it is copied. So a reader of an
agent's past goes from base to base; a fork of a fork is no exception.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import Any, NamedTuple

from agentlab.books.journal import Journal
from agentlab.faults import KINDS, OUTAGE
from agentlab.store.database import Store
from agentlab.store.past import LAST, PAST
from agentlab.store.rows import InboxRow
from agentlab.store.schema import whole
from agentlab.wire.packing import JSON


class Handled(NamedTuple):
    """A message that was handled: where, its number in the lab (``key``), what it said."""

    path: str
    key: int
    method: str
    payload: bytes | None
    sender: str


class Done(NamedTuple):
    """A step that finished."""

    number: int
    mark: str
    began: int
    once: bool
    result: bytes


def checkpoints(store: Store, path: str) -> list[int]:
    """The ``seq`` of each checkpoint that the agent can go back to, oldest first."""
    rows = store.select(
        f"{PAST} SELECT depth, checkpoint.seq FROM past JOIN checkpoint ON checkpoint.path = past.path"  # noqa: S608  # ours
        " AND checkpoint.seq <= past.until ORDER BY depth, checkpoint.id DESC",
        (path, LAST),
    )
    found: dict[int, None] = {}
    least: tuple[int, int] | None = None
    for depth, seq in rows:
        if least is not None and least[0] == depth and seq > least[1]:
            continue  # of an earlier agent with the same id, whose state is gone
        least = depth, seq
        found[seq] = None
    return sorted(found)


def message(store: Store, path: str, seq: int) -> Handled | None:
    """The message with that number, of the agent or, before they parted, of its base; that one may be gone."""
    among = f"{PAST} SELECT path FROM past WHERE ? <= until ORDER BY depth"  # noqa: S608  # as above
    places = store.select(among, (path, LAST, seq))
    for (place,) in places:
        name, end = former(place)
        rows = store.select(
            f"SELECT path, key, method, {whole('payload')}, sender FROM message WHERE path = ? AND seq = ?"  # noqa: S608
            " AND key IS NOT NULL AND ended_at <= ? AND"
            " started_at >= (SELECT coalesce(min(at), 0) FROM checkpoint WHERE path = ?) ORDER BY id DESC LIMIT 1",
            (name, seq, end, place),
        )
        for at, key, method, payload, sender in rows:
            return Handled(at, key, method, packed(store, payload), sender)
    return None


def gone(path: str) -> str:
    """The place of the past of an agent that is forgotten now, while its forks are not: no agent has such a path."""
    return f"/{path} until {time.time_ns()}"


def former(place: str) -> tuple[str, int]:
    """Under which path the messages of a place were handled, and until when; an agent has no other with its path."""
    if not place.startswith("//"):
        return place, LAST
    path, _, end = place[1:].rpartition(" until ")
    return path, int(end)


def packed(store: Store, text: str | None) -> bytes | None:
    """What ``MessageLog`` wrote, as it travels."""
    if text is None:
        return None
    return text.encode("latin-1") if store.path is None else JSON + text.encode()


def steps(store: Store, key: int, before: int = LAST) -> list[Done]:
    """The finished steps of a message that have a number below ``before``, in the order in which they began."""
    found: dict[int, Done] = {}
    for base, until in store.select("SELECT base_key, base_step FROM fork WHERE key = ?", (key,)):
        found |= {step.number: step for step in steps(store, base, until)}
    rows = store.select(
        f"SELECT step, mark, started_at, once, {whole('result')} FROM step WHERE message_key = ?"  # noqa: S608  # as above
        " AND outcome = 'ok' AND replayed = 0 AND result IS NOT NULL ORDER BY id",
        (key,),
    )
    for number, mark, began, once, result in rows:
        found[number] = Done(number, mark, began, bool(once), packed(store, result) or b"")
    return [found[number] for number in sorted(found) if number < before]


def journal(done: list[Done]) -> Journal:
    """A journal in which these steps have finished."""
    made = Journal()
    for step in done:
        made.begin(step.number, tuple(json.loads(step.mark)), step.once, step.began)
        made.end(step.number, step.result)
    return made


def note_failures(store: Store, row: InboxRow, found: Journal) -> None:
    """Write into the journal of a message which attempts at its steps have failed, and of what.

    Faults that parked it, and those before, do not count any more: a person has started it again. Those of an outage
    never did.
    """
    last = "(SELECT coalesce(max(at), 0) FROM event WHERE kind = 'parked' AND path = ?)"
    rows = store.select(
        f"SELECT mark, fault, count(*), sum(started_at > {last} AND instr(output, ?) = 0) FROM step"  # noqa: S608  # as above
        " WHERE message_key = ? AND outcome = 'failed' GROUP BY mark, fault",
        (row.path, OUTAGE, row.key),
    )
    failed: Counter[Any] = Counter()
    for text, kind, count, since in rows:
        mark = tuple(json.loads(text))
        failed[mark] += count
        if kind in KINDS and since:
            found.faults[mark, kind] = since
    found.retried.update({mark: count - row.deliveries for mark, count in failed.items() if count > row.deliveries})


def seed(store: Store, path: str, key: int) -> str:
    """What the chance of a message begins with; a message that a fork handles again has that of its base's."""
    for base, base_key in store.select("SELECT base_path, base_key FROM fork WHERE key = ?", (key,)):
        return seed(store, base, base_key)
    return f"{path} {key}"
