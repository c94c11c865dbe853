"""The process that holds the session with one MCP server, for all agents that use it.

    python -P bridge.py PORT FD CONFIG

CONFIG is JSON: ``command`` or ``url``, and what goes with it. It listens on PORT of this machine and writes its
address to FD when the server has answered. Each connection carries one question, a length and JSON, with the token that
the environment holds; questions are asked of the server side by side, and one whose asker hangs up is cancelled there.
When the server is gone the bridge ends, which is the crash of the agent that owns it.

It runs by its path and imports nothing of agentlab, so that it starts as soon as the ``mcp`` package lets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import hmac
import json
import logging
import os
import re
import signal
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Any

HEAD = struct.Struct("!I")

TAKEN = b"+"
"""Said of a question before it is asked: one of which this was not heard was not carried out."""

MAX_QUESTION = 64 * 1024 * 1024
MAX_PAGES = 100
"""Pages of a list that are read: a server may go on for ever."""

MAX_MEMORY = 2 << 30
"""Bytes that the bridge may use: a server may send a line without end."""

TOKEN = "AGENTLAB_MCP_TOKEN"  # noqa: S105  # the variable's name
UNSENT, DOWN, FAILED, GARBAGE = "unsent", "down", "failed", "garbage"
"""Why there is no answer: the server was not reached; it is gone; it said so; what it said makes no sense."""


class Bridge:
    """Asks one server what many agents want to know."""

    def __init__(self, client: Any, token: str, gone: asyncio.Event) -> None:
        self._client = client
        self._token = token.encode()
        self._gone = gone
        self._open = 0
        self._is_ending = False
        self.quiet = asyncio.Event()
        self.quiet.set()
        self._ops: dict[str, Callable[[dict[str, Any]], Awaitable[Any]]] = {
            "tools": lambda _: self._pages(client.list_tools, "tools"),
            "resources": lambda _: self._pages(client.list_resources, "resources"),
            "prompts": lambda _: self._pages(client.list_prompts, "prompts"),
            "call": lambda q: client.call_tool(q["name"], q["arguments"]),
            "read": lambda q: client.read_resource(q["uri"]),
            "prompt": lambda q: client.get_prompt(q["name"], q["arguments"]),
        }

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One question; whoever hangs up does not want the answer any more."""
        self._open += 1
        self.quiet.clear()
        try:
            (size,) = HEAD.unpack(await reader.readexactly(HEAD.size))
            if size > MAX_QUESTION:
                return
            question = json.loads(await reader.readexactly(size))
            if not hmac.compare_digest(str(question.get("token", "")).encode(), self._token):
                return
            writer.write(TAKEN)
            asking = asyncio.ensure_future(self._answer(question))
            hung_up = asyncio.ensure_future(reader.read(1))
            await asyncio.wait([asking, hung_up], return_when=asyncio.FIRST_COMPLETED)
            hung_up.cancel()
            if asking.done():
                said = json.dumps(asking.result()).encode()
                writer.write(HEAD.pack(len(said)) + said)
                await writer.drain()
            else:
                asking.cancel()
                await asyncio.wait([asking])
        except (OSError, ValueError, EOFError):
            pass  # whoever it was does not speak our words, or is gone
        finally:
            writer.close()
            self._open -= 1
            if not self._open:
                self.quiet.set()

    async def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        if self._is_ending or self._gone.is_set():
            return {"error": UNSENT, "text": "its session has ended"}
        way = Way()
        the_way.set(way)
        try:
            asked = asyncio.ensure_future(self._ops[question["op"]](question))
            gone = asyncio.ensure_future(self._gone.wait())
            try:
                await asyncio.wait([asked, gone], return_when=asyncio.FIRST_COMPLETED)
                if not asked.done():
                    return {"error": UNSENT if way.led_nowhere else DOWN, "text": "the server ended"}
                return {"value": plain(asked.result())}
            finally:
                gone.cancel()
                asked.cancel()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            return self._failure(leaf(error), way)

    def _failure(self, error: BaseException, way: Way) -> dict[str, Any]:
        """Why there is no answer; a connection that failed ends the bridge, so that it is made anew."""
        from mcp.shared.exceptions import MCPError

        text = f"{type(error).__name__}: {error}"
        if isinstance(error, MCPError):
            if error.error.code not in (-32000, -32001) and not self._gone.is_set():
                return {"error": FAILED, "text": error.error.message}
            kind = DOWN
        elif any(cls.__name__ == "TransportError" for cls in type(error).__mro__) or isinstance(error, OSError):
            kind = DOWN
        else:
            kind = GARBAGE
        if kind == DOWN:
            self._is_ending = True
            asyncio.get_running_loop().call_later(0.05, self._gone.set)
        return {"error": UNSENT if kind == DOWN and way.led_nowhere else kind, "text": text[:2000]}

    async def finish(self) -> None:
        """Let all that were asked be answered, however the session ended."""
        self._gone.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.quiet.wait(), 1.0)

    async def _pages(self, ask: Callable[..., Awaitable[Any]], name: str) -> list[Any]:
        found: list[Any] = []
        cursor = None
        for _ in range(MAX_PAGES):
            page = await ask(cursor=cursor)
            found += plain(page)[name]
            cursor = page.next_cursor
            if not cursor:
                break
        return found


class Way:
    """How far the requests of one question came: one that met nobody who listens was certainly not carried out."""

    def __init__(self) -> None:
        self.refused = self.sent = 0

    @property
    def led_nowhere(self) -> bool:
        return self.refused > 0 and not self.sent


the_way: ContextVar[Way | None] = ContextVar("the_way", default=None)
"""That of the question for which this code runs; the ``mcp`` package makes each request in its asker's context."""


def plain(value: Any) -> Any:
    """A result as the wire has it."""
    if isinstance(value, list):
        return value
    return value.model_dump(mode="json", by_alias=True, exclude_none=True)


def leaf(error: BaseException) -> BaseException:
    """What is inside a group of exceptions, however deep."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@contextlib.asynccontextmanager
async def watched(transport: Any, gone: asyncio.Event) -> AsyncIterator[Any]:
    """A transport whose end is noticed also while nobody asks for anything."""
    import anyio

    send, receive = anyio.create_memory_object_stream[Any](0)

    async def pump(read: Any) -> None:
        async with send:
            async for item in read:
                await send.send(mended(item))
        gone.set()

    async with transport as (read, write):
        pumping = asyncio.ensure_future(pump(read))
        try:
            yield receive, write
        finally:
            pumping.cancel()
            receive.close()


def mended(item: Any) -> Any:
    """What a transport read; a line that spells half a character, at which the parser fails, with U+FFFD for it."""
    from mcp.shared.message import SessionMessage
    from mcp.types import jsonrpc_message_adapter

    if not isinstance(item, ValueError) or not hasattr(item, "errors"):
        return item
    try:
        line = json.dumps(json.loads(item.errors()[0]["input"]), ensure_ascii=False)
        whole = line.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return SessionMessage(jsonrpc_message_adapter.validate_json(whole, by_name=False))
    except (ValueError, TypeError, RecursionError):
        return item  # it fails of something else


def client_of(headers: dict[str, str]) -> Any:
    """An HTTP client that notes of each question whether its requests met anybody."""
    import httpx2

    class Client(httpx2.AsyncClient):
        async def send(self, request: Any, **options: Any) -> Any:
            way = the_way.get() or Way()
            try:
                response = await super().send(request, **options)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                way.refused += 1
                raise
            except BaseException:
                way.sent += 1
                raise
            way.sent += 1
            return response

    return Client(headers=headers, timeout=httpx2.Timeout(30.0, read=3600.0))


def transport_of(config: dict[str, Any]) -> Any:
    """The way to the server: its process, which gets little of this one's environment, or its address."""
    if config.get("url"):
        from mcp.client.streamable_http import streamable_http_client

        headers = {name: expanded(value) for name, value in config["headers"].items()}
        return streamable_http_client(config["url"], http_client=client_of(headers))
    from mcp.client.stdio import StdioServerParameters, stdio_client

    given = {name: os.environ[name] for name in config["env"] if name in os.environ}
    return stdio_client(
        StdioServerParameters(
            command=sys.executable,
            args=["-P", __file__, "--exec", str(os.getpid()), *config["command"]],
            env={**given, **config["variables"]},
            cwd=config["cwd"],
            encoding_error_handler="replace",
        )
    )


def expanded(text: str) -> str:
    """``${NAME}`` by this process's environment."""
    return re.sub(r"\$\{(\w+)\}", lambda found: os.environ.get(found[1], ""), text)


async def serve(port: int, fd: int, config: dict[str, Any]) -> str:
    """Hold the session and serve until the server or the agent is gone; why it ended."""
    from mcp.client.client import Client

    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, gone.set)  # the end of the agent's pipe
    token = os.environ.pop(TOKEN)
    session = Client(watched(transport_of(config), gone), cache=None, logging_callback=_unheard)
    async with contextlib.AsyncExitStack() as last, session as client:
        bridge = Bridge(client, token, gone)
        last.push_async_callback(bridge.finish)  # a session that fails is left by a cancellation, in which nobody waits
        server = await asyncio.start_server(bridge.connected, "127.0.0.1", port)
        os.write(fd, f"http://127.0.0.1:{port}\n".encode())
        await gone.wait()
        server.close()
    return "the MCP server is gone"


async def _unheard(params: Any) -> None:
    """What a server logs by the protocol is nobody's; its standard error is its agent's log."""


def execute(parent: int, command: list[str]) -> None:
    """Become the server's program, which ends with the bridge."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(0)
    try:
        os.execvp(command[0], command)  # noqa: S606  # the program that a person has named
    except OSError as error:
        print(f"{command[0]} cannot be run: {error.strerror}", file=sys.stderr)  # noqa: T201  # the agent's log
        os._exit(127)


def main() -> None:
    """Serve, and say why it ended."""
    if sys.argv[1] == "--exec":
        execute(int(sys.argv[2]), sys.argv[3:])
    import resource

    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY, hard))
    logging.disable(logging.CRITICAL)  # what a server says wrongly would fill its agent's log
    try:
        why = asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])))
    except BaseException as error:
        found = leaf(error)
        why = f"{type(found).__name__}: {found}"
    print(why, file=sys.stderr, flush=True)  # noqa: T201  # the agent's log
    os._exit(1)


if __name__ == "__main__":
    main()
