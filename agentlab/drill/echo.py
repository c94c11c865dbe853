"""Bare asyncio: what comes in goes out, a byte at a time. Run as a script, so that it imports nothing of agentlab."""

from __future__ import annotations

import asyncio
import socket
import sys


async def echo(fd: int) -> None:
    """Send back whatever comes, until the other end is closed."""
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=fd))
    while said := await reader.read(64):
        writer.write(said)
        await writer.drain()
    writer.close()


if __name__ == "__main__":
    asyncio.run(echo(int(sys.argv[1])))
