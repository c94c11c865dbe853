"""Samples: what is asked, and what is hoped for. ``read`` makes them of whatever a person has."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from agentlab.errors import InvalidSpec
from agentlab.ground.given import shown

FIELDS = ("input", "target", "id", "metadata")


@dataclass(frozen=True)
class Sample:
    """One question of an eval.

    Args:
        input: What the solver's message gets: a text, or any JSON value.
        target: What a scorer compares with; a list: any of these will do.
        id: Its name in the results, a text or a number; its number from 1 if left out.
        metadata: What else a scorer may want to know.
    """

    input: Any
    target: Any = None
    id: str | int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    steps: Sequence[Mapping[str, Any]] = field(default=(), repr=False)
    """What its agent did, for a scorer of trajectories: rows as of ``lab.steps()``."""

    @property
    def targets(self) -> list[str]:
        """Its targets as texts."""
        given = self.target if isinstance(self.target, list) else [self.target]
        return [str(each) for each in given if each is not None]

    def as_data(self) -> dict[str, Any]:
        """As JSON values."""
        return {name: getattr(self, name) for name in FIELDS}


def read(given: Any) -> list[Sample]:  # a DataFrame, a list, a path, a dataset: whatever people have
    """Samples of a DataFrame, a list of dicts or texts, a ``.jsonl``, ``.csv`` or ``.parquet`` file, a dataset.

    Raises:
        InvalidSpec: There are none, one has no input, or two have the same id.
    """
    made = [_made(row, number) for number, row in enumerate(_rows(given), 1)]
    if not made:
        raise InvalidSpec("evaluate: samples are empty; at least one is needed.", kind="invalid_samples", value=given)
    seen: set[str] = set()
    for sample in made:
        if str(sample.id) in seen:
            raise InvalidSpec(
                f"evaluate: two samples have the id {sample.id!r}; each needs its own, or none.",
                kind="invalid_samples", value=sample.id,
            )  # fmt: skip
        seen.add(str(sample.id))
    return made


def plain(value: Any) -> Any:
    """A value as JSON holds it: numbers of numpy, missing values, dataclasses and models of pydantic included."""
    return json.loads(json.dumps(to_jsonable_python(value, fallback=_fallback), default=str), parse_constant=_no_number)


def _no_number(_: str) -> None:
    return None


def _fallback(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _rows(given: Any) -> Iterable[Any]:
    if isinstance(given, (str, os.PathLike)):
        return _file_rows(Path(given))
    if hasattr(given, "to_dict") and hasattr(given, "columns"):  # a DataFrame, of pandas or its like
        return list(given.to_dict("records"))
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise InvalidSpec(
            f"evaluate: samples must be a DataFrame, a list, a file or a dataset; got {shown(given)}",
            kind="invalid_samples", value=given,
        )  # fmt: skip
    return given


def _file_rows(path: Path) -> Iterable[Any]:
    import pandas as pd

    if path.suffix in (".jsonl", ".json"):
        text = path.read_text(encoding="utf-8")
        return list(json.loads(text)) if path.suffix == ".json" else [json.loads(x) for x in text.splitlines() if x]
    if path.suffix == ".csv":
        return list(pd.read_csv(path).to_dict("records"))
    if path.suffix == ".parquet":
        return list(pd.read_parquet(path).to_dict("records"))
    raise InvalidSpec(
        f"evaluate: {str(path)!r} is no .jsonl, .json, .csv or .parquet file.", kind="invalid_samples", value=str(path)
    )


def _made(row: Any, number: int) -> Sample:
    if isinstance(row, str):
        row = {"input": row}
    if not isinstance(row, Mapping):  # a Sample of ours or of Inspect
        names = (*FIELDS, "choices")
        row = {name: getattr(row, name) for name in names if getattr(row, name, None) is not None}
    found = plain(dict(row))
    if found.get("input") is None:
        raise InvalidSpec(
            f"evaluate: sample {number} has no 'input'; it has: {', '.join(found) or 'nothing'}.",
            kind="invalid_samples", value=found,
        )  # fmt: skip
    own = found.get("metadata") if isinstance(found.get("metadata"), dict) else {}
    more = {name: value for name, value in found.items() if name not in FIELDS and value is not None}
    id_ = found.get("id")
    id_ = number if id_ is None else int(id_) if isinstance(id_, float) and id_.is_integer() else id_
    return Sample(_text_of(found["input"]), found.get("target"), id_, {**more, **own})


def _text_of(given: Any) -> Any:
    """What is said last in a list of chat messages; anything else as it is."""
    is_chat = isinstance(given, list) and given and all(isinstance(m, dict) and "role" in m for m in given)
    if not is_chat:
        return given
    said = given[-1].get("content")
    parts = said if isinstance(said, list) else [{"text": said}]
    return "\n".join(str(part.get("text") or "") for part in parts)


def places(samples: Sequence[Sample]) -> list[str]:
    """A part of a path for each sample: its id, as far as a path can hold it."""
    found: list[str] = []
    taken: set[str] = set()
    for number, sample in enumerate(samples, 1):
        name = re.sub(r"[^\w=@+-]", "_", str(sample.id))[:60] or str(number)
        if name in taken:
            name = f"{name}~{number}"
        taken.add(name)
        found.append(name)
    return found
