"""Control operations: what may be asked of an agent or a supervisor beside messages.

This is the list of them, for both ends: a node has to know which ones only look, the kernel which ones end whoever
asks. What each does is in ``control/operations``, under the same name.
"""

from __future__ import annotations

from typing import NamedTuple


class Operation(NamedTuple):
    """What has to be known of an operation by those who only carry it.

    Attributes:
        waits: It waits for something, so it is a coroutine; the others are done when they return.
        looks: It changes nothing: a handler that asked for it can still be rewound.
        promised: Its answer is committed with what it does to a child, so it is told who asks.
        ends: It may end whoever asks for it, who therefore does not wait for it.
        children: It is served by the supervisor itself, which may be waiting for whoever asks.
        between_messages: It waits for the end of the message in hand.
        reason: It takes an exit reason; this one where none is given.
        fields: Its last argument sets fields of an agent.
    """

    waits: bool = False
    looks: bool = False
    promised: bool = False
    ends: bool = False
    children: bool = False
    between_messages: bool = False
    reason: str | None = None
    fields: bool = False


OPERATIONS: dict[str, Operation] = {
    "status": Operation(looks=True),
    "incarnation": Operation(looks=True),
    "node": Operation(looks=True),
    "state": Operation(looks=True),
    "log": Operation(looks=True),
    "info": Operation(waits=True, looks=True),
    "draft": Operation(waits=True, looks=True),
    "doubts": Operation(looks=True),
    "approvals": Operation(looks=True),
    "approve": Operation(),
    "budget": Operation(looks=True),
    "raise_budget": Operation(waits=True),
    "explain": Operation(),
    "crash": Operation(reason="crashed"),
    "kill": Operation(),
    "exit": Operation(reason="shutdown"),
    "stop": Operation(waits=True, ends=True, reason="normal"),
    "restart": Operation(waits=True, ends=True),
    "skip": Operation(waits=True, ends=True),
    "suspend": Operation(),
    "resume": Operation(),
    "trace": Operation(),
    "retry": Operation(),
    "settle": Operation(waits=True),
    "replace_state": Operation(waits=True, between_messages=True, fields=True),
    "rewind": Operation(waits=True, between_messages=True),
    "fork": Operation(waits=True, promised=True, fields=True),
    "start_child": Operation(waits=True, promised=True, children=True),
    "restart_child": Operation(waits=True, promised=True, children=True),
    "terminate_child": Operation(waits=True, promised=True, ends=True, children=True),
    "delete_child": Operation(waits=True, promised=True, children=True),
    "which_children": Operation(waits=True, looks=True, children=True),
    "count_children": Operation(waits=True, looks=True, children=True),
    "get_childspec": Operation(waits=True, looks=True, children=True),
}
