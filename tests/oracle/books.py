"""What a lab's events say, in the words of the recordings; see ``tests/oracle/live.py``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from agentlab.events import Event
from agentlab.exits import Crash

Json = Any  # a term as the traces write it


def text(term: Json) -> str:
    """A reason as an event of the lab holds it."""
    return ": ".join(text(part) for part in term) if isinstance(term, (tuple, list)) else str(term)


def plain(reason: Any) -> Json:
    """An exit reason as JSON; an exception is its name and its text."""
    if isinstance(reason, Crash):
        return [reason.type, reason.message]
    return [plain(part) for part in reason] if isinstance(reason, tuple) else reason


class Books:
    """The lab's events in the recordings' words, and who lives.

    Attributes:
        paths: Where each id is; the ids of a scenario are unique in it.
        n: How often each id has come up.
        alive: The newest incarnation's number of each id that runs.
    """

    FAILURES = {"EXIT: boom": "raise", "garbage": "badret"}

    def __init__(self) -> None:
        self.paths: dict[str, str] = {}
        self.n: Counter[str] = Counter()
        self.alive: dict[str, int] = {}
        self.events: list[Json] = []
        self.reports: list[Json] = []
        self._attempts: Counter[str] = Counter()
        self._numbers: dict[tuple[str, int | None], int] = {}  # by path and the lab's own count

    def learn(self, node: dict[str, Json], parent: str) -> None:
        """Where a node and all below it will be."""
        path = self.paths[node["id"]] = f"{parent}/{node['id']}"
        for kid in node.get("sup", {}).get("children", []):
            self.learn(kid, path)

    def read(self, event: Event) -> None:
        """Take one event of the lab."""
        read = self.READERS.get(event.kind)
        if read is not None and event.path.startswith("/R"):
            id = event.path.rsplit("/", 1)[-1]
            self.paths[id] = event.path
            read(self, id, event)

    def _start(self, id: str, event: Event) -> None:
        self._attempts[id] += 1
        self.n[id] += 1
        self.alive[id] = self._numbers[event.path, event.incarnation] = self.n[id]
        self.events.append(["start", id, self.n[id]])

    def _exit(self, id: str, event: Event) -> None:
        n = self._numbers.get((event.path, event.incarnation), 0)
        if self.alive.get(id) == n:
            del self.alive[id]
        self.events.append(["exit", id, n, event.reason])

    def _fail(self, id: str, event: Event) -> None:
        self._attempts[id] += 1
        reason = self.FAILURES.get(event.reason or "", event.reason)
        self.events.append(["fail", id, self._attempts[id], reason])

    def _ignore(self, id: str, event: Event) -> None:
        self._attempts[id] += 1
        self.events.append(["ignore", id, self._attempts[id]])

    def _log(self, id: str, event: Event) -> None:
        callback, reason = (event.detail or "").split(" ", 1)
        n = self._numbers.get((event.path, event.incarnation), 0)
        self.events.append([callback, id, n, text(json.loads(reason))])

    def _gave_up(self, id: str, event: Event) -> None:
        self.reports.append([id, "shutdown"])

    def _shutdown_error(self, id: str, event: Event) -> None:
        if event.detail is not None and event.detail.isdecimal():  # of so many instances
            self.reports.append([id, "shutdown_error", int(event.detail), event.reason])
        else:
            supervisor = event.path.rsplit("/", 2)[-2]
            self.reports.append([supervisor, "shutdown_error", id, event.reason])

    READERS: dict[str, Callable[[Books, str, Event], None]] = {
        "started": _start, "supervisor_started": _start, "start_failed": _fail, "supervisor_failed": _fail,
        "ignored": _ignore, "exited": _exit, "crashed": _exit, "killed": _exit, "supervisor_exited": _exit,
        "log": _log, "gave_up": _gave_up, "shutdown_error": _shutdown_error,
    }  # fmt: skip
