"""The accounts of a lab: one for each place in the tree that has a budget; a model call is held against all above it.

They are made when the first call is held against them, out of what the store says of the steps below them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from agentlab.errors import BudgetExceeded
from agentlab.supervision.budget import NAMES, Account, Amounts, Budget
from agentlab.supervision.child import Child, Supervisor
from agentlab.supervision.records import Record
from agentlab.wire.frames import Tokens

SINCE = "SELECT max(at) FROM event WHERE path = ? AND kind = 'started' AND incarnation = 1"
USED = (
    "SELECT sum(coalesce(tokens_in, 0) + coalesce(tokens_out, 0)), sum(cost_usd), sum(took_s),"
    " sum(kind = 'model' AND outcome = 'failed' AND tokens_in IS NOT NULL),"
    " sum(kind = 'model' AND tokens_in IS NOT NULL AND cost_usd IS NULL)"
    " FROM step WHERE replayed = 0 AND kind IN ('model', 'tool', 'step')"
    " AND (path = ? OR substr(path, 1, length(?)) = ?) AND started_at >= ?"
)
RAISED = "SELECT detail FROM event WHERE path = ? AND kind = 'budget_raised' AND at >= ?"

Select = Callable[[str, Sequence[Any]], list[Any]]


class Held(NamedTuple):
    """What is held back for a call."""

    model: str
    wanted: Amounts
    accounts: list[Account]


class Accounts:
    """The accounts by path.

    Args:
        select: Asks the store.
        has_past: Whether the store has steps of an earlier kernel.

    Attributes:
        held: What is held back for model calls under way, by the agent's path and the label of the step.
    """

    def __init__(self, select: Select, *, has_past: bool) -> None:
        self._select = select
        self._has_past = has_past
        self._accounts: dict[str, tuple[Account, Child]] = {}
        self.held: dict[str, dict[str, Held]] = {}

    def reserve(self, record: Record, label: str, model: str, wanted: Amounts) -> bool:
        """Hold back what a call may use, in all accounts that it concerns; whether one of them limits its cost.

        Raises:
            BudgetExceeded: One of them has not so much left; nothing is held back.
        """
        accounts = list(self._above(record))
        for account in accounts:
            name = account.passed_by(wanted)
            if name is not None:
                raise exceeded(account, name, wanted)
        call = (record.path, label)
        for account in accounts:
            account.reserve(call, wanted)
        self.held.setdefault(record.path, {})[label] = Held(model, wanted, accounts)
        return any(account.limit.cost_usd is not None for account in accounts)

    def settle(self, record: Record, label: str, *, billed: Tokens, took: float, failed: bool) -> None:
        """A step is over: free what was held back for it, and count what it used."""
        call = (record.path, label)
        held = self.held.get(record.path, {}).pop(label, None)
        if held is not None and not self.held[record.path]:
            del self.held[record.path]
        took_in, gave, _, cost = billed or (0, 0, 0, 0.0)
        used = Amounts(took_in + gave, cost or 0.0, took)
        for account in held.accounts if held is not None else self._above(record):
            account.settle(
                call, used, cut=failed and billed is not None, unpriced=billed is not None and billed[3] is None
            )

    @property
    def is_empty(self) -> bool:
        """Whether no step has to be counted."""
        return not (self.held or self._accounts)

    def reserved(self) -> dict[tuple[str, str], int]:
        """Tokens that are held back, by the agent's path and the model's name."""
        found: Counter[tuple[str, str]] = Counter()
        for path, calls in self.held.items():
            for held in calls.values():
                found[path, held.model] += held.wanted.tokens or 0
        return dict(found)

    def free(self, path: str) -> None:
        """A life is over: nothing that it held back will be settled."""
        for label, held in self.held.pop(path, {}).items():
            for account in held.accounts:
                account.settle((path, label), Amounts(), cut=True, unpriced=False)

    def account(self, record: Record) -> Account | None:
        """The account of a place of the tree, if that has a budget."""
        limit = budget_of(record)
        if limit is None:
            return None
        found = self._accounts.get(record.path)
        if found is None or found[1] is not record.spec:  # another child under the same id begins with nothing spent
            found = self._accounts[record.path] = (self._opened(record.path, limit), record.spec)
        return found[0]

    def _above(self, record: Record) -> Iterator[Account]:
        place: Record | None = record
        while place is not None:
            account = self.account(place)
            if account is not None:
                yield account
            place = place.supervisor

    def _opened(self, path: str, limit: Budget) -> Account:
        if not self._has_past:
            return Account(path, limit)
        since = 0 if path == "/" else self._select(SINCE, (path,))[0][0] or 0
        below = path.rstrip("/") + "/"
        ((tokens, cost, seconds, cut, unpriced),) = self._select(USED, (path, below, below, since))
        made = Account(path, limit, Amounts(tokens or 0, cost or 0.0, seconds or 0.0))
        made.cut, made.unpriced = cut or 0, unpriced or 0
        for (detail,) in self._select(RAISED, (path, since)):
            made.add(Amounts(**{name: value for name, value in json.loads(detail).items() if name in NAMES}))
        return made


def budget_of(record: Record) -> Budget | None:
    """The budget of a child, else that of the supervisor that it is."""
    if record.spec.budget is not None:
        return record.spec.budget
    return record.spec.what.budget if isinstance(record.spec.what, Supervisor) else None


def exceeded(account: Account, name: str, wanted: Amounts) -> BudgetExceeded:
    """The error of a call that an account has not enough for."""
    reserved = account.reserved[name]
    held = (
        f", {_number(reserved)} more {'is' if reserved == 1 else 'are'} reserved by calls under way" if reserved else ""
    )
    need = f", and the next call reserves {_number(wanted[name])}" if wanted[name] else ""
    where = "the lab" if account.path == "/" else repr(account.path)
    more = "lab.budget" if account.path == "/" else f"lab[{account.path!r}].budget"
    return BudgetExceeded(
        f"The budget of {where} is {name}={_number(account.limit[name])}: {_number(account.used[name])} used{held}"
        f"{need}. Raise it, and its agents go on: {more}.add({name}=...).",
        path=account.path, what=name,
    )  # fmt: skip


def _number(value: float | None) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value or 0.0:.4g}"
