"""What each control operation does: one function, in the file of its subject, for cells and agents alike.

What has to be known of an operation by those who only carry it is in ``wire/operations``, under the same name.
"""

from __future__ import annotations

from agentlab.control import agents, budgets, travel
from agentlab.control.again import restart_child, start_child
from agentlab.control.approvals import approvals, approve
from agentlab.control.children import (
    Control,
    call_named,
    count_children,
    which_children,
)  # fmt: skip
from agentlab.control.explain import explain
from agentlab.control.skip import skip

FUNCTIONS: dict[str, Control] = {
    "status": agents.status, "incarnation": agents.incarnation, "node": agents.node, "state": agents.state,
    "log": agents.log, "info": agents.info, "draft": agents.draft, "doubts": agents.doubts, "explain": explain,
    "approvals": approvals, "approve": approve,
    "crash": agents.crash, "kill": agents.kill, "exit": agents.exit_signal, "stop": agents.stop,
    "restart": agents.restart, "skip": skip, "suspend": agents.suspend, "resume": agents.resume, "trace": agents.trace,
    "retry": lambda runtime, path, what: agents.retry(runtime, what),
    "budget": budgets.budget, "raise_budget": budgets.raise_budget,
    "settle": agents.settle, "replace_state": agents.replace_state, "rewind": travel.rewind, "fork": travel.fork,
    "start_child": start_child, "restart_child": restart_child,
    "terminate_child": call_named("terminate_child"), "delete_child": call_named("delete_child"),
    "which_children": which_children, "count_children": count_children,
    "get_childspec": call_named("get_childspec"),
}  # fmt: skip
"""By name; those that wait, by the table of ``wire/operations``, are coroutines."""
