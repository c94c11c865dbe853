"""Numbers of tokens, as providers report them: what makes no sense is none, for sums and a store have to hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST = 10**12
"""More tokens than any call has; a store holds whole numbers up to 9 * 10**18, and sums of these."""


def counts_of(usage: Any) -> dict[str, int]:  # whatever a provider sent, or an object of somebody's own
    """The counts in a model's ``usage``, by name: 0 for one below 0 or above ``MOST``, and without what is no int."""
    if not isinstance(usage, Mapping):
        return {}
    return {str(name): value if 0 <= value <= MOST else 0 for name, value in usage.items() if type(value) is int}
