"""Libraries that take long to import, and that nodes need only when their agents do something.

The first node that needs one imports it, and notes that in memory which it shares with the zygote. That imports it
before it forks the next node, so nodes to come have it, and hold no copy of their own. A kernel that knows beforehand
what its nodes will need notes it in its own process, and says so with each node that it asks for.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import mmap

LIBRARIES = {
    "anthropic": ("anthropic", "aiohttp", "anyio._backends._asyncio", "agentlab.models.assistant"),
    "evals": ("agentlab.evals.ledger", "agentlab.evals.scorers"),
}
"""What may be preloaded, by name, for this floor knows nothing of those above: modules that come with a library's first
use, and those of ours that use it. None starts a thread while it is imported."""

_needed = mmap.mmap(-1, len(LIBRARIES))  # a byte for each; forked processes share it
_tried: set[str] = set()


def note_need(library: str) -> None:
    """This process has used it; those that are forked after it will need it too."""
    _needed[list(LIBRARIES).index(library)] = 1


def needs() -> list[str]:
    """The libraries that were noted, by name."""
    return [name for name, needed in zip(LIBRARIES, _needed[:], strict=True) if needed]


def load_needed() -> None:
    """Import, in the process from which others are forked, what these were found to need.

    What cannot be imported is left to whoever uses it, and can say so.
    """
    missing = [name for name in needs() if name not in _tried]
    for name in missing:
        _tried.add(name)
        for module in LIBRARIES[name]:
            with contextlib.suppress(Exception):
                importlib.import_module(module)
    if missing:
        gc.collect()
        gc.freeze()  # it is never garbage: nodes need not look at it, so they share its memory
