"""Tools of MCP servers: a server is a child of a supervisor, its tools are tools like any.

    lab.start(mcp_server("files", command=["mcp-server-files", "/data"], env=["FILES_KEY"]))

    class Clerk(Assistant):
        tools = [mcp("files")]

Calls are no messages to the server's agent, which has one in hand at a time: each goes by a connection of its own to
the process that holds the session (``bridge``), so one that hangs holds up nobody.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from agentlab.agent.server import ServerAgent
from agentlab.errors import InvalidSpec, StepFailed, ToolFailed
from agentlab.faults import fault
from agentlab.ground.given import shown
from agentlab.ground.redaction import redact
from agentlab.ground.texts import storable
from agentlab.supervision.child import Backoff, Child, Limit, child
from agentlab.tools import bridge
from agentlab.tools.function import MAX_RESULT, Tool, by_name

TIMEOUT = 60.0
"""Seconds for one call unless ``mcp`` says otherwise."""

ELSEWHERE = {"backoff": Backoff(0.2, 2.0, 30.0), "own_limit": Limit(30, 60.0)}
"""How a session by address is kept: a server that is away for a while is no fault of ours, so it is asked for again."""


def mcp_server(
    id: str,
    *,
    command: Sequence[str] = (),
    url: str = "",
    env: Sequence[str] | Mapping[str, str] = (),
    headers: Mapping[str, str] | None = None,
    cwd: str | None = None,
    **options: Any,
) -> Child:  # fmt: skip
    """An MCP server as a child: ``lab.start(mcp_server("files", command=[...]))``, or in a ``Supervisor``.

    Args:
        id: Its id; ``mcp(id)`` gives its tools.
        command: The program and its arguments; it speaks MCP on its standard input and output. Of this process's
            environment it gets PATH, HOME and the like, nothing else.
        url: Instead: the address of a server that speaks streamable HTTP. While nobody answers there it is asked for
            again, at least every 30 s, and calls wait; unless ``backoff`` and ``own_limit`` say otherwise.
        env: Names of variables that it gets too, with the values of this process; or a mapping, whose values are part
            of the child's stored spec, so no key may be among them.
        headers: Sent with each request to ``url``; ``${NAME}`` in a value is replaced by that variable.
        cwd: The folder in which the program runs.
        options: As for ``child``: ``restart``, ``backoff``, ``own_limit`` ...

    Raises:
        InvalidSpec: Neither or both of command and url; or the package ``mcp`` is not installed.
    """
    if bool(command) == bool(url) or isinstance(command, str):
        raise InvalidSpec(
            f"mcp_server {id!r}: give either command=['program', 'argument', ...] or url='http://...'", value=id
        )
    if isinstance(url, str) and url and not url.startswith(("http://", "https://")):
        raise InvalidSpec(f"mcp_server {id!r}: url must begin with http:// or https://; got {shown(url)}", value=url)
    if importlib.util.find_spec("mcp") is None:
        raise InvalidSpec(f"mcp_server {id!r} needs the package mcp: pip install 'jupyter-agentlab[mcp]'", value=id)
    names, variables = (list(env), {}) if not isinstance(env, Mapping) else ([], dict(env))
    fields = {
        "program": list(command), "url": url, "names": names, "environment": variables, "headers": dict(headers or {}),
        "cwd": cwd,
    }  # fmt: skip
    kept = {"isolation": "process", **(ELSEWHERE if url else {})}
    return child(McpServer, id=id, **{**kept, **fields, **options})


class McpServer(ServerAgent):
    """An MCP server under supervision; made by ``mcp_server``. Its messages read what it has beside tools."""

    token_variable: ClassVar[str] = bridge.TOKEN

    program: list[str] = []  # noqa: RUF012  # a field's default is copied for each agent
    url: str = ""
    names: list[str] = []  # noqa: RUF012
    headers: dict[str, str] = {}  # noqa: RUF012
    cwd: str | None = None

    def _arguments(self) -> list[str]:
        config = {
            "command": self.program, "url": self.url, "env": self.names, "variables": self.environment,
            "headers": self.headers, "cwd": self.cwd,
        }  # fmt: skip
        return [sys.executable, "-P", bridge.__file__, "{port}", "{fd}", json.dumps(config)]

    def _variables(self) -> dict[str, str]:
        return {}  # the bridge needs none; the server gets its own by the configuration

    @property
    def _shown(self) -> str:
        return f"the MCP server {self.path} ({(self.url or ' '.join(self.program))[:200]})"

    async def tools(self) -> list[dict[str, Any]]:
        """Its tools, as it words them."""
        return list(await self._ask("tools"))

    async def resources(self) -> list[dict[str, Any]]:
        """What can be read: dicts with ``uri``, ``name`` and more."""
        return list(await self._ask("resources"))

    async def read(self, uri: str) -> list[dict[str, Any]]:
        """A resource's contents: dicts with ``uri`` and ``text``, or ``blob`` (base64)."""
        return list((await self._ask("read", uri=uri))["contents"])

    async def prompts(self) -> list[dict[str, Any]]:
        """Its prompts: dicts with ``name``, ``description`` and ``arguments``."""
        return list(await self._ask("prompts"))

    async def prompt(self, name: str, arguments: dict[str, str] | None = None) -> list[dict[str, Any]]:
        """A prompt's messages, filled in."""
        return list((await self._ask("prompt", name=name, arguments=arguments or {}))["messages"])

    async def _ask(self, op: str, **given: Any) -> Any:
        where = {"base_url": self.address, "api_key": await self.lab.token()}
        return await _question(self.path, where, TIMEOUT, {"op": op, **given})


class McpTools:
    """The tools of an MCP server, for ``tools`` of an Assistant; made by ``mcp``."""

    def __init__(self, path: str, **options: Any) -> None:
        self.path = path if path.startswith("/") else f"/{path}"
        self.id = self.path.rpartition("/")[2]
        self._options = options

    def __getitem__(self, name: str) -> McpTool:
        """One of them, for ``await self.step(mcp("files")["read"], {"path": ...})``; unchecked until it is called."""
        return self._tool({"name": name})

    def __repr__(self) -> str:
        return f"mcp({self.id!r})"

    def listing(self) -> _Listing:
        """What asks for its tools, as a step."""
        return _Listing(self)

    def tools(self, listed: Iterable[Mapping[str, Any]]) -> list[McpTool]:
        """Those that it listed and that are wanted."""
        only = self._options["only"]
        return [self._tool(each) for each in listed if only is None or each["name"] in only]

    def _tool(self, listed: Mapping[str, Any]) -> McpTool:
        once, approve = (_wanted(self._options[name], listed["name"]) for name in ("once", "approve"))
        return McpTool(self, listed, once=once, approve=approve, timeout=self._options["timeout"])


def mcp(
    server: str,
    *,
    only: Iterable[str] | None = None,
    once: bool | Iterable[str] = False,
    approve: bool | Iterable[str] = False,
    timeout: float = TIMEOUT,
) -> McpTools:
    """The tools of an MCP server: ``tools = [mcp("files")]``.

    Args:
        server: The id of its child, if that is under the root, or its path.
        only: Names of those that the model is to have; all, if left out.
        once: Those that must never run twice (True: all): see ``tool``.
        approve: Those before which a person is asked (True: all).
        timeout: Seconds for one call (> 0).

    Raises:
        InvalidSpec: ``server`` is no id or path, or ``timeout`` no number above 0.
    """
    if not isinstance(server, str) or not server.strip("/"):
        raise InvalidSpec(f"mcp: server must be the id or the path of a child, as in mcp('files'); got {shown(server)}",
                          value=server)  # fmt: skip
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout < float("inf"):
        raise InvalidSpec(f"mcp({server!r}): timeout must be seconds above 0; got {timeout!r}", value=timeout)
    given = {"only": only, "once": once, "approve": approve}
    kept = {name: each if each is None or isinstance(each, bool) else frozenset(each) for name, each in given.items()}
    return McpTools(server, timeout=timeout, **kept)


def _wanted(names: Any, name: str) -> bool:
    return names if isinstance(names, bool) else name in names


async def offered(
    tools: Iterable[Tool | Callable[..., Any] | McpTools], step: Callable[..., Awaitable[Any]]
) -> dict[str, Tool]:
    """The tools under their names, those of MCP servers among them, as they list them now.

    Raises:
        StepFailed: Two are of one name, which no restart mends: the agent is parked.
    """
    found: list[Tool | Callable[..., Any]] = []
    for each in tools:
        found += each.tools(await step(each.listing())) if isinstance(each, McpTools) else [each]
    try:
        return by_name(found)
    except InvalidSpec as error:
        raise StepFailed(f"{error}. mcp(..., only=[...]) leaves some out.", fault("bad_request")) from None


class _Listing:
    """The step that asks a server for its tools: journaled, so that a message that comes again finds the same."""

    kind = "tools"

    def __init__(self, tools: McpTools) -> None:
        self._tools = tools
        self.__name__ = tools.id
        self.dependency = f"mcp:{tools.id}"

    async def __call__(self) -> list[dict[str, Any]]:
        listed = await _ask(self._tools.path, TIMEOUT, {"op": "tools"})
        named = [each for each in listed if isinstance(each.get("name"), str)]
        return list(json.loads(redact(json.dumps(named))))


class McpTool(Tool):
    """One tool of an MCP server: the server checks what it is given."""

    def __init__(  # its parts are the server's: nothing is read off a function
        self, server: McpTools, listed: Mapping[str, Any], *, once: bool, approve: bool, timeout: float
    ) -> None:
        self._server = server
        self._listed = listed
        self.remote: str = listed["name"]
        self.name = self.__name__ = re.sub(r"[^a-zA-Z0-9_-]", "_", self.remote)[:64]  # as the Messages API takes it
        self.kind = "tool"
        self.once, self.approve, self.timeout = once, approve, timeout
        self.isolated, self.max_memory, self.max_result = False, None, MAX_RESULT
        self.description = str(listed.get("description") or "")
        schema = listed.get("inputSchema")
        self.schema = schema if isinstance(schema, dict) and schema.get("type") == "object" else {"type": "object"}
        hints = listed.get("annotations") or {}
        self.is_repeatable = bool(hints.get("readOnlyHint") or hints.get("idempotentHint")) and not once
        self.dependency = f"mcp:{server.id}"

    def __reduce__(self) -> tuple[Any, ...]:
        return McpTools._tool, (self._server, self._listed)

    async def run(self, input: Mapping[str, Any]) -> str:  # noqa: A002 - the API's word
        """Call it; its result as text.

        Raises:
            ToolFailed: It failed, or its server did; the message is for the model. Where the server was not reached, or
                the tool may be repeated, the fault is one that passes.
            StepFailed: The same of a tool that runs once, when it may have happened.
        """
        question = {"op": "call", "name": self.remote, "arguments": dict(self._arguments(input))}
        try:
            result = await _ask(self._server.path, self.timeout or TIMEOUT, question)
        except ToolFailed as error:
            raise self._judged(error) from None
        text = _text(result)
        if result.get("isError"):
            raise self._judged(ToolFailed(f"{self.name} failed: {text}", fault("tool_failed")))
        return self._cut(redact(text))

    def _judged(self, error: ToolFailed) -> StepFailed:
        """What a failure means for this tool: whether it may be tried again, told, or is for a person to say."""
        if not error.ran:
            return error
        if error.fault.kind == "server_down" and not self.is_repeatable:
            error = ToolFailed(f"{error} Whether {self.name} was carried out is not known.", fault("tool_failed"))
        return self._failure(str(error), error)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As ``run``, by name or with one mapping."""
        return self.run(args[0] if args else kwargs)

    @property
    def in_step(self) -> McpTool:
        """Itself: a step that calls it finds in it the name of its breaker."""
        return self

    def check(self, *args: Any, **kwargs: Any) -> None:
        """Refuse what is no mapping of names to values; the rest is the server's to check."""
        if len(args) > 1 or (args and kwargs):
            raise TypeError(f"{self.name} takes its arguments by name, or as one mapping")
        self._arguments(args[0] if args else kwargs)

    def _arguments(self, given: Any) -> dict[str, Any]:
        if not isinstance(given, Mapping):
            raise ToolFailed(f"{self.name} was not run: its input must be an object", fault("bad_arguments"))
        return dict(given)


def _text(result: Mapping[str, Any]) -> str:
    """What a model is told of a result: its texts, and of other content that there is some."""
    parts = []
    for block in result.get("content") or ():
        resource = block.get("resource") or {}
        text = block.get("text", resource.get("text"))
        kind = block.get("mimeType") or resource.get("mimeType") or block.get("type")
        parts.append(text if text is not None else f"[{kind}: {block.get('uri') or 'not shown'}]")
    if not parts and result.get("structuredContent") is not None:
        return json.dumps(result["structuredContent"])
    return "\n".join(parts).encode("utf-8", "replace").decode()


def _nowhere(path: str) -> Awaitable[dict[str, str]]:
    raise ToolFailed(f"{path} can only be reached by an agent of its lab", fault("tool_failed"))


endpoint: Callable[[str], Awaitable[dict[str, str]]] = _nowhere
"""Where a server listens, and its token: a node puts its own here."""


async def _ask(path: str, timeout: float, question: dict[str, Any]) -> Any:
    try:
        where = await endpoint(path)
    except StepFailed:
        raise
    except Exception as error:
        raise _down(f"The MCP server {path} cannot be found: {error}", ran=False) from None
    return await _question(path, where, timeout, question)


async def _question(path: str, where: Mapping[str, str], timeout: float, question: dict[str, Any]) -> Any:
    """Ask a server's bridge one thing, by a connection of its own."""
    try:
        async with asyncio.timeout(timeout) as limit:
            said = await _exchanged(path, where, question)
    except TimeoutError:
        if not limit.expired():
            raise
        raise ToolFailed(f"The MCP server {path} gave no answer within {timeout:g} s.", fault("tool_failed")) from None
    if "value" in said:
        return said["value"]
    text = f"The MCP server {path} failed: {said['text']}."
    if said["error"] == bridge.UNSENT:
        raise _down(f"The MCP server {path} was not reached, so nothing was done: {said['text']}.", ran=False)
    if said["error"] == bridge.DOWN:
        raise _down(text, ran=True)
    if said["error"] == bridge.GARBAGE:
        text = f"The answer of the MCP server {path} makes no sense: {said['text']}."
    raise ToolFailed(text, fault("tool_failed"))


async def _exchanged(path: str, where: Mapping[str, str], question: dict[str, Any]) -> dict[str, Any]:
    host, _, port = where["base_url"].removeprefix("http://").partition(":")
    try:
        reader, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        raise _down(f"The MCP server {path} is not up.", ran=False) from None
    taken = False
    try:
        asked = json.dumps({**question, "token": where["api_key"]}, ensure_ascii=False)
        data = storable(asked).encode()  # half a character would end the session: no server could be told of it
        writer.write(bridge.HEAD.pack(len(data)) + data)
        taken = await reader.readexactly(len(bridge.TAKEN)) == bridge.TAKEN
        (size,) = bridge.HEAD.unpack(await reader.readexactly(bridge.HEAD.size))
        found: dict[str, Any] = json.loads(await reader.readexactly(size))
        return found
    except (OSError, EOFError):
        where_it_was = "in the middle of the call" if taken else "before it took the call"
        raise _down(f"The MCP server {path} ended {where_it_was}.", ran=taken) from None
    finally:
        writer.close()


def _down(text: str, *, ran: bool) -> ToolFailed:
    error = ToolFailed(text, fault("server_down" if ran else "unreached"))
    error.ran = ran
    return error
