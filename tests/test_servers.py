"""Agents that own a server: a real process on a real port, which lives and dies as its agent does."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from typing import ClassVar
from urllib.parse import urlsplit

import pytest

from agentlab import Lab, errors
from agentlab.agent.server import ServerAgent
from tests.conftest import wait_for
from tests.test_kernel_life import read_line, runs, start_script

SERVES = """
import os, signal, socket, sys
port, fd, how = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
print("my pid is", os.getpid(), flush=True)
if how == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if how == "ends":
    print("no such model: tea", file=sys.stderr, flush=True)
    sys.exit(3)
if how == "hangs":
    signal.pause()
server = socket.create_server(("127.0.0.1", port))
os.write(fd, f"http://127.0.0.1:{port}\\n".encode())
os.close(fd)
while True:
    connection, _ = server.accept()
    connection.sendall(os.environ["SMALL_TOKEN"].encode())
    connection.close()
"""


class Small(ServerAgent):
    """Tells its token to whoever connects."""

    token_variable: ClassVar[str] = "SMALL_TOKEN"
    start_seconds: ClassVar[float] = 60.0
    stop_seconds: ClassVar[float] = 0.2

    how: str = "serves"

    def _arguments(self) -> list[str]:
        return [sys.executable, "-I", "-S", "-c", SERVES, "{port}", "{fd}", self.how]


class Hurried(Small):
    """Waits half a second for its server."""

    start_seconds: ClassVar[float] = 0.5


class Plain(ServerAgent):
    """A program that knows nothing of us: ready when it answers at its port."""

    health: ClassVar[str] = "/"
    start_seconds: ClassVar[float] = 60.0
    command: list[str] = [sys.executable, "-m", "http.server", "{port}", "--bind", "127.0.0.1"]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One lab for all."""
    with Lab(nodes=1) as made:
        yield made


def told(address: str) -> str:
    """What the server at an address says; nothing if there is none."""
    at = urlsplit(address)
    try:
        with socket.create_connection((at.hostname, at.port), timeout=60) as connection:
            return connection.recv(1000).decode()
    except OSError:
        return ""


def test_it_serves_and_what_it_says_is_in_the_agents_log(lab: Lab) -> None:
    """The address is state, the token is nobody's but who asks the lab; the output is the agent's."""
    small = lab.start(Small, id="small")
    where = lab.endpoint(small)

    assert where.base_url == small.state["address"]
    assert told(where.base_url) == where.api_key
    assert len(where.api_key) > 20
    assert where.api_key not in repr(where) + str(small.state) + lab.events().to_csv()
    wait_for(lambda: f"my pid is {small.call.pid().result(60)}" in str(small.log()))
    small.stop()


@pytest.mark.parametrize("how", ["crash", "kill", "restart", "process killed", "node killed"])
def test_it_comes_back_on_the_same_address_with_the_same_token(lab: Lab, how: str) -> None:
    """Whatever ended it: the agent, its process or its node."""
    small = lab.start(Small, id=how.replace(" ", "-"), isolation="process")
    before, pid = lab.endpoint(small), small.call.pid().result(60)

    if how == "process killed":
        os.kill(pid, signal.SIGKILL)
    elif how == "node killed":
        os.kill(node_pid(lab, small.node), signal.SIGKILL)
    else:
        getattr(small, how)()

    wait_for(lambda: small.status == "running" and small.incarnation == 2)
    wait_for(lambda: told(before.base_url) == before.api_key)
    assert lab.endpoint(small) == before
    assert small.call.pid().result(60) != pid
    wait_for(lambda: not runs(pid))
    if how == "process killed":
        reason = lab.restarts().query("path == '/process-killed'")["reason"].iloc[-1]
        assert "ended with SIGKILL" in reason
        assert f"my pid is {pid}" in reason
    small.stop()


def node_pid(lab: Lab, node: object) -> int:
    """The process of a node."""
    number = int(str(node).rsplit("-", 1)[-1])
    return int(lab._runtime.desk.pool.nodes[number].process.pid)


@pytest.mark.parametrize(
    ("cls", "how", "said"),
    [
        (Small, "ends", r"ended before it was ready, with exit code 3; it said: my pid is \d+\nno such model: tea"),
        (Hurried, "hangs", r"was not ready after start_seconds=0.5; it said: "),
    ],
    ids=["ends", "hangs"],
)
def test_one_that_does_not_come_up_says_why(lab: Lab, cls: type[Small], how: str, said: str) -> None:
    """The start raises with the last lines of the process; nothing is left of it."""
    with pytest.raises(errors.ServerDown, match=said):
        lab.start(cls, id="never", how=how)

    assert lab.whereis("never") is None


def test_a_taken_port_is_said(lab: Lab) -> None:
    """A port that was asked for is not replaced by another, since others know it."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        with pytest.raises(errors.ServerDown, match=rf"port {port} of 127.0.0.1 is taken"):
            lab.start(Small, id="late", port=port)


def test_a_command_that_cannot_be_is_refused(lab: Lab) -> None:
    """A program that is not there, and one of which nobody could know that it is ready."""
    with pytest.raises(errors.ServerDown, match=r"cannot be started: .*No such file"):
        lab.start(ServerAgent, id="none", command=["/no/such/program", "{port}"])
    with pytest.raises(errors.InvalidSpec, match=r"needs a part with \{port\} or \{fd\}"):
        lab.start(ServerAgent, id="none", command=["sleep", "1000"])


def test_a_program_that_knows_nothing_of_us_is_ready_when_it_answers(lab: Lab) -> None:
    """No line, only a port; and one that does not listen to SIGTERM is killed when it is stopped."""
    plain, stubborn = lab.start(Plain, id="plain"), lab.start(Small, id="stubborn", how="stubborn")
    pids = [ref.call.pid().result(60) for ref in (plain, stubborn)]
    assert all(map(runs, pids))

    plain.stop()
    stubborn.stop()

    wait_for(lambda: not any(map(runs, pids)))


def test_a_parked_or_other_agent_has_no_endpoint(lab: Lab) -> None:
    """The error says so, and where to look."""
    with pytest.raises(errors.NotRunning, match=r"lab\.agents"):
        lab.endpoint("/nobody")


def test_no_token_is_in_a_store(tmp_path) -> None:
    """Also of a lab with a file: it is made of the kernel's secret, and a later kernel makes another."""
    with Lab(tmp_path / "run.lab", nodes=1, resume=True) as lab:
        lab.start(Small, id="small")
        first = lab.endpoint("/small")
        assert told(first.base_url) == first.api_key
    with Lab(tmp_path / "run.lab", nodes=1, resume=True) as lab:
        second = lab.endpoint("/small")
        wait_for(lambda: told(second.base_url) == second.api_key)

    assert second.base_url == first.base_url
    assert second.api_key != first.api_key
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert first.api_key.encode() not in stored
    assert second.api_key.encode() not in stored


def test_it_never_outlives_the_kernel() -> None:
    """``kill -9`` of the kernel: its process ends with its node."""
    kernel = start_script(
        """
        import time
        from agentlab import Lab
        from tests.test_servers import Small

        lab = Lab(nodes=1)
        print(lab.start(Small, id="small", isolation="process").call.pid().result(60), flush=True)
        time.sleep(600)
        """
    )
    pid = int(read_line(kernel))
    assert runs(pid)

    kernel.kill()
    kernel.communicate(timeout=60)

    wait_for(lambda: not runs(pid))
