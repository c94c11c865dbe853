"""What may be spent, and the arithmetic of it: reserved before a model call, settled after it. Pure.

An account holds a limit against what was used and what is reserved. What a call might use is reserved first, since a
limit that is noticed afterwards is none; a call that was cut settles at the least that it was billed.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, fields, replace

from agentlab.errors import InvalidSpec
from agentlab.ground.given import shown


@dataclass(frozen=True, slots=True)
class Amounts:
    """So much of each; None where nobody says, or nothing limits it. ``amounts.tokens`` or ``amounts["tokens"]``.

    Attributes:
        tokens: In and out, of all model calls; those that a provider read from its cache count too.
        cost_usd: US dollars, by the prices of ``genai-prices``.
        seconds: Of model calls, tools and other steps; time waited for a breaker or between attempts is none.
    """

    tokens: int | None = None
    cost_usd: float | None = None
    seconds: float | None = None

    def __getitem__(self, name: str) -> int | float | None:
        if name not in NAMES:
            raise KeyError(f"{name!r} is none of {', '.join(NAMES)}")
        value: int | float | None = getattr(self, name)
        return value


NAMES = tuple(field.name for field in fields(Amounts))

NOTHING = Amounts(0, 0.0, 0.0)

MOST = 1e18
"""Below this an amount and what it is raised by fit into a store; it is no limit that anybody meets."""


@dataclass(frozen=True, slots=True)
class Budget(Amounts):
    """The most that may be spent; of what is left out, as much as one likes.

    On a child it holds for that agent, on a supervisor for all below it, on a lab for all. A model call that would
    pass it is refused with ``BudgetExceeded``, and its agent is parked until somebody raises it:
    ``ref.budget.add(tokens=10_000)``.

    Raises:
        InvalidSpec: It limits nothing, or a limit is no number >= 0.
    """

    def __post_init__(self) -> None:
        """Check it."""
        if all(self[name] is None for name in NAMES):
            raise InvalidSpec(f"Budget: give at least one of {', '.join(NAMES)}", kind="invalid_budget")
        check_amounts(self, "Budget")


def check_amounts(given: Amounts, where: str) -> None:
    """Refuse what is no number that one can spend.

    Raises:
        InvalidSpec: Names the amount and what it is.
    """
    for name in NAMES:
        value = given[name]
        kinds = (int,) if name == "tokens" else (int, float)
        if value is not None and (isinstance(value, bool) or not isinstance(value, kinds) or not 0 <= value < MOST):
            kind = "an int" if name == "tokens" else "a number"
            most = f" and below {MOST:g}" if isinstance(value, kinds) and value >= MOST else ""
            raise InvalidSpec(
                f"{where}: {name} must be {kind} >= 0{most}; got {shown(value)}", kind="invalid_budget", value=value
            )


class Account:
    """What one budget has come to.

    Attributes:
        path: Whose it is.
        limit: The most that may be spent.
        used: What was spent.
        cut: Calls that settled at the least that they were billed: ``used`` may be more.
        unpriced: Calls whose price nobody knows: they cost nothing here.
    """

    def __init__(self, path: str, limit: Budget, used: Amounts = NOTHING) -> None:
        self.path = path
        self.limit = limit
        self.used = used
        self.cut = 0
        self.unpriced = 0
        self._held: dict[Hashable, Amounts] = {}

    @property
    def reserved(self) -> Amounts:
        """What calls under way may use."""
        return total(*self._held.values())

    @property
    def left(self) -> Amounts:
        """What another call may use; None where there is no limit."""
        taken = total(self.used, self.reserved)
        found = {n: None if (most := self.limit[n]) is None else max(0, most - (taken[n] or 0)) for n in NAMES}
        return Amounts(**found)  # type: ignore[arg-type]  # by their names

    def passed_by(self, wanted: Amounts) -> str | None:
        """The name of what a call would pass; None if it may be made."""
        taken = total(self.used, self.reserved, wanted)
        for name in NAMES:
            most, now = self.limit[name], taken[name] or 0
            # A call cannot say how long it will take: it is refused once the time is used up.
            if most is not None and (now >= most if name == "seconds" else now > most):
                return name
        return None

    def reserve(self, call: Hashable, wanted: Amounts) -> None:
        """Hold back what a call may use."""
        self._held[call] = wanted

    def settle(self, call: Hashable, used: Amounts, *, cut: bool, unpriced: bool) -> None:
        """A call is over: what it used counts, what was held back for it is free."""
        self._held.pop(call, None)
        self.used = total(self.used, used)
        self.cut += cut
        self.unpriced += unpriced

    def add(self, more: Amounts) -> None:
        """Raise the limit; of what has none it stays without."""
        raised = {n: most + (more[n] or 0) for n in NAMES if (most := self.limit[n]) is not None}
        self.limit = replace(self.limit, **raised)  # type: ignore[arg-type]  # by their names


def total(*amounts: Amounts) -> Amounts:
    """The sum; None counts as nothing."""
    return Amounts(
        sum(each.tokens or 0 for each in amounts),
        sum(each.cost_usd or 0.0 for each in amounts),
        sum(each.seconds or 0.0 for each in amounts),
    )
