"""Lives in the kernel: placed on nodes, started, moved, ended; and the exit signals between them.

The supervision machine says which life starts and which is told to end; this carries it out and reports
back. An agent that does not trap a signal is over for the books at once, whatever its node is busy with.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from agentlab._books import Entry, Kind, Message, reason_text
from agentlab._desk import Desk
from agentlab._mail import Mail
from agentlab._pool import Node
from agentlab._tree_records import Record
from agentlab._tree_words import Call, Exited, Fact, Failed, Ignored, SignalWorker, Start, Started
from agentlab._wire import decode_reason, encode_reason, pack
from agentlab.ref import Ref, links


class Lives:
    """The lives of a lab's agents."""

    def __init__(self, desk: Desk, mail: Mail, lab_id: str) -> None:
        self._desk = desk
        self._mail = mail
        self._lab_id = lab_id
        self.births: dict[str, Callable[[Entry], None]] = {}  # what a fork begins with, by path
        self._homeless: list[int] = []  # lives that wait for a node
        self.unread: dict[str, list[Message]] = {}  # messages that a stored lab still has, by path
        self.incarnations: dict[str, int] = {}  # of supervisors, by path
        self._supervisors: dict[str, int] = {}  # their present lives, for links and monitors

    # the machine's commands

    def start(self, command: Start) -> None:
        """Start a life."""
        before = self._desk.entries.get(command.record.path)
        if before is not None and before.life:  # its supervisor was killed: it still runs its on_stop
            self._outlive(before)
        entry = self._entry_of(command.record)
        entry.life, entry.ending, entry.asked, entry.down = command.life, False, False, False
        entry.notes = 0
        entry.suspended, entry.parks = False, ""
        self._desk.lives[command.life] = entry
        self._place(entry)
        self._desk.settle(entry)

    def _outlive(self, entry: Entry) -> None:
        self._mail.judge(entry, "killed", None, own=False)
        old = self._desk.lives[entry.life] = entry.outlive()
        self._desk.settle(old)

    def signal(self, command: SignalWorker) -> None:
        """An exit signal from the supervisor. It is trapped by who says so, or has an ``on_stop``."""
        entry = self._desk.lives.get(command.life)
        if entry is None:
            return
        traps = entry.kind.traps_shutdown and not self._desk.starting(entry)
        if command.reason == "kill" or not traps or entry.life != command.life:
            self.end(entry, "killed" if command.reason == "kill" else command.reason, life=command.life)
            return
        entry.ending = True
        self._desk.settle(entry)
        if not self._desk.tell(entry, "signal", encode_reason(command.reason)):
            self.end(entry, command.reason)

    def note(self, fact: Fact) -> None:
        """Something that the machine says is true now."""
        desk, record = self._desk, fact.record
        desk.ledger.fact(fact)
        if record.is_supervisor:
            self._note_supervisor(fact)
        elif fact.kind in ("parked", "down", "removed"):
            self._note_end(fact)

    def _note_end(self, fact: Fact) -> None:
        """An agent is kept without a process, or gone for good."""
        desk, record = self._desk, fact.record
        entry = desk.entries.get(fact.path)
        if entry is None and fact.kind == "parked":
            entry = self._entry_of(record)  # kept, but never started by this process
        if entry is None or entry.record is not record:
            return
        if fact.kind == "removed":
            self.forget(entry, fact.reason)
            return
        if entry.parks == "restart":
            return  # it is about to be started again: its messages wait
        entry.down = True
        if fact.kind == "parked":
            entry.reason = fact.reason
        for_good = fact.kind == "down" or entry.asked
        self._mail.drop(entry, fact.reason, casts=for_good)
        if for_good:
            self._leave_topics(entry)
        desk.ledger.keep_child(record, entry)
        desk.settle(entry)

    def _note_supervisor(self, fact: Fact) -> None:
        """A supervisor came up, or ended, or is gone and everything below it with it."""
        path = fact.path
        if fact.kind == "supervisor_started":
            self.incarnations[path] = self.incarnations.get(path, 0) + 1
            self._supervisors[path] = fact.life or 0
        elif fact.kind == "supervisor_exited":
            self._tell_others(self._supervisors.pop(path, 0), path, fact.reason)
        elif fact.kind in ("down", "parked", "removed") and not self._desk.ledger.closing:
            for entry in [e for place, e in self._desk.entries.items() if place.startswith(path + "/")]:
                if fact.kind == "removed":
                    self.forget(entry, fact.reason)
                else:
                    entry.down = True
                    self._mail.drop(entry, fact.reason)

    def forget(self, entry: Entry, reason: Any) -> None:
        """The agent is gone for good; a later one with its id starts fresh."""
        desk = self._desk
        self._mail.drop(entry, self._mail.doubt(entry) or reason, gone=True)
        desk.entries.pop(entry.path, None)
        if not entry.life:
            desk.active.discard(entry)
        self._leave_topics(entry)
        for number in desk.clock.drop(entry.path):
            desk.ledger.timer_gone(number)
        desk.ledger.forget(entry)

    def _leave_topics(self, entry: Entry) -> None:
        topics = self._desk.topics
        for topic in entry.topics:
            topics[topic].pop(entry.path, None)
            if not topics[topic]:
                del topics[topic]
        entry.topics.clear()

    # placing

    def _entry_of(self, record: Record) -> Entry:
        desk = self._desk
        path = record.path
        entry = desk.entries.get(path)
        what: Any = record.spec.what
        if entry is None:
            entry = desk.entries[path] = Entry(record, desk.kinds.of(what))
            desk.ledger.recall(entry)
            birth = self.births.pop(path, None)
            if birth is not None:
                birth(entry)
            desk.ledger.keep_child(record, entry)
        elif entry.record is not record or entry.spec is not record.spec:
            entry.belong_to(record, desk.kinds.of(what))
            desk.ledger.keep_child(record, entry)
        return entry

    def _place(self, entry: Entry, *, avoid: int | None = None) -> None:
        """Send a life to a node; it waits if there is none."""
        pool = self._desk.pool
        if not pool.nodes:
            self._homeless.append(entry.life)
            return
        node = pool.pick(entry.node, avoid=avoid if avoid is not None else entry.shunned)
        entry.node, entry.shunned = node.number, None
        node.agents += 1
        teach(node, entry.kind)
        if entry.spec.restore == "fresh" and entry.incarnation:
            entry.fields = {}
        begin = (entry.kind.number, entry.path, entry.incarnation + 1)
        node.say("start", entry.life, *begin, entry.initial, entry.fields)

    def house(self) -> None:
        """There are nodes again: place the lives that waited for one."""
        homeless, self._homeless = self._homeless, []
        for life in homeless:
            entry = self._desk.present(life)
            if entry is not None:
                self._place(entry)

    def hold(self, messages: dict[str, list[Message]]) -> None:
        """A stored lab comes back: what it had in hand waits until everybody is there."""
        self.unread = messages

    def release(self) -> None:
        """Everybody is back. A message that went on earlier might have reached for who was not there yet."""
        found = [(self._desk.entries.get(path), messages) for path, messages in self.unread.items()]
        self.unread = {}
        held = [(entry, messages) for entry, messages in found if entry is not None]
        for entry, messages in held:  # all of them before the first goes on: it may join a call that is among them
            for message in messages:
                self._mail.restore(entry, message)
        for entry, messages in held:
            if not entry.life or self._desk.starting(entry):
                continue
            if self._mail.doubt(entry) is not None:
                self.end(entry, "shutdown")
                continue
            for message in messages:
                self._mail.hand_over(entry, message)

    @property
    def waiting(self) -> bool:
        """Whether a life waits for a node."""
        return bool(self._homeless)

    def node_lost(self, node: Node, why: str) -> None:
        """A node died. Its agents did nothing wrong: they move, uncounted, with their states and messages."""
        moved = [entry for entry in self._desk.lives.values() if entry.node == node.number and entry.life]
        self._desk.ledger.event("node_down", "/", node=node.number, detail=f"{len(moved)} agents move", reason=why)
        for entry in moved:
            if entry.ending:
                entry.node = None
                self.end(entry, "killed")
                continue
            self._mail.judge_move(entry)
            if self._mail.doubt(entry) is not None:
                entry.node = None
                self.end(entry, "node_down")
                continue
            entry.moving = entry.moving or not self._desk.starting(entry)
            entry.reason = "node_down"
            entry.notes = 0
            entry.asking.clear()
            self._tell_links(entry, "node_down")
            self._desk.ledger.moved(entry, node.number)
            self._place(entry, avoid=node.number)

    def _tell_links(self, entry: Entry, reason: Any) -> None:
        """An incarnation ended though the machine's life goes on: its links and monitors are told."""
        self._tell_others(entry.life, entry.path, reason)

    # what nodes report

    def on_started(self, node: Node, life: int, changes: list[Any]) -> None:
        """A life is up: what waited for it is handed over."""
        entry = self._desk.present(life)
        if entry is None:
            return
        entry.incarnation += 1
        entry.restarts += entry.incarnation > 1 and not entry.moving
        entry.since = time.time_ns()
        if changes:
            entry.seq += entry.incarnation > 1  # the first state is checkpoint 0, each later one has its own number
            self._desk.ledger.checkpoint(entry, changes)
        self._desk.ledger.started(entry)
        entry.moving = False
        self._desk.feed(Started(life))
        if self._mail.doubt(entry) is not None:  # its siblings, a person or a new kernel started it too early
            self.end(entry, "shutdown")
            return
        if entry.traced:
            self._desk.tell(entry, "trace", True)
        if entry.suspended:
            self._desk.tell(entry, "suspend", True)
        for message in entry.pending:
            self._mail.hand_over(entry, message)
        self._desk.settle(entry)

    def on_failed(self, node: Node, life: int, reason: Any, key: int | None, own: bool) -> None:
        """A life did not come up; ``Exit("normal")`` in ``on_start`` is OTP's *ignore*."""
        entry = self._desk.present(life)
        if entry is None:
            return
        decoded = decode_reason(reason)
        if entry.moving:  # the machine knows this life as running
            self.end(entry, decoded, own=own)
            return
        self._leave(entry, life)
        entry.reason = decoded
        if decoded == "normal":
            self._desk.ledger.event("ignored", entry.path, node=node.number)
            self._desk.feed(Ignored(life))
        else:
            self._desk.ledger.failed(entry, node.number, decoded)
            self._desk.feed(Failed(life, decoded))
        self._desk.settle(entry)

    def on_exit(self, node: Node, life: int, reason: Any, key: int | None, own: bool) -> None:
        """A life ended by itself, or as it was told."""
        entry = self._desk.lives.get(life)
        if entry is not None:
            self.end(entry, decode_reason(reason), key=key, own=own, life=life, told=True)

    # ends

    def end(
        self, entry: Entry, reason: Any, *, key: int | None = None, own: bool = False, life: int | None = None,
        told: bool = False,
    ) -> None:  # fmt: skip
        """A life is over, for the books at once: judge the message in hand, tell the machine, then the others.

        Args:
            entry: The agent.
            reason: Why.
            key: The message that its node says was in hand.
            own: Whether its handler raised it.
            life: Which life; the present one if left out.
            told: The node said so itself; else it is told to drop the life.
        """
        desk = self._desk
        life = entry.life if life is None else life
        if life not in desk.lives:
            return
        if not told:
            desk.tell(entry, "signal", "kill")
            entry.shunned = entry.node  # what is left of the old life may still be busy there
        parks = bool(entry.parks)
        self._leave(entry, life)
        entry.reason = reason
        desk.ledger.ended(entry, reason)
        self._mail.judge(entry, reason, key, own=own)
        doubt = self._mail.doubt(entry)
        if doubt is not None or (isinstance(reason, tuple) and reason[0] == "diverged"):
            parks, reason = True, doubt or reason
        desk.feed(Exited(life, reason, park=parks))
        self._tell_others(life, entry.path, reason)
        desk.settle(entry)

    def start_over(self, entry: Entry) -> None:
        """What its node has is past its last commit: it starts again from there; no crash, so not counted."""
        if not entry.life:
            return
        again = not (entry.ending or entry.parks)
        entry.parks = entry.parks or "restart"
        self.end(entry, "killed")
        supervisor = entry.record.supervisor
        if again and supervisor is not None:
            self._desk.feed(Call(next(self._desk.numbers), supervisor.path, "restart_child", entry.record.id))

    def _leave(self, entry: Entry, life: int) -> None:
        self._desk.lives.pop(life, None)
        node = self._desk.pool.nodes.get(entry.node or 0)
        if node is not None:
            node.agents -= 1
        entry.life, entry.ending, entry.moving = 0, False, False
        entry.asking.clear()

    # signals between agents

    def life_at(self, path: str) -> int:
        """The present life at a path, of an agent or a supervisor; 0 if there is none."""
        entry = self._desk.entries.get(path)
        if entry is not None:
            return entry.life
        return self._supervisors.get(path, 0)

    def link(self, entry: Entry, path: str) -> None:
        """Link two lives; a link to nobody is a signal ``noproc``."""
        life = self.life_at(path)
        if life:
            self._desk.links.link(entry.life, life)
        else:
            self.exit_signal(entry, "noproc", path, linked=True)

    def monitor(self, entry: Entry, path: str) -> None:
        """Tell the agent once when that life ends; at once, with ``noproc``, if there is none."""
        life = self.life_at(path)
        if life:
            self._desk.links.monitor(entry.life, life)
        else:
            self._hook(entry, "on_down", path, "noproc")

    def exit_signal(self, entry: Entry, reason: Any, sender: str, *, linked: bool = False) -> None:
        """An exit signal from a stranger or a linked life, by OTP's table.

        ``kill`` from a stranger cannot be trapped; across a link it arrives as ``killed`` and can. A trapped
        signal is a message to ``on_exit``. ``normal`` does nothing to who does not trap.
        """
        if not entry.life:
            return
        if reason == "kill" and not linked:
            self.end(entry, "killed")
        elif entry.kind.cls.trap_exit is True:
            self._hook(entry, "on_exit", sender, reason)
        elif reason != "normal":
            self.end(entry, reason)

    def _hook(self, entry: Entry, hook: str, path: str, reason: Any) -> None:
        what: Any = self._desk.tree.find(path)
        name = getattr(getattr(what, "spec", None), "what", None)
        ref = Ref(
            links[self._lab_id], path or "/", getattr(name, "__name__", "Supervisor" if name is not None else "?")
        )
        self._mail.send(entry.path, hook, pack(((ref, reason), {}), f"the arguments of {hook}"), sender=path)

    def _tell_others(self, life: int, path: str, reason: Any) -> None:
        """A life ended: linked lives get a signal, then its watchers a word."""
        if not life:
            return
        peers, watchers = self._desk.links.end(life)
        for peer in peers:
            entry = self._desk.present(peer)
            if entry is not None:
                self._desk.ledger.event("linked_exit", entry.path, reason=reason_text(reason), detail=path)
                self.exit_signal(entry, reason, path, linked=True)
        for watcher in watchers:
            entry = self._desk.present(watcher)
            if entry is not None:
                self._hook(entry, "on_down", path, reason)


def teach(node: Node, kind: Kind) -> None:
    """Give a node an agent class, once."""
    if kind.number not in node.classes:
        node.classes.add(kind.number)
        node.say("class", kind.number, kind.data)
