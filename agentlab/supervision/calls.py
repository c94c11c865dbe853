"""The administration calls of a supervisor: OTP's ``start_child`` and its kin, with OTP's results."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agentlab.errors import InvalidSpec
from agentlab.supervision.board import Handler, Lane, News, Waiting
from agentlab.supervision.checks import check_id
from agentlab.supervision.child import Child, check_child
from agentlab.supervision.process import Process
from agentlab.supervision.records import Record
from agentlab.supervision.restarts import Supervising
from agentlab.supervision.words import Begun, ChildInfo, Counts, Instance, Operation, Refused, Up

BETWEEN = ("restarting", "backing_off")  # both are OTP's restarting


def start_child(process: Process, lane: Lane, *args: Any) -> Waiting:  # what _admit takes
    """Start and keep a new child; of a failed start nothing is kept, and nothing is retried."""
    made = _admit(process, args)
    if isinstance(made, Refused):
        return made
    process.begin(lane, made)
    return _conclude(process, made, (yield))


def start_children(process: Process, lane: Lane, items: list[Any]) -> Waiting:  # Child, or what _admit takes
    """Start many children side by side; a list of results in the order of the items."""
    bulk = Bulk(process, lane)
    process.bulks.append(lane)
    for item in items:
        bulk.add(_admit(process, item if isinstance(item, tuple) else (item,)))
    if bulk.left:
        yield  # until the last has told
    process.bulks.remove(lane)
    if not process.board.waiters:
        process.board.waiters.clear()  # an emptied dict keeps its room, here as much as the children need
    return bulk.results


def add_running(process: Process, lane: Lane, items: list[Any]) -> list[Record | Refused]:  # as start_children
    """Keep many new children that need nothing to be started, so that they run at once; results in order."""
    results: list[Record | Refused] = []
    begun: list[Record] = []
    for item in items:
        made = _admit(process, item if isinstance(item, tuple) else (item,))
        if isinstance(made, Record):
            process.board.run_at_once(made)
            begun.append(made)
        results.append(made)
    process.board.commands.append(Begun(begun))
    return results


class Bulk:
    """Many starts in hand at once; hears of each without waking the lane, which waits for the last."""

    __slots__ = ("lane", "left", "places", "process", "results")

    def __init__(self, process: Process, lane: Lane) -> None:
        self.process = process
        self.lane = lane  # where messages about its children wait
        self.left = 0
        self.results: list[Record | Up | Refused] = []  # a record until its start is answered
        self.places: dict[int, int] = {}  # of a life in the results

    def add(self, made: Record | Refused) -> None:
        """Begin one more start, or note why not."""
        if isinstance(made, Record):
            self.process.begin(self, made)
            self.places[made.life or 0] = len(self.results)
            self.left += 1
        self.results.append(made)

    def tell_news(self, kind: str, life: int, value: Any) -> None:  # any term
        """Note that a child came up, or did not; the last one wakes the lane."""
        place = self.places[life]
        record = self.results[place]
        if isinstance(record, Record):
            self.results[place] = _conclude(self.process, record, News(kind, life, value))
            self.left -= 1
            if self.lane.queue:
                self.process.release(record.id, self.lane)
            if not self.left:
                self.lane.tell_news(kind, life, value)


def _admit(process: Process, args: tuple[Any, ...]) -> Record | Refused:
    """A record for a new child, if there may be one.

    ``args``: a ``Child``; or an id, fields, and the ``Child`` that many share; or, under
    ``simple_one_for_one``, an instance's id (None: the next number) and its fields.
    """
    simple = process.is_simple
    if simple != (len(args) == 2):
        return Refused("simple_one_for_one")
    spec: Child = process.spec.children[0] if simple else args[-1]
    name, fields = (spec.id, None) if len(args) == 1 else args[:2]
    try:
        if not spec.checked or spec.significant:
            check_child(spec, auto_shutdown=process.spec.auto_shutdown, where=repr(process.record.path))
        if name is None:
            name = _next_name(process, spec.id)
        elif name is not spec.id:
            check_id(name, "child", "id")
    except InvalidSpec as error:
        return Refused("invalid_spec", (error.kind, error.value), cause=error)
    known = process.children.get(name)
    if known is not None:
        return Refused("already_started" if known.life is not None else "already_present", life=known.life)
    most = process.spec.max_children
    if most is not None and len(process.children) >= most:
        return Refused("max_children", most)
    return process.add(name, spec, fields)


def _next_name(process: Process, template: str) -> str:
    while True:
        process.serial += 1
        name = f"{template}-{process.serial}"
        if name not in process.children:
            return name


def _conclude(process: Process, record: Record, news: News) -> Up | Refused:
    """The result of a start that was asked for."""
    news = process.note_start(record, news)
    if news.kind == "started":
        return Up(record, news.number, news.value)
    if news.kind == "ignored":
        process.put_down(record, "ignored")
        return Up(record, None)
    process.forget_record(record, news.value)
    return Refused("start_failed", news.value)


def adopt_child(process: Process, lane: Lane, item: Any, reason: Any) -> Up | Refused:  # as start_children; any term
    """Keep a new child without starting it: it is parked until ``restart_child``."""
    made = _admit(process, item if isinstance(item, tuple) else (item,))
    if isinstance(made, Refused):
        return made
    process.park(made, reason)
    return Up(made, None)


def terminate_child(process: Process, lane: Lane, target: str | int | Instance) -> Waiting:
    """Stop a child, or cancel its restart; the record stays, unless it is temporary or an instance."""
    record = _find_instance(process, target) if process.is_simple else _find(process, target)
    if not isinstance(record, Record):
        return record
    reason = yield from process.stop(lane, record)
    process.put_down(record, reason, asked=True)
    return None


def park_child(process: Process, lane: Lane, target: str, reason: Any = "shutdown") -> Waiting:  # any term
    """Stop a child and leave it down until ``restart_child``, whatever happens to its siblings."""
    record = _find(process, target)
    if not isinstance(record, Record):
        return record
    yield from process.stop(lane, record)
    process.park(record, reason)
    return None


def restart_child(process: Process, lane: Lane, target: str) -> Waiting:
    """Start a child that is down; of a failed start the record stays down, and nothing is retried."""
    record = _down(process, target)
    if isinstance(record, Refused):
        return record
    state = record.state
    news = yield from process.start(lane, record)
    if news.kind == "started":
        return Up(record, news.number, news.value)
    if news.kind == "failed":
        record.state = state
        process.board.say("parked" if state == "parked" else "down", record, news.value)
        return Refused("start_failed", news.value)
    process.put_down(record, "ignored")
    return Up(record, None)


def start_again(process: Supervising, lane: Lane, target: str) -> Waiting:
    """Start a child that is down, an instance too, as after a crash, but uncounted; a failed start is retried."""
    record = process.children.get(target)
    if record is None or record.life is not None or record.state in BETWEEN:
        return Refused("not_found" if record is None else "running")
    news = yield from process.start_again(lane, record)
    return Up(record, news.number if news.kind == "started" else None)


def delete_child(process: Process, lane: Lane, target: str) -> Refused | None:
    """Forget a child that is down."""
    record = _down(process, target)
    if isinstance(record, Refused):
        return record
    process.forget_record(record, "deleted")
    return None


def which_children(process: Process, lane: Lane) -> list[ChildInfo]:
    """The children, newest first."""
    return [
        ChildInfo(record.id, "restarting" if record.state in BETWEEN else record.life, record.spec.type, record)
        for record in reversed(process.children.values())
    ]


def count_children(process: Process, lane: Lane) -> Counts:
    """Records, those that run, and by type."""
    records = process.children.values()
    supervisors = sum(record.is_supervisor for record in records)
    if process.is_simple:
        active = sum(record.life is not None for record in records)
        return Counts(1, active, supervisors, len(records) - supervisors)
    active = sum(record.life in process.board.lives for record in records)
    return Counts(len(records), active, supervisors, len(records) - supervisors)


def get_childspec(process: Process, lane: Lane, target: str | int | Instance) -> Child | Refused:
    """How a child is kept."""
    if process.is_simple:
        template = process.spec.children[0]
        named = target.id if isinstance(target, Instance) else target
        if named != template.id and isinstance(_find_instance(process, target), Refused):
            return Refused("not_found")
        return template
    record = _find(process, target)
    if isinstance(record, Refused) or record.id == record.spec.id:
        return record.spec if isinstance(record, Record) else record
    return replace(record.spec, id=record.id, fields=record.initial)


def _find(process: Process, target: str | int | Instance) -> Record | Refused:
    """The child with this id; under ``simple_one_for_one`` an id names none, as in OTP."""
    if process.is_simple:
        return Refused("simple_one_for_one")
    record = process.children.get(target) if isinstance(target, str) else None
    return record or Refused("not_found")


def _find_instance(process: Process, target: str | int | Instance) -> Record | Refused | None:
    """An instance by its id or its life; None for a life that has ended, as OTP answers ok for any dead pid."""
    if isinstance(target, Instance):
        return process.children.get(target.id) or Refused("not_found")
    if isinstance(target, str):
        return Refused("simple_one_for_one")
    if target in process.exits:
        return process.exits[target][0]
    record = process.board.lives.get(target, process.former.get(target))
    if record is None:
        return None
    return record if record.parent is process else Refused("not_found")


def _down(process: Process, target: str) -> Record | Refused:
    """A child without a process and without a restart in hand."""
    record = _find(process, target)
    if isinstance(record, Refused):
        return record
    if record.state in BETWEEN:
        return Refused("restarting")
    return Refused("running", life=record.life) if record.life is not None else record


OPERATIONS: dict[Operation, Handler] = {
    "start_child": start_child,
    "start_children": start_children,
    "add_running": add_running,
    "adopt_child": adopt_child,
    "terminate_child": terminate_child,
    "park_child": park_child,
    "restart_child": restart_child,
    "start_again": start_again,
    "delete_child": delete_child,
    "which_children": which_children,
    "count_children": count_children,
    "get_childspec": get_childspec,
}
