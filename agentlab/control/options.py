"""The options of a lab: checked, with what is left out filled in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

from agentlab import faults
from agentlab.control.local import checked_options
from agentlab.control.progress import in_notebook
from agentlab.errors import InvalidSpec
from agentlab.ground.given import shown
from agentlab.kernel.watch import Patience
from agentlab.supervision.budget import Budget
from agentlab.supervision.checks import check_instance

Resume = bool | Literal["ask"]
OnFull = Literal["fail", "memory"]


def options_of(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A lab's options as it has them, by their names, and what its runtime is made with.

    Raises:
        InvalidSpec: One has a value that it cannot have.
    """
    _check_words(given)
    _check_limits(given)
    rows = faults.checked({} if given["on_fault"] is None else given["on_fault"], "Lab")
    if given["budget"] is not None:
        check_instance(given["budget"], Budget, "Lab: budget", "invalid_budget")
    local = checked_options(given["local"])
    resume = given["resume"]
    options = {
        **given,
        "nodes": given["nodes"] or max(2, os.cpu_count() or 2),
        "resume": resume if resume is not None else "ask" if in_notebook() else True,
    }
    return options, {
        "nodes": options["nodes"], "redeliver": given["redeliver"], "in_memory": given["on_full"] == "memory",
        "patience": Patience(given["stall_notice"], given["stall_seconds"]), "node_memory": given["node_memory"],
        "on_fault": rows, "local": local, "budget": given["budget"],
    }  # fmt: skip


def _check_words(given: Mapping[str, Any]) -> None:
    nodes, redeliver, resume = given["nodes"], given["redeliver"], given["resume"]
    synchronous, on_full = given["synchronous"], given["on_full"]
    if nodes is not None and (isinstance(nodes, bool) or not isinstance(nodes, int) or nodes < 1):
        raise InvalidSpec(f"Lab: nodes must be an int >= 1; got {shown(nodes)}", kind="invalid_nodes", value=nodes)
    if not isinstance(redeliver, bool):
        raise InvalidSpec(f"Lab: redeliver must be True or False; got {shown(redeliver)}", kind="invalid_redeliver",
                          value=redeliver)  # fmt: skip
    if resume not in (None, True, False, "ask"):
        raise InvalidSpec(
            f"Lab: resume must be True, False or 'ask'; got {shown(resume)}", kind="invalid_resume", value=resume
        )
    if synchronous not in ("NORMAL", "FULL"):
        raise InvalidSpec(
            f"Lab: synchronous must be 'NORMAL' or 'FULL'; got {shown(synchronous)}",
            kind="invalid_synchronous", value=synchronous,
        )  # fmt: skip
    if on_full not in ("fail", "memory"):
        raise InvalidSpec(
            f"Lab: on_full must be 'fail' or 'memory'; got {shown(on_full)}", kind="invalid_on_full", value=on_full
        )


def _check_limits(given: Mapping[str, Any]) -> None:
    for name in ("stall_notice", "stall_seconds"):
        value = given[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise InvalidSpec(
                f"Lab: {name} must be seconds > 0; got {shown(value)}", kind=f"invalid_{name}", value=value
            )
    memory = given["node_memory"]
    if memory is not None and (isinstance(memory, bool) or not isinstance(memory, int) or memory < 1):
        raise InvalidSpec(
            f"Lab: node_memory must be a number of bytes; got {shown(memory)}", kind="invalid_node_memory", value=memory
        )
