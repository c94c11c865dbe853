"""A small world around the supervision machine: a virtual clock, workers that trap, dawdle and fail on plan.

``World`` is what a replay needs of any world; ``SimulatedWorld`` is the one without processes. The rules of
its workers are those of ``oracle/README.md`` section 1.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from agentlab.supervision import (
    Answer,
    Arm,
    Call,
    ChildInfo,
    Counts,
    Disarm,
    Due,
    Exited,
    Fact,
    Failed,
    Ignored,
    Record,
    Refused,
    Shutdown,
    Signal,
    SignalWorker,
    Start,
    Started,
    StopSupervisor,
    Tree,
    Up,
)
from agentlab.supervision.child import Child, Supervisor

Json = Any  # a term as the traces write it
PLANNED = {"error": ("boom", "boom"), "raise": ("raise", ("EXIT", "boom")), "badret": ("badret", "garbage")}


class World(Protocol):
    """Where a scenario happens. Every operation returns when all is idle again."""

    def start(self) -> Json:
        """Start the root supervisor; the result of ``trace[0]``."""

    def step(self, step: dict[str, Json]) -> Json:
        """Do one step; its result, None if it has none."""

    def shutdown(self) -> Json:
        """End the root in the ordinary way."""

    def take(self) -> tuple[list[Json], list[Json]]:
        """Events and reports since the last time."""

    def tree(self) -> Json:
        """What runs now; None if the root is dead."""


def to_json(term: Any) -> Json:
    """Tuples as arrays."""
    return [to_json(part) for part in term] if isinstance(term, (tuple, list)) else term


def to_term(value: Json) -> Any:
    """Arrays as tuples."""
    return tuple(to_term(part) for part in value) if isinstance(value, list) else value


def to_child(node: dict[str, Json]) -> Child:
    """A node as a child that nobody has checked."""
    default: Any = "infinity" if "sup" in node else 5000
    shutdown = node.get("shutdown", default)
    legal = isinstance(shutdown, int) and shutdown >= 0
    return Child(
        what=to_supervisor(node) if "sup" in node else "worker",
        id=node["id"],
        restart=node.get("restart", "permanent"),
        shutdown=shutdown / 1000 if legal else shutdown,
        significant=node.get("significant", False),
        fields={"node": node},
        type=node.get("type", "supervisor" if "sup" in node else "worker"),
    )


def to_supervisor(node: dict[str, Json]) -> Supervisor:
    """A node's flags and children that nobody has checked."""
    flags = node["sup"]
    return Supervisor.unchecked(
        node["id"],
        tuple(to_child(kid) for kid in flags["children"]),
        strategy=flags["strategy"],
        max_restarts=flags["intensity"],
        max_seconds=flags["period"],
        auto_shutdown=flags.get("auto_shutdown", "never"),
        bring_back=flags.get("bring_back", False),
    )


@dataclass
class Process:
    """A process that was started: whose incarnation it is and whether it lives."""

    life: int
    id: str
    n: int
    node: dict[str, Json]
    alive: bool = True
    ending: bool = False


class SimulatedWorld:
    """Workers without processes, time without waiting."""

    def __init__(self, root: dict[str, Json]) -> None:
        self.root_node = root
        self.machine = Tree(to_supervisor(root), ask_supervisors=True)
        self.clock = 0.0
        self.alarms: list[tuple[float, int, Callable[[], None]]] = []
        self.timers: dict[int, bool] = {}
        self.todo: deque[Any] = deque()  # events for the machine, or something to do
        self.attempts: Counter[str] = Counter()
        self.attempt_of: dict[int, int] = {}
        self.incarnations: Counter[str] = Counter()
        self.newest: dict[str, Process] = {}
        self.processes: dict[int, Process] = {}
        self.answers: dict[int, Any] = {}
        self.calls = 0
        self.events: list[Json] = []
        self.reports: list[Json] = []
        self.gate: str | None = None
        self.at_gate: Callable[[], None] | None = None
        self.root_result: Json = None

    # What a replay asks for

    def start(self) -> Json:
        """Start the root."""
        self._obey(self.machine.start(self.clock))
        self._run()
        return self.root_result

    def shutdown(self) -> Json:
        """End it."""
        self.todo.append(Shutdown(self._new_call()))
        self._run()

    def take(self) -> tuple[list[Json], list[Json]]:
        """What was logged."""
        taken = self.events, self.reports
        self.events, self.reports = [], []
        return taken

    def tree(self) -> Json:
        """The state, each supervisor's counts as it answers them itself."""
        return self._subtree(self.machine.root) if self.machine.alive else None

    def step(self, step: dict[str, Json]) -> Json:
        """Do one step of a scenario."""
        if step["op"] == "exit":
            return self._exit_step(step)
        if step["op"] == "stop_sup":
            return self._stop_step(step)
        if step["op"] == "during_restart":
            return self._during_step(step)
        supervisor = self.newest.get(step["sup"])
        if supervisor is None or not supervisor.alive:
            return "noproc"
        call = self._send(supervisor.life, step)
        self._run()
        return self._result(self.answers[call])

    # Steps

    def _exit_step(self, step: dict[str, Json]) -> Json:
        target = self.newest.get(step["target"])
        if target is None or not target.alive:
            return "dead"
        self._end(target, step)
        self._run()
        return None

    def _end(self, target: Process, step: dict[str, Json]) -> None:
        reason = to_term(step["reason"])
        if step["via"] == "stop":
            self._terminate(target, reason)
        elif "sup" in target.node:
            self.todo.append(Signal(target.life, reason))
        else:
            self._foreign_signal(target, reason)

    def _stop_step(self, step: dict[str, Json]) -> Json:
        target = self.newest.get(step["sup"])
        if target is None or not target.alive:
            return "dead"
        call = self._new_call()
        self.todo.append(StopSupervisor(call, target.life, to_term(step["reason"])))
        self._run()
        return self._result(self.answers[call])

    def _during_step(self, step: dict[str, Json]) -> Json:
        target, supervisor = self.newest.get(step["target"]), self.newest.get(step["sup"])
        if target is None or supervisor is None or not (target.alive and supervisor.alive):
            return "dead"
        calls: list[int] = []
        hit: list[bool] = []

        def send() -> None:
            calls.extend(self._send(supervisor.life, call) for call in step["calls"])

        def at_gate() -> None:
            hit.append(True)
            send()

        self.gate, self.at_gate = step["target"], at_gate
        self._end(target, step)
        self._run()
        self.gate = None
        if not hit:
            send()
            self._run()
        return [bool(hit), *(self._result(self.answers[call], queued=True) for call in calls)]

    def _send(self, supervisor: int, step: dict[str, Json]) -> int:
        call = self._new_call()
        self.todo.append(Call(call, supervisor, step["op"], *self._arguments(step)))
        return call

    def _arguments(self, step: dict[str, Json]) -> tuple[Any, ...]:
        if "spec" in step:
            return (to_child(step["spec"]),)
        if "name" in step:
            return (step["name"], None)
        if step.get("by") == "pid":
            stranger = self.newest[self.root_node["id"]]
            return (self.newest.get(step["id"], stranger).life,)
        return (step["id"],) if "id" in step else ()

    def _new_call(self) -> int:
        self.calls += 1
        return self.calls

    # Results

    def _result(self, answer: Any, *, queued: bool = False) -> Json:
        if answer is None:
            return "ok"
        if isinstance(answer, Up):
            return ["ok", self._name(answer.life), *([] if answer.info is None else [answer.info])]
        if isinstance(answer, Refused):
            return self._refusal(answer, queued=queued)
        if isinstance(answer, Counts):
            return list(answer)
        return self._spec(answer) if isinstance(answer, Child) else self._listing(answer)

    def _refusal(self, refused: Refused, *, queued: bool) -> Json:
        if refused.kind == "noproc":
            return ["exit", "noproc"] if queued else "noproc"
        if refused.kind == "exit":
            return ["exit", to_json(refused.reason)]
        if refused.kind == "start_failed":
            return ["error", "start_failed", to_json(refused.reason)]
        return ["error", to_json(refused.reason) if refused.kind == "invalid_spec" else refused.kind]

    def _name(self, life: int | None) -> Json:
        return None if life is None else [self.processes[life].id, self.processes[life].n]

    def _listing(self, infos: list[ChildInfo]) -> Json:
        simple = any(info.record.parent.spec.strategy == "simple_one_for_one" for info in infos)  # type: ignore[union-attr]  # a child has a parent
        rows = []
        for info in infos:
            n = self.processes[info.life].n if isinstance(info.life, int) else info.life
            rows.append(["?" if simple and n == "restarting" else info.id, n, info.type])
        return sorted(rows, key=lambda row: (row[0], str(row[1]))) if simple else rows

    def _spec(self, spec: Child) -> Json:
        shutdown = spec.shutdown if isinstance(spec.shutdown, str) else round(spec.shutdown * 1000)
        return [
            "ok",
            {
                "id": spec.id,
                "restart": spec.restart,
                "shutdown": shutdown,
                "significant": spec.significant,
                "type": spec.type,
            },
        ]

    def _subtree(self, record: Record) -> Json:
        if record.life is None or not record.is_supervisor:
            return [record.id, None if record.life is None else self.processes[record.life].n]
        call = self._new_call()
        self.todo.append(Call(call, record.life, "count_children"))
        self._run()
        kids = [self._subtree(kid) for kid in record.children.values()]
        if record.keeper.spec.strategy == "simple_one_for_one":  # type: ignore[attr-defined]  # it is a supervisor
            kids.sort()
        return [record.id, self.processes[record.life].n, list(self.answers[call]), kids]

    # Time and commands

    def _run(self) -> None:
        """Until nothing is left to do, and no alarm is set."""
        while self.todo or self.alarms:
            if not self.todo:
                self.clock, _, ring = heapq.heappop(self.alarms)
                ring()
                continue
            item = self.todo.popleft()
            if callable(item):
                item()
            else:
                self._obey(self.machine.handle(item, self.clock))

    def _after(self, seconds: float, ring: Callable[[], None]) -> None:
        self.calls += 1  # any number that never repeats keeps equal times in order
        heapq.heappush(self.alarms, (self.clock + seconds, self.calls, ring))

    def _obey(self, commands: list[Any]) -> None:
        for command in commands:
            match command:
                case Start(life, record):
                    self._start(life, record)
                case SignalWorker(life, reason):
                    self._parent_signal(self.processes[life], reason)
                case Arm(timer, seconds):
                    self.timers[timer] = True
                    self._after(seconds, partial(self._ring, timer))
                case Disarm(timer):
                    del self.timers[timer]
                case Answer(call, result):
                    self.answers[call] = result
                case Fact():
                    self._note(command)

    def _ring(self, timer: int) -> None:
        if self.timers.pop(timer, False):
            self.todo.append(Due(timer))

    def _note(self, fact: Fact) -> None:
        record, reason = fact.record, to_json(fact.reason)
        life = fact.life or 0
        match fact.kind:
            case "supervisor_init":
                self.events.append(["init", record.id, self.attempt_of[life]])
            case "supervisor_started":
                process = self._born(life, record)
                if record is self.machine.root:
                    self.root_result = ["ok", [process.id, process.n]]
            case "supervisor_failed":
                self.events.append(["fail", record.id, self.attempt_of[life], reason])
                if record is self.machine.root:
                    self.root_result = ["error", reason]
            case "supervisor_exited":
                if life in self.processes:
                    self.processes[life].alive = False
                    self.events.append(["exit", record.id, self.processes[life].n, reason])
            case "child_terminated" | "start_error" | "shutdown_error":
                keeper = record if isinstance(fact.detail, int) else record.supervisor
                who = fact.detail if isinstance(fact.detail, int) else record.id
                self.reports.append([keeper.id if keeper else None, fact.kind, who, reason])
            case "gave_up":
                who = fact.detail.record.id
                self.reports.append([record.id, "shutdown", who, "reached_max_restart_intensity"])

    # Processes

    def _node(self, record: Record) -> dict[str, Json]:
        return self.root_node if record is self.machine.root else record.spec.fields["node"]  # type: ignore[return-value]  # put there above

    def _start(self, life: int, record: Record) -> None:
        if record.id != self.gate:
            self._attempt(life, record)
            return
        assert self.at_gate is not None
        self.gate = None
        self.todo.extend((self.at_gate, lambda: self._attempt(life, record)))

    def _attempt(self, life: int, record: Record) -> None:
        self.attempts[record.id] += 1
        attempt = self.attempt_of[life] = self.attempts[record.id]
        outcome = self._node(record).get("plan", {}).get(str(attempt), "ok")
        if outcome in PLANNED:
            said, reason = PLANNED[outcome]
            self.events.append(["fail", record.id, attempt, said])
            self.todo.append(Failed(life, reason))
            if record is self.machine.root:
                self.root_result = "raise" if outcome == "raise" else ["error", to_json(reason)]
        elif outcome == "ignore":
            self.events.append(["ignore", record.id, attempt])
            self.todo.append(Ignored(life))
            if record is self.machine.root:
                self.root_result = "ignore"
        else:
            if not record.is_supervisor:
                self._born(life, record)
            self.todo.append(Started(life, "info" if outcome == "extra" else None))

    def _born(self, life: int, record: Record) -> Process:
        self.incarnations[record.id] += 1
        process = Process(life, record.id, self.incarnations[record.id], self._node(record))
        self.processes[life] = self.newest[record.id] = process
        self.events.append(["start", process.id, process.n])
        return process

    def _parent_signal(self, worker: Process, reason: Any) -> None:
        if not worker.alive:
            return
        if reason == "kill":
            self._die(worker, "killed")
        elif worker.node.get("trap"):
            self._terminate(worker, reason)
        else:
            self._die(worker, reason)

    def _foreign_signal(self, worker: Process, reason: Any) -> None:
        if reason == "kill":
            self._die(worker, "killed")
        elif worker.node.get("trap"):
            self.events.append(["trapped", worker.id, worker.n, to_json(reason)])
        elif reason != "normal":
            self._die(worker, reason)

    def _terminate(self, worker: Process, reason: Any) -> None:
        """Run its terminate callback, which may take a while, then end."""
        if worker.ending:
            return
        worker.ending = True
        self.events.append(["term", worker.id, worker.n, to_json(reason)])
        slow = worker.node.get("slow", 0)
        if slow:
            self._after(slow / 1000, lambda: self._die(worker, reason))
        else:
            self._die(worker, reason)

    def _die(self, worker: Process, reason: Any) -> None:
        if worker.alive:
            worker.alive = False
            self.events.append(["exit", worker.id, worker.n, to_json(reason)])
            self.todo.append(Exited(worker.life, reason))
