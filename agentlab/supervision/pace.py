"""How often a child may be restarted, and how long each restart waits: plain data, checked when it is written down."""

from __future__ import annotations

from dataclasses import dataclass

from agentlab.ground.words import spelt
from agentlab.supervision.checks import check_count, check_number, check_period


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a restart waits: longer after each restart in a row, never beyond ``maximum``.

    A child that has run for ``maximum`` seconds is taken for well: its next restart waits ``initial`` again.

    Args:
        initial: The first wait (seconds, >= 0).
        factor: What each further wait is multiplied with (>= 1).
        maximum: The longest wait (seconds, >= ``initial``).
        jitter: The share of a wait that is left to chance, to either side (0 to 1).
    """

    initial: float = 0.1
    factor: float = 2.0
    maximum: float = 30.0
    jitter: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what is no back-off."""
        check_number(self.initial, "backoff: initial", "invalid_backoff", least=0.0)
        check_number(self.factor, "backoff: factor", "invalid_backoff", least=1.0)
        check_number(self.maximum, "backoff: maximum", "invalid_backoff", least=self.initial)
        check_number(self.jitter, "backoff: jitter", "invalid_backoff", least=0.0, most=1.0)

    def delay(self, attempt: int, random: float) -> float:
        """Seconds to wait before restart number ``attempt`` (from 1); ``random`` is drawn from [0, 1)."""
        try:
            wait = min(self.maximum, self.initial * self.factor ** max(0, attempt - 1))
        except OverflowError:
            wait = self.maximum
        return min(self.maximum, wait * (1.0 + self.jitter * (2.0 * random - 1.0)))


@dataclass(frozen=True, slots=True)
class Limit:
    """How many restarts are allowed inside a window.

    Args:
        max_restarts: Restarts allowed inside one window (count, >= 0).
        max_seconds: Length of the window (seconds, > 0).
    """

    max_restarts: int = 3
    max_seconds: float = 5.0

    def __post_init__(self) -> None:
        """Refuse what is no limit."""
        check_count(self.max_restarts, "limit: max_restarts", "invalid_intensity")
        check_period(self.max_seconds, "limit: max_seconds")


Backoff.__init__ = spelt(Backoff.__init__, "Backoff")  # type: ignore[method-assign]  # the same, with a hint
Limit.__init__ = spelt(Limit.__init__, "Limit")  # type: ignore[method-assign]  # as above
