"""Pykka: actors in threads. It has no supervisor, so a restart by hand is measured: ``on_failure`` starts the next."""

from __future__ import annotations

import time
from typing import Any

from arguments import answer, percentiles

try:
    import pykka
except ImportError:
    raise SystemExit("pykka is not installed: pip install 'jupyter-agentlab[bench]'") from None

lives: dict[int, Any] = {}


class Counter(pykka.ThreadingActor):
    """Counts, calls another one, crashes; comes back under its name."""

    def __init__(self, name: int) -> None:
        super().__init__()
        self.name = name
        self.count = 0

    def on_receive(self, message: Any) -> Any:
        if message == "add":
            self.count += 1
            return self.count
        if message == "crash":
            raise RuntimeError("boom")
        other, calls = message
        for _ in range(calls):
            other.ask("add")
        return None

    def on_failure(self, *_: object) -> None:
        lives[self.name] = Counter.start(self.name)


def calls(pairs: int, calls: int) -> dict[str, float]:
    """Pairs of which one calls the other, all at once."""
    both = [(Counter.start(0), Counter.start(0)) for _ in range(pairs)]
    began = time.perf_counter()
    for reply in [one.ask((other, calls), block=False) for one, other in both]:
        reply.get()
    each = (time.perf_counter() - began) / (pairs * calls) * 1e6
    pykka.ActorRegistry.stop_all(block=False)
    return {"call_us": each, "calls_s": 1e6 / each}


def ask_again(name: int, old: Any) -> None:
    """Until the next life answers."""
    while lives[name] is old:
        time.sleep(0)
    lives[name].ask("add")


def crash(times: int) -> dict[str, float]:
    """Milliseconds from a crash to the next answer."""
    lives[0] = Counter.start(0)
    took = []
    for _ in range(times):
        old, began = lives[0], time.perf_counter()
        old.tell("crash")
        ask_again(0, old)
        took.append((time.perf_counter() - began) * 1e3)
    pykka.ActorRegistry.stop_all(block=False)
    return percentiles(took)


def many(agents: int, crashing: int) -> dict[str, float]:
    """Milliseconds until so many of all, crashed at once, have answered again."""
    lives.update({name: Counter.start(name) for name in range(agents)})
    old, began = dict(lives), time.perf_counter()
    for name in range(crashing):
        old[name].tell("crash")
    for name in range(crashing):
        ask_again(name, old[name])
    took = (time.perf_counter() - began) * 1e3
    pykka.ActorRegistry.stop_all(block=False)
    return {"all_ms": took}


if __name__ == "__main__":
    import logging

    logging.disable()  # a traceback per crash costs more than the crash
    answer(calls, crash, many)
