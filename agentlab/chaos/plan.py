"""A plan of chaos: data, and one pure function of a place. No clock, no state, no chance but the seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from agentlab.chaos.strikes import Strike, is_whole
from agentlab.errors import InvalidSpec
from agentlab.ground.given import shown
from agentlab.wire.blows import Blow, Place


class Plan:
    """What is to go wrong: the same plan, seed and workload strike the same messages and steps.

    ::

        plan = Plan(kill(rate=0.01), kill_node(every=30), corrupt(tool="search", rate=0.05), seed=7)
        with lab.chaos(plan):
            ...
        lab.chaos_log()
        invariants(lab)

    Where it strikes follows from a hash of the seed, the agent's path, the message's number there and the step's
    number in it. Each place is struck by each strike once: a message that is delivered again gets through.

    Args:
        strikes: ``kill``, ``kill_node``, ``stall``, ``corrupt``, ``cut_stream``, ``slow_disk``, as often as one likes.
        seed: Another one strikes elsewhere.

    Raises:
        InvalidSpec: Something is no strike, or the seed no whole number.
    """

    __slots__ = ("_salts", "seed", "strikes")

    def __init__(self, *strikes: Strike, seed: int = 0) -> None:
        for strike in strikes:
            if type(strike) is not Strike:
                raise InvalidSpec(
                    f"Plan: give strikes, as kill(rate=0.01) or stall(seconds=2); got {shown(strike)}.",
                    kind="bad_strike", value=strike,
                )  # fmt: skip
        if not is_whole(seed):
            raise InvalidSpec(f"Plan: seed must be a whole number; got {shown(seed)}.", kind="bad_seed", value=seed)
        self.strikes = strikes
        self.seed = int(seed)
        before: Counter[str] = Counter()
        salts = []
        for strike in strikes:  # another strike beside it changes nothing of where this one strikes
            salts.append(f"{self.seed} {strike.word} {before[strike.word]}")
            before[strike.word] += 1
        self._salts = tuple(salts)

    def strikes_at(self, place: Place) -> Sequence[Blow]:
        """What strikes before that message or step: always the same."""
        blows = (strike.strikes(place, salt) for strike, salt in zip(self.strikes, self._salts, strict=True))
        return [blow for blow in blows if blow is not None]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plan):
            return NotImplemented
        return (self.strikes, self.seed) == (other.strikes, other.seed)

    def __hash__(self) -> int:
        return hash((repr(self), self.seed))

    def __repr__(self) -> str:
        return f"Plan({', '.join([*map(repr, self.strikes), f'seed={self.seed}'])})"
