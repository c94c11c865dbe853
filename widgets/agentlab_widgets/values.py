"""A state as a tree of values that can be drawn, however large, deep or hostile; what differs between two. Pure.

A value becomes a node ``{"n": name, "t": type, "v": text, "c": children, "more": children left out}``. All nodes of one
state share an allowance, so what travels is bounded whatever the state is.
"""

from __future__ import annotations

import json
from typing import Any

from agentlab.ground.texts import clean, safe

NODES, DEPTH, CHILDREN = 600, 12, 60  # of one state: nodes in all, levels, children of one
TEXT = 1_000  # characters of one text
LARGE = 200_000  # characters of JSON of one field past which it is not read, only shown from its beginning
Node = dict[str, Any]  # JSON


class Allowance:
    """How many nodes may still be made."""

    def __init__(self, left: int = NODES) -> None:
        self.left = left


def field_node(name: str, saved: Any, length: int, allowance: Allowance) -> Node:
    """A field from its JSON text, or from the texts of its newest items; ``length``: how many items there are."""
    if isinstance(saved, list):
        items = [_read(text) for text in saved[-CHILDREN:]]
        node = node_of(name, items, allowance)
        return {**node, "t": f"transcript of {length:,}", "more": length - len(node.get("c", ()))}
    if len(saved) > LARGE:
        return {"n": clean(name, 80), "t": f"{len(saved):,} characters of JSON", "v": safe(saved, TEXT)}
    return node_of(name, _read(saved), allowance)


def _read(text: str) -> Any:
    return json.loads(text) if len(text) <= LARGE else safe(text, TEXT)


def node_of(name: str, value: Any, allowance: Allowance, depth: int = 0) -> Node:
    """One value and what is in it, as far as the allowance goes."""
    allowance.left -= 1
    node: Node = {"n": clean(name, 80), "t": _type(value)}
    if not isinstance(value, (dict, list)):
        return {**node, "v": safe(value, TEXT) if isinstance(value, str) else clean(json.dumps(value), 200)}
    pairs = list(value.items()) if isinstance(value, dict) else [(str(n), each) for n, each in enumerate(value)]
    children: list[Node] = []
    for key, each in pairs[:CHILDREN]:
        if depth >= DEPTH or allowance.left <= 0:
            break
        children.append(node_of(key, each, allowance, depth + 1))
    return {**node, "c": children, "more": len(pairs) - len(children)}


def _type(value: Any) -> str:
    if isinstance(value, dict):
        return f"dict of {len(value):,}"
    if isinstance(value, list):
        return f"list of {len(value):,}"
    return {"str": "text", "NoneType": "none"}.get(type(value).__name__, type(value).__name__)


def short(saved: Any) -> str:
    """A field of a checkpoint in a line."""
    text = f"[{', '.join(saved[-3:])}]" if isinstance(saved, list) else saved
    return clean(text, 160)


def difference(before: dict[str, Any], after: dict[str, Any]) -> list[dict[str, str]]:
    """The fields that differ between two states, each in a line as it was and as it is."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return [
        {"n": clean(name, 80), "was": _grown(before.get(name), None), "is": _grown(after.get(name), before.get(name))}
        for name in names[:CHILDREN]
    ]


def _grown(saved: Any, before: Any) -> str:
    if saved is None:
        return "(none)"
    if not isinstance(saved, list):
        return short(saved)
    new = len(saved) - len(before) if isinstance(before, list) else 0
    told = f" … + {new:,}: {clean(', '.join(saved[-min(new, 3) :]), 140)}" if new > 0 else ""
    return f"{len(saved):,} items{told}"
