"""The recorded scenarios on a real ``Lab``: agents in node processes, steps through the public API.

What is compared, and why:

``res``, ``tree``
    Of every record, exactly. The tree is what ``which_children`` and ``count_children`` answer, from the root
    down. Incarnation numbers are those of the recordings, which count for ever; the lab's own begin again
    when an agent is removed, so they are counted here, from the lab's events.
``ev``
    Of every record, exactly and in one total order, also across supervisors and node processes: the kernel
    numbers events in the order in which the supervision machine met them, and a supervisor that waits for
    a start or an end does nothing else meanwhile. Only where the recording itself says ``unordered`` both
    sides are compared as multisets.
    Left out on both sides: ``init``, for which the lab has no event (``start`` and ``fail`` say how it ended).
``rep``
    Who gave up (``shutdown``) and who did not end as asked (``shutdown_error``), in order. The other reports
    say again what ``exit`` and ``fail`` say, and are no events of their own in the lab.

How a scenario is said in the lab's words:

* A worker is an agent. ``via: "stop"`` is a message that runs the terminate callback and raises ``Exit``;
  ``via: "signal"`` is ``ref.exit``. What a callback was handed, it prints, which makes it a numbered event.
* A start that fails raises in ``on_start``: ``error`` is ``Exit("boom")``, ``raise`` an exception, ``ignore``
  is ``Exit("normal")``. What ``on_start`` returns means nothing to the lab, so ``badret`` is ``Exit`` with the
  reason that OTP's supervisor sees. ``extra`` is an ordinary start: the lab hands on no info term, and the
  comparison leaves it out.
* A worker's ``shutdown`` time is 2.5 times the recorded one (``TIME_FACTOR``): 40 ms are short for a process on
  a busy machine. A ``slow`` callback that does not make it in the recording never ends here, so which of the two
  comes first is no matter of luck. A scenario with so short a time that fails is tried once more with a longer one.
* Exit reasons are compared as the text that an event holds: ``["shutdown", "x"]`` is ``shutdown: x``.
* The lab has no pids. Where a call takes one in place of an id, a path is what the lab has for a handle on a
  process, and it is refused all the same. Under ``simple_one_for_one``, where OTP knows instances by pid
  alone, the lab knows them by id. A dead one is ``ChildNotFound`` in the lab, where OTP answers as if all were
  well; and ``terminate_child`` of an instance *by id*, which OTP refuses, cannot be said, so it is left out. In
  these two cases ``res`` is not compared.
* The calls of ``during_restart`` come from an agent, which sends them all before it opens the gate. They
  answer with refs, and a ref stays good across restarts. So in these results, and only there, it is compared
  that a process is named, not which incarnation it had by then; ``ev`` tells that.

A supervisor is data here and has no start function of its own, so scenarios in which a supervisor has a
``plan`` cannot be said; ``said.unsaid`` tells which.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from agentlab import Lab, Ref
from agentlab.errors import (
    AgentDown,
    AlreadyPresent,
    AlreadyStarted,
    CallTimeout,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    InvalidSpec,
    NotRunning,
    SimpleOneForOne,
    StartFailed,
)
from agentlab.supervision.child import Child
from tests.oracle.books import Books, plain, text
from tests.oracle.said import EXIT, Clerk, administer, let_go, nodes, specified, to_child
from tests.oracle.world import to_json, to_term

Json = Any  # a term as the traces write it
IDLE_SECONDS = 30.0
UNSAID = object()
"""The result of a step that has no words in the lab."""


class LiveWorld:
    """One scenario under a supervisor ``/R`` of a lab that many scenarios share, one after the other."""

    def __init__(self, lab: Lab, root: dict[str, Json]) -> None:
        self._lab = lab
        self._root = root
        self._place = Path(tempfile.mkdtemp(prefix="oracle-"))
        self._books = Books()
        self._books.learn(root, "")
        self._feed = lab.feed()
        self._clerk = lab.whereis("/clerk") or lab.start(Clerk, id="clerk")
        self._specs: dict[str, dict[str, Json]] = {node["id"]: node for node in nodes(root)}
        self._tree: Json = None

    def close(self) -> None:
        """Leave the lab as it was found."""
        self._feed.close()
        if self._lab.whereis("/R") is not None:
            self._lab["/"].terminate_child("R")
        shutil.rmtree(self._place)

    # What a replay asks for

    def start(self) -> Json:
        """Start the root."""
        spec = replace(to_child(self._root, str(self._place)), restart="temporary")
        try:
            self._lab.start(spec)
        except StartFailed as failed:
            self._settle()
            return ["error", plain(failed.reason)]
        self._settle()
        return ["ok", ["R", self._books.n["R"]]]

    def step(self, step: dict[str, Json]) -> Json:
        """Do one step of a scenario."""
        done = {"exit": self._exit_step, "stop_sup": self._stop_step, "during_restart": self._during_step}
        result = done.get(step["op"], self._call_step)(step)
        self._settle()
        return result() if callable(result) else result

    def shutdown(self) -> Json:
        """End the root in the ordinary way."""
        self._lab["/"].terminate_child("R")
        self._settle()

    def take(self) -> tuple[list[Json], list[Json]]:
        """Events and reports since the last time."""
        taken = self._books.events, self._books.reports
        self._books.events, self._books.reports = [], []
        return taken

    def tree(self) -> Json:
        """What runs now; None if the root is dead."""
        return self._tree

    # Looking

    def _settle(self) -> None:
        """Wait until the lab is idle; then look."""
        self._lab.wait_idle(IDLE_SECONDS)
        self._tree = None
        if self._lab.whereis("/R") is not None:
            self._tree = self._subtree("R", self._lab["/R"])
        self._read()

    def _read(self) -> None:
        for event in self._feed.take().events:
            self._books.read(event)

    def _subtree(self, id: str, ref: Ref) -> Json:
        kids = [
            [kid, found if isinstance(found, Ref) else None, kind]
            for kid, found, kind in reversed(ref.which_children())
        ]
        counts = list(ref.count_children().values())
        if self._simple(id):
            kids.sort(key=lambda kid: kid[0])
        shown = [
            self._subtree(kid, found) if found and kind == "supervisor" else [kid, found] for kid, found, kind in kids
        ]
        return [id, ref, counts, shown]

    def numbered(self, tree: Json) -> Json:
        """A tree with incarnation numbers for refs."""
        if isinstance(tree, Ref):
            return self._books.alive.get(tree.id)
        return [self.numbered(part) for part in tree] if isinstance(tree, list) else tree

    def _simple(self, id: str) -> bool:
        flags = self._specs.get(id, {}).get("sup", {})
        return bool(flags.get("strategy") == "simple_one_for_one")

    # Steps

    def _exit_step(self, step: dict[str, Json]) -> Json:
        if step["target"] not in self._books.alive:
            return "dead"
        self._end(step)
        return None

    def _end(self, step: dict[str, Json]) -> None:
        target, reason = self._lab[self._books.paths[step["target"]]], to_term(step["reason"])
        if step["via"] == "stop":
            target.cast(redeliver=False).leave(reason)
        else:
            target.exit(reason)

    def _stop_step(self, step: dict[str, Json]) -> Json:
        if step["sup"] not in self._books.alive:
            return "dead"
        self._lab[self._books.paths[step["sup"]]].stop(to_term(step["reason"]))
        return "ok"

    def _call_step(self, step: dict[str, Json]) -> Json:
        if not self._can_say(step):
            return UNSAID
        if step["sup"] not in self._books.alive:
            return "noproc"
        step = self._learn(step)
        try:
            value = administer(self._lab, self._books.paths[step["sup"]], step, str(self._place))
        except Exception as error:
            value = error
        return lambda: self._result(step, value)

    def _during_step(self, step: dict[str, Json]) -> Json:
        target, supervisor = step["target"], step["sup"]
        if target not in self._books.alive or supervisor not in self._books.alive:
            return "dead"
        noted = self._books.alive[supervisor]
        gate = self._place / f"{target}.gate"
        gate.touch()
        self._end(step)
        hit = self._held(gate.with_suffix(".held"))
        gate.unlink(missing_ok=True)
        self._read()
        calls = [{**call, "sup": supervisor} for call in step["calls"]]
        said = [self._learn(call) for call in calls if self._can_say(call)]
        answers: list[Any] = [NotRunning("it is over")] * len(said)
        held = str(gate.with_suffix(".held")) if hit else None
        if self._books.alive.get(supervisor) == noted:
            path = self._books.paths[supervisor]
            answers = self._clerk.call(timeout=IDLE_SECONDS).send(said, path, str(self._place), held).result()
        elif held is not None:
            let_go(Path(held))
        return lambda: [hit, *self._queued_results(calls, iter(answers))]

    def _held(self, held: Path) -> bool:
        """Whether a start attempt comes to the gate, before everything is idle."""
        end = time.monotonic() + IDLE_SECONDS
        while not held.exists():
            try:
                self._lab.wait_idle(0.02)
                return held.exists()
            except CallTimeout:
                if time.monotonic() > end:
                    raise
        return True

    def _queued_results(self, calls: list[dict[str, Json]], answers: Iterator[Any]) -> list[Json]:
        return [
            unnumbered(self._result(call, next(answers), queued=True)) if self._can_say(call) else UNSAID
            for call in calls
        ]

    def _learn(self, step: dict[str, Json]) -> dict[str, Json]:
        """Note what a call is about to start, and where; the call as the lab has words for it."""
        if "spec" in step:
            self._specs.update((node["id"], node) for node in nodes(step["spec"]))
            if step["spec"]["id"] not in self._books.paths:
                self._books.learn(step["spec"], self._books.paths[step["sup"]])
        if step.get("by") == "pid" and not self._simple(step["sup"]):
            return {**step, "id": self._books.paths.get(step["id"], self._clerk.path)}
        return step

    def _can_say(self, step: dict[str, Json]) -> bool:
        """Whether the lab has words for a call."""
        return not (step["op"] == "terminate_child" and self._simple(step["sup"]) and "by" not in step)

    # Results

    def _result(self, step: dict[str, Json], value: Any, *, queued: bool = False) -> Json:
        if isinstance(value, BaseException):
            return self._refusal(step, value, queued=queued)
        if isinstance(value, Ref):
            return ["ok", [value.id, self._books.n[value.id]] if queued or self._came_up(value.id) else None]
        if isinstance(value, dict):
            return list(value.values())
        if isinstance(value, list):
            return self._listing(step["sup"], value)
        return specified(value) if isinstance(value, Child) else "ok"

    def _came_up(self, id: str) -> bool:
        """Whether the last start of this step was no ignored one."""
        last = [event for event in self._books.events if event[0] in ("start", "ignore") and event[1] == id]
        return bool(last) and last[-1][0] == "start"

    def _refusal(self, step: dict[str, Json], error: BaseException, *, queued: bool) -> Json:
        if isinstance(error, NotRunning):
            return ["exit", "noproc"] if queued else "noproc"
        if isinstance(error, AgentDown):
            return ["exit", plain(error.reason)]
        if isinstance(error, InvalidSpec):
            return ["error", to_json((error.kind, error.value))]
        if isinstance(error, StartFailed):
            return ["error", "start_failed", plain(error.reason)]
        if isinstance(error, EXIT):
            return ["error", "start_failed", ["EXIT", str(error)]]
        if isinstance(error, ChildNotFound) and self._simple(step["sup"]) and self._is_over(step["id"]):
            return UNSAID
        if type(error) in REFUSALS:
            return ["error", REFUSALS[type(error)]]
        raise error

    def _is_over(self, id: str) -> bool:
        """Whether an id once ran and does no more: its pid is a dead one."""
        return self._books.n[id] > 0 and id not in self._books.alive

    def _listing(self, supervisor: str, kids: list[tuple[str, Any, str]]) -> Json:
        n = self._books.n
        rows = [[kid, n[kid] if isinstance(found, Ref) else found, kind] for kid, found, kind in kids]
        if self._simple(supervisor):
            rows = [["?" if row[1] == "restarting" else row[0], *row[1:]] for row in rows]
            rows.sort(key=lambda row: (row[0], str(row[1])))
        return rows


REFUSALS: dict[type[BaseException], str] = {
    AlreadyStarted: "already_started", AlreadyPresent: "already_present", ChildRunning: "running",
    ChildRestarting: "restarting", ChildNotFound: "not_found", SimpleOneForOne: "simple_one_for_one",
}  # fmt: skip


def compare(recorded: dict[str, Json], result: Json, live: LiveWorld) -> list[str]:
    """What differs between one record and what just happened."""
    events, reports = live.take()
    want_events, want_reports = expected_events(recorded["ev"]), expected_reports(recorded.get("rep", []))
    if recorded.get("unordered"):
        for rows in (want_events, want_reports, events, reports):
            rows.sort(key=json.dumps)
    want = recorded.get("res")
    pairs = {
        "ev": (want_events, events),
        "rep": (want_reports, reports),
        "res": agreed(want, result),
        "tree": (recorded["tree"], live.numbered(live.tree())),
    }
    return [
        f"{key}\n  recorded {json.dumps(wanted)}\n  replayed {json.dumps(got)}"
        for key, (wanted, got) in pairs.items()
        if wanted != got
    ]


def expected_events(events: list[Json]) -> list[Json]:
    """Recorded events as the lab can tell them."""
    places = {"exit": 3, "term": 3, "trapped": 3, "fail": 3}
    return [
        [*event[:3], *(text(part) for part in event[3:])] if event[0] in places else event
        for event in events
        if event[0] != "init"
    ]


def expected_reports(reports: list[Json]) -> list[Json]:
    """Recorded reports as the lab can tell them: of giving up not who was the last straw."""
    return [
        [supervisor, context] if context == "shutdown" else [supervisor, context, who, text(reason)]
        for supervisor, context, who, reason in reports
        if context in ("shutdown", "shutdown_error")
    ]


def agreed(want: Json, got: Json) -> tuple[Json, Json]:
    """Both results without what the lab has no words for."""
    if got is UNSAID:
        return None, None
    if isinstance(got, list) and got and isinstance(got[0], bool) and isinstance(want, list):  # of during_restart
        want = [
            want[0],
            *(UNSAID if part is UNSAID else unnumbered(said) for said, part in zip(want[1:], got[1:], strict=True)),
        ]
        want, got = ([part for part in result if part is not UNSAID] for result in (want, got))
    return without_info(want), got


def unnumbered(result: Json) -> Json:
    """A result without incarnation numbers: an ``up`` in place of each."""
    if not isinstance(result, list) or not result:
        return result
    if result[0] == "ok" and isinstance(result[1], list):
        return ["ok", [result[1][0], "up"], *result[2:]]
    if isinstance(result[0], list):
        return [[kid, "up" if isinstance(n, int) else n, kind] for kid, n, kind in result]
    return result


def without_info(result: Json) -> Json:
    """A result without the info term of a start."""
    if not isinstance(result, list):
        return result
    if len(result) == 3 and result[0] == "ok" and result[2] == "info":
        return result[:2]
    return [without_info(part) for part in result]
