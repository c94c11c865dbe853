"""Models of other providers: one adapter, tried with pydantic-ai's own function models and over a real wire.

What it imports late takes seconds to load, which each process of the suite would pay that only reads this file.
"""

from __future__ import annotations

import builtins
import json
import os
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from agentlab import Assistant, Lab, tool
from agentlab.errors import InvalidSpec, ModelFailed
from agentlab.faults import classify
from agentlab.models import local
from agentlab.models.model import choose
from agentlab.models.providers import ProviderModel, fault_of, made, told
from agentlab.sim import Endpoint
from tests.simulated import ADD, user

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage
    from pydantic_ai.models.function import AgentInfo

DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DOT}}
USE = {"type": "tool_use", "id": "use-1", "name": "add", "input": {"a": 1, "b": 2}}
RESULT = {"type": "tool_result", "tool_use_id": "use-1", "content": [{"type": "text", "text": "3"}], "is_error": True}


async def reckon(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Any]:
    """A model: it asks for its first tool, then says what that gave."""
    from pydantic_ai.models.function import DeltaToolCall

    last = messages[-1].parts[-1]
    if info.function_tools and last.part_kind != "tool-return":
        yield {0: DeltaToolCall(name=info.function_tools[0].name, json_args='{"a": 2, ', tool_call_id="use-7")}
        yield {0: DeltaToolCall(json_args='"b": 40}')}
    else:
        for piece in ("It ", "is ", str(last.content)):
            yield piece


def model(function: Any = reckon) -> ProviderModel:
    """A function as a model of ours."""
    from pydantic_ai.models.function import FunctionModel

    return ProviderModel(FunctionModel(stream_function=function))


@tool
def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


class Provided:
    """A model of one's own made of a provider's, as a class has it; made in the process that calls."""

    name = "provided"

    async def create(self, **request: Any) -> Any:
        """Ask it."""
        return await model().create(**request)


class Reckoner(Assistant):
    """Reckons by somebody else's model class."""

    model = Provided()
    tools = (add,)


async def test_text_comes_in_pieces_and_whole():
    """The message is as the Messages API words it, usage and stop reason too."""
    pieces: list[str] = []

    message = await model().create(messages=[user("tea")], max_tokens=9, system="Be kind.", on_text=pieces.append)

    assert "".join(pieces) == "It is ['tea']"
    assert message["content"] == [{"type": "text", "text": "It is ['tea']"}]
    assert (message["role"], message["stop_reason"]) == ("assistant", "end_turn")
    assert message["usage"]["output_tokens"] > 0


async def test_a_tool_is_asked_for_and_told():
    """Arguments that came in pieces are one object; what the tool gave goes back under its name and id."""
    asked = await model().create(messages=[user("2 + 40?")], max_tokens=9, tools=[ADD])
    result = {"type": "tool_result", "tool_use_id": "use-7", "content": "42"}
    answer = await model().create(
        messages=[user("2 + 40?"), {"role": "assistant", "content": asked["content"]}, user([result])],
        max_tokens=9, tools=[ADD],
    )  # fmt: skip

    assert asked["stop_reason"] == "tool_use"
    assert asked["content"] == [{"type": "tool_use", "id": "use-7", "name": "add", "input": {"a": 2, "b": 40}}]
    assert answer["content"][0]["text"] == "It is 42"


def test_every_block_has_its_words_there():
    """Text, pictures, tool calls and what they gave, errors as such."""
    from pydantic_ai.messages import ModelRequest, ModelResponse

    request, said, back = told([user([{"type": "text", "text": "see"}, IMAGE]), {"role": "assistant", "content": [USE]},
                                user([RESULT, {"type": "text", "text": "so?"}])])  # fmt: skip

    assert isinstance(request, ModelRequest)
    assert isinstance(said, ModelResponse)
    shown: Any = request.parts[0].content
    assert (shown[0], shown[1].media_type) == ("see", "image/png")
    call: Any = said.parts[0]
    assert (call.tool_name, call.args, call.tool_call_id) == ("add", {"a": 1, "b": 2}, "use-1")
    gave: Any = back.parts[0]
    assert (gave.tool_name, gave.content, gave.tool_call_id, gave.outcome) == ("add", "3", "use-1", "failed")
    assert back.parts[1].content == ["so?"]


async def test_arguments_that_are_no_json_are_garbage():
    """As off any other wire."""
    from pydantic_ai.models.function import DeltaToolCall

    async def broken(messages: Any, info: Any) -> AsyncIterator[Any]:
        yield {0: DeltaToolCall(name="add", json_args='{"a": ', tool_call_id="use-7")}

    with pytest.raises(ModelFailed) as failed:
        await model(broken).create(messages=[user("?")], max_tokens=9, tools=[ADD])

    assert classify(failed.value).kind == "garbage"


@pytest.mark.parametrize(
    ("name", "args", "options", "kind"),
    [
        ("ModelHTTPError", (429, "m"), {}, "rate_limit"),
        ("ModelHTTPError", (529, "m"), {}, "overloaded"),
        ("ModelHTTPError", (401, "m"), {}, "unauthorized"),
        ("ModelHTTPError", (500, "m"), {}, "server_error"),
        ("ModelHTTPError", (404, "m"), {}, "no_such_model"),
        ("ModelConnectionError", ("m", "refused"), {}, "connection"),
        ("ModelConnectionError", ("m", "reset"), {"in_stream": True}, "cut_stream"),
        ("ModelTimeoutError", ("m", "late"), {}, "timeout"),
        ("UnexpectedModelBehavior", ("nonsense",), {}, "garbage"),
        ("TimeoutError", (), {}, "timeout"),
        ("ZeroDivisionError", (), {}, "crash"),
    ],
)
async def test_errors_are_our_faults(name, args, options, kind):
    """By status, else by class."""
    from pydantic_ai import exceptions as theirs

    async def fails(messages: Any, info: Any) -> AsyncIterator[Any]:
        raise (getattr(theirs, name, None) or getattr(builtins, name))(*args, **options)
        yield ""

    with pytest.raises(ModelFailed) as failed:
        await model(fails).create(messages=[user("?")], max_tokens=9)

    assert classify(failed.value).kind == kind
    assert failed.value.__context__ is None


def test_what_a_provider_asks_to_wait_is_kept():
    """For the breaker."""
    from pydantic_ai import exceptions as theirs

    assert fault_of(theirs.ModelHTTPError(429, "m", headers={"retry-after": "7"})).retry_after == 7


def test_a_provider_by_its_name():
    """Its breaker is its own; a key that is missing is said by the name of its variable, before any call."""
    assert choose("openai:gpt-5").dependency == choose("openai-responses:gpt-5").dependency == "openai"
    assert choose("mistral:small").dependency == "mistral"
    with pytest.raises(InvalidSpec, match=r"'openai:\.\.\.', 'google:\.\.\.'"):
        choose("opnai:gpt-5")
    if "OPENAI_API_KEY" not in os.environ:
        with pytest.raises(ModelFailed, match="OPENAI_API_KEY") as failed:
            made("openai:gpt-5")
        assert classify(failed.value).kind == "unauthorized"


def test_a_litellm_proxy_is_where_its_variables_say(monkeypatch):
    """Without an address nothing is sent: its library would send it to OpenAI, and that would be a bad connection."""
    for name in ("LITELLM_PROXY_API_BASE", "LITELLM_PROXY_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ModelFailed, match=r"LITELLM_PROXY_API_BASE .* LITELLM_PROXY_API_KEY") as failed:
        made("litellm:some-model")

    monkeypatch.setenv("LITELLM_PROXY_API_BASE", "http://127.0.0.1:4000")
    found = made("litellm:some-model")

    assert classify(failed.value).kind == "unauthorized"
    assert (found.dependency, str(found._model.base_url)) == ("litellm", "http://127.0.0.1:4000")


def test_an_assistant_reckons_with_it():
    """In a lab, with tools as steps: nothing above the adapter knows that it is another wire."""
    with Lab(nodes=1) as lab:
        reckoner = lab.start(Reckoner, id="reckoner")
        assert reckoner.call.ask("2 + 40?").result(60) == "It is 42.0"
        assert lab.steps()["name"].tolist() == ["provided", "add", "provided"]


@pytest.fixture(scope="module")
def server() -> Iterator[Endpoint]:
    """A real server that speaks OpenAI's words."""
    local.get()
    with Lab(nodes=1) as lab:
        file = str(local.weights("local"))
        yield lab.endpoint(lab.start(local.LocalServer, id="local", file=file, context=512, seed=7))


@pytest.mark.xdist_group("local")
@pytest.mark.slow
async def test_over_a_real_wire(server):
    """pydantic-ai's OpenAI class against llama.cpp's OpenAI paths: text, a schema, a wrong key, too long."""
    from openai import AsyncOpenAI
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    def wired(key: str) -> ProviderModel:
        # Its server says that it keeps a connection and closes it after a stream: the next request may be on its way.
        alone = {"connection": "close"}
        client = AsyncOpenAI(base_url=f"{server.base_url}/v1", api_key=key, default_headers=alone)
        return ProviderModel(OpenAIChatModel("local", provider=OpenAIProvider(openai_client=client)))

    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"],
              "additionalProperties": False}  # fmt: skip
    shape = {"format": {"type": "json_schema", "schema": schema}}
    pieces: list[str] = []

    ours = wired(server.api_key)
    said = await ours.create(messages=[user("Say hello.")], max_tokens=6, on_text=pieces.append)
    shaped = await ours.create(messages=[user("Ann is 31.")], max_tokens=40, output_config=shape)
    with pytest.raises(ModelFailed) as long:
        await ours.create(messages=[user("word " * 700)], max_tokens=4)
    with pytest.raises(ModelFailed) as wrong:
        await wired("wrong").create(messages=[user("hello")], max_tokens=4)

    assert said["content"][0]["text"] == "".join(pieces)
    assert said["usage"]["output_tokens"] > 0
    assert set(json.loads(shaped["content"][0]["text"])) == {"age"}
    assert (classify(long.value).kind, classify(wrong.value).kind) == ("bad_request", "unauthorized")
    assert server.api_key not in str(long.value)
