"""A lab's own model servers, ``/servers/local``: one for each file of weights, started when an agent first asks."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agentlab.control.servers import own_server
from agentlab.errors import InvalidSpec
from agentlab.ground.given import shown
from agentlab.ground.words import meant
from agentlab.kernel.runtime import Runtime

MOST_TOKENS = 2**31 - 1
"""llama.cpp counts the tokens that it has room for in 32 bits."""

OPTIONS: Mapping[str, int] = {"slots": 1_000, "context": MOST_TOKENS, "threads": 1_000, "seed": 2**32 - 2}
"""What ``Lab(local={...})`` may say of them, and the most that llama.cpp takes (of threads and slots: sensibly)."""


def checked_options(given: Any) -> dict[str, int]:
    """What a person said of local models.

    Raises:
        InvalidSpec: Names the option that there is not, or the value that cannot be.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidSpec(f"Lab: local is a mapping, {{'slots': 2, 'context': 4096}}; got {shown(given)}",
                          kind="invalid_local", value=given)  # fmt: skip
    for name, value in given.items():
        if name not in OPTIONS:
            raise InvalidSpec(
                f"Lab: local has no option {name!r};{meant(str(name), OPTIONS)} it has: {', '.join(OPTIONS)}.",
                kind="invalid_local", value=name,
            )  # fmt: skip
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= OPTIONS[name]:
            raise InvalidSpec(
                f"Lab: local[{name!r}] must be an int from 1 to {OPTIONS[name]:,}; got {shown(value)}",
                kind="invalid_local", value=value,
            )  # fmt: skip
    tokens = given.get("slots", 1) * given.get("context", 1)
    if tokens > MOST_TOKENS:
        raise InvalidSpec(
            f"Lab: local: slots times context is the memory of the model, {MOST_TOKENS:,} tokens at the most; got "
            f"{tokens:,}",
            kind="invalid_local", value=tokens,
        )  # fmt: skip
    return dict(given)


async def local_model(runtime: Runtime, model: str, file: str) -> dict[str, str]:
    """Where the server of some weights listens, and its token.

    Args:
        runtime: Where.
        model: ``"local"`` or ``"local:<file>"``.
        file: The weights.
    """

    def described() -> tuple[type, dict[str, Any]]:
        from agentlab.models.local import LocalServer

        return LocalServer, {"file": file, "threads": max(1, (os.cpu_count() or 2) // 2), **runtime.local}

    return await own_server(runtime, _id(model, file), described)


def _id(model: str, file: str) -> str:
    """Weights that have no name of their own are told apart by their file."""
    if model == "local":
        return model
    stem = re.sub(r"[^\w-]+", "-", Path(file).stem)[:40]
    return f"local-{stem}-{hashlib.sha256(file.encode()).hexdigest()[:6]}"
