"""What durability costs: one JSON line per figure, beside LangGraph with its SQLite checkpointer where installed.

    python tests/benchmarks/store.py [--rounds 3] [--turns 1000] [--peer-turns 200] [--agents 1000] [--steps 1000000]

``conversation_bytes``: bytes of the store per byte of a conversation of 5 KB turns. ``turn``: milliseconds from a
call to its durable answer, around the tenth turn and around the last. ``durable_calls``: calls a second, to so many
agents at once from this process. ``durable_call``: milliseconds of one call, p50 and p99. ``steps_frame``: seconds
until a store's step rows are a DataFrame. Every figure grows by factors of ten as far as the options allow, and
LangGraph's rounds stand between ours (A B A B).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import operator
import platform
import random
import statistics
import string
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

sys.path.insert(0, str(Path(__file__).parents[2]))

from agentlab import Agent, Lab, Ref, Transcript, open_store
from agentlab.store import Batch, Store

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
    """A LangGraph graph of one node that returns nothing new, with its SQLite checkpointer; None if not installed."""
    try:
        import sqlite3

        from langgraph.checkpoint.sqlite import SqliteSaver
        from langgraph.graph import END, START, StateGraph
    except ImportError:
        return None
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


def talk(folder: Path, turns: list[str]) -> tuple[list[float], int]:
    """Our conversation: milliseconds per turn, bytes of the closed store."""
    with Lab(folder / "run.lab", nodes=1) as lab:
        talker = lab.start(Talker, id="t")
        took = clocked(lambda text: talker.call.say(text).result(60), turns)
    return took, size_of(folder)


def peer_talk(folder: Path, turns: list[str]) -> tuple[list[float], int] | None:
    """LangGraph's."""
    graph = peer(folder / "peer.db", Conversation)
    if graph is None:
        return None
    config = {"configurable": {"thread_id": "t"}}
    took = clocked(lambda text: graph.invoke({"messages": [{"role": "user", "content": text}]}, config), turns)
    graph.checkpointer.conn.close()
    return took, size_of(folder)


def calls(lab: Lab, refs: list[Ref]) -> float:
    """Calls a second to all of them at once."""
    began = time.perf_counter()
    replies = [ref.call.add() for ref in refs]
    for reply in replies:
        reply.result(60)
    return len(refs) / (time.perf_counter() - began)


def one_call(ref: Ref, count: int = 300) -> list[float]:
    """Milliseconds of single calls, one after the other."""
    return clocked(lambda _: ref.call.add().result(60), [""] * count)


def peer_calls(graph: Any, count: int) -> tuple[float, list[float]]:
    """LangGraph's calls a second over so many threads of conversation, and milliseconds of each."""
    took = clocked(
        lambda name: graph.invoke({"count": 1}, {"configurable": {"thread_id": name}}), list(map(str, range(count)))
    )
    return count / sum(took) * 1e3, took


def write_steps(path: Path, count: int) -> None:
    """A store with so many step rows of a thousand agents."""
    store = Store(path)
    for first in range(0, count, 20_000):
        batch = Batch()
        for n in range(first, min(first + 20_000, count)):
            place = (f"/team/a{n % 1000}", n // 1000, 1, 1, "step", "search", 10**18 + n, 0.01, "ok", None, 10, 20, 0.1)
            kept = (n, '["step", "search", "", 0]', f'"result {n}"', 0)
            batch.add("step", *place, 0, f"'query {n}'", f"'result {n}'", *kept)
        store.commit(batch)
    store.close()


class Report:
    """Prints figures."""

    def __init__(self) -> None:
        packages = ("jupyter-agentlab", "langgraph", "langgraph-checkpoint-sqlite")
        self._about = {"versions": {"python": platform.python_version()}, "machine": platform.machine()}
        for name in packages:
            try:
                self._about["versions"][name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue

    def say(self, figure: str, ours: float, theirs: float | None = None, **about: Any) -> None:
        """One line; the ratio is ours to theirs."""
        line: dict[str, Any] = {"figure": figure, **about, "agentlab": _short(ours)}
        if theirs is not None:
            line |= {"peer": _short(theirs), "peer_name": "langgraph", "ratio": _short(ours / theirs)}
        print(json.dumps(line | self._about), flush=True)


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def conversations(report: Report, options: argparse.Namespace) -> None:
    """Sizes and turns, ours and theirs in turn; ours also at full length."""
    ours, theirs = [], []
    for number in range(options.rounds):
        turns = texts(options.peer_turns, number)
        for found, run in ((ours, talk), (theirs, peer_talk)):
            with tempfile.TemporaryDirectory() as folder:
                result = run(Path(folder), turns)
                if result is not None:
                    found.append(result)
    _tell_conversation(report, options.peer_turns, ours, theirs)
    with tempfile.TemporaryDirectory() as folder:
        _tell_conversation(report, options.turns, [talk(Path(folder), texts(options.turns, 99))], [])


def _tell_conversation(report: Report, turns: int, ours: list[Any], theirs: list[Any]) -> None:
    def part(found: list[Any], of: Callable[[Any], float]) -> float | None:
        return statistics.median(map(of, found)) if found else None

    def tenth(result: Any) -> float:
        return statistics.median(result[0][3:50])

    def last(result: Any) -> float:
        return statistics.median(result[0][-50:])

    figures: list[tuple[str, str, Callable[[Any], float]]] = [
        ("conversation_bytes", "bytes per byte of text", lambda result: result[1] / (turns * TURN)),
        ("turn_10", "ms", tenth), ("turn_last", "ms", last), ("turn_last_to_10", "ratio", lambda r: last(r) / tenth(r)),
    ]  # fmt: skip
    for figure, unit, of in figures:
        report.say(figure, part(ours, of) or 0.0, part(theirs, of), turns=turns, unit=unit)


def throughput(report: Report, options: argparse.Namespace) -> None:
    """Durable calls, at sizes a factor of ten apart."""
    with tempfile.TemporaryDirectory() as folder:
        graph = peer(Path(folder) / "peer.db", Count)
        with Lab(Path(folder) / "run.lab") as lab:
            refs = list(lab.start_many(Counter, options.agents))
            for size in [n for n in (10, 100, 1000, 10_000) if n <= options.agents]:
                ours, theirs, single, peer_single = [], [], [], []
                for _ in range(options.rounds):
                    ours.append(calls(lab, refs[:size]))
                    single += one_call(refs[0])
                    if graph is not None:
                        rate, took = peer_calls(graph, min(size, 300))
                        theirs.append(rate)
                        peer_single += took
                rate_of_peer = statistics.median(theirs) if theirs else None
                report.say("durable_calls", statistics.median(ours), rate_of_peer, agents=size, unit="calls/s")
            report.say(
                "durable_call_p50",
                statistics.median(single),
                statistics.median(peer_single) if peer_single else None,
                unit="ms",
            )
            report.say("durable_call_p99", statistics.quantiles(single, n=100)[98], unit="ms")
        if graph is not None:
            graph.checkpointer.conn.close()


def frames(report: Report, options: argparse.Namespace) -> None:
    """Step rows to a DataFrame."""
    for size in [n for n in (10_000, 100_000, 1_000_000) if n <= options.steps]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "run.lab"
            write_steps(path, size)
            took = []
            with open_store(path) as stored:
                for _ in range(options.rounds):
                    began = time.perf_counter()
                    rows = len(stored.steps())
                    took.append(time.perf_counter() - began)
        report.say("steps_frame", statistics.median(took), rows=rows, unit="s")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turns", type=int, default=1000)
    parser.add_argument("--peer-turns", type=int, default=200)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=1_000_000)
    options = parser.parse_args()
    report = Report()
    conversations(report, options)
    throughput(report, options)
    frames(report, options)


if __name__ == "__main__":
    main()
