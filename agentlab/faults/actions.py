"""What is done about each kind of fault, as a table: print it with ``agentlab.faults.table()``, replace rows of it.

    class Clerk(Assistant):
        on_fault = {"server_error": "crash", "overloaded": Action("wait", total=600)}

    lab = Lab(on_fault={"timeout": Action("retry_step", attempts=3)})

A class's rows stand before those of its lab, and these before the ones here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from agentlab.errors import InvalidSpec
from agentlab.faults.kinds import KINDS
from agentlab.ground.given import shown
from agentlab.ground.words import meant

if TYPE_CHECKING:
    import pandas as pd

Does = Literal["tell_model", "retry_step", "wait", "crash", "park", "escalate"]

DOES: Mapping[Does, str] = {
    "tell_model": "the error goes back to the model as a tool's result, up to max_repairs times in a row",
    "retry_step": "the step is tried again where it stands, after a back-off",
    "wait": "the same, as long as it takes: the whole provider is in trouble, and not this call",
    "crash": "the handler gets the exception; if it dies of it, its supervisor restarts it from its checkpoint",
    "park": "no restart mends it: the agent is parked with its message, and says why; ref.restart() tries again",
    "escalate": "the agent crashes at once, and its message is not delivered again",
}
"""The actions, and what each of them means."""


@dataclass(frozen=True, slots=True)
class Action:
    """What is done about a kind of fault; the limits are for ``retry_step`` and ``wait``, None: that action's own.

    Args:
        does: One of ``DOES``.
        attempts: Tries of a step in one delivery of its message, the first included; then it is a crash.
        first: Back-off before the second try (seconds); it doubles with each.
        maximum: The longest back-off (seconds).
        max_wait: How long a ``retry-after`` is honoured (seconds).
        total: Seconds that a step may wait in all; then it is a crash.
        same: So often the same fault on the same request, over all deliveries, is taken for certain: it is parked.
    """

    does: Does
    attempts: float | None = None
    first: float | None = None
    maximum: float | None = None
    max_wait: float | None = None
    total: float | None = None
    same: float | None = None

    def __post_init__(self) -> None:
        """Check it, and fill in what was left out.

        Raises:
            InvalidSpec: Says which action or limit cannot be.
        """
        if self.does not in DOES:
            raise _unknown("action", self.does, DOES)
        own = LIMITS.get(self.does)
        for name in NAMES:
            value = getattr(self, name)
            if value is None:
                object.__setattr__(self, name, own[name] if own else None)
            elif own is None:
                raise InvalidSpec(
                    f"on_fault: {self.does} takes no limits; got {name}={value!r}. {' and '.join(LIMITS)} do.",
                    kind="invalid_on_fault", value=value,
                )  # fmt: skip
            else:
                _check_limit(name, value)

    @property
    def limits(self) -> str:
        """Its limits in words; empty if it has none."""
        if self.does not in LIMITS:
            return ""
        tries = "" if self.attempts == math.inf else f"{self.attempts:g} tries, "
        total = "" if self.total == math.inf else f", {self.total:g} s in all"
        same = "" if self.same == math.inf else f"; {self.same:g} alike: parked"
        return (
            f"{tries}after {self.first:g} s, doubling to {self.maximum:g} s; retry-after up to {self.max_wait:g} s"
            f"{total}{same}"
        )


NAMES = tuple(field.name for field in fields(Action) if field.name != "does")

Policy = Mapping[str, Action]
"""What is done about which kind."""

LIMITS: Mapping[Does, Mapping[str, float]] = {
    "retry_step": {"attempts": 8, "first": 0.5, "maximum": 30.0, "max_wait": 60.0, "total": math.inf, "same": 5},
    "wait": {"attempts": math.inf, "first": 1.0, "maximum": 60.0, "max_wait": 60.0, "total": math.inf, "same": 20},
}
"""The limits of the actions that try again, where nobody says otherwise."""


def _check_limit(name: str, value: Any) -> None:
    least = 1 if name in ("attempts", "same") else 0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= least:
        raise InvalidSpec(
            f"on_fault: {name} must be a number >= {least}; got {value!r}", kind="invalid_on_fault", value=value
        )


def _unknown(what: str, name: Any, known: Mapping[Any, Any]) -> InvalidSpec:
    return InvalidSpec(
        f"on_fault: there is no {what} {name!r};{meant(str(name), known)} the {what}s: {', '.join(known)}. "
        "The table: agentlab.faults.table().",
        kind="invalid_on_fault", value=name,
    )  # fmt: skip


_TELL, _RETRY, _WAIT = Action("tell_model"), Action("retry_step"), Action("wait")
_PARK, _CRASH = Action("park"), Action("crash")

ACTIONS: Policy = {
    "rate_limit": _WAIT,
    "overloaded": _WAIT,
    "unavailable": _WAIT,
    "server_error": _RETRY,
    "connection": _RETRY,
    "timeout": _RETRY,
    "cut_stream": _RETRY,
    "stalled": _RETRY,
    "garbage": _RETRY,
    "cut_upload": _RETRY,
    "conflict": _RETRY,
    "bad_request": _PARK,
    "too_large": _PARK,
    "unauthorized": _PARK,
    "forbidden": _PARK,
    "billing": _PARK,
    "spend_limit": _PARK,
    "no_such_model": _PARK,
    "budget": _PARK,
    "stopped_short": _CRASH,
    "unknown_tool": _TELL,
    "bad_arguments": _TELL,
    "tool_failed": _TELL,
    "server_down": _RETRY,
    "unreached": Action("wait", total=600.0, same=math.inf),  # what nobody has received brought nothing down
    "not_approved": _TELL,
    "in_doubt": _PARK,
    "crash": _CRASH,
}
"""What is done about each kind, where neither a class nor its lab says otherwise."""


def checked(given: Any, where: str) -> dict[str, Action]:
    """The rows that somebody gave, as actions.

    Args:
        given: A mapping of kinds to actions, or to their names.
        where: Whose they are, for the error.

    Raises:
        InvalidSpec: Names the kind or action that there is not, and all that there are.
    """
    if not isinstance(given, Mapping):
        raise InvalidSpec(
            f"{where}: on_fault is a mapping of kinds to actions, {{'server_error': 'crash'}}; got {shown(given)}",
            kind="invalid_on_fault", value=given,
        )  # fmt: skip
    made = {}
    for kind, action in given.items():
        try:
            if kind not in KINDS:
                raise _unknown("kind of fault", kind, KINDS)
            made[kind] = action if isinstance(action, Action) else Action(action)
        except InvalidSpec as error:
            raise InvalidSpec(f"{where}: {error}", kind=error.kind, value=error.value) from None
        except TypeError:  # what cannot be looked up is no name
            raise InvalidSpec(
                f"{where}: on_fault[{kind!r}] must be one of {', '.join(get_args(Does))}, or an Action; got {action!r}",
                kind="invalid_on_fault", value=action,
            ) from None  # fmt: skip
    return made


def table(on_fault: Mapping[str, Action | Does] | None = None) -> pd.DataFrame:
    """One row per kind of fault; shape (n, 5). All columns are words: kind, scope, transient (bool), action, limits.

    Args:
        on_fault: Rows that replace those of the package, as a class or a lab has them: ``table(Clerk.on_fault)``.
    """
    import pandas as pd  # most programs look at no table

    policy = {**ACTIONS, **checked(on_fault or {}, "table")}
    rows = [(kind, *KINDS[kind], policy[kind].does, policy[kind].limits) for kind in KINDS]
    made = pd.DataFrame(rows, columns=["kind", "scope", "transient", "action", "limits"])
    return made.astype({"scope": "category", "action": "category"})
