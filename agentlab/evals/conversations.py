"""What the agents of a run and their models have said, from the steps: they are long removed."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from agentlab.frames.columns import TEXT, WORD, frame
from agentlab.store.database import Store
from agentlab.store.schema import whole

if TYPE_CHECKING:
    import pandas as pd

JSON = dict[str, Any]
SAID = {"role": WORD, "kind": WORD, "name": WORD, "text": TEXT}


def said_frame(said: Sequence[JSON]) -> pd.DataFrame:
    """A conversation of the Messages API, one row per block: ``role``, ``kind``, ``name`` of the tool, ``text``."""
    rows = [row for message in said for row in _rows(message)]
    names = {id_: name for _, kind, name, _, id_ in rows if kind == "tool_use"}
    made = [(role, kind, name or names.get(id_), text) for role, kind, name, text, id_ in rows]
    return frame([made] if made else [], SAID)


def as_text(said: Sequence[JSON]) -> str:
    """A conversation for people: a line for each block, who said it before it."""
    lines = []
    for role, kind, name, text, _ in (row for message in said for row in _rows(message)):
        who = "tool" if kind == "tool_result" else role
        lines.append(f"{who}: {name}({text})" if kind == "tool_use" else f"{who}: {text}")
    return "\n".join(lines)


def _rows(message: JSON) -> Iterator[tuple[Any, ...]]:
    """The blocks of a message: role, kind, tool, text, and the id that a call and its result share."""
    role, blocks = message["role"], message["content"]
    for block in [{"type": "text", "text": blocks}] if isinstance(blocks, str) else blocks:
        match block["type"]:
            case "tool_use":
                yield role, "tool_use", block["name"], json.dumps(block["input"], ensure_ascii=False), block["id"]
            case "tool_result":
                yield role, "tool_result", None, content_text(block.get("content")), block["tool_use_id"]
            case kind:
                yield role, kind, None, block_text(block), None


def conversation(store: Store, path: str) -> list[JSON]:
    """What an agent and its model have said, in the words of the Messages API.

    An answer that is too long for the steps' frame is a text, and cut there.
    """
    sql = (
        f"SELECT {whole('input')}, {whole('output')} FROM step"  # noqa: S608  # names of ours
        " WHERE path = ? AND kind = 'model' AND replayed = 0 AND outcome = 'ok' ORDER BY id"
    )
    found: list[JSON] = []
    for said, answered in store.select(sql, (path,)):
        found.append({"role": "user", "content": _blocks(said, json.loads)})
        found.append({"role": "assistant", "content": _blocks(answered, _content_of)})
    return found


def _blocks(text: str, parse: Callable[[str], Any]) -> Any:
    """Blocks, where that is what a text says; else the text."""
    try:
        found = parse(text)
    except (ValueError, SyntaxError, KeyError, TypeError):
        return text
    return (
        found if isinstance(found, list) and all(isinstance(each, dict) and "type" in each for each in found) else text
    )


def _content_of(reply: str) -> Any:
    return ast.literal_eval(reply)["content"]


def block_text(block: JSON) -> str:
    """What a block says to a person."""
    return str(block.get("text") or block.get("thinking") or f"[{block['type']}]")


def content_text(content: Any) -> str:
    """What a tool has answered, as one text."""
    if isinstance(content, list):
        return "\n".join(block_text(each) for each in content)
    return "" if content is None else str(content)
