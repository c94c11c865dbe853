"""What an agent, or all below a supervisor, may spend: ``ref.budget``, to look at and to raise."""

from __future__ import annotations

from typing import Any

from agentlab.ref.link import Link
from agentlab.supervision.budget import NAMES, Amounts, check_amounts


class BudgetOf:
    """The budget of one place in the tree. Each look asks the lab: a cell gets the value, an agent awaits it."""

    __slots__ = ("_link", "_path")

    def __init__(self, link: Link, path: str) -> None:
        self._link = link
        self._path = path

    @property
    def limit(self) -> Any:  # Amounts in a cell; an answer inside an agent
        """The most that may be spent; None of what has no limit."""
        return self._look("limit")

    @property
    def used(self) -> Any:  # as limit
        """What was spent so far; of a call that was cut, the least that it was billed."""
        return self._look("used")

    @property
    def reserved(self) -> Any:  # as limit
        """What model calls under way may use."""
        return self._look("reserved")

    @property
    def left(self) -> Any:  # as limit
        """What the next call may use; None of what has no limit."""
        return self._look("left")

    def add(
        self, *, tokens: int | None = None, cost_usd: float | None = None, seconds: float | None = None
    ) -> Any:  # fmt: skip
        """Raise the limit; agents that are parked because it was reached go on.

        Args:
            tokens: So many more.
            cost_usd: So many US dollars more.
            seconds: So many more.

        Returns:
            The new limit.

        Raises:
            InvalidSpec: There is no such limit to raise, or an amount is no number >= 0.
        """
        more = Amounts(tokens, cost_usd, seconds)
        check_amounts(more, "budget.add")
        return self._link.control("raise_budget", self._path, {name: more[name] for name in NAMES})

    def _look(self, what: str) -> Any:
        return self._link.control("budget", self._path, what)

    def __repr__(self) -> str:
        if not self._link.may_wait():
            return f"<the budget of {self._path}: await its limit, used, reserved, left>"
        return str(self._look("shown"))
