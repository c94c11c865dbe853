"""What a stored lab had in its mailboxes: it waits until everybody is back, then goes on."""

from __future__ import annotations

from agentlab.books.messages import Message
from agentlab.kernel.desk import Desk
from agentlab.kernel.lives import Lives
from agentlab.kernel.mail import Mail
from agentlab.kernel.placing import Placing


class Unread:
    """Holds the messages of agents that come back; ``Placing.unread`` has them, since neighbours wait for that."""

    def __init__(self, desk: Desk, mail: Mail, placing: Placing, lives: Lives) -> None:
        self._desk = desk
        self._mail = mail
        self._placing = placing
        self._lives = lives
        self._holds = 0  # how many bring somebody back now; one may be asked for by an ``on_start`` that another runs

    def hold(self, messages: dict[str, list[Message]]) -> None:
        """A stored lab comes back: what it had in hand waits until everybody is there."""
        self._holds += 1
        for path, held in messages.items():
            self._placing.unread.setdefault(path, []).extend(held)

    def release(self) -> None:
        """Everybody is back. A message that went on earlier might have reached for who was not there yet."""
        self._holds -= 1
        if self._holds:
            return
        found = [(path, self._desk.entries.get(path), messages) for path, messages in self._placing.unread.items()]
        self._placing.unread = {}
        for path, entry, messages in found:
            if entry is None and self._desk.waiting.below(path) is not None:
                self._desk.waiting.mail[path] = messages + self._desk.waiting.mail.get(path, [])
        held = [(entry, messages) for _, entry, messages in found if entry is not None]
        for entry, messages in held:  # all of them before the first goes on: it may join a call that is among them
            for message in messages:
                self._mail.restore(entry, message)
        for entry, messages in held:
            if not entry.is_up:
                continue
            if entry.doubt is not None:
                self._lives.drop(entry, "shutdown")
                continue
            for message in messages:
                self._placing.deliver(entry, message)
            self._placing.tell(entry).open(placement=entry.place)
