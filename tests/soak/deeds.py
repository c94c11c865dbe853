"""What is done to the lab while it works: each deed is a method, chosen by the seed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
from collections import Counter

from agentlab import Lab, Ref, Reply
from agentlab.errors import CallTimeout, NotRunning
from tests.soak.gauges import pids
from tests.soak.ledger import Ledger

STALL_SECONDS = 2.0
"""After this long in C code a node is killed; the lab of the soak says so."""

ALWAYS = 1 << 30

# Deeds and how often, per thousand rounds. A deed that ends a node is rare enough for the pool to call it chance.
OFTEN = {
    "nothing": 400, "crash": 120, "kill": 120, "fail": 80, "fail_for_good": 40, "sleep": 40, "interrupt": 40,
    "crash_a_loop": 60, "busy_loop": 30, "family": 20, "stall": 15, "long_stall": 5, "node": 16,
    "exit": 8, "segfault": 8,
}  # fmt: skip


class Deeds:
    """Does them.

    Args:
        rng: Where every choice comes from.
        members: Agents of the herd, whom anything may befall that is nobody's fault.
        audience: Agents whom nothing befalls, but that whoever waits for them is interrupted.
        hogs: Agents with ``max_busy``.
        rogues: The few who take their node along.
        family: Agents that start again together.
    """

    def __init__(
        self, lab: Lab, ledger: Ledger, rng: random.Random, *,
        members: list[Ref], audience: list[Ref], hogs: list[Ref], rogues: list[Ref], family: list[Ref],
    ) -> None:  # fmt: skip
        self._lab, self._ledger, self._rng = lab, ledger, rng
        self._fate = random.Random(rng.random())  # of nodes: their number varies, the other choices must not
        self._members, self._audience = members, audience
        self._hogs, self._rogues, self._family = hogs, rogues, family
        self._loops: list[tuple[Ref, Reply]] = []
        self.done: Counter[str] = Counter()
        self.faults: list[str] = []

    @property
    def missing(self) -> list[str]:
        """What was not done yet."""
        return [name for name in OFTEN if not self.done[name]]

    def one(self, number: int) -> None:
        """Do one: what chance says, and in every fifteenth round what it has not said yet."""
        name = self._rng.choices(list(OFTEN), list(OFTEN.values()))[0]
        if number % 15 == 0 and self.missing:
            name = self.missing[0]
        self.end_loops()
        getattr(self, name)()
        self.done[name] += 1

    def end_loops(self) -> None:
        """Crash whoever is in an endless loop; again in the next round if the crash came before the loop."""
        self._loops = [(ref, reply) for ref, reply in self._loops if not reply.done()]
        for ref, _ in self._loops:
            crash(ref)

    def _one_of(self, refs: list[Ref]) -> Ref:
        return self._rng.choice(refs)

    def _misbehave(self, ref: Ref, how: str, *args: float, lives: int = 1) -> Reply:
        until = ALWAYS if lives == ALWAYS else ref.incarnation + lives
        return self._ledger.call(ref, "misbehave", how, until, *args)

    def nothing(self) -> None:
        """A quiet round."""

    def crash(self) -> None:
        """Somebody crashes, at rest or in the middle of something."""
        crash(self._one_of(self._members))

    def kill(self) -> None:
        """The same, as it cannot be trapped."""
        with contextlib.suppress(NotRunning):
            self._one_of(self._members).kill()

    def fail(self) -> None:
        """A handler raises, once or twice."""
        self._misbehave(self._one_of(self._members), "raise", lives=self._rng.randint(1, 2))

    def fail_for_good(self) -> None:
        """A handler raises at every delivery: its message fails, and nothing of it shows."""
        self._misbehave(self._one_of(self._members), "raise", lives=ALWAYS)

    def sleep(self) -> None:
        """A handler blocks."""
        self._misbehave(self._one_of(self._members), "sleep", self._rng.uniform(0.05, 0.5))

    def crash_a_loop(self) -> None:
        """An endless loop, ended by ``crash`` in the next round."""
        ref = self._one_of(self._members)
        self._loops.append((ref, self._misbehave(ref, "loop")))

    def busy_loop(self) -> None:
        """An endless loop, ended by ``max_busy``; some do it again until their message is given up."""
        self._misbehave(self._one_of(self._hogs), "loop", lives=self._rng.choice([1, 1, ALWAYS]))

    def family(self) -> None:
        """One crashes, and all of them start again."""
        crash(self._one_of(self._family))

    def stall(self) -> None:
        """C code holds a node's interpreter, long enough for its neighbours to be served elsewhere."""
        self._misbehave(self._one_of(self._members), "hold", self._rng.uniform(0.1, 0.8))

    def long_stall(self) -> None:
        """The same, until its node is killed."""
        self._misbehave(self._one_of(self._rogues), "hold", 10 * STALL_SECONDS)

    def node(self) -> None:
        """A node is killed."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._fate.choice(pids(self._lab) or [1 << 30]), signal.SIGKILL)

    def exit(self) -> None:
        """An agent ends its process."""
        self._misbehave(self._one_of(self._rogues), "exit")

    def segfault(self) -> None:
        """An agent's C code crashes."""
        self._misbehave(self._one_of(self._rogues), "segfault")

    def interrupt(self) -> None:
        """Ctrl-C ends the wait for an answer, and neither the agent nor its work."""
        ref = self._one_of(self._audience)
        restarts = ref.info()["restarts"]
        ref.suspend()
        reply = self._ledger.call(ref, "add")
        felt = interrupted(reply)
        if not felt or ref.info()["restarts"] != restarts:
            self.faults.append(f"{ref.path}: interrupt of a wait for it: {felt}, {reply!r}, {ref.info()}")
        ref.resume()


def crash(ref: Ref) -> None:
    """Crash an agent, unless it is down just now: between two lives."""
    with contextlib.suppress(NotRunning):
        ref.crash()


def interrupted(reply: Reply) -> bool:
    """Send this thread an interrupt while it waits for an answer that does not come; whether it was felt."""
    waits = threading.Event()
    helper = threading.Thread(target=_interrupt, args=(waits, threading.get_ident()))
    helper.start()
    try:
        try:
            waits.set()
            reply.result(60)
        finally:
            helper.join()
    except KeyboardInterrupt:
        return True
    except CallTimeout:
        return False
    return False


def _interrupt(waits: threading.Event, thread: int) -> None:
    waits.wait()
    signal.pthread_kill(thread, signal.SIGINT)
