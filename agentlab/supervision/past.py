"""What a supervisor brings back when it is started again: the children that calls had added while it ran.

A supervisor's process takes its records along when it ends. So before its children are stopped, it notes on its own
record which children had been added to it, in which order and how they were; and the same for the supervisors in its
spec, whose records end with it. The next process finds that there. Beyond OTP: with ``bring_back=False`` all
are forgotten.
"""

from __future__ import annotations

from collections.abc import Iterator

from agentlab.supervision.records import Former, Keeper, Past, Record, State, SupervisorRecord

DOWN: tuple[State, ...] = ("undefined", "parked")


def note_past(process: Keeper) -> None:
    """Note which children come back, as things are now; what was noted and has not come back yet still stands."""
    record = process.record
    if record.past is None:
        record.past = _past(process)


def noted(record: Record) -> Iterator[Record]:
    """The children that wait for a supervisor's next process, and those that wait for theirs."""
    pasts = [record.past] if isinstance(record, SupervisorRecord) else []
    while pasts:
        past = pasts.pop()
        if past is not None:
            yield from (former.record for former in past.added.values())
            pasts += [*(former.past for former in past.added.values()), *past.below.values()]


def who_comes_back(process: Keeper) -> frozenset[str]:
    """The ids that the next process has: those in the spec, and those that were noted."""
    past = process.record.past
    return _declared(process) | (past.added.keys() if past is not None else frozenset())


def _declared(process: Keeper) -> frozenset[str]:
    simple = process.spec.strategy == "simple_one_for_one"
    return frozenset() if simple else frozenset(kid.id for kid in process.spec.children)


def bring_back(process: Keeper) -> tuple[list[Record], list[Record]]:
    """Add the noted children after those in the spec; the ones to start, in order, and the ones that stay down."""
    past, process.record.past = process.record.past, None
    if past is None:
        return [], []
    for id, below in past.below.items():
        kid = process.children.get(id)
        if isinstance(kid, SupervisorRecord):
            kid.past = below
    made = [_again(process, former) for former in past.added.values() if former.record.id not in process.children]
    return [record for record in made if record.state == "restarting"], [r for r in made if r.state != "restarting"]


def _again(process: Keeper, former: Former) -> Record:
    old = former.record
    made = process.add(old.id, old.spec, old.fields)
    made.note = old.note
    if isinstance(made, SupervisorRecord):
        made.past = former.past
    if former.state in DOWN:
        made.state, made.trouble = former.state, old.trouble
    else:
        made.state = "restarting"
    return made


def _past(process: Keeper) -> Past | None:
    declared = _declared(process)
    added: dict[str, Former] = {}
    below: dict[str, Past] = {}
    for record, past in _each(process):
        if record.id not in declared:
            if process.spec.bring_back and record.spec.restart != "temporary":
                added[record.id] = Former(record, record.state, past)
        elif past is not None:
            below[record.id] = past
    return Past(added, below) if added or below else None


def _each(process: Keeper) -> Iterator[tuple[Record, Past | None]]:
    for record in process.children.values():
        if isinstance(record, SupervisorRecord):
            known = record.past
            yield record, known if known is not None or record.keeper is None else _past(record.keeper)
        else:
            yield record, None
