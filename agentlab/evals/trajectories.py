"""What an agent did, as something to look for: ``called("search").with_args(q=contains("tea")).before(called("pay"))``.

    assert called("search").before(called("pay")).check(run.steps())
    evaluate(Shopper, samples, {"right": exact(), "asked": called("search").before(called("pay"))})
    evaluate(Shopper, samples, trajectory(called("search"), never(called("delete"))))

Each is a scorer by itself; ``trajectory`` makes one of several. A matcher is asked with a frame of steps (of a run or a
lab) or rows like those. It looks at tools, steps and calls that succeeded, in their order. What it says is true or
false, and why: with what was seen instead.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from agentlab.evals.samples import Sample
from agentlab.evals.scorers import Score

SEEN = 20
"""Calls that are shown of what was seen instead."""


@dataclass(frozen=True)
class Verdict:
    """Whether it was so, and what was seen; in an ``assert`` it is true or false."""

    holds: bool
    why: str

    def __bool__(self) -> bool:
        return self.holds

    def __repr__(self) -> str:
        return f"{'yes' if self.holds else 'no'}: {self.why}"


@dataclass(frozen=True)
class contains:  # noqa: N801 - read as a sentence
    """An argument in which this text occurs."""

    text: str

    def __call__(self, value: Any) -> bool:
        return self.text in str(value)


@dataclass(frozen=True)
class Deed:
    """One call that was seen: its name, and its arguments by name."""

    name: str
    args: Mapping[str, Any]
    given: str


def deeds_of(steps: Any) -> list[Deed]:
    """The calls of tools, steps and agents in a frame or in rows, in their order; model calls are none."""
    rows = steps.to_dict("records") if hasattr(steps, "to_dict") else steps
    return [
        Deed(str(row["name"]), _args(str(row["input"])), str(row["input"]))
        for row in rows
        if row["kind"] in ("tool", "step", "call") and row["outcome"] == "ok" and not row.get("replayed")
    ]


def _args(text: str) -> dict[str, Any]:
    """Arguments as they were written, ``1, q='tea'``, by name; those without one by their place."""
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        assert isinstance(call, ast.Call)
        named = {part.arg: ast.literal_eval(part.value) for part in call.keywords if part.arg}
        return {**{str(n): ast.literal_eval(part) for n, part in enumerate(call.args)}, **named}
    except (SyntaxError, ValueError, AssertionError):
        return {}


class Matcher:
    """Something to look for in what an agent did; as a scorer it is ``trajectory`` of itself alone."""

    scorer_name: ClassVar[str] = "trajectory"
    wants_steps: ClassVar[bool] = True

    def __call__(self, output: Any, sample: Sample) -> Score:
        """Score what the sample's agent did; what it answered does not matter."""
        return trajectory(self)(output, sample)

    def holds(self, seen: Sequence[Deed]) -> bool:
        """Whether it is so."""
        raise NotImplementedError

    def check(self, steps: Any) -> Verdict:
        """Whether it is so in a frame of steps, and why."""
        seen = deeds_of(steps)
        lines = [f"  {number:>3}  {deed.name}({deed.given})" for number, deed in enumerate(seen[:SEEN], 1)]
        more = f"\n  and {len(seen) - SEEN} more" if len(seen) > SEEN else ""
        return Verdict(self.holds(seen), f"{self}; seen:\n" + ("\n".join(lines) or "  nothing") + more)

    def before(self, other: Matcher) -> Matcher:
        """That the first of this comes before the first of another, and both come."""
        return in_order(self, other)

    def found(self, seen: Sequence[Deed], start: int = 0) -> int | None:
        """Where it is first seen, from ``start`` on."""
        return next((n for n in range(start, len(seen)) if self.holds(seen[n : n + 1])), None)


@dataclass(frozen=True)
class called(Matcher):  # noqa: N801
    """That a tool, a step or a message of this name was called."""

    name: str
    wanted: Mapping[str, Any] = field(default_factory=dict)

    def with_args(self, **wanted: Any) -> called:
        """With these arguments: a value, or a test like ``contains("tea")``."""
        return called(self.name, wanted)

    def is_it(self, deed: Deed) -> bool:
        """Whether a call is one of those."""
        fits = deed.name == self.name and self.wanted.keys() <= deed.args.keys()
        return fits and all(_fits(want, deed.args[name]) for name, want in self.wanted.items())

    def holds(self, seen: Sequence[Deed]) -> bool:
        return any(self.is_it(deed) for deed in seen)

    def count(self, seen: Sequence[Deed]) -> int:
        """How often."""
        return sum(self.is_it(deed) for deed in seen)

    def __str__(self) -> str:
        args = ", ".join(f"{name}={want!r}" for name, want in self.wanted.items())
        return f"called({self.name!r})" + (f".with_args({args})" if args else "")


def _fits(want: Any, value: Any) -> bool:
    test: Callable[[Any], Any] | None = want if callable(want) else None
    return bool(test(value)) if test is not None else bool(want == value)


@dataclass(frozen=True)
class _Of(Matcher):
    """A matcher of others."""

    parts: tuple[Any, ...]
    word: str
    test: Callable[[Sequence[Deed], tuple[Any, ...]], bool] = field(repr=False)

    def holds(self, seen: Sequence[Deed]) -> bool:
        return self.test(seen, self.parts)

    def __str__(self) -> str:
        return f"{self.word}({', '.join(map(str, self.parts))})"


def never(what: called) -> Matcher:
    """That it was not called."""
    return _Of((what,), "never", lambda seen, parts: not parts[0].holds(seen))


def at_most(times: int, what: called) -> Matcher:
    """That it was called so often at the most."""
    return _Of((what,), f"at_most {times}: ", lambda seen, parts: parts[0].count(seen) <= times)


def in_order(*parts: Any) -> Matcher:
    """That these were called one after the other, whatever came in between."""
    return _Of(tuple(parts), "in_order", _in_order)


def _in_order(seen: Sequence[Deed], parts: tuple[Any, ...]) -> bool:
    place = 0
    for part in _flat(parts):
        found = part.found(seen, place)
        if found is None:
            return False
        place = found + 1
    return True


def _flat(parts: tuple[Any, ...]) -> list[Any]:
    return [one for part in parts for one in (_flat(part.parts) if isinstance(part, _Of) else [part])]


def exactly(*parts: called) -> Matcher:
    """That these were called in this order, and nothing else."""
    return _Of(
        parts, "exactly",
        lambda seen, own: len(seen) == len(own) and all(p.is_it(d) for p, d in zip(own, seen, strict=True)),
    )  # fmt: skip


def subset(*parts: called) -> Matcher:
    """That nothing but these was called, in any order."""
    return _Of(parts, "subset", lambda seen, own: all(any(part.is_it(deed) for part in own) for deed in seen))


@dataclass(frozen=True)
class _Trajectory:
    matchers: tuple[Matcher, ...]
    scorer_name: str = "trajectory"
    wants_steps: bool = True

    def __call__(self, output: Any, sample: Sample) -> Score:
        verdicts = [each.check(sample.steps) for each in self.matchers]
        wrong = [verdict.why for verdict in verdicts if not verdict]
        return Score(not wrong, explanation="\n".join(wrong) or None)


def trajectory(*matchers: Matcher) -> _Trajectory:
    """A scorer: whether an agent's way was as all of these say."""
    return _Trajectory(matchers)
