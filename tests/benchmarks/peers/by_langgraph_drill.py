"""LangGraph at three in the morning: a graph that asks a model and calls tools, its model's node with a retry policy.

The task, the simulator, the outage and the questions to others are those of ``agentlab.drill``. Each task and each of
the others is a thread of a checkpointer in memory. The client's own retries are off, as agentlab's are, so the policy
decides alone; and its node looks whether an answer is whole, which the client does not.
"""

from __future__ import annotations

import asyncio
import itertools
import operator
import os
import secrets
import subprocess
import sys
import time
from typing import Annotated, Any, TypedDict

from anthropic import AsyncAnthropic
from arguments import answer as say

from agentlab.drill import bill
from agentlab.drill.night import ASKED_AT_ONCE, OUTAGE, PAUSE, QUIET, TRIES
from agentlab.drill.people import MIND, add, answer, question
from agentlab.drill.report import SPANS, within
from agentlab.faults import Action
from agentlab.sim.control import Control, Endpoint

try:
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import END, START, StateGraph
    from langgraph.types import RetryPolicy
except ImportError:
    raise SystemExit("langgraph is not installed: pip install 'jupyter-agentlab[bench]'") from None

TOKEN = secrets.token_hex(16)
TOOL = {"name": add.name, "description": "Add two numbers.", "input_schema": {
    "type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}, "required": ["a", "b"],
}}  # fmt: skip


class Talk(TypedDict):
    """A conversation."""

    messages: Annotated[list[Any], operator.add]


class Count(TypedDict):
    """How often one of the others was asked."""

    count: Annotated[int, operator.add]


def policy(name: str) -> RetryPolicy:
    """As it is made without arguments; or with the tries and times of agentlab's own, of whatever is raised."""
    if name == "default":
        return RetryPolicy()
    ours = Action("retry_step")
    return RetryPolicy(
        max_attempts=TRIES, initial_interval=ours.first or 0.0, max_interval=ours.maximum or 0.0, retry_on=Exception
    )


class Tasks:
    """A graph for tasks of six tool calls; ``begun`` are those that have one behind them."""

    def __init__(self, base_url: str, retries: RetryPolicy) -> None:
        self._client = AsyncAnthropic(base_url=base_url, api_key=TOKEN, max_retries=0)
        self.begun: set[str] = set()
        builder = StateGraph(Talk)
        builder.add_node("model", self._ask, retry_policy=retries)
        builder.add_node("tools", self._call)
        builder.add_edge(START, "model")
        builder.add_conditional_edges("model", lambda talk: "tools" if _calls(talk) else END)
        builder.add_edge("tools", "model")
        self._graph = builder.compile(checkpointer=InMemorySaver())

    async def _ask(self, talk: Talk) -> Talk:
        request = {"model": MIND, "max_tokens": 1024, "tools": [TOOL], "messages": talk["messages"]}
        async with self._client.messages.stream(**request) as stream:  # type: ignore[arg-type]  # plain JSON
            said = await stream.get_final_message()
        if said.stop_reason is None:
            raise ConnectionError("the stream was cut")
        content = [block.model_dump(include={"type", "text", "id", "name", "input"}) for block in said.content]
        return {"messages": [{"role": "assistant", "content": content}]}

    async def _call(self, talk: Talk) -> Talk:
        self.begun.add(talk["messages"][0]["content"])
        results = [
            {"type": "tool_result", "tool_use_id": call["id"], "content": str(add(**call["input"]))}
            for call in _calls(talk)
        ]
        return {"messages": [{"role": "user", "content": results}]}

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()

    async def ask(self, number: int) -> str:
        """Do one task; what is said at its end."""
        given: Talk = {"messages": [{"role": "user", "content": question(number)}]}
        talk = await self._graph.ainvoke(given, {"configurable": {"thread_id": str(number)}})
        return str(talk["messages"][-1]["content"][-1]["text"])


def _calls(talk: Talk) -> list[dict[str, Any]]:
    return [block for block in talk["messages"][-1]["content"] if block["type"] == "tool_use"]


class Others:
    """Those who need no model: threads of a graph that counts."""

    def __init__(self, size: int) -> None:
        builder = StateGraph(Count)
        builder.add_node("count", _count)
        builder.add_edge(START, "count")
        builder.add_edge("count", END)
        self._graph = builder.compile(checkpointer=InMemorySaver())
        self._size = size
        self.when, self.over = "before", False
        self.took: dict[str, list[float]] = {when: [] for when in SPANS}

    async def ping(self, number: int) -> None:
        """Ask one of them."""
        began, when = time.monotonic(), self.when
        await self._graph.ainvoke({"count": 1}, {"configurable": {"thread_id": str(number)}})
        self.took[when].append(time.monotonic() - began)

    async def ask(self) -> None:
        """Ask them in turn, some at a time, until the night is over."""
        for first in itertools.count(0, ASKED_AT_ONCE):
            if self.over:
                return
            await asyncio.gather(*(self.ping((first + more) % self._size) for more in range(ASKED_AT_ONCE)))
            await asyncio.sleep(PAUSE)


async def _count(state: Count) -> Count:
    return {"count": 0}


async def _until(condition: Any) -> None:
    while not condition():  # noqa: ASYNC110  # it waits for what the simulator heard, too
        await asyncio.sleep(0.2)


async def spend_night(sim: Control, tasks: Tasks, agents: int, busy: int, seconds: int) -> dict[str, float]:
    """One night against a simulator; see ``night``."""
    others = Others(agents - busy)
    for first in range(0, agents - busy, 100):  # all of them are awake
        await asyncio.gather(*(others.ping(number) for number in range(first, min(first + 100, agents - busy))))
    others.took["before"].clear()
    asking = asyncio.create_task(others.ask())
    await _until(lambda: len(others.took["before"]) >= QUIET)
    others.when = "starting"
    await asyncio.to_thread(sim.faults, latency_s=2.0)
    work = [asyncio.create_task(tasks.ask(number)) for number in range(busy)]
    await _until(lambda: len(tasks.begun) == busy)
    seen = await asyncio.to_thread(sim.requests)
    await asyncio.to_thread(sim.faults, OUTAGE)
    others.when = "during"
    await asyncio.sleep(seconds)
    await asyncio.to_thread(sim.clear)
    calls = await asyncio.to_thread(sim.requests) - seen
    others.when, recovered = "after", time.monotonic()
    ends = await asyncio.gather(*work, return_exceptions=True)
    last = time.monotonic() - recovered
    others.over = True
    await asking
    await tasks.close()
    return _counted(await asyncio.to_thread(sim.log), ends, others) | {"calls": calls, "last_s": last}


def _counted(log: list[Any], ends: list[Any], others: Others) -> dict[str, float]:
    right = {question(number) for number, end in enumerate(ends) if end == answer(number)}
    return {
        "right": len(right), "lost": len(ends) - len(right), "repeated": bill.repeated(log),
        "wasted": bill.wasted(log, right), "before_p99": within(others.took["before"], 0.99),
        "p99": within(others.took["during"], 0.99),
    }  # fmt: skip


def night(agents: int, busy: int, seconds: int, retries: str) -> dict[str, float]:
    """What came of it: tasks, calls, tokens, and the others' latency (milliseconds)."""
    command = [sys.executable, "-m", "agentlab.sim"]
    environment = {**os.environ, "AGENTLAB_SIM_TOKEN": TOKEN}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            base_url = process.stdout.readline().strip()
            sim = Control(Endpoint(base_url, TOKEN), patience=60.0)
            return asyncio.run(spend_night(sim, Tasks(base_url, policy(retries)), agents, busy, seconds))
        finally:
            process.terminate()


if __name__ == "__main__":
    say(night)
