"""What a person starts from a cell: checked, waited for, with a bar where that takes long, and told of."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Mapping
from typing import Any

from agentlab.agent.base import Agent
from agentlab.control.again import start_again, start_many_again
from agentlab.control.cells import answer_of
from agentlab.control.children import start
from agentlab.control.many import start_many
from agentlab.control.progress import remark, result, tell
from agentlab.errors import InvalidSpec
from agentlab.ground.given import each_one, path_of, shown
from agentlab.kernel.runtime import Runtime
from agentlab.ref.cell import RefInCell
from agentlab.ref.many import Refs
from agentlab.ref.ref import Ref


def start_one(
    runtime: Runtime, what: Any, id: str | None, under: Ref | str | None, fields: dict[str, Any], *, exist_ok: bool
) -> RefInCell:  # fmt: skip
    """Do what ``Lab.start`` says."""
    __tracebackhide__ = True
    path = None if under is None else path_of(under, "start", "under")
    name = id or getattr(what, "__name__", None) or getattr(what, "id", None) or shown(what)
    found = answer_of(
        runtime.submit(start_again if exist_ok else start, runtime, what, id, path, fields),
        lambda: f"the start of {name} goes on; nobody waits for it. Look: lab.agents(). End it: lab[path].kill().",
    )
    ref, told = found if exist_ok else (found, [])
    tell(told, depth=4)
    remark(runtime.desk.remarks)
    made: RefInCell = ref
    return made


def start_all(
    runtime: Runtime, cls: type[Agent], n_or_fields: int | Iterable[Mapping[str, Any]], under: Ref | str | None,
    options: dict[str, Any], *, exist_ok: bool,
) -> Refs[RefInCell]:  # fmt: skip
    """Do what ``Lab.start_many`` says."""
    if not (isinstance(cls, type) and issubclass(cls, Agent)):
        raise InvalidSpec(f"start_many: give an agent class; got {shown(cls)}. What needs options: lab.start.")
    given = each_one(n_or_fields, "start_many")
    path = None if under is None else path_of(under, "start_many", "under")
    if "id" in options:
        raise InvalidSpec(f"start_many: each gets an id of its own, so none for all; got id={shown(options['id'])}")
    started = [0]
    progress = functools.partial(operator.setitem, started, 0)
    if exist_ok:
        given = [{**options, **fields} for fields in given]
        work = runtime.submit(start_many_again, runtime, cls, given, path, progress)
    else:
        work = runtime.submit(start_many, runtime, cls, given, path, progress, None, options)
    found = result(work, lambda: started[0], len(given))
    remark(runtime.desk.remarks)
    refs, told = found if exist_ok else (found, [])
    tell(told, depth=4)
    made: Refs[RefInCell] = refs
    return made
