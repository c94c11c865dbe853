"""A turn with a model by other means: one question, one streamed answer, as each has it.

``ANTHROPIC_BASE_URL`` and ``ANTHROPIC_API_KEY`` say where. Each function lets ``at_once`` conversations take ``turns``
turns in all, a new conversation every two; the first twenty are not counted. LangGraph keeps its
checkpoints in SQLite and Inspect its log, as ours keeps its journal; the other three keep nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from arguments import answer
from talk import LONGEST, MODEL, OF_A_CONVERSATION, QUESTION, SYSTEM

Talk = Callable[[], Awaitable[None]]
"""One conversation."""


async def crowd(talk: Talk, at_once: int, turns: int) -> dict[str, float]:
    """Milliseconds of processor time a turn, and turns a second."""
    await asyncio.gather(*[talk() for _ in range(10)])
    left = max(at_once, turns // OF_A_CONVERSATION)
    whole = left * OF_A_CONVERSATION

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await talk()

    used, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*[worker() for _ in range(at_once)])
    used, wall = time.process_time() - used, time.perf_counter() - wall
    return {"cpu_ms": used / whole * 1e3, "turns_s": whole / wall}


def asked(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The request of a turn."""
    return {"model": MODEL, "system": SYSTEM, "max_tokens": LONGEST, "messages": messages, "stream": True}


def aiohttp(at_once: int, turns: int) -> dict[str, float]:
    """The bytes alone: sent, and read to their end, without a look at them."""
    import aiohttp as library

    headers = {
        "x-api-key": os.environ["ANTHROPIC_API_KEY"], "anthropic-version": "2023-06-01",
        "content-type": "application/json",
    }  # fmt: skip

    async def main() -> dict[str, float]:
        async with library.ClientSession(connector=library.TCPConnector(limit=0)) as session:

            async def talk() -> None:
                messages: list[dict[str, Any]] = []
                for _ in range(OF_A_CONVERSATION):
                    messages.append({"role": "user", "content": QUESTION})
                    body = json.dumps(asked(messages)).encode()
                    url = os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages"
                    async with session.post(url, data=body, headers=headers) as reply:
                        assert reply.status == 200
                        await reply.read()
                    messages.append({"role": "assistant", "content": "5"})

            return await crowd(talk, at_once, turns)

    return asyncio.run(main())


def anthropic(at_once: int, turns: int) -> dict[str, float]:
    """The client library: its stream, its message."""
    import anthropic as library

    async def main() -> dict[str, float]:
        limits = library.DefaultAsyncHttpxClient(limits=_limits(at_once))
        async with library.AsyncAnthropic(http_client=limits, max_retries=0) as client:

            async def talk() -> None:
                messages: list[Any] = []
                for _ in range(OF_A_CONVERSATION):
                    messages.append({"role": "user", "content": QUESTION})
                    async with client.messages.stream(
                        model=MODEL, system=SYSTEM, max_tokens=LONGEST, messages=messages
                    ) as stream:
                        message = await stream.get_final_message()
                    messages.append({"role": "assistant", "content": message.content[0].text})

            return await crowd(talk, at_once, turns)

    return asyncio.run(main())


def _limits(at_once: int) -> Any:
    import httpx2

    return httpx2.Limits(max_connections=at_once, max_keepalive_connections=at_once)


def pydantic_ai(at_once: int, turns: int) -> dict[str, float]:
    """pydantic-ai: an agent, streamed."""
    from pydantic_ai import Agent

    async def main() -> dict[str, float]:
        agent = Agent(f"anthropic:{MODEL}", system_prompt=SYSTEM, model_settings={"max_tokens": LONGEST})

        async def talk() -> None:
            history: Any = None
            for _ in range(OF_A_CONVERSATION):
                async with agent.run_stream(QUESTION, message_history=history) as result:
                    await result.get_output()
                history = result.all_messages()

        return await crowd(talk, at_once, turns)

    return asyncio.run(main())


def langgraph(at_once: int, turns: int) -> dict[str, float]:
    """LangGraph: a graph of one node that calls ChatAnthropic, streamed; a checkpoint after each turn."""
    from langchain_anthropic import ChatAnthropic
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
    from langgraph.graph import END, START, MessagesState, StateGraph

    async def main() -> dict[str, float]:
        model = ChatAnthropic(model=MODEL, max_tokens=LONGEST, streaming=True, max_retries=0)

        async def speak(state: MessagesState) -> dict[str, Any]:
            return {"messages": [await model.ainvoke([("system", SYSTEM), *state["messages"]])]}

        builder = StateGraph(MessagesState)
        builder.add_node("speak", speak)
        builder.add_edge(START, "speak")
        builder.add_edge("speak", END)
        with tempfile.TemporaryDirectory() as folder:
            async with AsyncSqliteSaver.from_conn_string(str(Path(folder) / "peer.db")) as saver:
                graph = builder.compile(checkpointer=saver)
                threads = iter(range(10**9))

                async def talk() -> None:
                    thread = {"configurable": {"thread_id": str(next(threads))}}
                    for _ in range(OF_A_CONVERSATION):
                        await graph.ainvoke({"messages": [("user", QUESTION)]}, thread)

                return await crowd(talk, at_once, turns)

    return asyncio.run(main())


def inspect(at_once: int, turns: int) -> dict[str, float]:
    """Inspect AI: an eval whose samples ask twice, with its log as it comes."""
    import inspect_ai
    from inspect_ai.dataset import Sample
    from inspect_ai.model import ChatMessageUser, GenerateConfig, get_model
    from inspect_ai.solver import Generate, Solver, TaskState, solver

    @solver
    def talks() -> Solver:
        async def solve(state: TaskState, generate: Generate) -> TaskState:
            for turn in range(OF_A_CONVERSATION):
                if turn:
                    state.messages.append(ChatMessageUser(content=QUESTION))
                state = await generate(state)
            return state

        return solve

    def task(samples: int) -> Any:
        return inspect_ai.Task(dataset=[Sample(input=QUESTION) for _ in range(samples)], solver=talks())

    config = GenerateConfig(max_connections=at_once, max_tokens=LONGEST, system_message=SYSTEM)
    model = get_model(f"anthropic/{MODEL}", config=config)
    samples = max(at_once, turns // OF_A_CONVERSATION)
    with tempfile.TemporaryDirectory() as folder:
        how: dict[str, Any] = {"model": model, "log_dir": folder, "display": "none", "max_samples": at_once}
        inspect_ai.eval(task(10), **how)
        used, wall = time.process_time(), time.perf_counter()
        (log,) = inspect_ai.eval(task(samples), **how)
        used, wall = time.process_time() - used, time.perf_counter() - wall
    assert log.status == "success", log.error
    whole = samples * OF_A_CONVERSATION
    return {"cpu_ms": used / whole * 1e3, "turns_s": whole / wall}


if __name__ == "__main__":
    answer(aiohttp, anthropic, pydantic_ai, langgraph, inspect)
