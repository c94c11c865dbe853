"""What the simulator answers.

A mind is a function from an ``Ask`` to a ``Turn``, deterministic and without memory: everything it knows it reads
from the request, so any request may be sent again, to any incarnation of the simulator.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agentlab.sim.arithmetic import ToolWanted, find_expression, fits, solve
from agentlab.sim.grammar import Ask, Turn, text_of
from agentlab.sim.schemas import JSON, fill

Mind = Callable[[Ask], Turn]


def echo(ask: Ask) -> Turn:
    """Say what the user said last; after a tool, what the tool said."""
    results = ask.results()
    return Turn.say(text_of(results[-1].get("content") or "") if results else ask.question)


def calculator(ask: Ask) -> Turn:
    """Work out the arithmetic of the question with the tools on offer, one operation a turn if need be.

    Without a fitting tool it reckons itself; a question without arithmetic is echoed, unless one before it waits for
    its answer still: told that something went wrong, it goes on with what it was asked.
    """
    expression, results = _open_question(ask)
    if expression is None:
        return echo(ask)
    failed = _failures(results)
    if failed >= 2:
        return Turn.say(f"I could not work out {expression}: {_text(results[-1])}")
    known = [_text(r) for r in results if not r.get("is_error")]
    try:
        value = solve(expression, ask.tools, known)
    except ToolWanted as wanted:
        return Turn.use((wanted.name, wanted.input))
    except ArithmeticError as error:
        return Turn.say(f"{expression} cannot be worked out: {error}.")
    return Turn.say(f"{expression} = {value}")


def _open_question(ask: Ask) -> tuple[str | None, Sequence[JSON]]:
    """The newest arithmetic that was not answered yet, and what tools have reported since it was asked."""
    results: list[JSON] = []
    for message in reversed(ask.messages):
        blocks = message["content"] if isinstance(message["content"], list) else []
        text = text_of(message["content"])
        if message["role"] == "assistant" and re.search(r" = |cannot be worked out|could not work out", text):
            break
        if message["role"] != "user":
            continue
        if text and (expression := find_expression(text)):
            return expression, results
        results[:0] = [block for block in blocks if block["type"] == "tool_result"]
    return find_expression(ask.question), ask.results()


def planner(ask: Ask) -> Turn:
    """Split the question at ``;`` and new lines, ask for one tool call a part, then sum up.

    All calls are of one turn; with ``disable_parallel_tool_use`` one a turn.
    """
    parts = [part.strip() for part in re.split(r"[;\n]+", ask.question) if part.strip()]
    results = ask.results()
    one_by_one = bool((ask.body.get("tool_choice") or {}).get("disable_parallel_tool_use"))
    if one_by_one and 0 < len(results) < len(parts) and ask.tools:
        return Turn.use(_call_for(parts[len(results)], ask.tools))
    if results:
        lines = [f"- {part}: {_text(result)}" for part, result in zip(parts, results, strict=False)]
        return Turn.say("\n".join(lines))
    if not ask.tools:
        return Turn.say("\n".join(f"- {part}" for part in parts))
    calls = [_call_for(part, ask.tools) for part in parts]
    return Turn.use(*calls[: 1 if one_by_one else None], text=f"{len(parts)} parts.")


def extractor(ask: Ask) -> Turn:
    """Fill the JSON schema that was asked for, or the forced tool's, from the text of the question."""
    choice = ask.body.get("tool_choice") or {}
    if ask.schema is not None:
        return Turn.say(json.dumps(fill(ask.schema, ask.question)))
    if choice.get("type") in ("tool", "any") and ask.tools and not ask.results():
        tool = next((t for t in ask.tools if t["name"] == choice.get("name")), ask.tools[0])
        return Turn.use((tool["name"], fill(tool["input_schema"], ask.question)))
    return echo(ask)


def script(turns: Sequence[str | JSON | Sequence[Any]]) -> Mind:
    """A mind of fixed turns.

    A string is said, ``{"tool": name, "input": {...}}`` is asked for, a list of such is one turn;
    ``{"content": [...]}`` is a turn as the API words it, with ``stop_reason`` and ``usage`` if they are given.

    The n-th answer of a conversation is the n-th turn; past the end the last one is said again.
    """
    fixed: list[Turn] = [_turn(each) for each in turns]
    if not fixed:
        raise ValueError("script: turns is empty; at least one turn is needed")

    def scripted(ask: Ask) -> Turn:
        said: int = sum(m["role"] == "assistant" for m in ask.messages)
        return fixed[min(said, len(fixed) - 1)]

    return scripted


def _turn(given: str | JSON | Sequence[Any]) -> Turn:
    if isinstance(given, str):
        return Turn.say(given)
    if isinstance(given, Mapping) and isinstance(given.get("content"), Sequence):
        return Turn(tuple(given["content"]), given.get("stop_reason"), given.get("usage") or {})
    parts = [given] if isinstance(given, Mapping) else given
    if not isinstance(parts, Sequence) or not parts:
        raise _no_turn(given)
    text = "".join(part for part in parts if isinstance(part, str))
    return Turn.use(*(_called(part) for part in parts if not isinstance(part, str)), text=text)


def _called(part: Any) -> tuple[str, JSON]:  # JSON off the wire
    if not isinstance(part, Mapping) or not isinstance(part.get("tool"), str):
        raise _no_turn(part)
    given = part.get("input", {})
    if not isinstance(given, dict):
        raise _no_turn(part)
    return part["tool"], given


def _no_turn(given: Any) -> ValueError:
    return ValueError(
        f"script: a turn is a text, {{'tool': 'add', 'input': {{'a': 1}}}}, a list of these, or {{'content': [...]}}; "
        f"got {given!r:.80}"
    )


def sensible(ask: Ask) -> Turn:
    """What the model ``sim`` is: extractor for a schema, calculator for arithmetic with a fitting tool, else echo."""
    if ask.schema is not None or (ask.body.get("tool_choice") or {}).get("type") in ("tool", "any"):
        return extractor(ask)
    expression = find_expression(ask.question)
    return calculator(ask) if expression and fits(expression, ask.tools) else echo(ask)


MINDS: Mapping[str, Mind] = {
    "sim": sensible,
    "sim-echo": echo,
    "sim-calculator": calculator,
    "sim-planner": planner,
    "sim-extractor": extractor,
}


def mind_of(model: str, minds: Mapping[str, Mind]) -> Mind | None:
    """The mind that answers for a model's name; ``None`` for a model that does not exist."""
    if model in minds:
        return minds[model]
    return minds["sim"] if model.startswith("claude-") else None


def _failures(results: Sequence[JSON]) -> int:
    """How many of the last results in a row are errors."""
    count = 0
    for result in reversed(results):
        if not result.get("is_error"):
            break
        count += 1
    return count


def _text(result: JSON) -> str:
    return text_of(result.get("content") or "")


def _call_for(part: str, tools: Sequence[JSON]) -> tuple[str, JSON]:
    expression = find_expression(part)
    if expression and fits(expression, tools):
        try:
            solve(expression, tools, [])
        except ToolWanted as wanted:
            return wanted.name, wanted.input
    words = set(re.findall(r"\w+", part.lower()))
    named = [t for t in tools if words & set(re.findall(r"[a-z0-9]+", t["name"].lower()))]
    tool = (named or list(tools))[0]
    return tool["name"], fill(tool["input_schema"], part)
