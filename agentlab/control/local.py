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

OPTIONS = ("slots", "context", "threads", "seed")
"""What ``Lab(local={...})`` may say of them."""


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
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidSpec(
                f"Lab: local[{name!r}] must be an int >= 1; got {shown(value)}", kind="invalid_local", value=value
            )
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
