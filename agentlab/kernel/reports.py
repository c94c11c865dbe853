"""What nodes report: the hearing end of the lines to all of them, a frame a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from agentlab.agent.snapshot import Change
from agentlab.books.agents import Entry
from agentlab.books.messages import Answer
from agentlab.ground.memory import memory_of
from agentlab.kernel.calls import Calls, answer_to
from agentlab.kernel.desk import Desk
from agentlab.kernel.lives import Lives
from agentlab.kernel.mail import Mail
from agentlab.kernel.placing import Placing
from agentlab.kernel.steps import Steps
from agentlab.kernel.strikes import Strikes
from agentlab.kernel.timers import Timers
from agentlab.kernel.undecided import Undecided
from agentlab.kernel.upgrades import Upgrades
from agentlab.pool.pool import Node
from agentlab.wire.codec import Frame
from agentlab.wire.frames import Mark, ToKernel, Told
from agentlab.wire.stubs import Heard


class Answering(Protocol):
    """Who knows all that may be asked of a lab; a floor above."""

    def serve(self, caller: Entry | None, op: str, args: tuple[Any, ...], answer: Answer) -> None:
        """Begin to answer one question of an agent, or (None) of code that is no agent's."""


class Reports:
    """Hands each frame of a node to the part of the runtime that it concerns."""

    def __init__(
        self, desk: Desk, *, placing: Placing, undecided: Undecided, mail: Mail, calls: Calls, lives: Lives,
        steps: Steps, timers: Timers, upgrades: Upgrades, strikes: Strikes, above: Answering,
    ) -> None:  # fmt: skip
        """Make the table; ``above`` answers what agents ask."""
        self._desk = desk
        self._placing = placing
        self._mail = mail
        self._undecided = undecided
        self._lives = lives
        self._steps = steps
        self._upgrades = upgrades
        self._above = above
        self.hears: dict[str, Callable[[Node, Frame], None]] = dict([
            Heard(ToKernel.ready).by(self.on_ready),
            Heard(ToKernel.log).by(self.on_log),
            Heard(ToKernel.told).by(self.on_told),
            Heard(ToKernel.started).by(self.on_started),
            Heard(ToKernel.failed).by(lives.on_failed),
            Heard(ToKernel.ended).by(lives.on_ended),
            Heard(ToKernel.burnt).by(lives.on_burnt),
            Heard(ToKernel.replaced).by(self.on_replaced),
            Heard(ToKernel.upgraded).by(upgrades.on_upgraded),
            Heard(ToKernel.emit).by(self.on_emit),
            Heard(ToKernel.timer).by(timers.on_timer),
            Heard(ToKernel.cast).by(self.on_cast),
            Heard(ToKernel.begun).by(mail.on_begun),
            Heard(ToKernel.done).by(mail.on_done),
            Heard(ToKernel.withdrawn).by(mail.on_withdrawn),
            Heard(ToKernel.refused).by(mail.on_refused),
            Heard(ToKernel.step).by(steps.on_step),
            Heard(ToKernel.tried).by(steps.on_tried),
            Heard(ToKernel.tries_again).by(steps.on_tries_again),
            Heard(ToKernel.stepped).by(steps.on_stepped),
            Heard(ToKernel.called).by(steps.on_called),
            Heard(ToKernel.admit).by(steps.on_admit),
            Heard(ToKernel.went).by(placing.breakers.on_went),
            Heard(ToKernel.meets).by(strikes.on_meets),
            Heard(ToKernel.replayed).by(steps.on_replayed),
            Heard(ToKernel.diverged).by(steps.on_diverged),
            Heard(ToKernel.call).by(calls.on_call),
            Heard(ToKernel.posted).by(calls.on_posted),
            Heard(ToKernel.ask).by(self.on_ask),
            Heard(ToKernel.act).by(self.on_act),
        ])  # fmt: skip

    def hear(self, node: Node, frames: list[Frame]) -> None:
        """Act on what a node says."""
        hears = self.hears
        for frame in frames:
            hears[frame[0]](node, frame)
            if self._undecided.misled:
                self._lives.start_over_misled()
        self._desk.due()

    def on_ready(self, node: Node, *, pid: int) -> None:
        """A node serves; it gets numbers for calls within it."""
        node.ready, node.born_with = True, memory_of(pid) or 0
        self._desk.ledger.events.note_event("node_started", "/", node=node.number, detail=f"process {pid}")
        self._placing.give_keys(node)

    def on_log(self, node: Node, *, placement: int, line: str) -> None:
        """A line goes to the log of who printed it, else of the node."""
        entry = self._desk.placed.get(placement)
        if entry is None:
            self._desk.ledger.events.note_event("log", "/", node=node.number, detail=line)
        else:
            self._desk.ledger.events.note_printed_line(entry, line)

    def on_told(self, node: Node, *, ticket: int, value: Told) -> None:
        """A node has answered what the kernel asked it."""
        self._placing.questions.answer(ticket, value)

    def on_started(self, node: Node, *, placement: int, changes: list[Change]) -> None:
        """A life is up, and may have missed that its class has newer code."""
        self._lives.on_started(node, placement=placement, changes=changes)
        self._upgrades.again(placement)

    def on_replaced(self, node: Node, *, placement: int, ticket: int, changes: list[Change]) -> None:
        """Fields were set: who asked for that is told after the commit."""
        entry = self._desk.placed.get(placement)
        if entry is not None and not self._desk.is_outlived(entry):
            entry.next_seq()
            self._desk.ledger.children.note_checkpoint(entry, changes)
            self._desk.ledger.after_commit(self._placing.questions.answer, ticket, True)

    def on_emit(self, node: Node, *, placement: int, text: str) -> None:
        """Who looks on sees it."""
        entry = self._desk.placed.get(placement)
        if entry is not None:
            self._desk.ledger.events.pass_text_on(entry, text)
            if entry.pending and entry.pending[0].hears is not None:
                entry.pending[0].hears("text", placement, text)

    def on_cast(self, node: Node, *, path: str, method: str, payload: bytes) -> None:
        """A message without a reply."""
        self._mail.send(path, method, payload)
        self._desk.noted(node)

    def on_ask(self, node: Node, *, placement: int, ticket: int, op: str, args: tuple[Any, ...]) -> None:
        """A question outside a message, which nothing records; who asks may be gone."""
        caller = self._desk.placed.get(placement)
        if caller is not None or not placement:
            self._above.serve(caller, op, args, answer_to(self._desk, node, ticket))

    def on_act(
        self, node: Node, *, placement: int, ticket: int, key: int, number: int, mark: Mark, at: int, given: str,
        op: str, args: tuple[Any, ...],
    ) -> None:  # fmt: skip
        """A question in a message, which is a step of it: it is carried out once."""
        caller = self._desk.placed.get(placement)
        if caller is None:
            return  # who asked is gone
        answer = answer_to(self._desk, node, ticket)
        act = self._steps.act(caller, answer, key=key, number=number, mark=mark, at=at, given=given)
        if act is not None:
            self._above.serve(caller, op, args, act)
