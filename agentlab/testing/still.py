"""Cells whose output is the same in each run."""

from __future__ import annotations

import random
import sys
from typing import Self

from agentlab.errors import InvalidArgument
from agentlab.frames import table
from agentlab.ground.given import shown
from agentlab.lab import Lab


class Deterministic:
    """Until its ``with`` ends, or its lab is closed: see ``deterministic``.

    Attributes:
        seed: What all chance begins with.
    """

    def __init__(self, lab: Lab, seed: int) -> None:
        self.seed = seed
        self._lab = lab
        lab._live.run(lab._live.placing.fix_chance, str(seed))
        random.seed(seed)
        numpy = sys.modules.get("numpy")
        if numpy is not None:
            numpy.random.seed(seed % 2**32)
        table.still.difference_update([other for other in table.still if not other.holds])
        table.still.add(self)

    @property
    def holds(self) -> bool:
        """Whether frames hide what a clock says."""
        return not self._lab.closed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        table.still.discard(self)
        if not self._lab.closed:
            self._lab._live.run(self._lab._live.placing.fix_chance, None)

    def __repr__(self) -> str:
        return f"deterministic(seed={self.seed})"


def deterministic(lab: Lab, seed: int = 0) -> Deterministic:
    """Let the cells that follow give the same output in each run; as a ``with``, those inside it.

    * Frames show times and durations as ``…``; they hold them all the same. So until the lab is closed.
    * ``self.random`` and ``self.uuid()`` of agents follow from the seed, the agent's path and the message's number
      there, whoever sent it first; the notebook's own ``random`` and ``numpy.random`` are seeded too.

    What agents do side by side still happens in any order: sort a frame, or ``lab.wait_idle()`` between two messages.
    A call between two agents on one node takes the way by the kernel meanwhile.

    Args:
        lab: The lab of the notebook.
        seed: Another one gives other chance.

    Raises:
        InvalidArgument: That is no lab, or no whole number.
    """
    if not isinstance(lab, Lab):
        raise InvalidArgument(f"deterministic: give a lab; got {shown(lab)}.", argument="lab")
    if type(seed) is not int:
        raise InvalidArgument(f"deterministic: seed must be a whole number; got {shown(seed)}.", argument="seed")
    return Deterministic(lab, seed)
