"""Models of other providers, ``model="openai:gpt-5"``, through pydantic-ai's model classes (the extra ``providers``).

    words of the Messages API  →  pydantic-ai's messages  →  the provider  →  pydantic-ai's response  →  our words

Everything else about a call (attempts, breakers, conversations, frames) is as for any model: nothing above this file
knows that there are other wires. The key of a provider comes from its own variable of the environment.
"""

from __future__ import annotations

import asyncio
import base64
import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agentlab.errors import ModelFailed
from agentlab.faults import Fault, classify, classify_reply, fault
from agentlab.ground.redaction import redact
from agentlab.models.accumulator import JSON, checked_message, without_surrogates

if TYPE_CHECKING:
    from pydantic_ai import messages as words
    from pydantic_ai.models import Model as TheirModel
    from pydantic_ai.models import ModelRequestParameters

NAMES = (
    "openai", "openai-chat", "openai-responses", "google", "google-cloud", "mistral", "groq", "cohere", "bedrock",
    "xai", "deepseek", "openrouter", "azure", "together", "fireworks", "huggingface", "ollama", "cerebras", "vllm",
    "litellm",
)  # fmt: skip
"""What may stand before the colon; pydantic-ai says what may stand after it."""

IDLE_S = 90.0
DEADLINE_S = 600.0

STOPS: Mapping[str, str] = {
    "stop": "end_turn", "tool_call": "tool_use", "length": "max_tokens", "content_filter": "refusal",
}  # fmt: skip

BY_CLASS: Mapping[str, str] = {
    "ModelQuotaExceededError": "spend_limit",
    "ModelContextWindowExceededError": "too_large",
    "ModelRateLimitError": "rate_limit",
    "ModelOverloadedError": "overloaded",
    "ModelUnavailableError": "unavailable",
    "ModelTimeoutError": "timeout",
    "ModelRequestTimeout": "timeout",
    "ModelConnectionError": "connection",
    "ModelAuthenticationError": "unauthorized",
    "ModelNotFoundError": "no_such_model",
    "ModelServerError": "server_error",
    "ModelRequestRejectedError": "bad_request",
    "UnexpectedModelBehavior": "garbage",
    "UserError": "bad_request",
}
"""The faults of pydantic-ai's exceptions that have no status; more special ones first."""


class ProviderModel:
    """A model of pydantic-ai behind the one method of ``agentlab.models.Model``.

    Args:
        model: One of its models, or a name as ``"openai:gpt-5"``.
    """

    def __init__(self, model: TheirModel | str) -> None:
        from pydantic_ai.exceptions import UserError
        from pydantic_ai.models import infer_model

        try:
            self._model = _proxied(model) if str(model).startswith("litellm:") else infer_model(model)
        except UserError as error:
            kind = "unauthorized" if "API_KEY" in str(error) else "no_such_model"
            raise ModelFailed(f"model={model!r} cannot be used: {redact(str(error))}", fault(kind)) from None
        except ImportError as error:
            raise ModelFailed(f"model={model!r} needs a library: {error}", fault("no_such_model")) from None
        self.name = model if isinstance(model, str) else self._model.model_name
        self.dependency = self._model.system

    async def create(
        self,
        *,
        messages: Sequence[JSON],
        max_tokens: int,
        system: Any = None,  # a text, or blocks of text
        tools: Sequence[JSON] | None = None,
        on_text: Callable[[str], object] | None = None,
        output_config: JSON | None = None,
        **options: Any,
    ) -> JSON:
        """As ``Model.create``; of other ``options`` the provider hears nothing."""
        schema = ((output_config or {}).get("format") or {}).get("schema")
        natively = schema is not None and bool(self._model.profile.get("supports_json_schema_output"))
        if schema is not None and not natively:
            system = f"{_text(system or '')}\nAnswer with JSON of this schema and nothing else: {json.dumps(schema)}"
        said = list(told(without_surrogates(list(messages)), without_surrogates(system)))
        given = asked(tools or (), schema if natively else None)
        try:
            return self._message(await self._stream(said, max_tokens, given, on_text))
        except ModelFailed:
            raise
        except Exception as error:
            failed = ModelFailed(
                f"The model call failed: {redact(f'{type(error).__name__}: {error}')[:1000]}", fault_of(error)
            )
        raise failed  # out here, so that the library's error, which holds the request, is no part of it

    async def _stream(
        self, said: list[words.ModelMessage], max_tokens: int, given: ModelRequestParameters,
        on_text: Callable[[str], object] | None,
    ) -> words.ModelResponse:  # fmt: skip
        from pydantic_ai.direct import model_request_stream
        from pydantic_ai.settings import ModelSettings

        # Its own retries are off: they are decided, counted and shown where steps are tried.
        settings = ModelSettings(max_tokens=max_tokens, max_retries=0, timeout=DEADLINE_S)
        clock = asyncio.get_running_loop().time
        end = clock() + DEADLINE_S
        async with (
            asyncio.timeout(IDLE_S) as limit,
            model_request_stream(
                self._model, said, model_settings=settings, model_request_parameters=given, instrument=False
            ) as stream,
        ):
            async for event in stream:
                limit.reschedule(min(clock() + IDLE_S, end))
                text = text_in(event)
                if text and on_text is not None:
                    on_text(text)
            return stream.get()

    def _message(self, response: words.ModelResponse) -> JSON:
        why = response.finish_reason
        if why is None and self._model.system not in ("function", "test"):  # these never say
            raise ModelFailed(
                "The model's answer is not whole: the stream ended without a reason.", fault("cut_stream")
            )
        if why == "error":
            raise ModelFailed("The provider says that the answer failed (finish_reason error).", fault("server_error"))
        stop = STOPS[why or "stop"]
        content = list(blocks_of(response, whole=stop in ("end_turn", "tool_use")))
        if stop == "end_turn" and any(block["type"] == "tool_use" for block in content):
            stop = "tool_use"
        whole = {"id": response.provider_response_id or "", "role": "assistant", "model": response.model_name}
        return checked_message({**whole, "content": content, "stop_reason": stop, "usage": usage_of(response)})


def _proxied(name: Any) -> TheirModel:
    """A model behind a LiteLLM proxy: pydantic-ai reads no variable for it, and would send all to OpenAI instead."""
    from pydantic_ai.exceptions import UserError
    from pydantic_ai.models import infer_model
    from pydantic_ai.providers.litellm import LiteLLMProvider

    address, key = (os.environ.get(f"LITELLM_PROXY_API_{part}") for part in ("BASE", "KEY"))
    if not address:
        raise UserError(
            "Set the environment variable LITELLM_PROXY_API_BASE to the proxy's address, and LITELLM_PROXY_API_KEY "
            "to a key of it."
        )
    return infer_model(name, lambda _: LiteLLMProvider(api_base=address, api_key=key))


def usage_of(response: words.ModelResponse) -> JSON:
    """What was billed for a response, as the Messages API words it: there, input from a cache is counted apart."""
    used = response.usage
    return {
        "input_tokens": max(0, used.input_tokens - used.cache_read_tokens - used.cache_write_tokens),
        "cache_read_input_tokens": used.cache_read_tokens,
        "cache_creation_input_tokens": used.cache_write_tokens,
        "output_tokens": used.output_tokens,
    }


def is_provider(model: str) -> bool:
    """Whether a name is one of another provider's models."""
    provider, colon, name = model.partition(":")
    return bool(colon and name) and provider in NAMES


def made(model: str) -> ProviderModel:
    """The model of a name; raises ``ModelFailed`` where the extra is not installed."""
    if importlib.util.find_spec("pydantic_ai") is None:
        raise ModelFailed(
            f"model={model!r} needs pydantic-ai: pip install 'jupyter-agentlab[providers]'.", fault("no_such_model")
        )
    return ProviderModel(model)


def told(messages: Sequence[JSON], system: Any = None) -> Iterator[words.ModelMessage]:
    """A conversation as pydantic-ai words it."""
    from pydantic_ai import messages as words

    if system:
        yield words.ModelRequest(parts=[words.SystemPromptPart(_text(system))])
    names: dict[str, str] = {}
    for message in messages:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if message["role"] == "assistant":
            names |= {block["id"]: block["name"] for block in blocks if block["type"] == "tool_use"}
            yield words.ModelResponse(parts=[part for block in blocks for part in _said(block)])
        else:
            yield words.ModelRequest(parts=list(_heard(blocks, names)))


def _said(block: JSON) -> Iterator[Any]:
    from pydantic_ai.messages import TextPart, ToolCallPart

    if block["type"] == "text":
        yield TextPart(block["text"])
    elif block["type"] == "tool_use":
        yield ToolCallPart(block["name"], block["input"], tool_call_id=block["id"])


def _heard(blocks: Sequence[JSON], names: Mapping[str, str]) -> Iterator[Any]:
    from pydantic_ai.messages import ToolReturnPart, UserPromptPart

    for block in blocks:
        if block["type"] == "tool_result":
            id_ = block["tool_use_id"]
            outcome: Any = "failed" if block.get("is_error") else "success"
            text = _text(block.get("content") or "")
            yield ToolReturnPart(names.get(id_, "unknown"), text, tool_call_id=id_, outcome=outcome)
    shown = [_shown(block) for block in blocks if block["type"] != "tool_result"]
    if shown:
        yield UserPromptPart(shown)


def _shown(block: JSON) -> Any:
    from pydantic_ai.messages import BinaryContent, DocumentUrl, ImageUrl

    if block["type"] == "text":
        return block["text"]
    source = block.get("source") or {}
    if source.get("type") == "base64":
        return BinaryContent(base64.b64decode(source["data"]), media_type=source["media_type"])
    if source.get("type") == "url":
        return (ImageUrl if block["type"] == "image" else DocumentUrl)(source["url"])
    if source.get("type") == "text":
        return source["data"]
    raise ModelFailed(f"There are no words for a block of type {block['type']!r} there.", fault("bad_request"))


def asked(tools: Sequence[JSON], schema: JSON | None) -> ModelRequestParameters:
    """What tools are on offer, and what the answer must be."""
    from pydantic_ai.models import ModelRequestParameters
    from pydantic_ai.output import OutputObjectDefinition
    from pydantic_ai.tools import ToolDefinition

    offered = [
        ToolDefinition(
            name=tool["name"], parameters_json_schema=tool["input_schema"], description=tool.get("description")
        )
        for tool in tools
    ]
    if schema is None:
        return ModelRequestParameters(function_tools=offered)
    shape = OutputObjectDefinition(json_schema=schema, name="answer")
    return ModelRequestParameters(function_tools=offered, output_mode="native", output_object=shape)


def blocks_of(response: words.ModelResponse, *, whole: bool) -> Iterator[JSON]:
    """What was said; a tool call that may have been cut off in the middle is left out."""
    from pydantic_ai.messages import TextPart, ToolCallPart

    for part in response.parts:
        if isinstance(part, TextPart) and part.content:
            yield {"type": "text", "text": part.content}
        elif isinstance(part, ToolCallPart) and whole:
            try:
                given = json.loads(part.args or "{}") if isinstance(part.args, str) else part.args or {}
            except (ValueError, RecursionError) as error:
                raise ModelFailed(
                    f"The input of tool {part.tool_name!r:.80} is no JSON ({error}): {part.args!r:.200}",
                    fault("garbage"),
                ) from None
            yield {"type": "tool_use", "id": part.tool_call_id, "name": part.tool_name, "input": given}


def text_in(event: Any) -> str:  # one of pydantic-ai's stream events
    """The piece of text that an event brings."""
    from pydantic_ai.messages import PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta

    if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
        return event.part.content
    if isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
        return event.delta.content_delta
    return ""


def fault_of(error: Exception) -> Fault:
    """Our fault for an exception of pydantic-ai or of what is below it."""
    classes = [cls.__name__ for cls in type(error).__mro__]
    after, status = getattr(error, "retry_after", None), getattr(error, "status_code", None)
    kind = next((kind for name, kind in BY_CLASS.items() if name in classes), None)
    if isinstance(status, int) and kind not in ("spend_limit", "too_large"):
        type_, code = getattr(error, "provider_error_type", None), getattr(error, "provider_error_code", None)
        kind = classify_reply(status, type_, code=code, message=str(error))
    if kind == "connection" and getattr(error, "in_stream", False):
        kind = "cut_stream"
    return classify(error) if kind is None else fault(kind, after)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(block["text"] for block in content if block.get("type") == "text")
