"""What the browsers were told, so that only differences travel. Pure: rows in, messages out; no lab, no thread.

Every path gets a *slot*, a small number, in the order of the tree; a new child comes after its elder siblings, and a
slot is not used twice, so nothing that is drawn ever moves. One byte says how a slot looks. Few agents travel with all
their facts ("rows"); of many only bytes do, and facts for supervisors and for what somebody selected ("cells").

    snapshot   parents: int32 per slot · looks: uint8 per slot · rows
    difference slots: uint32 · looks: uint8 · added: (slot, parent) int32 pairs · crashed: uint32 slots · rows

All of the browser's words are slots of one *epoch*; a new epoch begins when slots are numbered anew.
"""

from __future__ import annotations

import sys
from array import array
from collections import Counter
from collections.abc import Iterable
from typing import Any

from agentlab.events import Row
from agentlab.ground.texts import clean
from agentlab.looks import CRASH, LOOKS
from agentlab.ref.ref import Ref
from agentlab_widgets.live import Message
from agentlab_widgets.sift import Wanted
from agentlab_widgets.text import letters

GONE, OTHER = 15, 14  # looks that no status has: removed, and a status this package does not know
SUPERVISOR, OUTDATED = 0x80, 0x40
ACTIONS = [name for name in ("crash", "kill", "skip", "restart", "stop", "suspend", "resume") if hasattr(Ref, name)]
STATUSES = {status: number for number, status in enumerate(LOOKS)}
ASKED = 2200  # characters of a call that a person is to allow
WHOLE, AGAIN = 200, 150  # agents up to which all facts travel; fewer than which they do again


Facts = dict[str, Any]  # JSON


class Mirror:
    """The tree as the browsers know it."""

    def __init__(self) -> None:
        self.epoch = 0
        self.mode = "rows"
        self.watched: set[str] = set()
        self._forget()

    def _forget(self) -> None:
        self.epoch += 1
        self._slots: dict[str, int] = {}
        self._rows: list[Row | None] = []
        self._parents = array("i")
        self._looks = bytearray()
        self._counts: Counter[str] = Counter()
        self._spending: set[str] = set()

    def path(self, epoch: int, slot: int) -> str | None:
        """The path behind a slot that the browser named, if both still mean the same."""
        row = self._rows[slot] if epoch == self.epoch and 0 <= slot < len(self._rows) else None
        return row.path if row else None

    def slot(self, path: str) -> int | None:
        """The slot of a path, if it has one."""
        return self._slots.get(path)

    def spending(self) -> set[str]:
        """Supervisors whose restart intensity is in use; it falls with time, without any event."""
        return set(self._spending)

    def counts(self) -> dict[str, int]:
        """Agents by status."""
        return {status: n for status, n in self._counts.items() if n}

    def replace(self, rows: Iterable[Row], crashed: Iterable[str] = ()) -> Message | None:
        """Take all rows anew; a difference if there is one."""
        fresh = list(rows)
        return self.update(fresh, {row.path for row in fresh} | self._slots.keys(), crashed)

    def update(self, rows: Iterable[Row], paths: Iterable[str], crashed: Iterable[str] = ()) -> Message | None:
        """Take the rows of changed paths, the missing ones as removed; a difference, or None if nothing shows."""
        added, touched = array("i"), set()
        fresh = {row.path: row for row in sorted(rows, key=_depth)}  # a parent's slot is wanted by its children
        for path in set(paths) - fresh.keys():
            if (slot := self._slots.pop(path, None)) is not None:
                self._put(slot, None)
                touched.add(slot)
        for row in fresh.values():
            slot = self._slots.get(row.path)
            if slot is None:
                slot = self._add(row)
                added.extend((slot, self._parents[slot]))
            elif self._rows[slot] == row:
                continue
            self._put(slot, row)
            touched.add(slot)
        if self._mode_changes() or self._mostly_gone():
            return self.snapshot()
        hit = array("I", (self._slots[path] for path in crashed if path in self._slots))
        return self._difference(sorted(touched), added, hit) if touched or hit else None

    def snapshot(self) -> Message:
        """Everything a browser needs that knows nothing."""
        if self._mostly_gone():
            self._number_anew()
        content = {
            "t": "snapshot",
            "mode": self.mode,
            "epoch": self.epoch,
            "statuses": [[name, look.colour, look.shape] for name, look in LOOKS.items()],
            "crash": CRASH,
            "actions": ACTIONS,
            "rows": [facts(slot, row) for slot, row in enumerate(self._rows) if row and self._whole(row)],
        }
        return content, [_little(self._parents), bytes(self._looks)]

    def tell(self, path: str) -> Message | None:
        """All facts of one path that somebody selected."""
        self.watched.add(path)
        slot = self._slots.get(path)
        return None if slot is None else self._difference([slot], array("i"), array("I"))

    def find(self, wanted: Wanted) -> Facts:
        """One page of the rows that match, in the order of the tree, and how many do."""
        found = [slot for slot, row in enumerate(self._rows) if row and wanted.matches(row)]
        page = found[wanted.start : wanted.start + wanted.most]
        rows = [facts(slot, row) for slot in page if (row := self._rows[slot])]
        return {"epoch": self.epoch, "word": wanted.word, "total": len(found), "from": wanted.start, "rows": rows}

    def _difference(self, touched: list[int], added: array[int], crashed: array[int]) -> Message:
        rows = [facts(slot, row) for slot in touched if (row := self._rows[slot]) and self._whole(row)]
        looks = bytes(self._looks[slot] for slot in touched)
        buffers = [_little(array("I", touched)), looks, _little(added), _little(crashed)]
        return {"t": "difference", "epoch": self.epoch, "rows": rows}, buffers

    def _whole(self, row: Row) -> bool:
        return self.mode == "rows" or row.kind == "supervisor" or row.path in self.watched

    def _add(self, row: Row) -> int:
        slot = self._slots[row.path] = len(self._rows)
        self._rows.append(None)
        self._parents.append(self._slots.get(row.parent, -1) if row.parent != row.path else -1)
        self._looks.append(GONE)
        self._put(slot, row)
        return slot

    def _put(self, slot: int, row: Row | None) -> None:
        """Set a slot's row and keep the books."""
        old, self._rows[slot] = self._rows[slot], row
        self._looks[slot] = look(row) if row else GONE
        if old:
            self._counts[old.status] -= old.kind == "agent"
            self._spending.discard(old.path)
        if row:
            self._counts[row.status] += row.kind == "agent"
            if row.intensity and row.intensity[0]:
                self._spending.add(row.path)

    def _mode_changes(self) -> bool:
        agents = self._counts.total()
        mode = "cells" if agents > WHOLE or (self.mode == "cells" and agents >= AGAIN) else "rows"
        changes, self.mode = mode != self.mode, mode
        return changes

    def _mostly_gone(self) -> bool:
        return len(self._rows) > 2 * len(self._slots) + 1000

    def _number_anew(self) -> None:
        rows = [row for row in self._rows if row]
        self._forget()
        for row in rows:
            self._add(row)


def look(row: Row) -> int:
    """The byte of a row: its status, whether it supervises, whether it runs older code."""
    byte = STATUSES.get(row.status, OTHER)
    return byte | (SUPERVISOR if row.kind == "supervisor" else 0) | (OUTDATED if row.outdated else 0)


def _depth(row: Row) -> int:
    return row.path.rstrip("/").count("/")


def facts(slot: int, row: Row) -> Facts:
    """What the browser shows of a row, as JSON; every text cleaned and cut."""
    return {
        "slot": slot,
        "path": clean(row.path, 200),
        "id": clean(row.id or "/", 60),
        "kind": row.kind,
        "cls": clean(row.cls, 60),
        "status": clean(row.status, 20),
        "incarnation": row.incarnation,
        "restarts": row.restarts,
        "node": row.node,
        "mailbox": row.mailbox,
        "reason": clean(row.reason) if row.reason else "",
        "since": row.since // 1_000_000,
        "strategy": row.strategy,
        "intensity": row.intensity,
        "mark": row.mark,
        "letters": letters(row),
        "restart": row.restart,
        "again": comes_again(row),
        "asks": asked(row),
        "can": [*moves(row), *(["skip"] if has_message(row) else [])],
    }


def asked(row: Row) -> Facts | None:
    """The call that waits for a person, whole as far as the journal shows it: nobody allows what cannot be read."""
    return {"step": row.asks[0], "call": clean(row.asks[1], ASKED)} if row.asks else None


def moves(row: Row) -> list[str]:
    """The control operations that make sense for a row as it is now."""
    if row.kind == "supervisor" and row.parent in ("", row.path):
        return []  # the root ends with lab.close()
    if row.status in ("stopped", "parked"):
        return ["restart"]
    if row.kind == "supervisor":
        return ["restart", "stop", "kill"]
    if row.status == "suspended":
        return ["resume", "kill", "restart", "stop"]
    if row.status in ("running", "busy", "waiting"):
        return ["crash", "kill", "restart", "stop", "suspend"]
    return ["kill", "stop"]  # starting, backing off


def comes_again(row: Row) -> bool:
    """Whether ``stop`` is no end: to its own supervisor a permanent supervisor that ends has failed, as in OTP."""
    return row.kind == "supervisor" and row.restart == "permanent"


def has_message(row: Row) -> bool:
    """Whether an agent has a message in hand, which ``skip`` ends."""
    return row.kind == "agent" and row.status in ("busy", "waiting")


def _little(numbers: array[int]) -> bytes:
    """Bytes as a browser on any machine reads them."""
    if sys.byteorder == "big":
        numbers = array(numbers.typecode, numbers)
        numbers.byteswap()
    return numbers.tobytes()
