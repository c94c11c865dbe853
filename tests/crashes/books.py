"""What must be true after any deaths, and what a person says of steps in doubt."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd

from agentlab import Ref
from tests.crashes.world import count, lines

ORDERS = ("o1", "o2", "o3")


def settle(clerk: Ref, world: str) -> None:
    """A person looks whether it was paid, and says so."""
    (doubt,) = clerk.doubts()
    assert doubt["name"] == "pay"
    order = [word[1] for word in lines(world) if word[0] == "at" and word[1].endswith(".begin")][-1].split(".")[0]
    if count(world, "run", f"{order}.pay"):
        clerk.settle("pay", result=1)
    else:
        clerk.settle("pay", retry=True)


def check_aides(agents: pd.DataFrame, team: str) -> None:
    """Every order started one aide, which is there."""
    aides = agents[agents["path"].str.startswith(f"{team}/o")]
    assert dict(zip(aides["id"], aides["status"], strict=True)) == {f"{order}-aide": "running" for order in ORDERS}


def check_states(states: dict[str, dict[str, Any]], *, in_order: bool = True) -> None:
    """Every order was handled once by everybody, in order, and no state shows half a message."""
    arrange = list if in_order else sorted
    clerk, bank, book = states["clerk"], states["bank"], states["book"]
    assert arrange(what for what in clerk["done"] if "." not in what) == list(ORDERS)
    assert Counter(clerk["done"]) == Counter([*ORDERS, *(f"{order}.ring" for order in ORDERS)])
    assert arrange(bank["done"]) == list(ORDERS)
    told = [f"{order}.{who}" for order in ORDERS for who in ("clerk", "bank", f"{order}-aide")]
    assert Counter(book["done"]) == Counter(told)
    for state in (clerk, bank, book):
        assert state["begun"] == len(state["done"])
