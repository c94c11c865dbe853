"""Fill a JSON schema from a text, the same way every time: for minds that have to answer in a given shape."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from agentlab.sim.grammar import JSON

_DEEPEST = 20


def fill(schema: JSON, text: str) -> Any:  # a JSON value of the schema's shape
    """A value that fits the schema, taken from the text where the text has it.

    ``name: value`` and ``name = value`` go to the property of that name; numbers go to numeric properties in order;
    a string without a label gets the whole text.
    """
    return _Filler(schema).fill(schema, text, iter(_floats(text)), 0)


class _Filler:
    """Fills one schema; ``root`` is where its ``$ref`` point to."""

    def __init__(self, root: JSON) -> None:
        self.root = root

    def fill(self, schema: JSON, text: str, numbers: Iterator[float], depth: int) -> Any:
        schema = _resolve(schema, self.root)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return next((v for v in schema["enum"] if str(v).lower() in text.lower()), schema["enum"][0])
        for word in ("anyOf", "oneOf", "allOf"):
            if schema.get(word) and depth < _DEEPEST:
                return self.fill(schema[word][0], text, numbers, depth + 1)
        kind = schema.get("type")
        if kind == "object" and depth < _DEEPEST:
            return {name: self.fill_property(name, sub, text, numbers, depth) for name, sub in _wanted(schema, text)}
        if kind == "array" and depth < _DEEPEST:
            items = schema.get("items") or {}
            parts = [part.strip() for part in re.split(r",|\band\b", text) if part.strip()]
            return [self.fill(items, part, iter(_floats(part)), depth + 1) for part in parts]
        return _scalar(kind, text, numbers)

    def fill_property(self, name: str, schema: JSON, text: str, numbers: Iterator[float], depth: int) -> Any:
        label = re.search(_label(name) + r"([^\n;]+)", text, re.IGNORECASE)
        if label is None:
            return self.fill(schema, text, numbers, depth + 1)
        value = label.group(1)
        if _resolve(schema, self.root).get("type") != "array":
            value = value.split(",")[0]
        return self.fill(schema, value.strip(" ."), iter(_floats(value)), depth + 1)


def _scalar(kind: Any, text: str, numbers: Iterator[float]) -> Any:
    if kind == "integer":
        return int(next(numbers, 0))
    if kind == "number":
        return next(numbers, 0.0)
    if kind == "boolean":
        return re.search(r"\b(no|not|false)\b", text, re.IGNORECASE) is None
    if kind == "null":
        return None
    return {} if kind == "object" else [] if kind == "array" else text


def _wanted(schema: JSON, text: str) -> list[tuple[str, JSON]]:
    """The properties that must be there, and those the text has a label for."""
    properties = schema.get("properties") or {}
    required = schema.get("required") or []
    return [
        (name, sub)
        for name, sub in properties.items()
        if isinstance(sub, dict) and (name in required or re.search(_label(name), text, re.IGNORECASE))
    ]


def _label(name: str) -> str:
    return rf"\b{re.escape(name)}\b\s*[:=]\s*"


def _resolve(schema: JSON, root: JSON) -> JSON:
    for _ in range(_DEEPEST):
        path = schema.get("$ref")
        if not isinstance(path, str) or not path.startswith("#/"):
            return schema
        found: Any = root
        for part in path[2:].split("/"):
            found = found.get(part, {}) if isinstance(found, dict) else {}
        schema = found
    return {}


def _floats(text: str) -> list[float]:
    return [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", text)]
