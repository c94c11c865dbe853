"""A Dask cluster as a place of work: chunks of samples are Dask tasks, each in a lab that its worker keeps open.

The one file that imports ``distributed`` in the kernel. It says itself which worker gets which chunk, one at a time:
so it knows whose samples were under way when a worker is lost, and gives them to whoever opens that worker's store
again. The rows come up twice, by an event as samples finish and with the task's result; the first counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import importlib
import itertools
import json
import time
import uuid
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentlab.errors import ClusterLost, InsecureCluster, InvalidSpec, WorkerRefused
from agentlab.evals.labs import CALL, Errand, Folder
from agentlab.evals.machines import PROBE, Door, as_table, check_private, differing, probed
from agentlab.evals.opening import Setting
from agentlab.evals.plan import Busy, Job, Plan, Record, Row
from agentlab.wire.pickles import dump

CHUNK = 500
"""Samples of one task, at the most."""

LOOK = 0.5
"""Seconds between two looks at who is there."""

RETURN = 5.0
"""Seconds in which a lost worker's successor may come for the samples that were under way there."""

UNKNOWN = ""
"""The store of a worker that was lost before it had said which it has."""

HOST = 15.0
"""Seconds after which they begin anew on another host."""

ANSWER = 60.0
"""Seconds that a worker has to say who it is, and to close its lab."""

FULL = 64
"""Samples that a worker gets at least where there are as many, if the run finds by itself how many go at once."""


@dataclass
class Site:
    """A worker, and what it has in hand."""

    address: str
    name: str
    host: str = ""
    store: str | None = None
    jobs: dict[tuple[str, int], Job] = field(default_factory=dict)
    busy: Busy = field(default_factory=Busy)
    task: asyncio.Task[None] | None = None


@dataclass
class Begun:
    """Samples that were under way in a store when its worker was lost, or the kernel.

    Attributes:
        holder: The worker that has the store open, if one has.
        since: When they were left, by the loop's clock.
    """

    jobs: list[Job]
    holder: str | None
    since: float


class Cluster:
    """The workers of a Dask cluster.

    Args:
        door: How it is reached.
        plan: The run's.
        setting: What its labs are opened with.
        folder: Where their stores are.
        insecure: Whether lines beyond this machine may be in the clear.
        kept: Whether the stores stay when the run is over.
    """

    def __init__(
        self, door: Door, plan: Plan, setting: Setting, folder: Folder, *, insecure: bool, kept: bool
    ) -> None:  # fmt: skip
        self._door, self._setting, self._folder = door, setting, folder
        self._plan = dataclasses.replace(plan, identity=json.dumps({**json.loads(plan.identity), "samples": []}))
        self._insecure, self._is_kept = insecure, kept
        self._dask, self._here = _distributed(), probed()
        self._topic = f"agentlab-{plan.name}-{uuid.uuid4().hex}"
        self._numbers = itertools.count(1)
        self._sites: dict[str, Site] = {}
        self._first: set[str] = set()
        self._refused: dict[str, Exception] = {}
        self._said: set[str] = set()
        self._left: dict[tuple[str, int], Job] = {}
        self._queue: deque[Job] = deque()
        self._begun: dict[tuple[str, str], Begun] = {}
        self._costs: dict[tuple[str, str], float] = {}
        self._taking: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._stopping = False

    async def set_up(self, ended: Sequence[Job]) -> None:
        """Nothing is needed before the workers are asked."""

    def stop(self) -> None:
        """Give out nothing more; the labs are closed."""
        self._stopping = True
        self._changed.set()

    def busy(self) -> Busy:
        """What all workers are at."""
        each = [site.busy for site in list(self._sites.values())]
        costs = list(self._costs.values())
        return Busy(sum(b.running for b in each), sum(b.waiting for b in each), None, sum(costs) if costs else None)

    async def work_off(self, jobs: Sequence[Job], record: Record) -> None:
        """See jobs through."""
        self._left, self._queue, self._record = {job.key: job for job in jobs}, deque(jobs), record
        try:
            opened = self._dask.Client(
                self._door.address, security=self._door.security, asynchronous=True, set_as_default=False,
                name="agentlab", timeout=ANSWER,
            )  # fmt: skip
            self._client = await opened
        except OSError as error:
            raise self._lost() from error
        try:
            self._client.subscribe_topic(self._topic, self._hear)
            await self._work_through()
        finally:
            await self._client.close()

    async def _work_through(self) -> None:
        """Look who is there until nothing is left."""
        found = await self._workers()
        self._first = {address for address, about in found.items() if about.get("status") == "running"}
        try:
            while self._left and not self._stopping:
                await self._see_workers()
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), LOOK)
                for task in [task for task in self._taking if task.done()]:
                    self._taking.discard(task)
                    task.result()
            await self._close_labs()
        finally:
            tasks = [site.task for site in self._sites.values() if site.task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, *self._taking, return_exceptions=True)

    async def _close_labs(self) -> None:
        """Have each worker close its lab, and hear what has come of what it had in hand."""
        sites = list(self._sites.values())
        closing = [self._told(site, "close", self._folder.key, not self._is_kept) for site in sites]
        served = [site.task for site in sites if site.task is not None]
        waiting = asyncio.gather(*closing, *served, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(waiting, ANSWER)
        await asyncio.gather(*self._taking)

    # who is there

    async def _see_workers(self) -> None:
        """Meet who has come, and take back what those had in hand who are gone; raise what one of them has raised."""
        found = await self._workers()
        for site in list(self._sites.values()):
            task = site.task
            if task is not None and task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error
            if site.address not in found or (task is not None and task.done()):
                self._lose(site)
        self._first &= found.keys() - self._refused.keys()
        self._give_back()
        self._say_refusals(found)
        for address, about in found.items():
            if address not in self._sites and address not in self._refused and about.get("status") == "running":
                site = self._sites[address] = Site(address, str(about["name"]))
                site.task = asyncio.create_task(self._serve(site))

    async def _workers(self) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = await asyncio.wait_for(self._client.scheduler.identity(), ANSWER)
        except (OSError, TimeoutError) as error:
            raise self._lost() from error
        workers: dict[str, Any] = answer["workers"]
        return workers

    def _lost(self) -> ClusterLost:
        return ClusterLost(
            f"evaluate: the scheduler at {self._door.address} is gone, and its workers with it; {len(self._left)} "
            "samples are left. What ended is kept: the same call goes on, here or with another cluster=."
        )

    async def _meet(self, site: Site) -> bool:
        """Ask a worker who it is and what it has; whether it may work."""
        try:
            check_private(site.address, insecure=self._insecure)
            asked = self._client.run(eval, PROBE, workers=[site.address], on_error="ignore")
            about = (await asyncio.wait_for(asked, ANSWER)).get(site.address)
        except InsecureCluster as error:
            self._refused[site.address] = error
            return False
        except (OSError, TimeoutError):
            return False
        if about is None:
            return False
        if rows := differing(self._here, about):
            self._refused[site.address] = _refusal(site.address, rows)
            return False
        site.host = about["host"]
        found = await self._told(site, "look", self._plan.name, self._folder)
        for store in found or ():
            await self._take(store["rows"])
            self._sort_begun(site, store)
        return found is not None

    def _say_refusals(self, found: Mapping[str, Any]) -> None:
        """Raise if nobody may work; else say once of each who may not."""
        if found and all(address in self._refused for address in found):
            raise next(iter(self._refused.values()))
        if any(site.host for site in self._sites.values()):
            for address, error in self._refused.items():
                if address not in self._said:
                    self._said.add(address)
                    warnings.warn(str(error), stacklevel=2)

    def _sort_begun(self, site: Site, store: dict[str, Any]) -> None:
        """Keep those of a store who were under way there for whoever opens it."""
        place = (site.host, store["path"])
        if any((each.host, each.store) == place for each in self._sites.values()):
            return  # its worker is at it
        names = set(store["begun"])
        was = self._begun.pop(place, None)
        unknown = self._begun.get((site.host, UNKNOWN), Begun([], None, 0.0)).jobs
        found = [job for job in unknown if job.place in names]
        unknown[:] = [job for job in unknown if job.place not in names]
        waiting = [*self._queue, *found, *(was.jobs if was is not None else ())]
        begun = [job for job in waiting if job.place in names and job.key in self._left]
        self._queue = deque(job for job in waiting if job.place not in names)
        if begun:
            holder = site.address if store["held"] else was.holder if was is not None else None  # a neighbour has told
            self._begun[place] = Begun(begun, holder, time.monotonic())

    def _lose(self, site: Site) -> None:
        """A worker is gone: its unfinished samples wait for who opens its store."""
        self._sites.pop(site.address)
        if site.task is not None:
            site.task.cancel()
        for begun in self._begun.values():
            if begun.holder == site.address:
                begun.holder = None
        self._take_back(site)
        self._changed.set()

    def _take_back(self, site: Site) -> None:
        jobs = [job for job in site.jobs.values() if job.key in self._left]
        site.jobs.clear()
        if jobs:
            begun = self._begun.setdefault((site.host, site.store or UNKNOWN), Begun([], None, 0.0))
            begun.jobs += jobs
            begun.since = time.monotonic()

    def _give_back(self) -> None:
        """Let those begin anew whose host has nobody any more."""
        hosts = {site.host for site in self._sites.values()}
        for place, begun in list(self._begun.items()):
            if place[0] not in hosts and time.monotonic() > begun.since + HOST:
                self._queue.extend(begun.jobs)
                del self._begun[place]

    # work

    async def _serve(self, site: Site) -> None:
        """Meet a worker, and give it one chunk after the other; returns early if it is refused, or gone."""
        if not await self._meet(site):
            return
        self._first.discard(site.address)
        while self._left and not self._stopping:
            jobs, store = self._next(site)
            if not jobs:
                await asyncio.sleep(LOOK / 5)
                continue
            site.jobs = {job.key: job for job in jobs}
            report = await self._told(site, "work", self._errand(jobs, store))
            if report is None:
                return
            await self._heed(report)
            if any(job.key in self._left for job in jobs):
                return  # Dask retires it, or it was stopped
            site.jobs.clear()

    def _errand(self, jobs: Sequence[Job], store: str | None) -> Errand:
        """A chunk for a worker."""
        part = self._plan.part(jobs)
        return Errand(self._folder, part, self._setting, store, self._topic, part.attempt.__qualname__)

    def _next(self, site: Site) -> tuple[list[Job], str | None]:
        """What a worker gets next: samples that were under way in a store that it may open; else new ones."""
        if self._first:  # somebody has not said yet what he holds
            return [], None
        now = time.monotonic()
        for place, begun in list(self._begun.items()):
            if not begun.jobs or place[0] != site.host or begun.holder not in (None, site.address):
                continue
            own = begun.holder == site.address or site.store in (None, place[1])
            if own or (now > begun.since + RETURN and not self._queue):
                site.store = place[1] or site.store
                return self._begun.pop(place).jobs, place[1] or None
        width = self._plan.concurrency if isinstance(self._plan.concurrency, int) else FULL
        count, idle = len(self._queue), sum(not each.jobs for each in self._sites.values())
        size = min(CHUNK, max(-(-count // (2 * len(self._sites))), min(width, -(-count // max(1, idle)))))
        return [self._queue.popleft() for _ in range(size)], None

    def _hear(self, event: tuple[float, str]) -> None:
        self._taking.add(asyncio.create_task(self._heed(json.loads(event[1]))))

    async def _heed(self, report: dict[str, Any]) -> None:
        """Keep what a worker tells of its chunk."""
        site = self._sites.get(report["worker"])
        if site is not None:
            site.store, site.busy = report["store"], Busy(report["running"], report["waiting"])
            if report["cost_usd"] is not None:
                self._costs[site.host, report["store"]] = report["cost_usd"]
        await self._take(report["rows"])

    async def _take(self, rows: list[Row]) -> None:
        """Have rows recorded, each sample's once."""
        fresh = [row for row in rows if self._left.pop((row["id"], row["epoch"]), None) is not None]
        if fresh:
            await self._record(fresh)
        if not self._left:
            self._changed.set()

    async def _told(self, site: Site, function: str, *given: Any) -> Any:
        """What a task answers on that worker; None if the cluster has given it up."""
        key = f"agentlab-{self._plan.name}-{function}-{next(self._numbers)}-{self._topic[-8:]}"
        future = self._client.submit(
            eval, CALL, {"function": function, "given": dump(given)},
            key=key, workers=[site.address], allow_other_workers=False, pure=False,
        )  # fmt: skip
        answer = asyncio.ensure_future(_answer(future))
        try:
            await asyncio.wait({answer})
            if answer.cancelled() or isinstance(answer.exception(), self._dask.KilledWorker):
                return None
            return json.loads(answer.result())
        finally:
            answer.cancel()
            future.release()


async def _answer(future: Any) -> str:
    text: str = await future.result()
    return text


def _refusal(address: str, rows: list[tuple[str, str, str]]) -> WorkerRefused:
    return WorkerRefused(
        f"evaluate: the worker at {address} cannot work for this process, since classes and results travel as pickles; "
        f"what differs:\n{as_table(rows)}\nGive it the same: pip install 'jupyter-agentlab[cluster]==...' there, with "
        "this Python.",
        rows,
    )


def _distributed() -> Any:
    try:
        return importlib.import_module("distributed")
    except ImportError as error:
        raise InvalidSpec(
            "evaluate: cluster= needs Dask: pip install 'jupyter-agentlab[cluster]'.", kind="missing_extra",
        ) from error  # fmt: skip
