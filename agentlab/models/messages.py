"""A client of the Messages API: one call, one whole answer, or an error that says what kind of failure it was.

It stands on ``anthropic.AsyncAnthropic`` for what a request and an error are, without that client's own retries:
retries are decided where they are seen and counted. The stream is read event by event as it comes over the wire
(``accumulator``), because the library's own reading swallows pings and takes some broken streams for whole ones.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from agentlab.errors import ModelFailed, StepFailed
from agentlab.faults import classify, fault
from agentlab.ground.limits import note_limits
from agentlab.models.accumulator import JSON, Accumulator, checked_message
from agentlab.models.connections import Connections
from agentlab.models.prompt import marked
from agentlab.models.sse import Decoder

_IDLE_S = 90.0
_DEADLINE_S = 600.0
_PATH = "/v1/messages"

_Answer = TypeVar("_Answer")


class MessagesClient:
    """Calls models over the Messages API.

    Args:
        base_url: The server; ``None``: ``ANTHROPIC_BASE_URL``, else the real API.
        api_key: The key; ``None``: ``ANTHROPIC_API_KEY``.
        model: The model of calls that name none.
        caching: Mark what never changes of a request, so that the provider keeps it and reads it cheaply again.
        idle_s: Seconds without progress after which an answer counts as stalled. Pings are no progress.
        deadline_s: Seconds after which a call ends in any case.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        model: str = "sim",
        caching: bool = True,
        idle_s: float = _IDLE_S,
        deadline_s: float = _DEADLINE_S,
    ) -> None:
        import anthropic

        self.model = model
        self.caching = caching
        self.idle_s = idle_s
        self.deadline_s = deadline_s
        self._base_url = base_url
        try:
            self._connections = Connections(base_url, api_key, deadline_s)
        except (anthropic.AnthropicError, ValueError) as error:
            raise ModelFailed(f"No usable key or address for model {model!r}: {error}", fault("unauthorized")) from None

    def __repr__(self) -> str:
        return f"MessagesClient({self._base_url or 'the real API'}, model={self.model!r})"

    async def create(
        self,
        *,
        messages: Sequence[JSON],
        max_tokens: int,
        system: Any = None,  # a text, or blocks of text
        tools: Sequence[JSON] | None = None,
        stream: bool = True,
        on_text: Callable[[str], object] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
        extra_body: JSON | None = None,
        **options: Any,
    ) -> JSON:
        """Ask the model once; returns the whole message as JSON.

        Args:
            messages: The conversation.
            max_tokens: The longest answer (tokens).
            system: The system prompt.
            tools: What the model may ask for.
            stream: Ask for a stream; then a stalled answer is noticed early and ``on_text`` hears text as it comes.
            on_text: Called with each piece of text.
            extra_headers: Headers to send beside the library's own.
            extra_query: What to add to the address.
            extra_body: Fields that go before all others of their names.
            options: Any other field of the API's request: ``model``, ``tool_choice``, ``output_config`` ...

        Raises:
            ModelFailed: The provider refused or failed; ``fault`` says how.
            IncompleteStream: The answer began and did not end as it should.
        """
        given = {"system": system, "tools": tools, **options}
        body = {"model": self.model, "messages": list(messages), "max_tokens": max_tokens}
        body |= {name: value for name, value in given.items() if value is not None}
        body = {**(marked(body) if self.caching else body), **(extra_body or {})}
        how = {"headers": extra_headers, "query": extra_query}
        if not stream:
            return await self._guard(self._whole(body, how))
        answer = Accumulator(on_text)
        return await self._guard(self._streamed(body, how, answer), answer)

    async def count_tokens(self, *, messages: Sequence[JSON], **options: Any) -> int:
        """How many input tokens a request would cost."""
        return await self._guard(self._count({"model": self.model, "messages": list(messages), **options}))

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()

    async def _whole(self, body: JSON, how: JSON) -> JSON:
        async with asyncio.timeout(self.deadline_s), self._connections.post(_PATH, body, **how) as reply:
            note_limits(reply.headers)
            return checked_message(json.loads(await reply.read()))

    async def _count(self, body: JSON) -> int:
        async with asyncio.timeout(self.deadline_s), self._connections.post(f"{_PATH}/count_tokens", body) as reply:
            counted = json.loads(await reply.read())
        tokens = counted.get("input_tokens") if isinstance(counted, dict) else None
        if not isinstance(tokens, int):
            raise ModelFailed(f"count_tokens answered {counted!r:.200}, not a number.", fault("garbage"))
        return tokens

    async def _streamed(self, body: JSON, how: JSON, answer: Accumulator) -> JSON:
        clock = asyncio.get_running_loop().time
        end = clock() + self.deadline_s
        limit = asyncio.timeout(min(self.idle_s, self.deadline_s))
        try:
            async with limit, self._connections.post(_PATH, {**body, "stream": True}, **how) as reply:
                note_limits(reply.headers)
                decoder = Decoder()
                async for piece in reply.content.iter_any():
                    before = answer.progress
                    answer.bytes += len(piece)
                    for event in decoder.feed(piece):
                        self._take(answer, _json_of(*event), body)
                    if answer.progress > before:
                        limit.reschedule(min(clock() + self.idle_s, end))
                for event in decoder.finish():
                    self._take(answer, _json_of(*event), body)
        except TimeoutError:
            if not limit.expired():
                raise  # of connecting
            raise self._stalled(answer, late=clock() >= end) from None
        return answer.finish()

    def _take(self, answer: Accumulator, event: JSON, body: JSON) -> None:
        """Take one event of the answer to ``body``."""
        answer.feed(event)

    def _stalled(self, answer: Accumulator, *, late: bool) -> StepFailed:
        why = f"it was not done after {self.deadline_s} s" if late else f"it made no progress for {self.idle_s} s"
        return answer.incomplete("deadline" if late else "stalled", why, "stalled")

    async def _guard(self, call: Coroutine[Any, Any, _Answer], answer: Accumulator | None = None) -> _Answer:
        """Turn whatever a provider or the way to it does into a ``ModelFailed``."""
        try:
            return await call
        except StepFailed as error:
            failed = error
        except Exception as error:
            failed = self._failed(error, answer)
        # Out here, so that the library's error is no part of ours: it holds the request, and that the key.
        failed.__context__ = None
        raise failed

    def _failed(self, error: Exception, answer: Accumulator | None) -> StepFailed:
        found = classify(error)
        note_limits(getattr(getattr(error, "response", None), "headers", {}))
        said = str(error) or f"no answer within {self.deadline_s} s"
        text = self._without_key(f"{type(error).__name__}: {said}"[:1000])
        if answer is not None and (answer.bytes or answer.progress):
            kind = "not_json" if found.kind == "garbage" else "cut"
            return answer.incomplete(kind, text, "garbage" if kind == "not_json" else "cut_stream")
        if found.kind == "crash" and "authentication method" in text:
            return ModelFailed(
                "No key for the model's API: the environment has no ANTHROPIC_API_KEY. "
                "Set it before the lab starts, or use model='sim'.",
                fault("unauthorized"),
            )
        after = "" if found.retry_after is None else f" It asks to wait {found.retry_after:g} s."
        return ModelFailed(f"The model call failed ({found.kind}): {text}.{after}", found)

    def _without_key(self, text: str) -> str:
        for secret in self._connections.secrets:
            text = text.replace(secret, "***")
        return re.sub(r"sk-[\w-]{8,}", "sk-***", text)


def _json_of(name: str | None, data: str) -> JSON:
    """An event's JSON. An ``error`` that is no JSON still says what a proxy had to say."""
    if name == "error" and not data.lstrip().startswith("{"):
        return {"type": "error", "error": {"type": "api_error", "message": data[:300]}}
    event = json.loads(data)
    return event if isinstance(event, dict) else {"type": None, "data": event}
