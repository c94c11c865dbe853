"""Many children under one limit: said once, before their supervisor gives up because of a few of them."""

from __future__ import annotations

import math

from agentlab.kernel.desk import Desk
from agentlab.supervision.child import Supervisor
from agentlab.supervision.records import Record

MANY = 50
"""More children than that under a limit that they share are told of."""


def look(desk: Desk, record: Record) -> None:
    """Note an event, and a remark for a notebook, where children of this supervisor are likely to meet its limit."""
    spec, path = record.spec.what, record.path
    size = len(record.children)
    if not isinstance(spec, Supervisor) or record.supervisor is None or size <= MANY:
        return
    if size < desk.crowds.get(path, 0):  # looked at, or told of, not long ago: to look at all of them takes time
        return
    desk.crowds[path] = 2 * size
    sharing = sum(kid.spec.own_limit is None and kid.spec.restart != "temporary" for kid in record.children.values())
    if sharing <= max(MANY, spec.max_restarts):
        return
    desk.crowds[path] = math.inf
    shared = f"{sharing} children share the limit of {spec.max_restarts} restarts in {spec.max_seconds:g} s"
    remedy = "one more, and all of them are stopped and started again. Give each its own: own_limit=Limit(3, 5.0)"
    desk.ledger.events.note_event("shared_limit", path, detail=f"{shared}: {remedy}")
    desk.remarks.append(f"{path}: {shared}: {remedy}.")
    desk.due()


def look_below(desk: Desk, record: Record) -> None:
    """The same for a supervisor that was just started, and for those below it."""
    for below in list(record.walk()):
        if below.is_supervisor:
            look(desk, below)
