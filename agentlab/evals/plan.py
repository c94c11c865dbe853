"""What a run is to do, and how far it is: what all of its places of work share."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from agentlab.evals.judges import model_graded
from agentlab.evals.pace import Concurrency
from agentlab.evals.samples import Sample
from agentlab.evals.scorers import Scorer
from agentlab.supervision.child import Child

Row = dict[str, Any]
"""How a sample ended in one epoch, as JSON: what the ledger keeps."""

Record = Callable[[list[Row]], Awaitable[None]]
"""Have rows recorded; returns when they are durable."""


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
    only: Collection[str] | None = None
    """Places of the jobs that are meant, if not all."""
    worker: str | None = None
    """The cluster's worker that works on it, if it is one's."""

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
            if self.only is None or f"{place}.{epoch}" in self.only
        ]

    def part(self, jobs: Sequence[Job]) -> Plan:
        """The same for these jobs alone."""
        wanted = {job.sample.id for job in jobs}
        pairs = [pair for pair in zip(self.samples, self.places, strict=True) if pair[0].id in wanted]
        samples, places = [sample for sample, _ in pairs], [place for _, place in pairs]
        return dataclasses.replace(self, samples=samples, places=places, only=frozenset(job.place for job in jobs))


@dataclass(frozen=True, slots=True)
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

    @property
    def done(self) -> int:
        return self.ended.total()


@dataclass(frozen=True)
class Busy:
    """What a place of work is at.

    Attributes:
        running: Samples that are worked on; ``waiting`` of them wait for a provider.
        limit: So many may run at once, where that is found while it runs; else None.
        cost_usd: What model calls have cost; None where nobody knows a price.
    """

    running: int = 0
    waiting: int = 0
    limit: int | None = None
    cost_usd: float | None = None


class Workplace(Protocol):
    """Where the samples of a run are worked on: a lab here, or labs on the workers of a cluster.

    All but ``busy`` is called in the driver's loop.
    """

    async def set_up(self, ended: Sequence[Job]) -> None:
        """Get ready; these jobs have their rows already."""

    async def work_off(self, jobs: Sequence[Job], record: Record) -> None:
        """See jobs through; returns when all are recorded, or it was stopped."""

    def stop(self) -> None:
        """Begin nothing more, and ask no more."""

    def busy(self) -> Busy:
        """What it is at, in any thread."""
