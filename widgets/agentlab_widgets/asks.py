"""What waits for a person: tools that ask before they run, and steps in doubt. Shown, and answered by buttons."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

from agentlab.errors import InvalidArgument
from agentlab.ground.texts import clean, safe


def asks_of(ref: Any) -> dict[str, Any]:
    """What waits for a person, of one agent."""
    return {
        "approvals": [{"step": a["step"], "name": clean(a["tool"], 80), "input": safe(a["input"], 2000),
                       "began": a["since"].isoformat()} for a in ref.approvals()],
        "doubts": [{"step": d["step"], "name": clean(d["name"], 80), "message": clean(d["message"], 80),
                    "began": str(d["began"])} for d in ref.doubts()],
    }  # fmt: skip


def answer_in(ref: Any, content: dict[str, Any]) -> tuple[str, Callable[[], object]] | None:
    """What a person's press says about a step: the call as code, and what carries it out; None if it is no answer."""
    number = content.get("n")
    if content.get("t") != "do" or not isinstance(number, int):
        return None
    works: dict[Any, tuple[str, Callable[[], object]]] = {
        "approve": (f"approve({number})", lambda: ref.approve(number)),
        "refuse": (f"approve({number}, yes=False)", lambda: ref.approve(number, yes=False)),
        "retry": (f"settle({number}, retry=True)", lambda: ref.settle(number, retry=True)),
        "settle": (f"settle({number}, ...)", lambda: ref.settle(number, _result(content.get("text")))),
    }
    if content.get("what") not in works:
        return None
    code, work = works[content["what"]]
    return code, functools.partial(_answer, ref, content.get("asks"), work)


def _answer(ref: Any, asks: Any, work: Callable[[], object]) -> None:
    """Carry out a person's word about what was shown; about nothing else, though it came in its place meanwhile."""
    now = asks_of(ref)
    if asks not in now["approvals"] and asks not in now["doubts"]:
        raise InvalidArgument("That does not wait any more: look what does, and answer again.")
    work()


def _result(text: Any) -> Any:
    """What a person says that a step gave: JSON, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text
