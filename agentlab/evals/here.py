"""Samples worked on in a lab of this process: start an agent, ask it, let it score, have its row recorded, remove it.

All that must outlive this process is in the lab: the question in the agent's mailbox, the answer and the scores in its
state. So whenever the process is killed, the next one asks each agent again and is answered from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from agentlab.control.children import call_named
from agentlab.control.many import start_many
from agentlab.control.resume import resume
from agentlab.errors import AgentDown, AgentLabError, NotRunning
from agentlab.evals.attempt import GRADE, WORK
from agentlab.evals.dispositions import deaths_of, disposition_of, fault_of
from agentlab.evals.judges import judge_class
from agentlab.evals.ledger import JUDGES, run_path
from agentlab.evals.pace import Meter, Pace
from agentlab.evals.plan import Busy, Job, Plan, Record
from agentlab.frames.tables import steps as step_frame
from agentlab.lab import Lab
from agentlab.ref.ref import Ref
from agentlab.supervision.child import OPTIONS, Child, Limit

FOR_EVER = 1e8
"""Seconds that a sample may take that has no ``timeout``."""

JUDGE = "grade"
"""The message of those that grade an answer."""

WATCH = 0.2
"""Seconds between two looks whether the provider refuses calls, where the pace follows that."""

LOOK = 1.0
"""Seconds between two looks whether an agent is parked, of which nobody else would tell."""

OWN_LIMIT = Limit(10, 5.0)
"""Restarts of one sample's agent; one that dies of its own doing has used up its deliveries long before."""


class Here:
    """A lab of this process as a place of work."""

    def __init__(self, lab: Lab, plan: Plan) -> None:
        self.lab, self.plan = lab, plan
        self.pace = Pace(plan.concurrency)
        self._stopping = False
        self._workers: set[asyncio.Task[None]] = set()
        self._at_work = 0
        self._running: set[str] = set()
        self._refusals, self._costs = Meter(plan.name), Meter(plan.name)
        self._judges = {name: judge_class(each) for name, each in plan.judges.items()}

    async def set_up(self, ended: Sequence[Job]) -> None:
        """Start those whose class nobody had defined when the lab was opened; remove those that are recorded."""
        await self._resume()
        for job in ended:
            for place in self._places(job):
                if self._ref(place) is not None:
                    await self._remove(place, busy=False)
        self._gave_up = self._given_up()

    async def _resume(self) -> None:
        """Start what waits of this run: the class of its agents is made for each run, so an open lab has not had it."""
        runtime, below = self.lab._live, f"{run_path(self.plan.name)}/"
        ours = runtime.submit(resume, runtime, lambda place: place.status == "running" and place.path.startswith(below))
        with contextlib.suppress(Exception):  # one that does not start ends its own sample, and says why there
            await asyncio.wrap_future(ours)

    async def work_off(self, jobs: Sequence[Job], record: Record) -> None:
        """See the queue through, with as many workers as the pace allows."""
        self._queue, self._record = deque(jobs), record
        if not self.pace.adapts:
            return await self._work_through()
        self._heed_refusals()
        watching = asyncio.create_task(self._watch())
        await self._work_through()
        watching.cancel()
        self._heed_refusals()
        return None

    def stop(self) -> None:
        """Begin nothing more, and ask no more; what runs goes on with its lab."""
        self._stopping = True
        for worker in self._workers:
            worker.cancel()

    def busy(self) -> Busy:
        """What the lab is at."""
        running = list(self._running)
        limit = self.pace.limit if self.pace.adapts else None
        try:
            self._costs.look(self.lab._read())
            rows = self.lab.rows(f"{run_path(self.plan.name)}/{place}" for place in running)
            waiting = sum(row.status == "waiting" for row in rows)
        except AgentLabError:  # the lab is closed: the run is over
            waiting = 0
        return Busy(len(running), waiting, limit, self._costs.cost_usd)

    async def _work_through(self) -> None:
        """See the queue through, with as many workers as the pace allows."""
        errors: list[BaseException] = []
        self._let_in()
        while self._workers:
            ended, _ = await asyncio.wait(self._workers, return_when=asyncio.FIRST_COMPLETED)
            self._workers -= ended
            errors += [error for task in ended if not task.cancelled() and (error := task.exception()) is not None]
        if errors:
            raise errors[0]

    def _let_in(self) -> None:
        """Add workers, as far as the pace allows and there is work."""
        while not self._stopping and self._at_work < min(self.pace.limit, self._at_work + len(self._queue)):
            self._at_work += 1
            self._workers.add(asyncio.create_task(self._one_after_the_other(self._queue.popleft())))

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH)
            self._heed_refusals()

    def _heed_refusals(self) -> None:
        """Tell the pace if the provider has refused calls."""
        if self._refusals.look(self.lab._read()):
            self.pace.refused(time.monotonic())

    def _given_up(self) -> dict[str, str]:
        """Samples that were given up while nobody heard of it: the paths of their agents, and why."""
        sql = "SELECT path, reason FROM dead WHERE path LIKE ? AND method IN (?, ?, ?)"
        return dict(self.lab._read().select(sql, (f"{run_path(self.plan.name)}/%", WORK, GRADE, JUDGE)))

    async def _one_after_the_other(self, job: Job) -> None:
        """Take a job through, then the next one, while there is one and the pace allows it."""
        try:
            while True:
                await self._take_through(job)
                self.pace.ended()
                if self._stopping or not self._queue or self._at_work > self.pace.limit:
                    return
                job = self._queue.popleft()
                self._let_in()
        finally:
            self._at_work -= 1

    async def _take_through(self, job: Job) -> None:
        self._running.add(job.place)
        try:
            row = await self._one(job)
            await self._record([row])
            for place in self._places(job):
                await self._remove(place, busy=row["disposition"] == "timed_out" and place == job.place)
        finally:
            self._running.discard(job.place)

    async def _one(self, job: Job) -> dict[str, Any]:
        """The life of a sample; its row."""
        began = time.time()
        spec = self.plan.spec
        ref = self._ref(job.place) or await self._start(self.plan.attempt, job.place, {**_options(spec), **spec.fields})
        row: dict[str, Any] = {"id": job.sample.id, "epoch": job.epoch, "path": ref.path, "began": began}
        if self.plan.worker is not None:
            row["worker"] = self.plan.worker
        row.update(id=str(job.sample.id), output=None, scores={}, error=None, fault=None)
        try:
            await self._answer(ref, WORK, job.sample.input, timeout=self.plan.timeout or FOR_EVER)
            row.update(await self._answer(ref, GRADE, self._as_data(job, ref), timeout=FOR_EVER))
            judged = {name: await self._judged(job, name, row["output"]) for name in self._judges}
            row["scores"] = {name: {**row["scores"], **judged}[name] for name in self.plan.scorers}
            row.update(_word(row["scores"]))
        except (AgentLabError, TypeError) as error:
            deaths = deaths_of(self.lab._read(), ref.path)
            row.update(disposition=disposition_of(error, deaths), error=str(error), fault=fault_of(error))
        with contextlib.suppress(NotRunning):
            row["attempts"] = max(1, ref.incarnation)
        row["ended"] = time.time()
        return row

    def _as_data(self, job: Job, ref: Ref) -> dict[str, Any]:
        """The sample as its scorers get it: those of trajectories with what its agent did."""
        data = job.sample.as_data()
        if any(getattr(scorer, "wants_steps", False) for scorer in self.plan.scorers.values()):
            frame = step_frame(self.lab._read(), path=ref.path).query("outcome != 'replayed'")
            data["steps"] = frame[["kind", "name", "outcome", "input", "output"]].astype(object).to_dict("records")
        return data

    async def _judged(self, job: Job, name: str, output: Any) -> dict[str, Any]:
        """What the judge of an answer says; one that fails fails its own sample."""
        given, place = self.plan.judges[name].budget or self.plan.spec.budget, self._judge_place(job, name)
        try:
            ref = self._ref(place) or await self._start(self._judges[name], place, {"budget": given} if given else {})
            found: dict[str, Any] = await self._answer(ref, JUDGE, job.sample.as_data(), output, timeout=FOR_EVER)
        except AgentLabError as error:
            return {"error": f"scorer {name}: {error}"}
        return found

    def _judge_place(self, job: Job, name: str) -> str:
        return f"{job.place}{JUDGES}{re.sub(r'[^a-zA-Z0-9_-]', '_', name)}"

    def _places(self, job: Job) -> list[str]:
        """Of the agents that concern a sample: its own, and those that grade it."""
        return [job.place, *(self._judge_place(job, name) for name in self._judges)]

    async def _answer(self, ref: Any, message: str, *given: Any, timeout: float) -> Any:
        """What an agent answers; one that is parked for a person answers nobody."""
        if ref.path in self._gave_up:
            raise AgentDown(self._gave_up[ref.path], self._gave_up[ref.path])
        asked = asyncio.ensure_future(_wait(getattr(ref.call(timeout=timeout), message)(*given)))
        try:
            while not (await asyncio.wait({asked}, timeout=LOOK))[0]:
                if ref.status == "parked" and not (await asyncio.wait({asked}, timeout=LOOK))[0]:
                    raise AgentDown(self.lab.explain(ref), "parked")
            return await asked
        finally:
            asked.cancel()

    def _ref(self, place: str) -> Ref | None:
        return self.lab.whereis(f"{run_path(self.plan.name)}/{place}")

    async def _start(self, cls: type, place: str, given: Mapping[str, Any]) -> Ref:
        runtime, above = self.lab._live, run_path(self.plan.name)
        options = {"own_limit": OWN_LIMIT, **given}
        found = await asyncio.wrap_future(runtime.submit(start_many, runtime, cls, [{}], above, bool, [place], options))
        ref: Ref = found[0]
        return ref

    async def _remove(self, place: str, *, busy: bool) -> None:
        """Remove an agent of a sample that is recorded; what it did stays in the store."""
        runtime, above = self.lab._live, run_path(self.plan.name)
        if busy:
            ref: Any = self.lab[f"{above}/{place}"]
            with contextlib.suppress(AgentLabError):
                await asyncio.to_thread(ref.skip)
        for op in ("terminate_child", "delete_child"):
            with contextlib.suppress(AgentLabError):  # it is gone already
                await asyncio.wrap_future(runtime.submit(call_named(op), runtime, above, place))


async def _wait(reply: Any) -> Any:
    return await reply


def _options(spec: Child) -> dict[str, Any]:
    """What the solver's ``child(...)`` says beside its fields."""
    fresh = {f.name: f.default for f in dataclasses.fields(Child)}
    return {n: getattr(spec, n) for n in OPTIONS if n not in ("id", "what") and getattr(spec, n) != fresh[n]}


def _word(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The disposition of a sample that was answered: scored, unless a scorer failed."""
    errors = [each["error"] for each in scores.values() if "error" in each]
    if errors:
        return {"disposition": "failed", "error": "; ".join(errors), "fault": "scorer"}
    return {"disposition": "scored"}
