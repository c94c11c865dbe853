"""Fill a JSON schema from a text, the same way every time: for minds that have to answer in a given shape."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

JSON = dict[str, Any]  # a JSON object off the wire: its values are whatever the client sent

_DEEPEST = 20

# What the parts of a schema have to be: the part, what it is called, whether it holds.
_PARTS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "type": ("a name or a list of names", lambda v: isinstance(v, str) or _all(v, str)),
    "properties": ("an object of schemas", lambda v: isinstance(v, dict) and _all(list(v.values()), dict)),
    "required": ("a list of names", lambda v: _all(v, str)),
    "enum": ("a list that is not empty", lambda v: isinstance(v, list) and bool(v)),
    "items": ("a schema", lambda v: isinstance(v, dict)),
    "anyOf": ("a list of schemas", lambda v: bool(v) and _all(v, dict)),
    "oneOf": ("a list of schemas", lambda v: bool(v) and _all(v, dict)),
    "allOf": ("a list of schemas", lambda v: bool(v) and _all(v, dict)),
    "$ref": ("a text", lambda v: isinstance(v, str)),
    "$defs": ("an object of schemas", lambda v: isinstance(v, dict) and _all(list(v.values()), dict)),
}


def misfit(schema: JSON, where: str = "schema", depth: int = 0) -> str | None:
    """What is wrong about a JSON schema, as far as minds read it; ``None`` if nothing is."""
    if depth > _DEEPEST:
        return f"{where}: deeper than {_DEEPEST} levels"
    for name, (what, holds) in _PARTS.items():
        if name in schema and not holds(schema[name]):
            return f"{where}.{name}: must be {what}"
    inner = {**schema.get("properties", {}), **schema.get("$defs", {})}
    inner |= {f"{name}.{i}": s for name in ("anyOf", "oneOf", "allOf") for i, s in enumerate(schema.get(name, []))}
    inner |= {"items": schema["items"]} if "items" in schema else {}
    return next((wrong for n, s in inner.items() if (wrong := misfit(s, f"{where}.{n}"[-200:], depth + 1))), None)


def _all(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)


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
