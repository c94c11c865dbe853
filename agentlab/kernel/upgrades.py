"""Newer code for agents that are there already: the notebook's twin of OTP's hot code loading.

A cell that defines a class anew changes nothing by itself. ``lab.upgrade(cls)`` does: each agent of a class of
that name goes on with the new one between two messages, its state migrated. Whoever cannot keeps the old code.
``migrate`` is a user's code, so it runs in a node, also for agents that do not run.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from agentlab.agent.base import Agent
from agentlab.agent.code import same_name
from agentlab.agent.snapshot import Change, Image, difference, load
from agentlab.books.agents import Entry
from agentlab.books.classes import Kind
from agentlab.errors import InvalidState
from agentlab.kernel.desk import Desk
from agentlab.kernel.placing import Placing, teach
from agentlab.pool.pool import Node
from agentlab.supervision.child import FLAGS, Child, Supervisor
from agentlab.supervision.records import Record, SupervisorRecord

PATIENCE = 1.0
"""Seconds that ``upgrade`` waits for agents that are busy; they are upgraded all the same, when they are not."""

MIGRATION_SECONDS = 10.0
"""How long a node may take to migrate the state of an agent that does not run."""


class Upgrades:
    """The upgrades of a lab's agents."""

    def __init__(self, desk: Desk, placing: Placing) -> None:
        self._desk = desk
        self._placing = placing
        self._refusals: dict[Entry, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def upgrade(self, cls: type[Agent]) -> list[tuple[str, str, str | None]]:
        """Give the class to all agents of a class of that name; path, what became of it, why, for each."""
        kind = self._desk.kinds.of(cls)
        for record in list(self._desk.tree.records()):
            _renew_template(record, cls)
            if record.note is not None and same_name(record.note.kind.cls, cls):
                self._desk.entries.make(record)
        entries = [e for e in self._desk.entries.values() if e.kind is not kind and same_name(e.kind.cls, cls)]
        for entry in entries:
            entry.wants = kind
            self._refusals.pop(entry, None)
            self._ask(entry)
        end = self._desk.loop.time() + PATIENCE
        for entry in entries:
            await self._desk.changes.until(functools.partial(_is_decided, entry, kind), entry.path, end)
        return [self._told(entry, kind) for entry in entries]

    def _told(self, entry: Entry, kind: Kind) -> tuple[str, str, str | None]:
        if entry.kind is kind:
            return entry.path, "upgraded", None
        if entry.wants is kind:
            return entry.path, "waits", "it takes the new code after the message in hand"
        return entry.path, "refused", self._refusals.get(entry)

    def again(self, placement: int) -> None:
        """A life is up that may have missed what was asked of the one before it."""
        entry = self._desk.placed.get(placement)
        if entry is not None and entry.wants is not None:
            self._ask(entry)

    def _ask(self, entry: Entry) -> None:
        kind = entry.wants
        assert kind is not None
        node = self._desk.pool.nodes.get(entry.node or 0)
        if not entry.has_node:
            task = self._desk.loop.create_task(self._at_rest(entry, kind))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif node is not None and not entry.is_starting:
            teach(node, kind)
            self._placing.tell(entry).upgrade(placement=entry.place, number=kind.number)

    async def _at_rest(self, entry: Entry, kind: Kind) -> None:
        """Upgrade an agent that no node has: a node migrates what the books have of it."""
        image, why = await self.migrate(_whole(entry), kind) if entry.fields else ({}, None)
        if entry.has_node or entry.wants is not kind:
            return  # it was started meanwhile, and is asked when it is up
        if why is not None:
            self._refuse(entry, kind, why)
        else:
            gone = [name for name in entry.fields if name not in kind.cls.__agent_fields__]
            self._go_on(entry, kind, difference(entry.fields, image, gone))
        self._desk.due()

    async def migrate(self, image: Image, kind: Kind) -> tuple[Image, str | None]:
        """A state as newer code has it, made on a node; or why that cannot be."""
        desk = self._desk
        node = desk.pool.pick(None)
        if node is None:
            return {}, "no node is there to migrate its state"
        teach(node, kind)

        def ask(ticket: int) -> None:
            node.say.migrate(ticket=ticket, number=kind.number, image=image)

        desk.due()
        try:
            made, why = await self._placing.questions.put(0, ask, timeout=MIGRATION_SECONDS)
        except TimeoutError:
            return {}, f"its state was not migrated within {MIGRATION_SECONDS:g} s"
        return made or {}, why

    def on_upgraded(
        self, node: Node, *, placement: int, number: int, changes: list[Change] | None, why: str | None
    ) -> None:  # fmt: skip
        """A node has given an agent its new code, or says why not."""
        entry = self._desk.placed.get(placement)
        if entry is None or self._desk.is_outlived(entry):
            return
        kind = self._desk.kinds[number]
        if changes is None:
            self._refuse(entry, kind, why or "?")
        else:
            self._go_on(entry, kind, changes)

    def _refuse(self, entry: Entry, kind: Kind, why: str) -> None:
        if entry.wants is kind:
            entry.wants = None
        self._refusals[entry] = why
        self._desk.ledger.events.note_event("upgrade_refused", entry.path, incarnation=entry.incarnation, reason=why)

    def _go_on(self, entry: Entry, kind: Kind, changes: list[Change]) -> None:
        """The books, the child spec and the specs above it have the new class from here on."""
        if entry.wants is kind:
            entry.wants = None
        if changes:
            entry.next_seq()
            self._desk.ledger.children.note_checkpoint(entry, changes)
        record = entry.record
        fields = _fitting(kind, record.spec.fields)
        for name, field in kind.cls.__agent_fields__.items():
            if field.required and name not in fields:  # a fresh start needs one, and this is the only one there is
                fields[name] = load(field, entry.fields.get(name))
        record.spec = dataclasses.replace(record.spec, what=kind.cls, fields=fields)
        record.fields = _fitting(kind, record.fields) if record.fields else record.fields
        entry.belong_to(record, kind)
        _carry_up(record)
        self._desk.ledger.children.keep_child(record, entry)
        shown = ", ".join(sorted({name for name, *_ in changes})) or None
        self._desk.ledger.events.note_event("upgraded", entry.path, incarnation=entry.incarnation, detail=shown)
        self._desk.settle(entry)


def _is_decided(entry: Entry, kind: Kind) -> bool:
    return entry.wants is not kind


def _whole(entry: Entry) -> Image:
    """Its state, also the transcripts that have nothing in them."""
    fields = entry.kind.cls.__agent_fields__
    return {name: [] for name, field in fields.items() if field.grows} | entry.image()


def _fitting(kind: Kind, fields: Mapping[str, object]) -> dict[str, object]:
    """The initial values that the class still has a use for."""
    found: dict[str, object] = {}
    for name, value in fields.items():
        try:
            kind.initial({name: value})
        except (KeyError, InvalidState):
            continue
        found[name] = value
    return found


def _renew_template(record: Record, cls: type[Agent]) -> None:
    """Instances that a ``simple_one_for_one`` supervisor starts from now on are of the new class."""
    if not isinstance(record, SupervisorRecord) or record.keeper is None:
        return
    keeper = record.keeper
    if keeper.spec.strategy != "simple_one_for_one":
        return
    (template,) = keeper.spec.children
    if isinstance(template.what, type) and template.what is not cls and same_name(template.what, cls):
        known = {name: value for name, value in template.fields.items() if name in cls.__agent_fields__}
        _put(record, keeper.spec, (dataclasses.replace(template, what=cls, fields=known),))


def _carry_up(record: Record) -> None:
    """A static child's spec stands in its supervisor's too, and that in the one above: all of them start from it."""
    above = record.parent
    if above is None or above.spec.strategy == "simple_one_for_one":
        return
    if any(kid.id == record.id for kid in above.spec.children):
        kids = tuple(record.spec if kid.id == record.id else kid for kid in above.spec.children)
        _put(above.record, above.spec, kids)


def _put(record: SupervisorRecord, old: Supervisor, children: tuple[Child, ...]) -> None:
    flags: dict[str, Any] = {name: getattr(old, name) for name in FLAGS}
    made = Supervisor.unchecked(old.name, children, **flags)
    if record.keeper is not None:
        record.keeper.spec = made
    record.spec = dataclasses.replace(record.spec, what=made)
    _carry_up(record)
