"""Nodes that die: who is to blame, and who moves.

A node notes in a word of shared memory whose code it runs before it lets it run. So when it dies the kernel
knows the guilty one: that agent's restart counts, and its message is charged a delivery. The others did nothing
wrong: they go on elsewhere from their last commits, uncounted, with their messages. Who brings a node down
twice, or has the same message in hand whenever its node dies, gets a node of its own.
"""

from __future__ import annotations

from agentlab._books import Entry
from agentlab._desk import Desk
from agentlab._lives import Lives
from agentlab._mail import Mail
from agentlab._placing import Placing
from agentlab._pool import Node
from agentlab._signals import Signals
from agentlab.agent import Crash

MOST_OFFENCES = 2
"""Nodes that an agent may bring down before it gets one of its own."""

MOST_SUSPICIONS = 3
"""Nodes that may die, by nobody's visible fault, while one message is in hand."""


class Watch:
    """What follows from the end of a node."""

    def __init__(self, desk: Desk, mail: Mail, placing: Placing, signals: Signals, lives: Lives) -> None:
        self._desk = desk
        self._mail = mail
        self._placing = placing
        self._signals = signals
        self._lives = lives

    def lost(self, node: Node, why: str) -> None:
        """A node died."""
        place, _ = node.word.read()
        here = [entry for entry in self._desk.placed.values() if entry.node == node.number]
        guilty = self._desk.placed.get(place)
        blamed = f"; it ran {guilty.path}" if guilty in here and guilty is not None else ""
        detail = f"{len(here) - bool(blamed)} agents move{blamed}"
        self._desk.ledger.event("node_down", "/", node=node.number, detail=detail, reason=why)
        for entry in here:
            if entry.dying is not None or entry.ending:
                self._lives.over(entry, "killed" if entry.dying is None else entry.dying)
            elif entry is guilty:
                self._blame(entry, node, why)
            else:
                self._move(entry, node)

    def _blame(self, entry: Entry, node: Node, why: str) -> None:
        entry.offences += 1
        if entry.offences >= MOST_OFFENCES:
            self.isolate(entry, f"it brought {entry.offences} nodes down")
        crash = Crash("NodeDown", f"node {node.number} died ({why}) while it ran this agent")
        if self._desk.starting(entry) and not entry.moving:
            self._lives.failed(entry, crash)
        else:
            in_hand = entry.pending[0].key if entry.pending else None  # its word that it began may have died with it
            self._lives.over(entry, crash, key=in_hand, blame="charged")

    def _move(self, entry: Entry, node: Node) -> None:
        """It did nothing wrong: it goes on elsewhere, with its state and its messages."""
        if entry.pending and entry.pending[0].begun:
            entry.suspicions += 1
            if entry.suspicions >= MOST_SUSPICIONS:
                self.isolate(entry, f"{entry.suspicions} nodes died with one message of it in hand")
        self._mail.judge(entry, "node_down", None)
        if self._mail.doubt(entry) is not None:
            self._lives.over(entry, "node_down")
            return
        self._placing.leave(entry)
        entry.moving = entry.moving or not self._desk.starting(entry)
        entry.reason = "node_down"
        entry.notes = 0
        entry.asking.clear()
        # An incarnation ended though the machine's life goes on: its links and monitors are told.
        self._signals.tell_others(entry.life, entry.path, "node_down")
        self._desk.ledger.moved(entry, node.number)
        self._placing.place(entry, avoid=node.number)

    def isolate(self, entry: Entry, why: str) -> None:
        """From its next placement on the agent has a node of its own."""
        if not entry.isolated:
            entry.isolated = True
            self._desk.ledger.event("isolated", entry.path, incarnation=entry.incarnation, detail=why)
