"""What the store tells of an agent's ties and of its budget, now or at a moment; what it does not keep, by name.

The limit is that of its child spec, raised by what was added until then; spent is what steps had used that were over.
What was held back for model calls under way is known to a running lab alone, and so are links and monitors.
"""

from __future__ import annotations

import json
from typing import Any

from agentlab.books.accounts import RAISED, SINCE, USED
from agentlab.control.budgets import account_text
from agentlab.ground.texts import clean
from agentlab.store.past import LAST
from agentlab.supervision.budget import NAMES, Account, Amounts, Budget

UNTOLD = "known to the running lab alone: they are not in its store"
SPEC = "SELECT spec FROM child WHERE path = ?"
FORGOTTEN = "not known: the store forgot its limit when it was removed"


def ties_then(store: Any, path: str, at: int = LAST) -> dict[str, Any]:
    """What an inspector shows of an agent that it only reads about, as it was at a moment (ns since 1970)."""
    return {"links": [], "monitors": [], "untold": UNTOLD, "budget": clean(budget_then(store, path, at), 1000)}


def budget_then(store: Any, path: str, at: int = LAST) -> str:
    """What it might spend at a moment and had spent, as ``ref.budget`` says it; or why that is not known."""
    found = store.select(SPEC, (path,))
    if not found:
        return FORGOTTEN
    limit = json.loads(found[0][0]).get("budget")
    if limit is None:
        return "no limit"
    since = store.select(f"{SINCE} AND at <= ?", (path, at))[0][0] or 0
    account = _account_then(store, path, Budget(**limit), since, at)
    for (detail,) in store.select(f"{RAISED} AND at <= ?", (path, since, at)):
        account.add(Amounts(**{name: value for name, value in json.loads(detail).items() if name in NAMES}))
    return bare(path, account_text(path, account))


def bare(path: str, shown: str) -> str:
    """A budget as it is shown, without whose it is: a view says that on top."""
    return shown.removeprefix(f"Budget({path!r}: ").removesuffix(")")


def _account_then(store: Any, path: str, limit: Budget, since: int, at: int) -> Account:
    """What it had come to, as ``books/accounts`` opens one, with the steps that were over by then."""
    below = path.rstrip("/") + "/"
    over = f"{USED} AND started_at + CAST(coalesce(took_s, 0) * 1e9 AS INTEGER) <= ?"
    ((tokens, cost, seconds, cut, unpriced),) = store.select(over, (path, below, below, since, at))
    account = Account(path, limit, Amounts(tokens or 0, cost or 0.0, seconds or 0.0))
    account.cut, account.unpriced = cut or 0, unpriced or 0
    return account
