"""The journal of one message, as the kernel keeps it: its steps, what is taken back, what is in doubt. Pure.

Source: semantics of durable execution ("steps" of DBOS, "activities" of Temporal), with one addition: a
finished step may hold the poison that kills its handler, so the handler's own deaths take steps back,
newest first.
"""

from __future__ import annotations

from collections import Counter

from agentlab.node.replay import APPROVAL, REACHES
from agentlab.wire.frames import KeptFault, KeptStep, Mark


class Step:
    """One recorded effect: begun, and finished or not."""

    __slots__ = ("began", "finished", "mark", "number", "once", "result")

    def __init__(self, number: int, mark: Mark, once: bool, began: int) -> None:
        self.number = number
        self.mark = mark
        self.once = once
        self.began = began
        self.finished = False
        self.result: bytes | None = None

    @property
    def is_call(self) -> bool:
        """Whether it asked another agent."""
        return str(self.mark[0]) == "call"

    @property
    def reaches(self) -> bool:
        """Whether others have seen it: it called an agent, or changed something about the lab."""
        return self.mark[0] in REACHES

    @property
    def name(self) -> str:
        """What was run."""
        return str(self.mark[1])

    @property
    def said(self) -> str:
        """Of one that waits for a person: what the tool is to be given."""
        return self.mark[2].rpartition("\n")[2].partition(" ")[2]


class Journal:
    """The steps of one message by number, in the order in which they began.

    Attributes:
        steps: Those that have begun, and not failed for good.
        faults: How often attempts at a step, known by its mark, failed of which kind of fault, over all deliveries.
        retried: How many attempts at a step were made after another of the same delivery.
        asks: How often a person was asked for something.
    """

    __slots__ = ("asks", "faults", "retried", "steps")

    def __init__(self) -> None:
        self.asks = 0
        self.steps: dict[int, Step] = {}
        self.faults: Counter[tuple[Mark, str]] = Counter()
        self.retried: Counter[Mark] = Counter()

    def begin(self, number: int, mark: Mark, once: bool, at: int) -> Step:
        """A step begins, perhaps again; a person is asked once, whoever asks again."""
        known = self.steps.get(number) if mark[0] == APPROVAL else None
        step = self.steps[number] = Step(number, mark, once, at if known is None else known.began)
        self.asks += mark[0] == APPROVAL
        return step

    def end(self, number: int, result: bytes | None) -> Step | None:
        """A step ends; without a result it failed, and runs again when the message is delivered again."""
        step = self.steps.get(number)
        if step is None:
            return None
        if result is None:
            del self.steps[number]
        else:
            step.finished, step.result = True, result
        return step

    def note_fault(self, mark: Mark, kind: str, *, again: bool = False, counts: bool = True) -> None:
        """An attempt at a step failed of this kind of fault.

        Args:
            mark: The step.
            kind: The fault.
            again: Whether there is another attempt in this delivery.
            counts: Whether it says anything of the request: not in an outage.
        """
        self.faults[mark, kind] += counts
        self.retried[mark] += again

    def rewind(self, count: int) -> list[Step]:
        """Take back the newest ``count`` finished steps; a ``once`` step or one that others have seen stops it.

        Returns:
            What was taken back, newest first.
        """
        taken: list[Step] = []
        for step in sorted((s for s in self.steps.values() if s.finished), key=lambda s: -s.number):
            if len(taken) == count or step.once or step.reaches:
                break
            taken.append(step)
            del self.steps[step.number]
        return taken

    @property
    def approvals(self) -> list[Step]:
        """Those that wait for a person's word."""
        if not self.asks:
            return []
        return [step for step in self.steps.values() if step.mark[0] == APPROVAL and not step.finished]

    @property
    def waits_for_person(self) -> bool:
        """Whether nothing else is under way."""
        return bool(self.approvals) and all(step.finished or step.mark[0] == APPROVAL for step in self.steps.values())

    @property
    def doubts(self) -> list[Step]:
        """``once`` steps that began and did not finish: nobody knows whether they happened."""
        return [step for step in self.steps.values() if step.once and not step.finished]

    def settle(self, number: int, result: bytes | None) -> None:
        """A person says what became of a step: its result, or (None) that it may run again."""
        self.end(number, result)

    def for_node(self) -> tuple[list[KeptStep], list[KeptFault]]:
        """What a node needs of it: each step's number, mark, once, outcome and result; and the faults."""
        steps = [(s.number, s.mark, s.once, "ok" if s.finished else None, s.result) for s in self.steps.values()]
        return steps, [(mark, kind, count) for (mark, kind), count in self.faults.items()]
