"""MCP servers: real ones over both transports, and one that lies, hangs, floods and dies."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agentlab import Agent, Assistant, Lab, Limit, mcp, mcp_server, tool
from agentlab.errors import AgentDown, InvalidSpec, ToolFailed
from agentlab.faults import decide, fault
from agentlab.faults.actions import ACTIONS
from agentlab.ground.texts import storable
from agentlab.tools.mcp import offered
from tests.conftest import wait_for
from tests.hostile import TEXTS, harm_in
from tests.test_secrets import written

HERE = Path(__file__).parent
PLENTY = Limit(20, 60.0)
KEY = "correct-horse-battery-staple"
HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e\0"

pytestmark = pytest.mark.xdist_group("mcp")  # they share a lab, whose bridges and servers take seconds to start


class User(Agent):
    """Calls tools of MCP servers."""

    async def use(self, server: str, name: str, given: dict[str, Any], timeout: float = 60.0) -> str:
        """Call one; a failure that a model would be told is an answer."""
        try:
            return str(await self.step(mcp(server, timeout=timeout)[name], given))
        except ToolFailed as error:
            return str(error)

    async def use_listed(self, server: str, name: str) -> str:
        """The same, with what the server says of its tools."""
        tools = await offered([mcp(server)], self.step)
        return str(await self.step(tools[name], {}))

    async def use_once(self, server: str, name: str) -> str:
        """The same with one that must never run twice."""
        return str(await self.step(mcp(server, once=[name])[name], {}))


class Clerk(Assistant):
    """Reckons with a tool of a server."""

    system = "Use the tools."
    tools = (mcp("real", only=["multiply"]),)


@tool
def echo(text: str) -> str:
    """Say it again, here."""
    return text


class Torn(Assistant):
    """Has a tool of its own and one of a server's that are called the same."""

    tools = (echo, mcp("liar"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the liar leaves its traces."""
    return tmp_path_factory.mktemp("liar")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Where the lab is."""
    return tmp_path_factory.mktemp("lab") / "a.lab"


@pytest.fixture(scope="module")
def lab(folder, file):
    """One lab for all, with the liar: a bridge takes seconds to start."""
    with Lab(file, nodes=2, stall_notice=60.0, stall_seconds=120.0) as made:  # a busy machine moves nobody
        made.start(
            mcp_server("liar", command=[sys.executable, str(HERE / "mcp_liar.py"), str(folder)], own_limit=PLENTY)
        )
        yield made


def calls(folder: Path, name: str) -> int:
    """How often the liar was asked for something."""
    seen = folder / "calls"
    return seen.read_text().split().count(name) if seen.exists() else 0


def test_what_lies_floods_and_chatters_is_told_and_harms_nobody(lab):
    """One answer each, and the server is the same afterwards."""
    user, server = lab.start(User, id="user"), lab["/liar"]

    for text in TEXTS.values():
        assert user.call.use("liar", "echo", {"text": text}).result(60) == storable(text)
    assert user.call.use("liar", "half", {}).result(60) == "half \ufffd"
    assert "makes no sense: RuntimeError: Invalid structured content" in user.call.use("liar", "lie", {}).result(60)
    flood = user.call.use("liar", "flood", {}).result(60)
    assert flood.endswith("[cut: these are the first 50000 of 10000000 characters]")
    assert user.call.use("liar", "chatter", {}).result(60) == "chatter"
    assert "gave no answer within 0.5 s" in user.call.use("liar", "nonsense", {}, 0.5).result(60)
    assert user.call.use("liar", "echo", {"text": "still there"}).result(60) == "still there"

    assert server.incarnation == 1
    steps = lab.steps().query("path == '/user'")
    assert list(steps["name"]) == [*["echo"] * len(TEXTS), "half", "lie", "flood", "chatter", "nonsense", "echo"]
    assert list(steps["fault"].dropna()) == ["tool_failed", "tool_failed"]


def test_a_call_that_hangs_holds_up_nobody(lab, folder):
    """Others are answered meanwhile, from both nodes; the one that hangs meets its own timeout."""
    users = [lab.start(User, id=f"user-{n}") for n in range(4)]
    hanging = users[0].call.use("liar", "hang", {}, 1.0)
    wait_for(lambda: calls(folder, "hang"))

    replies = [user.call.use("liar", "echo", {"text": str(n)}) for n, user in enumerate(users[1:])]
    assert [reply.result(60) for reply in replies] == ["0", "1", "2"]
    assert hanging.result(60) == "The MCP server /liar gave no answer within 1 s."
    assert len({user.node for user in users}) == 2


def test_a_changed_list_is_noticed_at_the_next_use(lab):
    """And what the server does not have is its own error, or the model's."""
    user = lab.start(User, id="curious")
    assert "late" not in {tool["name"] for tool in lab["/liar"].call.tools().result(60)}

    user.call.use("liar", "change", {}).result(60)

    assert "late" in {tool["name"] for tool in lab["/liar"].call.tools().result(60)}
    assert user.call.use_listed("liar", "late").result(60) == "late"


def test_two_tools_of_one_name_park_who_would_have_both(lab):
    """What a server offers is known when it is asked; no restart mends that, and the error says what does."""
    torn = lab.start(Torn, id="torn")

    with pytest.raises(AgentDown, match=r"two tools are named 'echo'.*only=\[\.\.\.\]\) leaves some out"):
        torn.call.ask("hello").result(60)

    wait_for(lambda: torn.status == "parked")
    assert torn.incarnation == 1


def test_a_server_that_dies_is_restarted_and_each_call_in_hand_has_its_fault(lab, folder):
    """What only reads is asked again; what may have done something is told; a once tool waits for a person."""
    server = lab["/liar"]
    reader, careful, unlucky = (lab.start(User, id=id) for id in ("reader", "careful", "unlucky"))
    before = calls(folder, "hang")
    told, doubted = unlucky.call.use("liar", "hang", {}), careful.call.use_once("liar", "hang")
    wait_for(lambda: calls(folder, "hang") == before + 2)

    assert reader.call.use_listed("liar", "die_once").result(60) == "die.once"

    assert calls(folder, "die.once") == 2
    assert server.incarnation == 2
    assert told.result(60).endswith("Whether hang was carried out is not known.")
    wait_for(lambda: careful.status == "parked")
    assert [doubt["name"] for doubt in careful.doubts()] == ["hang"]
    careful.settle("hang", "it did")
    assert doubted.result(60) == "it did"
    assert calls(folder, "hang") == before + 2
    steps = lab.steps().query("path == '/reader' and name == 'die_once'")
    assert list(steps["fault"].dropna().unique()) == ["server_down"]
    assert {fault(kind).scope for kind in ("server_down", "unreached", "tool_failed", "in_doubt")} == {"tool"}


def test_a_server_that_comes_back_is_waited_for(lab):
    """Who calls while it starts is one call later, and meets no fault; who found nobody there is no suspect."""
    patient = lab.start(User, id="patient")
    assert patient.call.use("liar", "echo", {"text": "before"}).result(60) == "before"

    lab["/liar"].crash()

    assert patient.call.use("liar", "echo", {"text": "after"}).result(60) == "after"
    steps = lab.steps().query("path == '/patient'")
    assert list(steps["outcome"]) == ["ok", "ok"]
    assert decide(fault("unreached"), ACTIONS, attempts=50, same=50, waited=0.0, jitter=0.0).does == "wait"


def test_the_bridge_only_answers_with_the_token_and_takes_its_server_along(lab, folder):
    """No agent, no server: also if nobody had the time to end it."""
    server, question = lab["/liar"], b'{"op":"tools","token":"none"}'
    pid, bridge = int((folder / "pid").read_text()), server.call.pid().result(60)
    with socket.create_connection(("127.0.0.1", server.state["port"])) as stranger:
        stranger.sendall(struct.pack("!I", len(question)) + question)
        assert stranger.recv(1) == b""

    os.kill(bridge, signal.SIGKILL)

    wait_for(lambda: not Path(f"/proc/{pid}").exists())
    server.stop()


@pytest.fixture(scope="module")
def real(lab):
    """A real server, on standard input; of the environment it gets what is named."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"TEA_SHOP": "open", "TEA_SAFE": "closed", "TEA_API_KEY": KEY}.items():
            patch.setenv(name, value)
        command, names = [sys.executable, str(HERE / "mcp_real.py")], ["TEA_SHOP", "TEA_API_KEY"]
        server = lab.start(mcp_server("real", command=command, env=names, own_limit=PLENTY))
        yield server
        server.stop()


def test_a_real_server_on_standard_input(lab, real):
    """Its tools are a model's, its resources and prompts are read; of the environment it has what is named."""
    user, clerk = lab.start(User, id="guest"), lab.start(Clerk, id="clerk")

    assert clerk.call.ask("What is 6 * 7?").result(60) == "6 * 7 = 42"
    names = user.call.use("real", "environment", {}).result(60).split()
    assert "TEA_SHOP" in names
    assert "TEA_SAFE" not in names
    assert "AGENTLAB_MCP_TOKEN" not in names
    assert user.call.use("real", "fail", {}).result(60) == "fail failed: Error executing tool fail"
    assert [each["uri"] for each in real.call.resources().result(60)] == ["note://tea"]
    assert real.call.read("note://tea").result(60)[0]["text"] == "Assam, 4 minutes"
    assert [each["name"] for each in real.call.prompts().result(60)] == ["brew"]
    told = real.call.prompt("brew", {"tea": "Assam"}).result(60)
    assert told[0]["content"]["text"] == "Brew Assam, please."


def test_two_million_characters_go_to_a_real_server_and_come_back_cut(lab, real):
    """They arrive whole there; what a model is told of its answer is what fits, and says so. The server is the same."""
    user = lab.start(User, id="talker")

    said = user.call.use("real", "count", {"text": "tea " * 500_000}).result(120)

    assert said.startswith("2000000 tea tea")
    assert said.endswith("[cut: these are the first 50000 of 2000008 characters]")
    assert len(said) < 51_000
    assert user.call.use("real", "multiply", {"a": 6, "b": 7}).result(60) == "42.0"
    assert real.incarnation == 1


def test_a_key_in_a_servers_environment_stays_there(lab, real, file):
    """Though the server prints it and gives it away, to an agent and to a person: into no frame, log or file."""
    user = lab.start(User, id="thief")

    assert user.call.use("real", "tell", {"name": "TEA_API_KEY"}).result(60) == "***"

    wait_for(lambda: "TEA_API_KEY ***" in real.log())
    shown = [frame().to_csv() for frame in (lab.events, lab.messages, lab.steps, lab.checkpoints)]
    shown += [repr(ref.info()) + repr(ref.state) + lab.explain(ref) for ref in (user, real)]
    assert not [text for text in shown if KEY in text]
    assert KEY.encode() not in written(file.parent)


def test_hostile_names_and_words_of_a_server_are_only_text(lab, real):
    """They come whole; a model gets a name that it may say; no frame shows what a terminal or a browser obeys."""
    user, name = lab.start(User, id="brave"), "echo\x1b[31m<script>"
    words = "\n".join(TEXTS.values())

    assert {each["name"]: each["description"] for each in real.call.tools().result(60)}[name] == HOSTILE
    assert user.call.use("real", name, {"text": words}).result(60) == storable(words)
    assert user.call.use("real", f"no{name}", {}).result(60).endswith(f"Unknown tool: no{name}")

    steps = lab.steps(path="/brave")
    assert list(steps["name"]) == ["echo__31m_script_", "noecho__31m_script_"]
    assert harm_in(repr(steps)) | harm_in(steps._repr_html_(), html=True) == set()


def test_a_real_server_over_http_dies_and_comes_back(lab):
    """By its address: tools, resources and prompts; who calls while it is away waits, and then finds what is new."""
    kept = kept_port()
    port = kept.getsockname()[1]
    web = served(port)
    try:
        server = lab.start(mcp_server("web", url=f"http://127.0.0.1:{port}/mcp"))
        user = lab.start(User, id="surfer")
        assert user.call.use("web", "multiply", {"a": 6, "b": 7}).result(60) == "42.0"
        assert server.call.read("note://tea").result(60)[0]["text"] == "Assam, 4 minutes"
        assert [each["name"] for each in server.call.prompts().result(60)] == ["brew"]
        assert "late" not in {tool["name"] for tool in server.call.tools().result(60)}
        web.kill()
        web.wait()

        asking = user.call.use("web", "multiply", {"a": 2, "b": 3})  # it meets nobody, so nothing was done: it waits
        wait_for(lambda: server.status == "backing_off", 60)
        waiting = user.call.use_listed("web", "late")
        web = served(port, "late")

        assert asking.result(120) == "6.0"
        assert waiting.result(120) == "late"
        faults = lab.steps(path="/surfer").query("name == 'multiply'")["fault"]
        assert list(faults.dropna().unique()) == ["unreached"]
        assert server.incarnation > 1
        assert user.incarnation == 1
    finally:
        web.kill()
        web.wait()
        kept.close()
    server.stop()


def kept_port() -> socket.socket:
    """A port that is nobody else's while this is open; who says that it is used again may listen there."""
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))  # it never listens, so whoever calls is refused while no server does
    return kept


def served(port: int, *more: str) -> subprocess.Popen[bytes]:
    """A server that listens there."""
    web = subprocess.Popen([sys.executable, str(HERE / "mcp_real.py"), str(port), *more], stderr=subprocess.DEVNULL)
    wait_for(lambda: answers(port), 60)
    return web


def answers(port: int) -> bool:
    """Whether somebody listens."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_who_waits_for_a_server_that_there_is_not_is_told_so(lab):
    """Perhaps somebody starts it still; a person who wrote another name sees it by ``explain``, in the tree's words."""
    user = lab.start(User, id="misspelt")
    user.cast.use("reel", "echo", {})

    wait_for(lambda: "there is no agent '/reel' in this lab" in " ".join(lab.explain(user).split()))

    assert user.status == "waiting"
    user.skip()


@pytest.mark.parametrize("server", ["", "/", None, 5])
def test_a_server_has_a_name(server):
    """What is none is refused where the tools are named."""
    with pytest.raises(InvalidSpec, match=r"mcp: server must be the id or the path of a child"):
        mcp(server)


def test_an_address_is_one_of_the_web():
    """Before a process is started that could only say so."""
    with pytest.raises(InvalidSpec, match="url must begin with http:// or https://; got 'localhost:80'"):
        mcp_server("files", url="localhost:80")


@pytest.mark.parametrize("given", [{}, {"command": ["x"], "url": "http://x"}, {"command": "x y"}])
def test_a_server_has_a_command_or_an_address(given):
    """Neither, both, or a command in one text is refused where it is written."""
    with pytest.raises(InvalidSpec, match=r"give either command=\[.*\] or url="):
        mcp_server("files", **given)
