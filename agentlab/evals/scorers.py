"""Scorers: functions of an output and its sample that say how good it is.

    @scorer
    def short(output, sample):
        return len(output) < 100

A scorer gives a number, True or False, or a ``Score``; it may be ``async``. It runs beside the solver, in a node. What
it gets is the solver's answer as JSON: a text stays a text, an object becomes a dict.
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
import re
import string
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from agentlab.errors import InvalidSpec
from agentlab.evals.samples import Sample
from agentlab.ground.given import shown
from agentlab.ground.grammars import defer_grammars

NUMBER = r"(?:(?<![\d)])-)?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?"


@dataclass(frozen=True)
class Score:
    """What a scorer says.

    Args:
        value: How good it is: True or False, or a number.
        answer: What was taken for the answer.
        explanation: Why.
    """

    value: float | bool
    answer: str | None = None
    explanation: str | None = None


Scorer = Callable[[Any, Sample], Any]


def named(given: Any) -> dict[str, Scorer]:
    """Scorers by their names.

    Raises:
        InvalidSpec: It is no scorer, and no mapping of names to scorers.
    """
    found = dict(given) if isinstance(given, Mapping) else {name_of(given): given}
    for name, each in found.items():
        if not callable(each) or isinstance(each, type) or not name or not isinstance(name, str):
            hint = f" It is a class; write {each.__name__}()." if isinstance(each, type) else ""
            raise InvalidSpec(
                f"evaluate: a scorer is a function (output, sample) -> float, bool or Score; got {shown(each)}.{hint}",
                kind="invalid_scorer", value=each,
            )  # fmt: skip
    if not found:
        raise InvalidSpec("evaluate: no scorer; at least one is needed.", kind="invalid_scorer", value=given)
    return found


def name_of(scorer: Any) -> str:
    """What a scorer's column is called."""
    return str(getattr(scorer, "scorer_name", None) or getattr(scorer, "__name__", None) or type(scorer).__name__)


def scorer(function: Scorer | None = None, *, name: str | None = None) -> Any:
    """Make a scorer of a function; only a name that is not the function's needs this."""
    if function is None:
        return lambda found: scorer(found, name=name)
    function.scorer_name = name or getattr(function, "__name__", "score")  # type: ignore[attr-defined]  # a mark
    return function


async def scored(given: Scorer, output: Any, sample: Sample) -> dict[str, Any]:
    """What a scorer says, as JSON values.

    Raises:
        TypeError: It says no number.
        Exception: Whatever it raised.
    """
    found = given(output, sample)
    if inspect.isawaitable(found):
        found = await found
    if hasattr(found, "tolist") and not isinstance(found, Score):
        found = found.tolist()  # a number of numpy
    said = found if isinstance(found, Score) else Score(found)
    if not isinstance(said.value, (bool, int, float)) or math.isnan(said.value):
        raise TypeError(
            f"scorer {name_of(given)} must give a number, True or False, or a Score; it gave {found!r:.200}"
        )
    value = said.value if isinstance(said.value, bool) else float(said.value)
    return {"value": value, "answer": said.answer, "explanation": said.explanation}


def _words(text: str) -> list[str]:
    """Words without case, punctuation and articles, as SQuAD compares them."""
    bare = "".join(c for c in text.lower() if c not in string.punctuation)
    return [word for word in bare.split() if word not in ("a", "an", "the")]


def _shown(output: Any) -> str:
    return output if isinstance(output, str) else json.dumps(output)


@dataclass(frozen=True)
class exact:  # noqa: N801 - people write exact(), as in Inspect
    """Whether it is the target: case, punctuation, articles and white space aside."""

    def __call__(self, output: Any, sample: Sample) -> Score:
        said = _shown(output)
        return Score(any(_words(said) == _words(target) for target in sample.targets), said)


@dataclass(frozen=True)
class includes:  # noqa: N801
    """Whether the target occurs in it."""

    ignore_case: bool = True

    def __call__(self, output: Any, sample: Sample) -> Score:
        said = _shown(output)
        fold = str.lower if self.ignore_case else str
        return Score(any(fold(target) in fold(said) for target in sample.targets), said)


@dataclass(frozen=True)
class match:  # noqa: N801
    """Whether it begins or ends with the target, or is it; ``numeric``: numbers are compared as numbers."""

    location: Literal["end", "begin", "any", "exact"] = "end"
    ignore_case: bool = True
    numeric: bool = False

    def __call__(self, output: Any, sample: Sample) -> Score:
        said = _shown(output).strip()
        if self.numeric and (numbers := re.findall(NUMBER, said)):
            chosen = numbers if self.location == "any" else [numbers[0 if self.location == "begin" else -1]]
            wanted = [_number(target) for target in sample.targets]
            return Score(any(_number(each) in wanted for each in chosen), chosen[-1])
        fold = str.lower if self.ignore_case else str
        return Score(any(self._fits(fold(said), fold(target.strip())) for target in sample.targets), said)

    def _fits(self, said: str, target: str) -> bool:
        bare = said.strip(string.punctuation + string.whitespace)
        if self.location == "begin":
            return said.startswith(target)
        if self.location == "any":
            return target in said
        if self.location == "exact":
            return target in (said, bare)
        return said.endswith(target) or bare.endswith(target)


@dataclass(frozen=True)
class pattern:  # noqa: N801
    """Whether what a regular expression finds (its first group, if it has one) is the target."""

    regex: str
    ignore_case: bool = True

    def __call__(self, output: Any, sample: Sample) -> Score:
        found = re.search(self.regex, _shown(output), re.IGNORECASE if self.ignore_case else 0)
        if found is None:
            return Score(value=False, explanation=f"nothing matches {self.regex!r}")
        said = found.group(1) if found.groups() else found.group()
        fold = str.lower if self.ignore_case else str
        fits = not sample.targets or fold(said or "") in [fold(target) for target in sample.targets]
        return Score(fits, said)


def _number(text: Any) -> float | None:
    if isinstance(text, (int, float)):
        return float(text)
    found = re.findall(NUMBER, str(text))
    return float(found[-1].replace(",", "")) if found else None


@dataclass(frozen=True)
class numeric:  # noqa: N801
    """Whether its last number is the target's, give or take ``tolerance``; ``relative``: a share of the target."""

    tolerance: float = 1e-9
    relative: bool = False

    def __call__(self, output: Any, sample: Sample) -> Score:
        said = _number(output)
        if said is None:
            return Score(value=False, explanation="there is no number in it")
        wanted = [value for target in sample.targets if (value := _number(target)) is not None]
        fits = any(abs(said - each) <= self.tolerance * (abs(each) if self.relative else 1.0) for each in wanted)
        return Score(fits, f"{said:g}")


@dataclass(frozen=True)
class choice:  # noqa: N801
    """Whether the letter that it chose is the target: ``ANSWER: B``, or the last letter that stands alone."""

    def __call__(self, output: Any, sample: Sample) -> Score:
        said = _shown(output)
        found = re.findall(r"(?i:answer)\W*([A-Za-z])\b", said) or re.findall(r"\b([A-Z])\b", said)
        if not found:
            return Score(value=False, explanation="it chose no letter")
        return Score(found[-1].upper() in [target.upper() for target in sample.targets], found[-1].upper())


@dataclass(frozen=True)
class f1:  # noqa: N801
    """The harmonic mean of precision and recall of its words, against the best of the targets (0 to 1)."""

    def __call__(self, output: Any, sample: Sample) -> Score:
        said = _words(_shown(output))
        return Score(max((self._of(said, _words(target)) for target in sample.targets), default=0.0), _shown(output))

    def _of(self, said: list[str], wanted: list[str]) -> float:
        common = (Counter(said) & Counter(wanted)).total()
        return 2 * common / (len(said) + len(wanted)) if common else float(said == wanted)


@dataclass(frozen=True)
class json_equal:  # noqa: N801
    """Whether it is JSON (in a fence or bare) equal to the target; ``schema``: what it must fit, too.

    Args:
        schema: A type, or a JSON Schema as a dict.
    """

    schema: Any = None

    def __call__(self, output: Any, sample: Sample) -> Score:
        try:
            said = _parsed(output)
            if self.schema is not None:
                _check_fit(said, self.schema)
        except ValueError as error:
            return Score(value=False, explanation=str(error))
        if sample.target is None:
            return Score(self.schema is not None, json.dumps(said))
        return Score(said == _parsed(sample.target), json.dumps(said))


def _check_fit(value: Any, schema: Any) -> None:
    """Raise ValueError, with what is wrong and where, unless a value fits a type or a JSON Schema."""
    if not isinstance(schema, Mapping):
        from pydantic import TypeAdapter

        TypeAdapter(schema).validate_python(value)
        return
    defer_grammars()
    found = importlib.import_module("jsonschema").Draft202012Validator(schema).iter_errors(value)
    wrong = [f"{error.json_path}: {error.message}" for error in found]
    if wrong:
        raise ValueError("; ".join(wrong))


def _parsed(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    fenced = re.search(r"```(?:json)?\s*(.*?)```", given, re.DOTALL)
    return json.loads(fenced.group(1) if fenced else given)
