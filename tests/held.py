"""What a process holds for its labs, for tests and their scripts: whoever imports it loads no pytest."""

from __future__ import annotations

import gc
import threading

import psutil

from agentlab import Lab
from agentlab.pool import fork


def threads() -> set[str]:
    """The threads of labs that run; the one that minds the zygote lasts as long as the process."""
    return {t.name for t in threading.enumerate() if t.name.startswith("agentlab")} - {"agentlab-zygote"}


def held() -> tuple[set[str], int]:
    """What labs hold: their threads, and how many descriptors; the zygote's line stays as long as the process."""
    gc.collect()  # a loop of asyncio that could not be made lets go of what it has when it is collected
    zygote = fork._shared
    return threads(), psutil.Process().num_fds() - (zygote is not None and zygote._line is not None)


def nodes_of(lab: Lab) -> list[int]:
    """The processes of a lab's nodes; all of them have been forked when ``Lab(...)`` returns."""
    runtime = lab._runtime
    assert runtime is not None
    return [pid for node in list(runtime.desk.pool.nodes.values()) if (pid := node.process.pid) is not None]


def nodes() -> list[int]:
    """The nodes that run."""
    zygote = fork._shared
    assert zygote is not None
    assert zygote._process is not None
    found = psutil.Process(zygote._process.pid).children()
    return [child.pid for child in found if child.status() != psutil.STATUS_ZOMBIE]
