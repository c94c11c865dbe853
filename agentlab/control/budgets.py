"""Budgets, as they are asked for: what is held back for a model call, what is left, and more of it."""

from __future__ import annotations

import json
from typing import Any

from agentlab.books.accounts import budget_of
from agentlab.books.agents import Entry
from agentlab.control.agents import go_on
from agentlab.control.children import find
from agentlab.errors import InvalidArgument, InvalidSpec
from agentlab.ground.given import shown
from agentlab.kernel.runtime import Runtime
from agentlab.supervision.budget import NAMES, NOTHING, Account, Amounts, check_amounts

PARTS = ("limit", "used", "reserved", "left", "shown")


def reserve(runtime: Runtime, caller: Entry | None, call: tuple[str, str], tokens: int, cost: float | None) -> bool:
    """Hold back what a model call of an agent may use; whether a budget limits its cost.

    Args:
        runtime: The lab's.
        caller: The agent; None for code that is none's.
        call: The label of the step that makes it, and the model's name.
        tokens: The longest answer.
        cost: What that would cost (US dollars); None if nobody knows.

    Raises:
        BudgetExceeded: There is not so much left.
    """
    if caller is None or not caller.life:
        return False
    accounts = runtime.desk.ledger.messages.accounts
    return accounts.reserve(caller.record, *call, Amounts(int(tokens), cost or 0.0, 0.0))


def budget(runtime: Runtime, path: str, part: str) -> Amounts | str:
    """One of ``PARTS`` of what a place of the tree may spend, and has."""
    if part not in PARTS:
        raise InvalidArgument(f"budget: {shown(part)} is none of {', '.join(PARTS)}.", argument="part")
    account = runtime.desk.ledger.messages.accounts.account(find(runtime, path))
    if part == "shown":
        return account_text(path, account)
    if account is None:
        return Amounts() if part in ("limit", "left") else NOTHING
    found: Amounts = getattr(account, part)
    return Amounts(found.tokens, found.cost_usd, found.seconds)


async def raise_budget(runtime: Runtime, path: str, more: dict[str, Any]) -> Amounts:
    """Raise a limit, and let those go on that are parked because of it; the new one."""
    record = find(runtime, path)
    added = Amounts(**{name: more.get(name) for name in NAMES})
    check_amounts(added, "budget.add")
    ledger, limit = runtime.desk.ledger, budget_of(record)
    account = ledger.messages.accounts.account(record)
    given = {name: added[name] for name in NAMES if added[name] is not None}
    if not given:
        raise InvalidSpec(
            f"budget.add: of what is the limit of {path!r} to be raised? Give one of {', '.join(NAMES)}.",
            kind="invalid_budget",
        )  # fmt: skip
    missing = [name for name in given if limit is None or limit[name] is None]
    if account is None or missing:
        raise InvalidSpec(
            f"budget.add: {path!r} has no limit of {', '.join(missing)} that could be raised. "
            "Give one where it is started: child(..., budget=Budget(tokens=...)).",
            kind="invalid_budget",
        )
    account.add(added)
    ledger.events.note_event("budget_raised", path, detail=json.dumps(given))
    runtime.desk.due()
    below = path.rstrip("/") + "/"
    for entry in list(runtime.desk.entries.values()):
        if entry.path == path or entry.path.startswith(below):
            await _unpark(runtime, entry)
    return Amounts(account.limit.tokens, account.limit.cost_usd, account.limit.seconds)


async def _unpark(runtime: Runtime, entry: Entry) -> None:
    """Start an agent again that is parked because a budget was reached."""
    parked = entry.pending[0].parked if entry.pending and entry.record.state == "parked" else None
    if parked is not None and parked.cause.type == "BudgetExceeded":
        await go_on(runtime, entry)


def account_text(path: str, account: Account | None) -> str:
    """What an account has come to, as ``ref.budget`` is shown."""
    if account is None:
        return f"Budget({path!r}: no limit)"
    parts = []
    for name in NAMES:
        most = account.limit[name]
        if most is not None:
            held = account.reserved[name]
            parts.append(
                f"{name} {_n(account.used[name])} of {_n(most)} used" + (f", {_n(held)} reserved" if held else "")
            )
    cut = f"; {account.cut} cut short, so at least" if account.cut else ""
    odd = (
        f"; {account.unpriced} calls of unknown price, not counted"
        if account.unpriced and account.limit.cost_usd
        else ""
    )
    return f"Budget({path!r}: {'; '.join(parts)}{cut}{odd})"


def _n(value: float | None) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value or 0.0:.4g}"
