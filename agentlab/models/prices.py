"""What a model call costs, by the prices that ``genai-prices`` carries; what it does not know is not guessed."""

from __future__ import annotations

import asyncio
import functools
import importlib
from collections.abc import Mapping
from typing import Any

from agentlab.ground.counts import counts_of

_FREE = ("sim", "local")  # names of models on this machine, which have no price


async def load_prices(model: str) -> None:
    """Import the list of prices, if the model may have one: a second that only who pays for models pays."""
    if not model.startswith(_FREE) and not _prices.cache_info().currsize:
        await asyncio.to_thread(_prices)


def cost_of(model: str, usage: Mapping[str, Any]) -> float | None:
    """The cost of one call (US dollars); None where nobody knows the price.

    Args:
        model: Its name, with the provider's before a colon where it has one.
        usage: Tokens as the Messages API words them.
    """
    if model.startswith(_FREE):
        return None
    listed = _prices()
    if listed is None or not _is_listed(model):
        return None
    count = counts_of(usage)
    read, written = count.get("cache_read_input_tokens", 0), count.get("cache_creation_input_tokens", 0)
    tokens = listed.Usage(
        input_tokens=count.get("input_tokens", 0) + read + written, cache_read_tokens=read, cache_write_tokens=written,
        output_tokens=count.get("output_tokens", 0),
    )  # fmt: skip
    try:
        return _priced(model, tokens)
    except ValueError:
        return None


@functools.lru_cache(1_000)
def cost_of_longest(model: str, max_tokens: int) -> float | None:
    """The cost of the longest answer, as ``cost_of``; of a price that depends on the hour this is the first one."""
    return cost_of(model, {"output_tokens": max_tokens})


@functools.lru_cache(1_000)
def _is_listed(model: str) -> bool:
    """Whether the list knows it. It looks through all it has for a name that it has not, each time that it is asked."""
    try:
        _priced(model, _prices().Usage())
    except LookupError:
        return False
    except ValueError:
        pass  # it wants to know more
    return True


def _priced(model: str, tokens: Any) -> float:
    provider, _, name = model.rpartition(":")
    return float(_prices().calc_price(tokens, model_ref=name, provider_id=provider or None).total_price)


@functools.cache
def _prices() -> Any:  # the library, whose types nobody else needs
    """The list; None in an environment that is older than the need for it."""
    try:
        return importlib.import_module("genai_prices")
    except ImportError:
        return None
