"""What a view of one agent reads, beside the tree: the books in one go, and the store's rows of the messages shown."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from agentlab.control.looking import Seen, look
from agentlab.errors import InvalidArgument, LabClosed
from agentlab.ref.ref import Ref
from agentlab.store.schema import whole
from agentlab_widgets.stored import Elsewhere
from agentlab_widgets.turns import MARKS, Effect, Fact

AnyLab = Any  # agentlab.Lab; found where it is, since a ref knows it as a link only

LATEST = 300
"""Events and messages of an agent that are looked at, the newest."""


def lab_of(ref: Ref) -> AnyLab:
    """The lab of a ref that a cell holds.

    Raises:
        InvalidArgument: An agent asks: views are for people.
        LabClosed: It is over.
    """
    from agentlab.control.held import _open

    if ref._link.lab_id and ref._link.here() is not None:
        raise InvalidArgument(f"{ref._link.here()} asks to see {ref.path}: views are for cells. Ask: await ref.info().")
    for lab in list(_open):
        if lab._link.lab_id == ref._link.lab_id and not lab.closed:
            return lab
    raise LabClosed(f"{ref.path!r} cannot be watched: its lab is closed, or in no process of yours.")


def seen(lab: AnyLab, path: str) -> Seen | None:
    """The agent as it is now."""
    if isinstance(lab, Elsewhere):
        return lab.seen(path)
    runtime = lab._live
    found: Seen | None = runtime.run(look, runtime, path)
    return found


def effects_of(lab: AnyLab, keys: Sequence[int]) -> dict[int, list[Effect]]:
    """The steps of messages, by their numbers in the lab; what they were given and gave cut to 4,000 characters."""
    found: dict[int, list[Effect]] = {}
    for start in range(0, len(keys), 200):
        some = keys[start : start + 200]
        rows = lab._store.select(
            "SELECT message_key, kind, name, started_at, took_s, outcome, coalesce(fault, ''), replayed, tokens_in,"  # noqa: S608  # ours
            f" tokens_out, cost_usd, substr({whole('input')}, 1, 4000), substr({whole('output')}, 1, 4000) FROM step"
            f" WHERE message_key IN ({', '.join('?' * len(some))}) ORDER BY started_at, id",
            some,
        )
        for key, *told in rows:
            found.setdefault(key, []).append(Effect(*told))
    return found


class Past:
    """What the store tells of one agent, read once: each look adds what is new since the last one.

    Attributes:
        facts: Events that are marked in its conversation, oldest first.
        messages: Messages that are over, oldest first: seq, method, sender, sent_at, started_at, ended_at, deliveries,
            outcome, error, key.
        effects: The steps of those messages by key.
    """

    def __init__(self, lab: AnyLab, path: str) -> None:
        self._lab = lab
        self._path = path
        self._event = self._message = 0
        self.facts: deque[Fact] = deque(maxlen=LATEST)
        self.messages: deque[tuple[Any, ...]] = deque(maxlen=LATEST)
        self.effects: dict[int, list[Effect]] = {}

    def read(self) -> None:
        """Add what has happened since."""
        kinds = ", ".join(f"'{kind}'" for kind in MARKS)
        select = self._lab._store.select
        told = select(
            "SELECT seq, at, kind, coalesce(reason, ''), CASE WHEN kind IN ('crashed', 'killed') THEN '' ELSE"  # noqa: S608  # ours
            f" coalesce(substr(detail, 1, 600), '') END FROM event WHERE seq > ? AND path = ? AND kind IN ({kinds})"
            " ORDER BY seq DESC LIMIT ?",
            (self._event, self._path, LATEST),
        )
        for seq, at, kind, reason, detail in reversed(told):
            self.facts.append(Fact(at, kind, ": ".join(filter(None, (reason, detail)))))
            self._event = seq
        rows = select(
            "SELECT id, seq, method, sender, sent_at, started_at, ended_at, deliveries, outcome, error, key"
            " FROM message WHERE id > ? AND path = ? ORDER BY id DESC LIMIT ?",
            (self._message, self._path, LATEST),
        )
        for number, *row in reversed(rows):
            self.messages.append(tuple(row))
            self._message = number
        self.effects |= effects_of(self._lab, [row[-1] for row in rows if row[-1] is not None])
