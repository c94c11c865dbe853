"""Run the Python blocks of a Markdown file one after another, as cells of one notebook, and hold it to what it says.

A comment behind a statement that is a number or a representation, as in ``Lab()  # Lab('memory', 0 agents, 2 nodes)``,
is a claim about the value; everything after ``: `` in it is for the reader. A comment behind ``print(...)``, or behind
the beginning of a ``with exercise(...)``, is what is printed.

    python tests/run_readme.py README.md
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import re
import sys
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CLAIM = re.compile(r"# (?P<value>\d+|True|[A-Z]\w*\(.*?\))(?=: |$)")
PRINTED = re.compile(r"^ *(?:print|with exercise)\(.*[):] +# (.+)$", re.MULTILINE)


def blocks(markdown: str) -> list[str]:
    """Return the Python blocks of ``markdown``, in their order."""
    return BLOCK.findall(markdown)


async def run_block(source: str, namespace: dict[str, Any]) -> None:
    """Run one block in ``namespace``; a claim that does not hold raises AssertionError."""
    lines = source.splitlines()
    for statement in ast.parse(source).body:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            value = await _run(statement, namespace)
        claimed = PRINTED.findall("\n".join(lines[statement.lineno - 1 : statement.end_lineno]))
        assert out.getvalue().splitlines() == claimed, f"{claimed}\nis not what was printed: {out.getvalue()!r}"
        line = lines[statement.end_lineno - 1]
        if not claimed and (claim := CLAIM.search(line)):
            assert repr(value) == claim["value"], f"{line.strip()}\nis not what happened: {value!r}"


async def _run(statement: ast.stmt, namespace: dict[str, Any]) -> Any:
    expression = statement.value if isinstance(statement, (ast.Expr, ast.Assign)) else None
    if expression is None:
        await _evaluate(ast.Module([statement], []), "exec", namespace)
        return None
    value = await _evaluate(ast.Expression(expression), "eval", namespace)
    if isinstance(statement, ast.Assign):
        namespace.update({target.id: value for target in statement.targets if isinstance(target, ast.Name)})
    return value


async def _evaluate(tree: ast.Module | ast.Expression, mode: str, namespace: dict[str, Any]) -> Any:
    code = compile(tree, "README.md", mode, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    value = eval(code, namespace)
    return await value if code.co_flags & inspect.CO_COROUTINE else value


async def main(markdown: str) -> None:
    """Run every block of ``markdown``."""
    namespace = {"__name__": "__main__"}
    for source in blocks(markdown):
        await run_block(source, namespace)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]).read_text(encoding="utf-8")))
