"""What the kernel keeps of messages until they are decided: calls under way, answers given, pauses."""

from __future__ import annotations

from collections import deque

from agentlab.books.agents import Entry
from agentlab.books.messages import Message
from agentlab.kernel.desk import Desk
from agentlab.kernel.pauses import Pauses
from agentlab.wire.frames import Asker


class Undecided:
    """What is kept beside the mailboxes while messages wait or are in hand.

    Attributes:
        asked: Calls of agents under way, by message and step of the asker.
        answers: Those answered, until the asker's message is over.
        posted: Calls within a node, by key.
        refused: Who asked what was refused: the node may handle it all the same.
        misled: Placements that build on what never was; ``Lives`` starts them over.
        pauses: Waits that nobody can hurry.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.pauses = Pauses(desk)
        self.asked: dict[Asker, Message] = {}
        self.answers: dict[Asker, bytes] = {}
        self.posted: dict[int, Message] = {}
        self.refused: dict[int, int | None] = {}
        self.misled: deque[int] = deque()

    def decide(self, entry: Entry, message: Message) -> None:
        """A message is decided: what was kept to deliver it again can go."""
        self._desk.ledger.messages.drop_message(message)
        self.posted.pop(message.key, None)
        if message.pause is not None:
            self.pauses.end_all(message)
        if message.origin is not None:
            self.asked.pop(message.origin, None)
        if message.journal is not None:
            for number in [step.number for step in message.journal.steps.values() if step.reaches]:
                self.answers.pop((message.key, number), None)
                entry.asking.pop((message.key, number), None)
                under_way = self.asked.pop((message.key, number), None)
                if under_way is not None:
                    under_way.origin = None  # its answer need not be kept: nobody will ask for it again

    def disown(self, entry: Entry | None, key: int, *, answered: bool) -> None:
        """A node has handled a message in vain: whoever there builds on it goes back to its last commit."""
        message = self.posted.get(key)
        asker = message.asker if message is not None else self.refused.get(key)
        if key in self.refused:
            del self.refused[key]
            if entry is not None:
                self.misled.append(entry.place)
        if answered and asker is not None:
            self.misled.append(asker)
