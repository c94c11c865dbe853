"""How a sample ended: one word for each, decided by what its caller was told and by the deaths that went before."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, get_args

from agentlab.errors import BudgetExceeded, CallTimeout
from agentlab.faults import KINDS, classify
from agentlab.store.database import Store

Disposition = Literal["scored", "failed", "over_budget", "timed_out", "poisoned", "stopped"]
DISPOSITIONS: tuple[Disposition, ...] = get_args(Disposition)

SAME = 3
"""So often the same fault is taken for certain."""


def fault_of(error: BaseException) -> str:
    """The kind of fault behind an error: what its text says, or what its cause is."""
    for each in _chain(error):
        words: list[str] = re.findall(r"[a-z_]+", str(each))
        found = next((word for word in words if word in KINDS and word != "crash"), None)
        kind: str = classify(each).kind
        if kind != "crash":
            return kind
        if found is not None and ("on the same request" in str(each) or f"{found}:" in str(each)):
            return found
    return type(_chain(error)[-1]).__name__


def _chain(error: BaseException) -> list[BaseException]:
    found = [error]
    while (cause := found[-1].__cause__) is not None and cause not in found:
        found.append(cause)
    return found


def disposition_of(error: BaseException, deaths: Sequence[str]) -> Disposition:
    """The word for a sample whose solver did not answer.

    Args:
        error: What its caller was told.
        deaths: The signatures of its agent's own deaths, oldest first.
    """
    if isinstance(error, CallTimeout):
        return "timed_out"
    if any(isinstance(each, BudgetExceeded) for each in _chain(error)) or fault_of(error) == "budget":
        return "over_budget"
    repeated = re.search(r"(\d+) times \w+ on the same request", " ".join(map(str, _chain(error))))
    if repeated or (len(deaths) >= SAME - 1 and len(set(deaths)) == 1):
        return "poisoned"
    return "failed"


def deaths_of(store: Store, path: str) -> list[str]:
    """The signature of each death of an agent by its own doing: the class, and the words without their numbers."""
    rows = store.select("SELECT fault, reason FROM restart WHERE path = ? ORDER BY id", (path,))
    return [f"{fault} {re.sub(r'0x[0-9a-f]+|[0-9]+', '#', str(reason))}" for fault, reason in rows if fault]
