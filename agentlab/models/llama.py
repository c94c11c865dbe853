"""The Messages API as a llama.cpp server speaks it: nearly, so its client mends the difference.

* A stream whose first token is no text has no ``message_start``; one is put in front.
* It holds a thread for each connection that is kept open, and closes it after a while, after a stream at once, without
  a word and perhaps just when the next request is on its way; so each request has a connection of its own, which on
  one machine costs nothing.
* A schema for the answer (``output_config``) is overlooked there. Its OpenAI paths know one, as a grammar that leaves
  the model no way to say anything else; so a call with a schema goes by these.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from agentlab.errors import ModelFailed
from agentlab.faults import fault
from agentlab.models.accumulator import JSON, Accumulator, checked_message
from agentlab.models.messages import MessagesClient

STOPS: Mapping[Any, str] = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
"""OpenAI's words for why an answer ended."""

ALONE = {"connection": "close"}
"""Headers of a request that has its connection for itself."""

OPENINGS = frozenset({"message_start", "error", "ping"})
"""Events that a stream may begin with."""


class LlamaClient(MessagesClient):
    """As ``MessagesClient``, for the lab's own llama.cpp server."""

    async def create(
        self,
        *,
        messages: Sequence[JSON],
        max_tokens: int,
        system: Any = None,  # a text, or blocks of text
        tools: Sequence[JSON] | None = None,
        stream: bool = True,
        on_text: Callable[[str], object] | None = None,
        output_config: JSON | None = None,
        **options: Any,
    ) -> JSON:
        """As there. With a schema in ``output_config`` the answer fits it, in one piece; tools are left out."""
        schema = ((output_config or {}).get("format") or {}).get("schema")
        if schema is None:
            return await super().create(
                messages=messages, max_tokens=max_tokens, system=system, tools=tools, stream=stream, on_text=on_text,
                **{"extra_headers": ALONE, **options},
            )  # fmt: skip
        body = {
            "model": options.get("model", self.model),
            "messages": list(chat_of(messages, system)),
            "max_tokens": max_tokens,
            "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
        }
        message = await self._guard(self._shaped(body))
        if on_text is not None:
            for block in message["content"]:
                on_text(block["text"])
        return message

    async def _shaped(self, body: JSON) -> JSON:
        where = self._connections.post("/v1/chat/completions", body, headers=ALONE)
        async with asyncio.timeout(self.deadline_s), where as reply:
            return message_of(json.loads(await reply.read()))

    def _take(self, answer: Accumulator, event: JSON, body: JSON) -> None:
        if answer.progress == 0 and event.get("type") not in OPENINGS:
            start = {"id": "", "role": "assistant", "model": body["model"], "content": [], "usage": {}}
            answer.feed({"type": "message_start", "message": start})
        answer.feed(event)


def chat_of(messages: Sequence[JSON], system: Any = None) -> Iterator[JSON]:
    """A conversation in OpenAI's words: what was said, and what tools were asked for and gave."""
    if system:
        yield {"role": "system", "content": text_of(system)}
    for message in messages:
        blocks = message["content"]
        if isinstance(blocks, str):
            yield {"role": message["role"], "content": blocks}
            continue
        for block in blocks:
            if block["type"] == "tool_result":
                told = text_of(block.get("content") or "")
                yield {"role": "tool", "tool_call_id": block["tool_use_id"], "content": told}
        calls = [_call(block) for block in blocks if block["type"] == "tool_use"]
        if (text := text_of(blocks)) or calls:
            yield {"role": message["role"], "content": text, **({"tool_calls": calls} if calls else {})}


def text_of(content: Any) -> str:
    """The text of a message, a prompt or a tool's result: itself, or that of its blocks."""
    if isinstance(content, str):
        return content
    return "\n".join(block["text"] for block in content if block.get("type") == "text")


def _call(block: JSON) -> JSON:
    function = {"name": block["name"], "arguments": json.dumps(block["input"])}
    return {"id": block["id"], "type": "function", "function": function}


def message_of(said: Any) -> JSON:  # what the server sent
    """The Messages API's message for an answer in OpenAI's words; raises ``ModelFailed`` if it is none."""
    try:
        choice, counts = said["choices"][0], said["usage"]
        cached = (counts.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
        usage = {
            "input_tokens": counts["prompt_tokens"] - cached,
            "cache_read_input_tokens": cached,
            "output_tokens": counts["completion_tokens"],
        }
        content = [{"type": "text", "text": choice["message"]["content"]}]
        stop = STOPS.get(choice["finish_reason"])
        whole = {"id": said.get("id"), "role": "assistant", "model": said.get("model"), "content": content}
        return checked_message({**whole, "stop_reason": stop, "usage": usage})
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ModelFailed(
            f"The model's answer has not the shape of a chat completion ({error!r}): {said!r:.200}", fault("garbage")
        ) from None
