"""What a worker of a cluster must have in common with this process, and what no network may be given in the clear."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentlab.errors import InsecureCluster, InvalidSpec
from agentlab.ground.given import shown

PROBE = """(lambda sys, socket, paths, found, pickles: {
    'Python': '%d.%d' % sys.version_info[:2],
    'agentlab': next((each.version for each in found.metadata.distributions(name='jupyter-agentlab')), 'missing'),
    'cloudpickle': pickles.__version__,
    'byte order': sys.byteorder,
    'host': ' '.join([socket.gethostname(), *(
        path.read_text().strip() for path in [paths.Path('/proc/sys/kernel/random/boot_id')] if path.exists())]),
})(*(__import__(name) for name in ('sys', 'socket', 'pathlib', 'importlib.metadata', 'cloudpickle')))"""
"""A text, for a worker that may have no agentlab, or pickles of another kind: it needs nothing but Python."""

MATCHING = ("Python", "agentlab", "cloudpickle", "byte order")


def probed() -> dict[str, str]:
    """What this process answers."""
    found: dict[str, str] = eval(PROBE)  # noqa: S307  # the text above, as a worker evaluates it
    return found


def differing(here: Mapping[str, str], there: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """What must match and does not: what, here, there."""
    return [(what, here[what], there.get(what, "?")) for what in MATCHING if here[what] != there.get(what)]


def as_table(rows: Sequence[tuple[str, str, str]]) -> str:
    """Lines for a person, in columns."""
    lines = [("what", "here", "there"), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    return "\n".join(
        "  " + "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


@dataclass(frozen=True)
class Door:
    """How a cluster is reached: its scheduler's address, and a ``distributed.Security``; None: Dask's settings."""

    address: str
    security: Any = None


def door_of(cluster: Any) -> Door:
    """How to reach what was given: a Dask client, a cluster, or its scheduler's address.

    Raises:
        InvalidSpec: It is none of these, or its workers are threads of one process.
    """
    scheduler = getattr(cluster, "scheduler", None)
    address = cluster if isinstance(cluster, str) else getattr(cluster, "scheduler_address", None)
    address = address or getattr(scheduler, "address", None)
    if not isinstance(address, str) or "://" not in address:
        raise InvalidSpec(
            "evaluate: cluster must be a distributed.Client that is connected, a cluster like LocalCluster(), or a "
            f"scheduler's address like 'tls://host:8786'; got {shown(cluster)}",
            kind="invalid_cluster", value=cluster,
        )  # fmt: skip
    if address.startswith("inproc:"):
        raise InvalidSpec(
            f"evaluate: the workers at {address} are threads of one process, and a lab's nodes need processes: "
            "LocalCluster(processes=True).",
            kind="invalid_cluster", value=address,
        )  # fmt: skip
    return Door(address, getattr(cluster, "security", None))


def check_private(address: str, *, insecure: bool) -> None:
    """See that nobody on the way can read or change what goes to an address, unless a person takes that risk.

    Raises:
        InsecureCluster: It is beyond loopback, and not encrypted.
    """
    scheme, _, rest = address.partition("://")
    if insecure or scheme in ("tls", "wss") or _is_loopback(rest.rpartition(":")[0].strip("[]")):
        return
    raise InsecureCluster(
        f"evaluate: {address} is beyond this machine and not encrypted: whoever is on the way may read the samples and "
        "run code in this process. Give the cluster TLS: SLURMCluster(security=True), "
        "LocalCluster(security=Security.temporary()), or certificates in Dask's settings. In a network that you trust: "
        "evaluate(..., insecure=True)."
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
