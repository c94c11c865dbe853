"""What takes the samples of a run through their lives: start an agent, ask it, let it score, record, remove.

It runs in a thread of its own, with a loop of its own, so it works wherever ``evaluate`` is called. All that must
outlive this process is in the lab: the question in the agent's mailbox, the answer and the scores in its state, the
row in the ledger. So whenever the process is killed, the next one asks each agent again and is answered from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentlab.control.children import call_named
from agentlab.control.many import start_many
from agentlab.errors import AgentDown, AgentLabError, NotRunning
from agentlab.evals.attempt import GRADE, WORK
from agentlab.evals.dispositions import deaths_of, disposition_of, fault_of
from agentlab.evals.judges import judge_class, model_graded
from agentlab.evals.ledger import EVALS, JUDGES, LEDGER, Ledger, rows_of, run_path
from agentlab.evals.pace import Concurrency, Meter, Pace
from agentlab.evals.samples import Sample
from agentlab.evals.scorers import Scorer
from agentlab.frames.tables import steps as step_frame
from agentlab.lab import Lab
from agentlab.ref.ref import Ref
from agentlab.supervision.child import OPTIONS, Child, Limit, Supervisor

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


@dataclass(frozen=True)
class Plan:
    """All that a run is to do."""

    name: str
    samples: list[Sample]
    places: list[str]
    epochs: int
    spec: Child
    attempt: type
    scorers: Mapping[str, Scorer]
    concurrency: Concurrency
    timeout: float | None
    identity: str

    @property
    def judges(self) -> dict[str, model_graded]:
        """The scorers that are agents of their own."""
        return {name: each for name, each in self.scorers.items() if isinstance(each, model_graded)}

    @property
    def jobs(self) -> list[Job]:
        """Each sample once, then each a second time: an early look at a run has seen all samples."""
        return [
            Job(sample, epoch, f"{place}.{epoch}")
            for epoch in range(1, self.epochs + 1)
            for sample, place in zip(self.samples, self.places, strict=True)
        ]


@dataclass(frozen=True)
class Job:
    """One sample in one epoch."""

    sample: Sample
    epoch: int
    place: str

    @property
    def key(self) -> tuple[str, int]:
        return str(self.sample.id), self.epoch


@dataclass
class Tally:
    """How far a run is."""

    total: int
    began: float = field(default_factory=time.monotonic)
    before: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    running: set[str] = field(default_factory=set)

    @property
    def done(self) -> int:
        return self.ended.total()


class Driver:
    """Works on a plan in a lab until all is done or somebody stops it."""

    def __init__(self, lab: Lab, plan: Plan, *, at_end: Callable[[], object]) -> None:
        self.lab, self.plan = lab, plan
        self.tally = Tally(len(plan.jobs))
        self.pace = Pace(plan.concurrency)
        self.error: BaseException | None = None
        self.over = threading.Event()
        self._at_end = at_end
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._workers: set[asyncio.Task[None]] = set()
        self._at_work = 0
        self._meter = Meter(plan.name)
        self._judges = {name: judge_class(each) for name, each in plan.judges.items()}
        self._rows: list[dict[str, Any]] = []
        self._recording: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name=f"agentlab-eval-{plan.name}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more, and ask no more; what runs goes on with its lab."""
        self._stopping = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended meanwhile
                self._loop.call_soon_threadsafe(self._cancel)
        self._thread.join()

    def _cancel(self) -> None:
        for worker in self._workers:
            worker.cancel()

    def _run(self) -> None:
        try:
            asyncio.run(self._work())
        except BaseException as error:
            self.error = error
        finally:
            try:
                self._at_end()
            except Exception as error:
                self.error = self.error or error
            self.over.set()

    async def _work(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._set_up()
        done = {(row["id"], row["epoch"]): row["disposition"] for row in rows_of(self.lab._read(), self.plan.name)}
        jobs = self.plan.jobs
        self.tally.ended.update(done[job.key] for job in jobs if job.key in done)
        self.tally.before = self.tally.done
        await self._remove_left([job for job in jobs if job.key in done])
        self._gave_up = self._given_up()
        self._queue = deque(job for job in jobs if job.key not in done)
        if self.pace.adapts:
            self._heed_refusals()
            watching = asyncio.create_task(self._watch())
            await self._work_off()
            watching.cancel()
            self._heed_refusals()
        else:
            await self._work_off()

    async def _work_off(self) -> None:
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
        if self._meter.look(self.lab._read()):
            self.pace.refused(time.monotonic())

    def _set_up(self) -> None:
        """The run's supervisor and its ledger, found or started."""
        lab, path = self.lab, run_path(self.plan.name)
        lab.start(Supervisor(EVALS[1:], max_restarts=100, max_seconds=60.0), exist_ok=True)
        lab.start(Supervisor(self.plan.name, max_restarts=100, max_seconds=60.0), under=EVALS, exist_ok=True)
        if lab.whereis(f"{path}/{LEDGER}") is None:
            lab.start(Ledger, id=LEDGER, under=path, own_limit=Limit(1000, 1.0), identity=self.plan.identity)
        self._ledger: Any = lab[f"{path}/{LEDGER}"]

    def _given_up(self) -> dict[str, str]:
        """Samples that were given up while nobody heard of it: the paths of their agents, and why."""
        sql = "SELECT path, reason FROM dead WHERE path LIKE ? AND method IN (?, ?, ?)"
        return dict(self.lab._read().select(sql, (f"{run_path(self.plan.name)}/%", WORK, GRADE, JUDGE)))

    async def _remove_left(self, jobs: list[Job]) -> None:
        """Remove the agents of samples that were recorded, but not removed any more."""
        for job in jobs:
            for place in self._places(job):
                if self._ref(place) is not None:
                    await self._remove(place, busy=False)

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
        self.tally.running.add(job.place)
        try:
            row = await self._one(job)
            await self._record(row)
            self.tally.ended[row["disposition"]] += 1
            for place in self._places(job):
                await self._remove(place, busy=row["disposition"] == "timed_out" and place == job.place)
        finally:
            self.tally.running.discard(job.place)

    async def _one(self, job: Job) -> dict[str, Any]:
        """The life of a sample; its row."""
        began = time.time()
        spec = self.plan.spec
        ref = self._ref(job.place) or await self._start(self.plan.attempt, job.place, {**_options(spec), **spec.fields})
        row: dict[str, Any] = {"id": job.sample.id, "epoch": job.epoch, "path": ref.path, "began": began}
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

    async def _record(self, row: dict[str, Any]) -> None:
        """Have a row recorded, together with those that came meanwhile; returns when it is durable."""
        self._rows.append(row)
        before = self._recording
        if before is not None:
            await asyncio.shield(before)
        if row not in self._rows:  # somebody took it along
            if self._recording is not None:
                await asyncio.shield(self._recording)
            return
        rows, self._rows = self._rows, []
        self._recording = asyncio.create_task(_wait(self._ledger.call(timeout=FOR_EVER).record(rows)))
        await asyncio.shield(self._recording)


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
