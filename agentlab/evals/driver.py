"""What takes the samples of a run through their lives: start an agent, ask it, let it score, record, remove.

It runs in a thread of its own, with a loop of its own, so it works wherever ``evaluate`` is called. All that must
outlive this process is in the lab: the question in the agent's mailbox, the answer and the scores in its state, the
row in the ledger. So whenever the process is killed, the next one asks each agent again and is answered from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
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
from agentlab.evals.ledger import EVALS, LEDGER, Ledger, rows_of, run_path
from agentlab.evals.samples import Sample
from agentlab.evals.scorers import Scorer
from agentlab.frames.tables import steps as step_frame
from agentlab.lab import Lab
from agentlab.ref.ref import Ref
from agentlab.supervision.child import OPTIONS, Child, Limit, Supervisor

FOR_EVER = 1e8
"""Seconds that a sample may take that has no ``timeout``."""

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
    concurrency: int
    timeout: float | None
    identity: str

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
        self.error: BaseException | None = None
        self.over = threading.Event()
        self._at_end = at_end
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._workers: list[asyncio.Task[None]] = []
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
        queue = deque(job for job in jobs if job.key not in done)
        if self._stopping:
            return
        count = min(self.plan.concurrency, len(queue))
        self._workers = [asyncio.create_task(self._one_after_the_other(queue)) for _ in range(count)]
        for ended in await asyncio.gather(*self._workers, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

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
        sql = "SELECT path, reason FROM dead WHERE path LIKE ? AND method IN (?, ?)"
        return dict(self.lab._read().select(sql, (f"{run_path(self.plan.name)}/%", WORK, GRADE)))

    async def _remove_left(self, jobs: list[Job]) -> None:
        """Remove the agents of samples that were recorded, but not removed any more."""
        for job in jobs:
            if self._ref(job) is not None:
                await self._remove(job, busy=False)

    async def _one_after_the_other(self, queue: deque[Job]) -> None:
        while queue and not self._stopping:
            job = queue.popleft()
            self.tally.running.add(job.place)
            try:
                row = await self._one(job)
                await self._record(row)
                self.tally.ended[row["disposition"]] += 1
                await self._remove(job, busy=row["disposition"] == "timed_out")
            finally:
                self.tally.running.discard(job.place)

    async def _one(self, job: Job) -> dict[str, Any]:
        """The life of a sample; its row."""
        began = time.time()
        ref = self._ref(job) or await self._start(job)
        row: dict[str, Any] = {"id": job.sample.id, "epoch": job.epoch, "path": ref.path, "began": began}
        row.update(id=str(job.sample.id), output=None, scores={}, error=None, fault=None)
        try:
            if ref.path in self._gave_up:
                raise AgentDown(self._gave_up[ref.path], self._gave_up[ref.path])
            await self._answer(ref, WORK, job.sample.input, timeout=self.plan.timeout or FOR_EVER)
            row.update(await self._answer(ref, GRADE, self._as_data(job, ref), timeout=FOR_EVER))
            row.update(_judged(row["scores"]))
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

    async def _answer(self, ref: Any, message: str, given: Any, *, timeout: float) -> Any:
        """What an agent answers; one that is parked for a person answers nobody."""
        asked = asyncio.ensure_future(_wait(getattr(ref.call(timeout=timeout), message)(given)))
        try:
            while not (await asyncio.wait({asked}, timeout=LOOK))[0]:
                if ref.status == "parked" and not (await asyncio.wait({asked}, timeout=LOOK))[0]:
                    raise AgentDown(self.lab.explain(ref), "parked")
            return await asked
        finally:
            asked.cancel()

    def _ref(self, job: Job) -> Ref | None:
        return self.lab.whereis(f"{run_path(self.plan.name)}/{job.place}")

    async def _start(self, job: Job) -> Ref:
        runtime, spec = self.lab._live, self.plan.spec
        fresh = {f.name: f.default for f in dataclasses.fields(Child)}
        options = {n: getattr(spec, n) for n in OPTIONS if n not in ("id", "what") and getattr(spec, n) != fresh[n]}
        options = {"own_limit": OWN_LIMIT, **options, **spec.fields}
        found = await asyncio.wrap_future(
            runtime.submit(
                start_many, runtime, self.plan.attempt, [{}], run_path(self.plan.name), bool, [job.place], options
            )
        )
        ref: Ref = found[0]
        return ref

    async def _remove(self, job: Job, *, busy: bool) -> None:
        """Remove the agent of a sample that is recorded; what it did stays in the store."""
        runtime, above = self.lab._live, run_path(self.plan.name)
        if busy:
            ref: Any = self.lab[f"{above}/{job.place}"]
            with contextlib.suppress(AgentLabError):
                await asyncio.to_thread(ref.skip)
        for op in ("terminate_child", "delete_child"):
            with contextlib.suppress(AgentLabError):  # it is gone already
                await asyncio.wrap_future(runtime.submit(call_named(op), runtime, above, job.place))

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


def _judged(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The disposition of a sample that was answered: scored, unless a scorer failed."""
    errors = [each["error"] for each in scores.values() if "error" in each]
    if errors:
        return {"disposition": "failed", "error": "; ".join(errors), "fault": "scorer"}
    return {"disposition": "scored"}
