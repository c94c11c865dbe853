"""LangGraph: a graph of one node that is its own next, so many times; a checkpoint after each."""

from __future__ import annotations

import asyncio
import operator
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict

from arguments import answer

try:
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
    from langgraph.graph import END, START, StateGraph
except ImportError:
    raise SystemExit("langgraph is not installed: pip install 'jupyter-agentlab[bench]'") from None


class State(TypedDict):
    """Steps done so far."""

    done: Annotated[int, operator.add]


@asynccontextmanager
async def _saver(store: str) -> Any:
    if store == "memory":
        yield InMemorySaver()
        return
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncSqliteSaver.from_conn_string(str(Path(folder) / "peer.db")) as saver:
            yield saver


async def _run(agents: int, times: int, ms: int, store: str) -> dict[str, float]:
    async def wait(state: State) -> dict[str, int]:
        await asyncio.sleep(ms / 1e3)
        return {"done": 1}

    builder = StateGraph(State)
    builder.add_node("wait", wait)
    builder.add_edge(START, "wait")
    builder.add_conditional_edges("wait", lambda state: END if state["done"] >= times else "wait")
    async with _saver(store) as saver:
        graph = builder.compile(checkpointer=saver)
        used, began = time.process_time(), time.perf_counter()
        await asyncio.gather(
            *(graph.ainvoke({"done": 0}, {"configurable": {"thread_id": str(n)}}) for n in range(agents))
        )
        wall = time.perf_counter() - began
        used = time.process_time() - used
    return {"cpu_us": used / (agents * times) * 1e6, "wall": wall / (times * ms / 1e3)}


def sleeps(agents: int, times: int, ms: int, store: str) -> dict[str, float]:
    """Processor time of one step (microseconds), and the wall against the ideal."""
    return asyncio.run(_run(agents, times, ms, store))


if __name__ == "__main__":
    answer(sleeps)
