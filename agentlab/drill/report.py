"""What came of a drill: figures, and the rules that they must meet."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agentlab.drill.bill import repeated, wasted

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import pandas as pd

    from agentlab.lab import Lab

WHEN = ("before", "during")
SPANS = ("before", "starting", "during", "after")
"""Nobody is at work yet; everybody begins; the provider is down; it is back."""

MOVES = ("node_down", "node_stalled")
"""Reasons of restarts by which an agent only goes on elsewhere."""

BLAME = r"it ran (?P<ran>\S+)$|^(?P<held>\S+) holds it"
"""What the event of a node that died or stalls says of who brought it about."""


@dataclass
class Report:
    """Figures of a drill.

    Attributes:
        agents: Agents in the lab.
        busy: Those of them with a task that needs the provider.
        interrupted: Of these, how many were in the middle of it when the outage began.
        right: Tasks that ended with the right answer.
        lost: Messages that were not answered: tasks, pings, dead letters.
        twice: Finished steps that ran again.
        repeated: Finished model calls that the provider saw again.
        wasted: Tokens of answers that came to nothing (``bill.wasted``).
        gave_up: Supervisors that met their limit of restarts.
        restarts: Restarts of agents; also of those who left a node that one of the drill's had brought down or held.
        moved: Restarts of agents that left a node for which nobody is to blame: a matter of the machine's.
        parked: Agents that wait for a person.
        redelivered: Messages that needed more than one delivery.
        calls: Requests that the provider saw while it was down.
        openings: How often the breaker opened.
        outage_s: How long the provider was down (seconds).
        last_s: From its recovery to the end of the last task (seconds).
        found_s: From its recovery until the breaker closed (seconds); 0 if it was not open.
        pings: Answers of bystanders in each of the ``SPANS``, in seconds.
        trips: The same of a control: bare round trips to another process.
    """

    agents: int
    busy: int
    interrupted: int = 0
    right: int = 0
    lost: int = 0
    twice: int = 0
    repeated: int = 0
    wasted: int = 0
    gave_up: int = 0
    restarts: int = 0
    moved: int = 0
    parked: int = 0
    redelivered: int = 0
    calls: int = 0
    openings: int = 0
    outage_s: float = 0.0
    last_s: float = 0.0
    found_s: float = 0.0
    pings: dict[str, list[float]] = field(default_factory=lambda: {when: [] for when in SPANS})
    trips: dict[str, list[float]] = field(default_factory=lambda: {when: [] for when in SPANS})

    def latency(self, when: str, share: float) -> float:
        """Milliseconds within which that share of the bystanders' answers came.

        Not a number where too few came to say so: a p99 needs a hundred.
        """
        return within(self.pings[when], share)

    def count(self, lab: Lab, right: Collection[str] = ()) -> None:
        """Read what store and simulator tell; ``right`` are the questions of the tasks that ended well."""
        events, messages = lab.events(), lab.messages()
        self.right, self.twice = len(right), _steps_twice(lab.steps())
        seen = lab.sim.log().fillna({"tokens_in": 0, "tokens_out": 0}).to_dict("records")
        self.repeated, self.wasted = repeated(seen), wasted(seen, right)
        self.gave_up = int(events["kind"].eq("gave_up").sum())
        self.openings = int(lab.breakers()["opened"].sum())
        moves = int(lab.restarts()["reason"].isin(MOVES).sum())
        self.moved = max(0, moves - _moves_blamed(events))
        self.restarts = len(lab.restarts()) - self.moved
        self.parked = int(events["kind"].eq("parked").sum())
        self.lost += len(lab.dead_letters())
        self.redelivered = int(messages["deliveries"].gt(1).sum())

    @property
    def broken(self) -> list[str]:
        """The rules that were not met, in words; empty if all were."""
        rules = {
            f"{self.right} of {self.busy} tasks are right": self.right == self.busy,
            f"{self.lost} messages were lost": self.lost == 0,
            f"{self.twice} finished steps ran twice": self.twice == 0,
            f"{self.repeated} finished model calls were made again": self.repeated == 0,
            f"{self.gave_up} supervisors gave up": self.gave_up == 0,
            f"only {self.interrupted} of {self.busy} were in the middle of a task": self.interrupted == self.busy,
            **{f"none of the others was answered {when} the outage": bool(self.pings[when]) for when in WHEN},
        }
        return [words for words, met in rules.items() if not met]

    @property
    def slowed(self) -> bool:
        """Whether the bystanders were answered later than before: by 5 ms in the median.

        Where the control was slower too, so much more is allowed: that is the machine, which others use.
        """
        before, during = (within(self.trips[when], 0.5) for when in WHEN)
        slower = max(1.0, during / before) if before > 0 and during > 0 else 1.0
        return self.latency("during", 0.5) > (self.latency("before", 0.5) + 5.0) * slower

    def rows(self) -> list[tuple[str, str]]:
        """What is printed: a figure's name, and what it is."""
        asked = ", ".join(f"{len(self.pings[when]):,}" for when in WHEN)
        harmed = ", ".join(f"{n:,}" for n in (self.restarts, self.moved, self.parked, self.redelivered))
        return [
            ("agents, busy with a task", f"{self.agents:,}, {self.busy:,}"),
            ("in the middle of it when the outage began", f"{self.interrupted:,}"),
            ("tasks with the right answer", f"{self.right:,}"),
            ("messages lost", f"{self.lost:,}"),
            ("finished steps that ran twice, model calls that were made again", f"{self.twice:,}, {self.repeated:,}"),
            ("supervisors that gave up", f"{self.gave_up:,}"),
            ("restarts, agents moved, parked, messages redelivered", harmed),
            ("the provider was down", f"{self.outage_s:.1f} s"),
            ("requests that it saw meanwhile", f"{self.calls:,}"),
            ("tokens that went for nothing", f"{self.wasted:,}"),
            ("the breaker opened", f"{self.openings:,} times"),
            ("it closed after the provider had recovered", f"{self.found_s:.1f} s"),
            ("last task done after it recovered", f"{self.last_s:.1f} s"),
            ("the others answered, before and during", f"{asked} times"),
            *((f"their latency, median, p99 and longest, {when}", _shares(self.pings[when])) for when in WHEN),
            *((f"the same of bare round trips, {when}", _shares(self.trips[when])) for when in WHEN),
        ]  # fmt: skip

    def __str__(self) -> str:
        rows = self.rows()
        widest = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{widest}}  {value}" for name, value in rows)


def within(took: Sequence[float], share: float) -> float:
    """Milliseconds within which that share of these times (seconds) lies; not a number where they are too few."""
    enough = len(took) * (1.0 - share) >= 1.0 - 1e-9
    return sorted(took)[int(share * len(took))] * 1e3 if enough else math.nan


def _shares(took: Sequence[float]) -> str:
    """Median, p99 and the longest, in words."""
    shares = [within(took, 0.5), within(took, 0.99), max(took, default=math.nan) * 1e3]
    return ", ".join("too few" if math.isnan(ms) else f"{ms:.1f}" for ms in shares) + " ms"


def _moves_blamed(events: pd.DataFrame) -> int:
    """Moves of agents that left a node which somebody had brought down, or held: all there are of the drill."""
    rows = events[events["kind"].isin(MOVES)]
    ends = rows["path"].eq("/")
    found = rows["detail"].astype("string").str.extract(BLAME).notna().any(axis=1)
    blamed = set(zip(rows["kind"][ends & found], rows["node"][ends & found], strict=True))
    return sum((kind, node) in blamed for kind, node in zip(rows["kind"][~ends], rows["node"][~ends], strict=True))


def _steps_twice(steps: pd.DataFrame) -> int:
    """Steps that ended well more than once in one message."""
    done = steps[steps["outcome"].eq("ok") & ~steps["replayed"].astype(bool)]
    return int(done.duplicated(["path", "message_seq", "step"]).sum())
