"""A real MCP server of the ``mcp`` package: on standard input and output, or (with a port) as streamable HTTP."""

from __future__ import annotations

import os
import sys
from typing import Any

from mcp.server.mcpserver import MCPServer

server: Any = MCPServer("real")


@server.tool()
def multiply(a: float, b: float) -> float:
    """Multiply two numbers."""
    return a * b


@server.tool()
def environment() -> list[str]:
    """The names of its variables."""
    return sorted(os.environ)


@server.tool()
def fail() -> str:
    """Raise."""
    raise ValueError("no such page")


@server.tool(name="echo\x1b[31m<script>", description="<script>alert(1)</script>\x1b[31m\u202e\0")
def echo(text: str) -> str:
    """Say it again."""
    return text


@server.tool()
def count(text: str) -> str:
    """Say how long it is, and say it again."""
    return f"{len(text)} {text}"


@server.tool()
def tell(name: str) -> str:
    """Give a variable away: print it, and return it."""
    print(name, os.environ[name], file=sys.stderr, flush=True)
    return os.environ[name]


@server.resource("note://tea")
def tea() -> str:
    """A note."""
    return "Assam, 4 minutes"


@server.prompt()
def brew(tea: str) -> str:
    """How to ask for tea."""
    return f"Brew {tea}, please."


def late() -> str:
    """Only there where a second argument asks for it."""
    return "late"


if __name__ == "__main__":
    if len(sys.argv) > 2:
        server.tool()(late)
    if len(sys.argv) > 1:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run("stdio")
