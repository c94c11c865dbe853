"""An agent that owns a server: an operating-system process, supervised like any child.

    class Docs(ServerAgent):
        command: list[str] = ["python", "-m", "http.server", "{port}", "--bind", "127.0.0.1"]

    docs = lab.start(Docs, id="docs", isolation="process")
    docs.state["address"]        # 'http://127.0.0.1:43121'
    docs.crash()                 # the process ends with its agent, the supervisor starts both
    docs.state["address"]        # the same: who knows the address goes on

The agent is the process, as far as supervision is concerned: an end of the process that nobody asked for is the
agent's crash, with its last lines as the reason, and ``crash()``, ``kill()``, ``stop()`` and ``restart()`` end the
process too. It is in the process group of its node and reads a pipe that the node holds, so it never outlives that.
With ``isolation="process"`` the node is its own, and what its neighbours do to theirs is not felt.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Coroutine, Iterator
from typing import Any, ClassVar, NoReturn

from agentlab.agent.base import Agent
from agentlab.agent.process import OwnedProcess, how_it_ended
from agentlab.errors import InvalidSpec, ServerDown

LOOK_SECONDS = 0.05
"""Between two looks whether a port is free, or answers."""

PORT_SECONDS = 10.0
"""So long a port that is kept may stay taken: by the process of the life before, which is being ended."""


class ServerAgent(Agent):
    """An agent that owns an operating-system process which serves on a port of this machine.

    What a child of it says (fields):
        command: The program and its arguments. ``{port}`` becomes the port that it is to listen on, ``{fd}`` the
            number of a descriptor. One of the two says how it is ready: with ``{fd}``, by writing a line with its
            address there (a URL, or JSON with ``base_url``); else by taking connections at ``{port}``.
        environment: Variables beside those of the node. They are state, so no key may be among them.
        port: The port; a free one is chosen at the first start, and kept.
        address: Where it serves, ``http://127.0.0.1:PORT``; the same over restarts.

    What a class says:
        token_variable: The variable in which the process finds a token, the same over restarts and nowhere stored;
            ``""``: none. Others get it by ``lab.endpoint(ref)``, agents by ``await self.lab.endpoint(path)``.
        health: A path of the server that answers 200 when it is ready; ``""``: to take a connection is enough.
        start_seconds: So long it may take to be ready.
        stop_seconds: So long it may take to end when it is asked to; then it is killed.

    A subclass may override ``_arguments`` and ``_variables`` where these are to be found out at each start.

    Raises:
        ServerDown: In ``on_start``: the port is taken, the program cannot be started, ended, or was not ready in time.
            Later, as the reason of the crash: it ended.
    """

    token_variable: ClassVar[str] = ""
    health: ClassVar[str] = ""
    start_seconds: ClassVar[float] = 30.0
    stop_seconds: ClassVar[float] = 3.0

    command: list[str] = []  # noqa: RUF012  # a field's default is copied for each agent
    environment: dict[str, str] = {}  # noqa: RUF012
    port: int = 0
    address: str = ""

    _process: OwnedProcess | None = None
    _guard: asyncio.Task[None] | None = None
    _is_stopping = False

    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid if self._process is not None else 0

    async def on_start(self) -> None:
        """Start the process and return when it is ready."""
        try:
            async with asyncio.timeout(self.start_seconds):
                await self._bring_up()
        except TimeoutError:
            said = self._process.last_words() if self._process is not None else "nothing"
            raise ServerDown(
                f"{self._shown} was not ready after start_seconds={self.start_seconds:g}; it said: {said}"
            ) from None
        finally:
            if self._process is not None and self._guard is None:
                self._process.kill()

    async def on_stop(self, reason: object) -> None:
        """Ask the process to end, and end it if it does not."""
        self._is_stopping = True
        if self._process is not None:
            self._process.terminate()
            await asyncio.wait([self._process.ended], timeout=self.stop_seconds)
            self._process.kill()

    def _arguments(self) -> list[str]:
        """The command of this start, with ``{port}`` and ``{fd}`` in it."""
        return list(self.command)

    def _variables(self) -> dict[str, str]:
        """Variables of this start, beside those of the node."""
        return dict(self.environment)

    @property
    def _shown(self) -> str:
        return f"the process of {self.path} ({' '.join(self._arguments())[:200]})"

    async def _bring_up(self) -> None:
        arguments = self._arguments()
        if not any("{port}" in part or "{fd}" in part for part in arguments):
            raise InvalidSpec(
                f"{self.path}: command needs a part with {{port}} or {{fd}}, which says how it is ready; "
                f"got {arguments!r}",
                kind="invalid_command", value=arguments,
            )  # fmt: skip
        if any("{port}" in part for part in arguments):
            await self._have_port()
        variables = {**os.environ, **self._variables()}
        if self.token_variable:
            variables[self.token_variable] = await self.lab.token()
        with _pipe() as (read, write):
            given = [part.replace("{port}", str(self.port)).replace("{fd}", str(write)) for part in arguments]
            try:
                self._process = OwnedProcess(given, variables, print, fds=[write])
            except OSError as error:
                raise ServerDown(f"{self._shown} cannot be started: {error}") from None
            os.close(write)
            says_so = any("{fd}" in part for part in arguments)
            await self._until_ready(self._process, _line(read) if says_so else self._answers())
        self._guard = asyncio.create_task(self._watch(self._process))

    async def _have_port(self) -> None:
        """Choose a port, or wait until the one that is kept is free: its last process may be about to end."""
        if not self.port:
            self.port = _free_port()
        patience = PORT_SECONDS if self.incarnation > 1 else 0.0
        late = asyncio.get_running_loop().time() + min(patience, self.start_seconds / 2)
        while not _is_free(self.port):
            if asyncio.get_running_loop().time() > late:
                raise ServerDown(
                    f"{self._shown} was not started, since port {self.port} of 127.0.0.1 is taken by another process. "
                    f"End that one, or give it another: ref.replace_state(port=0)."
                )
            await asyncio.sleep(LOOK_SECONDS)
        self.address = f"http://127.0.0.1:{self.port}"

    async def _until_ready(self, process: OwnedProcess, ready: Coroutine[Any, Any, str | None]) -> None:
        waiting = asyncio.ensure_future(ready)
        try:
            both: list[asyncio.Future[Any]] = [waiting, process.ended]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if process.ended.done():
                raise ServerDown(
                    f"{self._shown} ended before it was ready, with {how_it_ended(process.ended.result())}; it said: "
                    f"{process.last_words()}"
                )
            self.address = waiting.result() or self.address
        finally:
            waiting.cancel()

    async def _answers(self) -> None:
        """Return when it takes connections, and answers 200 at ``health``."""
        while not await _answers(self.port, self.health):  # noqa: ASYNC110  # it is another process that changes
            await asyncio.sleep(LOOK_SECONDS)

    async def _watch(self, process: OwnedProcess) -> None:
        """End the process when this life ends; crash this life when the process does."""
        try:
            code = await process.ended
        finally:
            process.kill()
        if not self._is_stopping:
            why = f"{self._shown} ended with {how_it_ended(code)}; its last lines: {process.last_words()}"
            # Out of a callback: an exception in a task is heard of only when somebody collects it.
            asyncio.get_running_loop().call_soon(_crash, ServerDown(why))


def _crash(error: Exception) -> NoReturn:
    raise error


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe; whatever is still open is closed afterwards, the writing end by its user."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    try:
        yield read, write
    except BaseException:
        with contextlib.suppress(OSError):
            os.close(write)
        raise
    finally:
        os.close(read)


async def _line(fd: int) -> str | None:
    """The address that a process writes when it is ready; None if it says nothing of one."""
    loop, text = asyncio.get_running_loop(), b""
    while b"\n" not in text:
        readable = loop.create_future()
        loop.add_reader(fd, _set, readable)
        try:
            await readable
        finally:
            loop.remove_reader(fd)
        data = os.read(fd, 4096)
        if not data:  # it closed it and says no more: that it ends is heard elsewhere
            await loop.create_future()
        text += data
    said = text.split(b"\n")[0].decode(errors="replace").strip()
    if said.startswith("{"):
        found: dict[str, str] = json.loads(said)
        return found.get("base_url") or found.get("address")
    return said or None


def _set(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


async def _answers(port: int, health: str) -> bool:
    """Whether something takes connections, and answers 200 at that path if one is given."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        if not health:
            return True
        writer.write(f"GET {health} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode())
        return (await reader.readline()).split(b" ")[1:2] == [b"200"]
    except OSError:
        return False
    finally:
        writer.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that just ended do not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
