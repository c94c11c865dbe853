"""A real model on this machine: the same agents, the same client, a server that nobody here wrote."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pydantic
import pytest

from agentlab import Assistant, Lab
from agentlab.errors import AgentDown, InvalidSpec, ModelFailed
from agentlab.faults import classify
from agentlab.models import local
from agentlab.models.llama import LlamaClient, chat_of, message_of
from agentlab.models.messages import MessagesClient
from agentlab.sim import Endpoint, Simulator
from agentlab.sim.checks import check_request
from tests.clerks import add
from tests.conftest import wait_for
from tests.simulated import ADD, user

pytestmark = [pytest.mark.xdist_group("local"), pytest.mark.slow]  # they share one server: a processor is busy with it


class Person(pydantic.BaseModel):
    """Somebody."""

    name: str
    age: int


class Small(Assistant):
    """Talks to the small model."""

    model = "local"
    max_tokens = 8


class Handy(Small):
    """May use a tool."""

    tools = (add,)


class Clerk(Assistant):
    """Has a small model answer with objects."""

    model = "local"
    max_tokens = 64


class Worker(Small):
    """A task of three steps: a model's words, a note in a file, words once more; few, as each costs a processor."""

    system = "Go."
    max_tokens = 4

    async def work(self, number: int, ledger: str) -> int:
        """Do it; how many words there were."""
        first = await self.ask(f"{number}?")
        await self.step(note, ledger, f"{number}")
        second = await self.ask("Yes?")
        return len(first.split()) + len(second.split())


def note(ledger: str, line: str) -> None:
    """Write a line into a file: an effect that a repetition would show in."""
    with Path(ledger).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One lab with one model server for all."""
    local.get()  # `make test` has done it before; then this looks at a file
    with Lab(nodes=1, local={"slots": 4, "context": 512, "seed": 7}) as made:
        yield made


@pytest.fixture(scope="module")
def server(lab: Lab) -> Endpoint:
    """Where the model server listens."""
    asked = lab.start(Small, id="first")
    asked.call.ask("Say hello.").result(120)
    return lab.endpoint("/servers/local")


def pid_of(lab: Lab) -> int:
    """The process of the model server."""
    return int(lab["/servers/local"].call.pid().result(60))


def test_an_assistant_talks_to_a_real_model(lab, server):
    """Several turns, tokens counted, and its server is a child of the lab like any."""
    small = lab.start(Small, id="talks")

    answers = [small.call.ask("Say hello.").result(120), small.call.ask("And goodbye.").result(120)]

    steps = lab.steps().query("path == '/talks'")
    assert all(answer.strip() for answer in answers)
    assert len(small.state["messages"]) == 4
    assert set(steps["name"]) == {"local"}
    assert steps["tokens_in"].min() > 20
    assert steps["tokens_out"].between(1, 8).all()
    assert lab["/servers/local"].status == "running"


def test_the_server_of_a_real_model_is_a_row_of_the_tree(lab, server):
    """Under the lab's own servers, with its class and its state."""
    told = repr(lab.tree())

    (line,) = (line for line in told.splitlines() if "LocalServer" in line)
    assert "running" in line


def test_tools_are_offered_and_the_conversation_stays_one_that_the_api_takes(lab, server):
    """Weights whose template has no place for tools never hear of them and cost the same; nothing is left open."""
    handy, plain = lab.start(Handy, id="handy"), lab.start(Small, id="plain")

    for asked in ("What is 2 + 3?", "And with 4?"):
        assert handy.call.ask(asked).result(120).strip()
    plain.call.ask("What is 2 + 3?").result(120)

    said = handy.state["messages"]
    uses = [b for m in said if isinstance(m["content"], list) for b in m["content"] if b["type"] == "tool_use"]
    steps = lab.steps().query("path in ['/handy', '/plain']")
    assert len(uses) == (steps["kind"] == "tool").sum()
    assert steps.query("kind == 'model'").groupby("path", observed=True)["tokens_in"].first().nunique() == 1
    check_request({"model": "local", "max_tokens": 8, "messages": [*said, user("Go on.")], "tools": [add.spec()]})


def test_a_small_model_gives_valid_objects(lab, server):
    """The schema is a grammar there: the model cannot say anything else."""
    clerk = lab.start(Clerk, id="clerk")

    ann = clerk.call.ask_for(Person, "Ann is 31 years old.").result(120)
    colours = clerk.call.ask_for(list[bool], "Is it? Say true once.").result(120)

    assert isinstance(ann, Person)
    assert isinstance(colours, list)
    assert lab.steps().query("path == '/clerk'")["outcome"].tolist() == ["ok", "ok"]  # nothing had to be repaired


def test_the_server_is_killed_three_times_and_every_task_ends_once(lab, server, tmp_path):
    """Twenty agents in the middle of a task: they wait inside their step and go on, and none of them restarts."""
    ledger = tmp_path / "ledger"
    ledger.touch()
    workers = [lab.start(Worker, id=f"worker-{number}") for number in range(1, 21)]
    tasks = [worker.call(timeout=240).work(number, str(ledger)) for number, worker in enumerate(workers, 1)]

    for done in (2, 8, 14):
        wait_for(lambda done=done: len(ledger.read_text().split()) >= done, 200)
        os.kill(pid_of(lab), signal.SIGKILL)
    words = [task.result(240) for task in tasks]

    steps = lab.steps().query("path.str.startswith('/worker-')")
    ended = steps.query("outcome == 'ok'").groupby("path", observed=True).size()
    assert all(count > 0 for count in words)
    assert sorted(map(int, ledger.read_text().split())) == list(range(1, 21))
    assert {worker.incarnation for worker in workers} == {1}
    assert set(ended) == {3}
    assert steps["replayed"].sum() == 0
    wait_for(lambda: lab["/servers/local"].incarnation >= 4)  # the last kill may have come when all was done
    assert lab.endpoint("/servers/local") == server


def test_no_token_of_it_is_seen(lab, server):
    """Not in states, events, steps, logs or the command line."""
    ref = lab["/servers/local"]
    command = Path(f"/proc/{pid_of(lab)}/cmdline")

    shown = f"{ref.state} {ref.log()} {lab.events().to_csv()} {lab.steps().to_csv()} {ref!r} {server!r}"
    shown += command.read_text(encoding="utf-8") if command.exists() else ""

    assert server.api_key not in shown


TOLD = [user("1+2?"), {"role": "assistant", "content": [{"type": "tool_use", "id": "u", "name": "add", "input": {}}]}]
GAVE = [*TOLD, user([{"type": "tool_result", "tool_use_id": "u", "content": "3"}])]
KIND = {"type": "text", "text": "Be kind."}
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DOT}}

REQUESTS: list[tuple[str, dict[str, Any], str, str]] = [  # what is asked; what the simulator says, what llama.cpp says
    ("a text", {}, "ok", "ok"),
    ("a system prompt", {"system": "Be kind."}, "ok", "ok"),
    ("blocks with cache marks", {"system": [{**KIND, "cache_control": {"type": "ephemeral"}}]}, "ok", "ok"),
    ("tools on offer", {"tools": [ADD]}, "ok", "ok"),
    ("a tool's result", {"messages": GAVE, "tools": [ADD]}, "ok", "ok"),
    ("a schema", {"output_config": {"format": {"type": "json_schema", "schema": {"type": "boolean"}}}}, "ok", "ok"),
    ("no messages", {"messages": []}, "bad_request", "ok"),
    ("an unknown model", {"model": "nobody"}, "no_such_model", "ok"),
    ("a tool use without its result", {"messages": [*TOLD, user("so?")], "tools": [ADD]}, "bad_request", "ok"),
    ("more than it can hold", {"messages": [user("word " * 700)]}, "ok", "bad_request"),
    ("an image", {"messages": [user([IMAGE])]}, "ok", "server_error"),
]  # fmt: skip


async def outcome(client: MessagesClient, stream: bool, asked: dict[str, Any]) -> str:
    """``"ok"`` for a whole message, else the kind of the fault."""
    try:
        message = await client.create(**{"messages": [user("Hello.")], "max_tokens": 2, "stream": stream, **asked})
    except ModelFailed as error:
        return classify(error).kind
    assert message["role"] == "assistant"
    assert message["usage"]["output_tokens"] > 0
    return "ok"


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_the_same_requests_to_the_simulator_and_to_llama_cpp(server, stream):
    """One client, two servers; where they differ DESIGN.md says so, and nothing but that differs."""
    async with Simulator() as sim:
        ours = MessagesClient(sim.base_url, sim.api_key, model="sim")
        theirs = LlamaClient(server.base_url, server.api_key, model="local")
        found = [
            (name, asked, await outcome(ours, stream, asked), await outcome(theirs, stream, asked))
            for name, asked, _, _ in REQUESTS
        ]
        await ours.close()
        await theirs.close()

    assert found == REQUESTS


async def test_a_wrong_key_is_refused_by_both(server):
    """With the same fault."""
    async with Simulator() as sim:
        for client in (MessagesClient(sim.base_url, "wrong"), LlamaClient(server.base_url, "wrong", model="local")):
            assert await outcome(client, True, {}) == "unauthorized"
            await client.close()


def test_the_library_itself_talks_to_it(server):
    """As people use it, beside the lab: whole, as a stream, and counting tokens."""
    with anthropic.Anthropic(
        base_url=server.base_url, api_key=server.api_key, http_client=anthropic.DefaultHttpxClient(trust_env=False)
    ) as client:
        asked: Any = {"model": "local", "messages": [user("Hello.")]}
        whole = client.messages.create(max_tokens=2, **asked)
        with client.messages.stream(max_tokens=8, **asked) as stream:
            streamed = stream.get_final_message()
        counted = client.messages.count_tokens(**asked)

    assert (whole.role, streamed.role) == ("assistant", "assistant")
    assert whole.usage.output_tokens == 2
    assert counted.input_tokens > 5


async def test_a_stream_of_it_without_a_start_is_whole():
    """llama.cpp leaves out ``message_start`` where the first token is no text; of a provider that would be a fault."""
    async with Simulator() as sim:
        sim.set_faults([{"mode": "no_message_start"}])
        theirs, ours = (make(sim.base_url, sim.api_key, model="sim") for make in (LlamaClient, MessagesClient))
        said = await theirs.create(messages=[user("good morning")], max_tokens=20)
        assert await outcome(ours, True, {}) == "cut_stream"
        await ours.close()
        await theirs.close()

    assert [block["text"] for block in said["content"]] == ["good morning"]


def test_a_conversation_in_the_other_words():
    """What tools were asked for and gave goes along."""
    said = list(chat_of([*GAVE, user([{"type": "text", "text": "And?"}])], [KIND]))

    assert [message["role"] for message in said] == ["system", "user", "assistant", "tool", "user"]
    assert said[2]["tool_calls"][0]["function"] == {"name": "add", "arguments": "{}"}
    assert (said[0]["content"], said[3]["content"], said[4]["content"]) == ("Be kind.", "3", "And?")


@pytest.mark.parametrize("said", [None, {}, {"choices": []}, {"choices": [{"message": {}}], "usage": {}}, "<html>"])
def test_what_is_no_answer_is_garbage(said):
    """A proxy's page, half an object."""
    with pytest.raises(ModelFailed) as failed:
        message_of(said)

    assert classify(failed.value).kind == "garbage"


def test_missing_weights_say_how_to_get_them(tmp_path, monkeypatch):
    """The command, or the file that is not there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    with pytest.raises(ModelFailed, match=r"Run once: python\S* -m agentlab\.models\.local get"):
        local.weights("local")
    with pytest.raises(ModelFailed, match=r"no such file: /no/such\.gguf"):
        local.weights("local:/no/such.gguf")


def test_what_is_no_model_file_is_said(lab, tmp_path):
    """By llama.cpp's own words, which reach the caller."""
    page = tmp_path / "page.gguf"
    page.write_text("<html>not a model</html>")

    class Wrong(Assistant):
        model = f"local:{page}"

    with pytest.raises(AgentDown, match="invalid magic characters"):
        lab.start(Wrong, id="wrong").call.ask("hello").result(120)


@pytest.mark.parametrize(
    "given",
    [{"slot": 2}, {"slots": 0}, {"context": True}, {"threads": 1.5}, 4, {"threads": 10**6}, {"seed": 2**40},
     {"slots": 1000, "context": 10**9}],
)  # fmt: skip
def test_options_that_cannot_be_are_refused(given):
    """By name, before anything is opened."""
    with pytest.raises(InvalidSpec, match=r"Lab: local"):
        Lab(local=given)
