"""Ways to talk to a simulator under test: the library that people use, and raw bytes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anthropic

from agentlab.sim import Simulator

ADD = {
    "name": "add",
    "input_schema": {
        "type": "object",
        "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
        "required": ["a", "b"],
    },
}
MULTIPLY = {**ADD, "name": "multiply"}
CALCULATE = {
    "name": "calculate",
    "input_schema": {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]},
}


def library(sim: Simulator, **options: Any) -> anthropic.AsyncAnthropic:
    """The library as people use it, but for its retries and the environment's proxies."""
    return anthropic.AsyncAnthropic(
        base_url=sim.base_url,
        api_key=options.pop("api_key", sim.api_key),
        max_retries=options.pop("max_retries", 0),
        http_client=anthropic.DefaultAsyncHttpxClient(trust_env=False),
        **options,
    )


def user(text: Any) -> dict[str, Any]:
    """A user's message."""
    return {"role": "user", "content": text}


async def talk(sim: Simulator, *requests: bytes) -> bytes:
    """Send raw bytes on one connection, return all that comes back until the server closes."""
    port = int(sim.base_url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for request in requests:
        writer.write(request)
    try:
        await writer.drain()
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), 60)
    finally:
        writer.close()


def post(sim: Simulator, body: Any, *, path: str = "/v1/messages", headers: str = "") -> bytes:
    """A request as bytes."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", f"x-api-key: {sim.api_key}", f"content-length: {len(payload)}"]
    return ("\r\n".join(lines) + f"\r\n{headers}\r\n").encode() + payload
