"""What sees a run through: what is left to do goes to a place of work, and what comes of it into the ledger.

It runs in a thread of its own, with a loop of its own, so it works wherever ``evaluate`` is called. What is done is in
the ledger, an agent of the lab; so whenever the process is killed, the next one knows what is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

from agentlab.evals.here import FOR_EVER
from agentlab.evals.ledger import EVALS, LEDGER, Ledger, key_of, of_each_row, run_path
from agentlab.evals.plan import Plan, Row, Tally, Workplace
from agentlab.lab import Lab
from agentlab.supervision.child import Limit, Supervisor


class Driver:
    """Works on a plan until all is done or somebody stops it.

    Args:
        lab: The lab that has the ledger.
        plan: What is to be done.
        place: Where.
        at_end: Called when it is over.
        heard: Called with rows that are durable, in the driver's thread.
    """

    def __init__(
        self, lab: Lab, plan: Plan, place: Workplace, *, at_end: Callable[[], object],
        heard: Callable[[list[Row]], object] | None = None,
    ) -> None:  # fmt: skip
        self.lab, self.plan, self.place = lab, plan, place
        self.tally = Tally(len(plan.jobs))
        self.error: BaseException | None = None
        self.over = threading.Event()
        self._at_end, self._heard = at_end, heard
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rows: list[Row] = []
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
                self._loop.call_soon_threadsafe(self.place.stop)
        self._thread.join()

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
        read, name = self.lab._read(), self.plan.name
        done = dict(of_each_row(read, name, lambda row: (key_of(row), row["disposition"])))
        jobs = self.plan.jobs
        self.tally.ended.update(done[job.key] for job in jobs if job.key in done)
        self.tally.before = self.tally.done
        await self.place.set_up([job for job in jobs if job.key in done])
        if not self._stopping:
            await self.place.work_off([job for job in jobs if job.key not in done], self._record)

    def _set_up(self) -> None:
        """The run's supervisor and its ledger, found or started."""
        lab, path = self.lab, run_path(self.plan.name)
        lab.start(Supervisor(EVALS[1:], max_restarts=100, max_seconds=60.0), exist_ok=True)
        lab.start(Supervisor(self.plan.name, max_restarts=100, max_seconds=60.0), under=EVALS, exist_ok=True)
        if lab.whereis(f"{path}/{LEDGER}") is None:
            lab.start(Ledger, id=LEDGER, under=path, own_limit=Limit(1000, 1.0), identity=self.plan.identity)
        self._ledger: Any = lab[f"{path}/{LEDGER}"]

    async def _record(self, rows: list[Row]) -> None:
        """Have rows recorded, together with those that came meanwhile; returns when they are durable."""
        self._rows += rows
        before = self._recording
        if before is not None:
            await asyncio.shield(before)
        if any(each is rows[0] for each in self._rows):
            taken, self._rows = self._rows, []
            self._recording = asyncio.create_task(self._write(taken))
        if self._recording is not None:  # else somebody took them along
            await asyncio.shield(self._recording)

    async def _write(self, rows: list[Row]) -> None:
        await self._ledger.call(timeout=FOR_EVER).record(rows)
        self.tally.ended.update(row["disposition"] for row in rows)
        if self._heard is not None:
            self._heard(rows)
