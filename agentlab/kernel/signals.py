"""Exit signals between lives: links, monitors, strangers. By OTP's table, with paths for pids.

Whom a signal is fatal to is said here; ``Lives`` ends them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from agentlab.books.agents import Entry
from agentlab.books.links import Links
from agentlab.exits import reason_text
from agentlab.kernel.desk import Desk
from agentlab.kernel.mail import Mail
from agentlab.ref.link import links
from agentlab.wire.packing import pack


class Fatal(NamedTuple):
    """A signal that ends a life: whose, and with which reason."""

    entry: Entry
    reason: Any  # any term


class Signals:
    """Who hears of whose end."""

    def __init__(self, desk: Desk, mail: Mail, lab_id: str) -> None:
        self._desk = desk
        self._mail = mail
        self._lab_id = lab_id
        self.links = Links()

    def life_at(self, path: str) -> int:
        """The present life at a path, of an agent or a supervisor; 0 if there is none."""
        entry = self._desk.entries.get(path)
        if entry is not None:
            return entry.life
        return self._desk.supervisors.life(path)

    def supervises(self, path: str) -> bool:
        """Whether a supervisor runs there; any thread may ask."""
        return self._desk.supervisors.life(path) != 0

    def link(self, entry: Entry, path: str) -> Fatal | None:
        """Link two lives; a link to nobody is a signal ``noproc``, which may be fatal."""
        life = self.life_at(path)
        if not life:
            return self.arrive(entry, "noproc", path, linked=True)
        self.links.link(entry.life, life)
        return None

    def monitor(self, entry: Entry, path: str) -> None:
        """Tell the agent once when that life ends; at once, with ``noproc``, if there is none."""
        life = self.life_at(path)
        if life:
            self.links.monitor(entry.life, life)
        else:
            self._hook(entry, "on_down", path, "noproc")

    def unlink(self, entry: Entry, path: str) -> None:
        """Cut the tie to whatever lives there, also to a life that still ends."""
        for life in self._lives_at(path, self.links.linked(entry.life)):
            self.links.unlink(entry.life, life)

    def demonitor(self, entry: Entry, path: str) -> None:
        """One word less from whatever lives there, also from a life that still ends."""
        for life in self._lives_at(path, self.links.watched(entry.life)):
            self.links.demonitor(entry.life, life)

    def _lives_at(self, path: str, known: frozenset[int]) -> set[int]:
        ending = {life for life in known if (old := self._desk.lives.get(life)) is not None and old.path == path}
        return ending | self._desk.supervisors.lives(path) | {self.life_at(path)}

    def arrive(self, entry: Entry, reason: Any, sender: str, *, linked: bool = False) -> Fatal | None:
        """An exit signal from a stranger or a linked life, by OTP's table; whether it is fatal.

        ``kill`` from a stranger cannot be trapped; across a link it arrives as ``killed`` and can. A trapped
        signal is a message to ``on_exit``. ``normal`` does nothing to who does not trap.
        """
        if not entry.life:
            return None
        if reason == "kill" and not linked:
            return Fatal(entry, "killed")
        if entry.kind.cls.trap_exit is True:
            self._hook(entry, "on_exit", sender, reason)
            return None
        return Fatal(entry, reason) if reason != "normal" else None

    def _hook(self, entry: Entry, hook: str, path: str, reason: Any) -> None:
        what: Any = self._desk.tree.find(path)
        name = getattr(getattr(what, "spec", None), "what", None)
        ref = links[self._lab_id].ref(path or "/", getattr(name, "__name__", "Supervisor" if name is not None else "?"))
        self._mail.send(entry.path, hook, pack(((ref, reason), {}), f"the arguments of {hook}"), sender=path)

    def over(self, life: int, path: str, reason: Any) -> Iterator[Fatal]:
        """A life ended: linked lives get a signal, then its watchers a word.

        One after the other: whom a signal ends has ended before the next one is told.
        """
        if not life:
            return
        peers, watchers = self.links.end(life)
        for peer in peers:
            entry = self._desk.present(peer)
            if entry is not None:
                self._desk.ledger.events.note_event("linked_exit", entry.path, reason=reason_text(reason), detail=path)
                fatal = self.arrive(entry, reason, path, linked=True)
                if fatal is not None:
                    yield fatal
        for watcher in watchers:
            entry = self._desk.present(watcher)
            if entry is not None:
                self._hook(entry, "on_down", path, reason)
