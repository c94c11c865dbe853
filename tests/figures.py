"""The house in figures: what costs a maintainer time, counted by reading the source of any checkout.

    python -m tests.figures                     this checkout
    python -m tests.figures OLD OLDER .         several, a column each

A column is the folder of a checkout, with its ``pyproject.toml``. Nothing is imported, so any commit can be counted.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGES = (("agentlab", "agentlab"), ("widgets/agentlab_widgets", "agentlab_widgets"))
KNOWN_BY = 15
POSITIONAL = 5
LINES = 400


class Module(NamedTuple):
    """A source file as it was read."""

    name: str
    lines: int
    tree: ast.Module


class House(NamedTuple):
    """A checkout as it was read."""

    modules: dict[str, Module]
    layers: list[str]


def read_house(root: Path) -> House:
    """Read every module of both packages, and the floors that import-linter checks."""
    modules = {}
    for folder, package in PACKAGES:
        for path in sorted((root / folder).rglob("*.py")):
            parts = [package, *path.relative_to(root / folder).with_suffix("").parts]
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            text = path.read_text(encoding="utf-8")
            modules[name] = Module(name, len(text.splitlines()), ast.parse(text))
    linter = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    floors = [contract["layers"] for contract in linter["contracts"] if contract["type"] == "layers"]
    return House(modules, max(floors, key=len))


def imported_modules(module: Module, known: set[str]) -> Iterator[str]:
    """The modules of the house that a file imports, anywhere in it."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in known else node.module


def fan_in(house: House) -> Counter[str]:
    """By how many other modules each module is imported."""
    known = set(house.modules)
    return Counter(
        target
        for module in house.modules.values()
        for target in set(imported_modules(module, known))
        if target in known and target != module.name
    )


def functions(house: House) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method."""
    for module in house.modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node


def positional(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many parameters may be given by position; ``self`` and ``cls`` are not given."""
    named = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    return len(named) - (named[:1] in (["self"], ["cls"]))


def anys(house: House) -> int:
    """How often ``Any`` stands where a type could stand."""
    return sum(
        isinstance(node, ast.Name) and node.id == "Any"
        for module in house.modules.values()
        for node in ast.walk(module.tree)
    )


def longest_file(house: House) -> str:
    """Its lines and its name."""
    longest = max(house.modules.values(), key=lambda module: module.lines)
    return f"{longest.lines} ({longest.name.removeprefix('agentlab.')})"


FIGURES: dict[str, Callable[[House], int | str]] = {
    "modules": lambda house: len(house.modules),
    "lines": lambda house: sum(module.lines for module in house.modules.values()),
    "import floors": lambda house: len(house.layers),
    "imports of one module by another": lambda house: fan_in(house).total(),
    "imports a module": lambda house: f"{fan_in(house).total() / len(house.modules):.1f}",
    f"modules known by more than {KNOWN_BY} others": lambda house: sum(n > KNOWN_BY for n in fan_in(house).values()),
    f"functions with more than {POSITIONAL} positional parameters": lambda house: sum(
        positional(function) > POSITIONAL for function in functions(house)
    ),
    "occurrences of `Any`": anys,
    "lines of the longest file": longest_file,
    f"files over {LINES} lines": lambda house: sum(module.lines > LINES for module in house.modules.values()),
}


def table(columns: dict[str, House]) -> str:
    """A table in Markdown: a row for each figure, a column for each checkout."""
    head = [["", *columns], ["---"] * (len(columns) + 1)]
    rows = [[name, *(str(count(house)) for house in columns.values())] for name, count in FIGURES.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in (*head, *rows))


def main(*folders: str) -> None:
    """Print the table."""
    print(table({folder: read_house(Path(folder)) for folder in folders or (".",)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
