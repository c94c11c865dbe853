"""What makes a run the same run: its samples, its solver, its scorers and its seed."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from agentlab.agent.base import Agent
from agentlab.errors import RunDiffers
from agentlab.evals.samples import Sample, plain
from agentlab.evals.scorers import Scorer
from agentlab.supervision.child import Child

SETTINGS = ("model", "base_url", "system", "max_tokens", "max_turns")


def identity_of(
    spec: Child, message: str, samples: Sequence[Sample], scorers: Mapping[str, Scorer], seed: int
) -> dict[str, Any]:  # fmt: skip
    """What a run is, as JSON: digests of what is long, the words of what a person will compare."""
    solver: Any = spec.what
    settings = {name: str(getattr(solver, name)) for name in SETTINGS if hasattr(solver, name)}
    settings.pop("base_url", None)  # where a model answers is not what is measured
    tools = {getattr(t, "name", getattr(t, "__name__", "?")): code_of(t) for t in getattr(solver, "tools", ())}
    return {
        "solver": {
            "name": solver.__name__, "message": message, "code": code_of(solver), "tools": tools, **settings,
            "fields": digest(plain(dict(spec.fields))),
        },
        "samples": {"count": len(samples), "digest": digest([sample.as_data() for sample in samples])},
        "scorers": {name: described(each) for name, each in scorers.items()},
        "seed": seed,
    }  # fmt: skip


def digest(value: Any) -> str:
    """A short digest of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def described(scorer: Any) -> str:
    """A scorer in a line: the values of one that is data, the code of a function."""
    if hasattr(scorer, "__dataclass_fields__"):
        return repr(scorer)
    return f"{getattr(scorer, '__qualname__', type(scorer).__name__)} {code_of(scorer)}"


def code_of(what: Any) -> str:
    """A digest of somebody's code, comments and layout aside; empty where nobody has the source."""
    what = getattr(what, "function", what)
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(what)))
    except (OSError, TypeError, SyntaxError):
        return ""
    return digest(ast.dump(tree))


def check_same(kept: Mapping[str, Any], now: Mapping[str, Any], where: str) -> None:
    """See that a run that was kept is the one that is asked for.

    Raises:
        RunDiffers: Says what differs, and how.
    """
    differing = [line for part in now for line in _differing(part, kept.get(part), now[part])]
    if differing:
        raise RunDiffers(
            f"{where} holds another run: {'; '.join(differing)}. A run goes on where samples, solver, scorers and seed "
            "are the same. Give this one another path, or another name=."
        )


def _differing(part: str, kept: Any, now: Any) -> list[str]:
    if kept == now:
        return []
    if isinstance(kept, dict) and isinstance(now, dict):
        names = [name for name in {**kept, **now} if kept.get(name) != now.get(name)]
        return [f"{part}.{name} was {kept.get(name)!r}, and is {now.get(name)!r}" for name in names]
    return [f"{part} was {kept!r}, and is {now!r}"]


def is_solver(what: Any) -> bool:
    """Whether it is an agent class."""
    return isinstance(what, type) and issubclass(what, Agent)
