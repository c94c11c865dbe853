"""Arithmetic for the calculator mind: find it in a question, choose tools for it, work it out.

Whole expressions go to a tool with one text parameter (``calculate("2+3*4")``); else each operation goes to a tool
of two numbers whose name says the operation (``multiply(3, 4)``, then ``add(2, 12)``). Results that tools have
reported are believed, not checked: a tool that lies is to be seen in the answer.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from agentlab.sim.schemas import JSON

Number = int | float


class Operation(NamedTuple):
    """An operator: how to reckon it, and the words in a tool's name that mean it."""

    reckon: Callable[[Number, Number], Number]
    words: tuple[str, ...]


def _power(base: Number, exponent: Number) -> Number:
    if abs(exponent) > 64 or abs(base) > 1e6:
        raise OverflowError("the power is too large")
    result: Number = base**exponent
    return result


OPERATIONS: Mapping[type[ast.operator], Operation] = {
    ast.Add: Operation(operator.add, ("add", "plus", "sum")),
    ast.Sub: Operation(operator.sub, ("sub", "subtract", "minus", "difference")),
    ast.Mult: Operation(operator.mul, ("mul", "multiply", "times", "product")),
    ast.Div: Operation(operator.truediv, ("div", "divide", "quotient")),
    ast.Pow: Operation(_power, ("pow", "power")),
}

_WORDS = {"plus": "+", "minus": "-", "times": "*", "multiplied by": "*", "divided by": "/", "over": "/"}
_SIGNS = str.maketrans({"\N{MULTIPLICATION SIGN}": "*", "\N{DIVISION SIGN}": "/", "\N{MINUS SIGN}": "-", "^": "@"})
_NUMBER = r"\d+(?:\.\d+)?"
_EXPRESSION = re.compile(rf"[-(\s]*{_NUMBER}[\s)]*(?:(?:\*\*|[-+*/])[-(\s]*{_NUMBER}[\s)]*)+")
_WHOLE = ("expression", "expr", "formula", "calculation", "question", "query", "text", "input")
_LONGEST = 400


class ToolWanted(Exception):
    """The next step is a tool call."""

    def __init__(self, name: str, given: JSON) -> None:
        super().__init__(name)
        self.name = name
        self.input = given


def find_expression(text: str) -> str | None:
    """The first arithmetic expression of a text, in Python's notation; ``None`` if there is none."""
    text = text[: 10 * _LONGEST].translate(_SIGNS).replace("@", "**")
    for word, sign in _WORDS.items():
        text = re.sub(rf"(?<=[\d)\s]){word}(?=[\s(\d])", sign, text)
    for match in _EXPRESSION.finditer(text):
        found = match.group().strip()
        if len(found) <= _LONGEST and _parse(found) is not None:
            return found
    return None


def fits(expression: str, tools: Sequence[JSON]) -> bool:
    """Whether the tools can work the expression out, at least its first step."""
    try:
        solve(expression, tools, [])
    except ToolWanted:
        return True
    except ArithmeticError:
        return False
    return False


def solve(expression: str, tools: Sequence[JSON], known: Sequence[str]) -> str:
    """The value, as text; raises ``ToolWanted`` when the next step needs a tool that is on offer.

    Args:
        expression: What ``find_expression`` found.
        tools: Tools as in the request.
        known: What the tools have reported so far, oldest first.
    """
    tree = _parse(expression)
    assert tree is not None, expression  # find_expression let it through
    if whole := _whole_tool(tools):
        if known:
            return known[-1]
        raise ToolWanted(whole[0], {whole[1]: expression})
    return _show(_reduce(tree, tools, iter(known)))


def _parse(expression: str) -> ast.expr | None:
    try:
        tree = ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return tree if isinstance(tree, ast.BinOp) else None


def _reduce(node: ast.expr, tools: Sequence[JSON], known: Iterator[str]) -> Number:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.UnaryOp):
        value = _reduce(node.operand, tools, known)
        return -value if isinstance(node.op, ast.USub) else value
    assert isinstance(node, ast.BinOp)  # _EXPRESSION allows nothing else
    left, right = _reduce(node.left, tools, known), _reduce(node.right, tools, known)
    operation = OPERATIONS[type(node.op)]
    tool = _tool_for(operation, tools)
    if tool is None:
        return operation.reckon(left, right)
    reported = next(known, None)
    if reported is None:
        first, second = _numbers(tool)[:2]
        raise ToolWanted(tool["name"], {first: left, second: right})
    return _read(reported)


def _whole_tool(tools: Sequence[JSON]) -> tuple[str, str] | None:
    """A tool that takes a whole expression, and its parameter's name."""
    for tool in tools:
        properties = _properties(tool)
        texts = [name for name in _WHOLE if (properties.get(name) or {}).get("type") == "string"]
        required = tool["input_schema"].get("required") or list(properties)
        sums = re.search(r"calc|eval|math|arith|reckon|comput", tool["name"].lower())
        if texts and set(required) <= {texts[0]} and (sums or texts[0] in _WHOLE[:4]):
            return tool["name"], texts[0]
    return None


def _tool_for(operation: Operation, tools: Sequence[JSON]) -> JSON | None:
    for tool in tools:
        words = re.findall(r"[a-z]+", tool["name"].lower())
        if len(_numbers(tool)) == 2 and any(word in operation.words for word in words):
            return tool
    return None


def _numbers(tool: JSON) -> list[str]:
    return [name for name, p in _properties(tool).items() if p.get("type") in ("number", "integer")]


def _properties(tool: JSON) -> dict[str, JSON]:
    schema = tool.get("input_schema") or {}
    found = schema.get("properties")
    return {k: v for k, v in found.items() if isinstance(v, dict)} if isinstance(found, dict) else {}


def _read(text: str) -> Number:
    match = re.search(rf"-?{_NUMBER}(?:[eE][-+]?\d+)?", text)
    if match is None:
        raise ArithmeticError(f"a tool answered {text[:80]!r}")
    return int(match.group()) if re.fullmatch(r"-?\d+", match.group()) else float(match.group())


def _show(value: Number) -> str:
    return str(int(value)) if float(value).is_integer() else repr(value)
