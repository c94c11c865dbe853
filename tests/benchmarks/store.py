"""What durability costs: calls (P6), conversations (P15) and frames (P17), beside LangGraph's SQLite checkpointer.

    python tests/benchmarks/store.py [--quick] [--rounds 3] [conversations] [calls] [frames]

A turn is 5 KB of text, a call, and its durable answer. LangGraph's conversation grows with the square of its turns, so
it has fewer; ours runs at full length too. The single durable call is one after the other, from this process.
"""

from __future__ import annotations

import functools
import operator
import random
import statistics
import string
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

from kit.report import Options, Report, Side, Values, in_turn, measure, once, quantile

from agentlab import Agent, Lab, Ref, Transcript, open_store
from agentlab.store.batch import Batch
from agentlab.store.database import Store
from agentlab.store.rows import StepRow

TURN = 5000


class Talker(Agent):
    """Keeps a conversation."""

    messages: Transcript = Transcript()

    async def say(self, text: str) -> int:
        """One turn."""
        self.messages.append({"role": "user", "content": text})
        return len(self.messages)


class Counter(Agent):
    """Counts."""

    count: int = 0

    async def add(self) -> int:
        """Add one."""
        self.count += 1
        return self.count


class Conversation(TypedDict):
    """LangGraph's state: messages that are added."""

    messages: Annotated[list[dict[str, str]], operator.add]


class Count(TypedDict):
    """LangGraph's state: a number that is added to."""

    count: Annotated[int, operator.add]


def peer(path: Path, state: type) -> Any:
    """A LangGraph graph of one node that returns nothing new, with its SQLite checkpointer."""
    import sqlite3

    from langgraph.checkpoint.sqlite import SqliteSaver
    from langgraph.graph import END, START, StateGraph

    graph = StateGraph(state)
    graph.add_node("agent", lambda state: {})
    graph.add_edge(START, "agent")
    graph.add_edge("agent", END)
    return graph.compile(checkpointer=SqliteSaver(sqlite3.connect(path, check_same_thread=False)))


def texts(count: int, seed: int) -> list[str]:
    """Turns of which no two are alike."""
    chance = random.Random(seed)
    return ["".join(chance.choices(string.ascii_letters + "    ", k=TURN)) for _ in range(count)]


def clocked(say: Callable[[str], Any], turns: list[str]) -> list[float]:
    """Milliseconds of each turn."""
    took = []
    for text in turns:
        began = time.perf_counter()
        say(text)
        took.append((time.perf_counter() - began) * 1e3)
    return took


def size_of(folder: Path) -> int:
    """Bytes of a folder's files."""
    return sum(file.stat().st_size for file in folder.iterdir())


def talk(turns: list[str]) -> Values:
    """Our conversation."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Lab(folder / "run.lab", nodes=1) as lab:
            talker = lab.start(Talker, id="t")
            took = clocked(lambda text: talker.call.say(text).result(60), turns)
        return told(folder, took)


def peer_talk(turns: list[str]) -> Values:
    """LangGraph's."""
    with tempfile.TemporaryDirectory() as name:
        graph = peer(Path(name) / "peer.db", Conversation)
        config = {"configurable": {"thread_id": "t"}}
        took = clocked(lambda text: graph.invoke({"messages": [{"role": "user", "content": text}]}, config), turns)
        graph.checkpointer.conn.close()
        return told(Path(name), took)


def told(folder: Path, took: list[float]) -> Values:
    """Bytes per byte of text, milliseconds of a turn around the tenth and the last."""
    tenth, last = statistics.median(took[3:50]), statistics.median(took[-50:])
    return {"bytes": size_of(folder) / (len(took) * TURN), "tenth": tenth, "last": last, "growth": last / tenth}


def calls(lab: Lab, refs: list[Ref]) -> Values:
    """Calls a second to all of them at once; then single ones, one after the other."""
    began = time.perf_counter()
    replies = [ref.call.add() for ref in refs]
    for reply in replies:
        reply.result(60)
    rate = len(refs) / (time.perf_counter() - began)
    took = clocked(lambda _: refs[0].call.add().result(60), [""] * 300)
    return {"rate": rate, "p50": quantile(took, 0.5), "p99": quantile(took, 0.99)}


def peer_calls(size: int) -> Values:
    """LangGraph's, over so many threads of conversation, but no more than 300."""
    with tempfile.TemporaryDirectory() as folder:
        graph = peer(Path(folder) / "peer.db", Count)
        names = list(map(str, range(min(size, 300))))
        took = clocked(lambda name: graph.invoke({"count": 1}, {"configurable": {"thread_id": name}}), names)
        graph.checkpointer.conn.close()
    return {"rate": len(names) / sum(took) * 1e3, "p50": quantile(took, 0.5), "p99": quantile(took, 0.99)}


def write_steps(path: Path, count: int) -> None:
    """A store with so many step rows of a thousand agents."""
    store = Store(path)
    for first in range(0, count, 20_000):
        batch = Batch()
        for n in range(first, min(first + 20_000, count)):
            row = StepRow(
                path=f"/team/a{n % 1000}", message_seq=n // 1000, step=1, attempt=1, kind="step", name="search",
                started_at=10**18 + n, took_s=0.01, outcome="ok", fault=None, tokens_in=10, tokens_out=20, cost_usd=0.1,
                replayed=0, input=f"'query {n}'", output=f"'result {n}'", message_key=n,
                mark='["step", "search", "", 0]', result=f'"result {n}"', once=0,
            )  # fmt: skip
            batch.add("step", *row)
        store.commit(batch)
    store.close()


def conversations(report: Report, options: Options) -> None:
    """P15: ours and theirs in turn; theirs takes a minute at full length, and is measured once there."""
    for length in (options.size(200), options.size(1000)):
        turns = texts(length, 7)
        theirs = functools.partial(peer_talk, turns)
        sides: dict[str, Side] = {
            "agentlab": functools.partial(talk, turns), "LangGraph": theirs if length <= 200 else once(theirs)
        }  # fmt: skip
        found = in_turn(options.rounds, sure=["last", "LangGraph"], **sides)
        others = ["LangGraph"]
        report.say(f"P15 conversation of {length} turns of 5 KB: bytes kept", found, "bytes", "bytes per byte",
                   peers=others, judged=length > 200, target="≤ 1.15, ≥ 20 × smaller than LangGraph", most=1.15,
                   ratio_most={"LangGraph": 1 / 20})  # fmt: skip
        report.say(f"P15 conversation of {length} turns: one of the last turns", found, "last", "ms",
                   peers=others, target="≥ 5 × faster than LangGraph", ratio_most={"LangGraph": 1 / 5})  # fmt: skip
        report.say(f"P15 conversation of {length} turns: the last to the tenth", found, "growth", "times",
                   peers=others, target="flat (≤ 1.5)", most=1.5)  # fmt: skip


def throughput(report: Report, options: Options) -> None:
    """P6, at sizes a factor of ten apart."""
    sizes = options.sizes(1000)
    with tempfile.TemporaryDirectory() as folder, Lab(Path(folder) / "run.lab") as lab:
        refs = list(lab.start_many(Counter, sizes[-1]))
        for size in sizes:
            ours = functools.partial(calls, lab, refs[:size])
            found = in_turn(
                options.rounds, sure=["rate", "LangGraph"], agentlab=ours, LangGraph=functools.partial(peer_calls, size)
            )
            report.say("P6 durable calls a second; agents called at once", found, "rate", "calls/s",
                       peers=["LangGraph"], size=size, judged=size == sizes[-1], target="≥ 20,000",
                       least=20_000.0)  # fmt: skip
    report.say("P6 a single durable call, p50", found, "p50", "ms", peers=["LangGraph"], target="≤ 0.3 ms", most=0.3)
    report.say("P6 a single durable call, p99", found, "p99", "ms", peers=["LangGraph"])


def read(path: Path) -> Values:
    """Seconds until the step rows are a DataFrame."""
    with open_store(path) as stored:
        return {"s": clocked(lambda _: stored.steps(), [""])[0] / 1e3}


def frames(report: Report, options: Options) -> None:
    """P17: step rows to a DataFrame."""
    for size in options.sizes(1_000_000):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "run.lab"
            write_steps(path, size)
            read(path)  # imports pandas
            found = in_turn(options.rounds, sure=["s"], agentlab=functools.partial(read, path))
        report.say("P17 step rows to a DataFrame; rows", found, "s", "s", size=size,
                   judged=size == options.size(1_000_000), target="≤ 1 s", most=1.0)  # fmt: skip


PARTS = {"conversations": conversations, "calls": throughput, "frames": frames}

if __name__ == "__main__":
    measure(__doc__, PARTS)
