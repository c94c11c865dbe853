"""Kernels that their clients reach by files.

The ports of a kernel are chosen half a second before it binds them, and a machine on which much is tested at once gives
one of them to somebody else meanwhile: then the kernel dies before its first word. A file is nobody else's. JupyterLab,
which meets the same, starts such a kernel again.
"""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.connect import ConnectionFileMixin
from jupyter_client.manager import AsyncKernelManager, KernelManager

PATIENCE = 100.0


class _ByFiles(ConnectionFileMixin):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.connection_file = str(Path(tempfile.gettempdir()) / f"kernel-{uuid.uuid4().hex[:12]}.json")
        self.transport = "ipc"


class Manager(_ByFiles, KernelManager):
    """Of a kernel for code that blocks."""


class AsyncManager(_ByFiles, AsyncKernelManager):
    """Of a kernel for code that awaits."""


def start_kernel(cwd: Path) -> tuple[Manager, BlockingKernelClient]:
    """A kernel that runs in a folder, and a client to which it has answered."""
    manager = Manager(kernel_name="python3")
    manager.start_kernel(cwd=str(cwd))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE)
    except BaseException:
        manager.shutdown_kernel(now=True)
        raise
    return manager, client


async def start_async_kernel(cwd: Path) -> tuple[AsyncManager, AsyncKernelClient]:
    """The same, awaited."""
    manager = AsyncManager(kernel_name="python3")
    await manager.start_kernel(cwd=str(cwd))
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=PATIENCE)
    except BaseException:
        await manager.shutdown_kernel(now=True)
        raise
    return manager, client
