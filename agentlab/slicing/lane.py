"""The lane: in which order parked steps go on."""

from __future__ import annotations

import contextvars
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agentlab.slicing.sliced import Step
    from agentlab.slicing.slices import Slicer

QUIET = 3  # loop turns without a step: a timer that is due needs one to ring and one to wake its task


class Lane:
    """Lets parked steps go on in the order in which they were parked, one slice each.

    The task that has just been woken goes first: a parked step goes on after ``QUIET`` loop turns in which no other
    began, or when ``patience`` is over. So a neighbour's wait is the rest of one slice, and no task starves.

    Args:
        slicer: Knows the loop, and how many slices have begun.
        patience: How long a parked step lets others go first (seconds).
    """

    def __init__(self, slicer: Slicer, patience: float) -> None:
        self.closed = False
        self._slicer = slicer
        self._patience = patience
        self._steps: deque[Step] = deque()
        self._context = contextvars.Context()
        self._turning = False
        self._seen = self._quiet = 0
        self._until = 0.0

    def wait(self, step: Step) -> None:
        """Open the step's gate when its turn comes."""
        step.in_lane = True
        self._steps.append(step)
        if not self._turning and not self.closed:
            self._turning = True
            self._next()

    def close(self) -> None:
        """Open no gate any more."""
        self.closed = True

    def _next(self) -> None:
        self._seen, self._quiet = self._slicer.count, 0
        self._until = time.perf_counter() + self._patience
        self._slicer.loop.call_soon(self._turn, context=self._context)

    def _turn(self) -> None:
        self._quiet = self._quiet + 1 if self._slicer.count == self._seen else 0
        self._seen = self._slicer.count
        if self._quiet < QUIET and time.perf_counter() < self._until:
            self._slicer.loop.call_soon(self._turn, context=self._context)
            return
        if not self.closed:
            step = self._steps.popleft()
            step.in_lane = False
            step.open()
        self._turning = bool(self._steps) and not self.closed
        if self._turning:
            self._next()
