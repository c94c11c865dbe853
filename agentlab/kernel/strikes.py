"""A plan of chaos in force: what it decides is noted, committed, and then done.

While one is on, each message and each step asks here before it begins, and waits for the answer. A strike is an event
first, so that whatever it kills, the store knows by what. Who is struck dead is not answered. While none is on, no node
asks, and nothing of this runs.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence

from agentlab.books.agents import Entry
from agentlab.errors import InvalidSpec
from agentlab.kernel.desk import Desk
from agentlab.kernel.lives import Lives
from agentlab.pool.pool import Node
from agentlab.wire.blows import Blow, Decides, Place, packed, read_where, where_text

WHY = "a plan of chaos says so"

Struck = tuple[str, int, int, str]
"""What is struck once: the agent's path, the message's number there, the step's, and by what."""


class Strikes:
    """The plan that is on, and what it has struck.

    Attributes:
        plan: Decides; None: no plan is on.
    """

    def __init__(self, desk: Desk, lives: Lives) -> None:
        self._desk = desk
        self._lives = lives
        self.plan: Decides | None = None
        self._struck: set[Struck] = set()
        self._struck_keys: set[tuple[int, int, str]] = set()  # the same by the message's key: its number may change

    def begin(self, plan: Decides) -> None:
        """Strike from here on. What an earlier plan struck, of an earlier kernel too, is not struck again.

        Raises:
            InvalidSpec: Another plan is on.
        """
        if self.plan is not None:
            raise InvalidSpec(
                f"chaos: a plan is on already, {self.plan!r}. Leave its `with` first, or make one plan of both.",
                kind="chaos_on",
            )
        self._struck = self._struck_before()
        self.plan = plan
        self._tell(on=True)

    def end(self) -> None:
        """Strike no more."""
        self.plan = None
        if not self._desk.ledger.closed:
            self._tell(on=False)

    def _struck_before(self) -> set[Struck]:
        found: set[Struck] = set()
        rows = self._desk.ledger.store.select("SELECT path, reason, detail FROM event WHERE kind = 'struck'")
        for path, strike, detail in rows:
            message, step, _ = read_where(detail or "")
            if message is not None and step is not None:
                found.add((path, message, step, strike))
        return found

    def _tell(self, *, on: bool) -> None:
        self._desk.pool.chaos = on
        for node in self._desk.pool.nodes.values():
            node.say.chaos(on=on)
        self._desk.due()

    def on_meets(
        self, node: Node, *, placement: int, ticket: int, key: int, number: int, kind: str, name: str
    ) -> None:  # fmt: skip
        """A message or a step is about to begin."""
        entry = self._desk.placed.get(placement)
        if entry is None or all(message.key != key for message in entry.pending):
            self._answer(node, ticket, b"")  # of a life that is over, or a message that was taken back
            return
        place = Place(entry.path, entry.seq + 1, number, kind, name)
        blows = [blow for blow in self._decided(place) if self._is_new(place, key, blow, node)]
        deadly = next((blow for blow in blows if blow.strike in DEADLY), None)
        for blow in [deadly] if deadly is not None else blows:
            self._note(entry, place, key, blow)
        if deadly is not None:  # not in this turn: what it changes must be committed before it is told
            kill = functools.partial(DEADLY[deadly.strike], self, node, entry, placement, counts=deadly.counts)
            self._desk.ledger.after_commit(self._soon, kill)
            return
        felt = packed([blow for blow in blows if blow.strike != "slow_disk"])
        self._desk.ledger.after_commit(self._answer, node, ticket, felt)
        time.sleep(sum(blow.seconds for blow in blows if blow.strike == "slow_disk"))  # all wait, as for a real disk

    def _decided(self, place: Place) -> Sequence[Blow]:
        return self.plan.strikes_at(place) if self.plan is not None else ()

    def _is_new(self, place: Place, key: int, blow: Blow, node: Node) -> bool:
        if blow.strike == "kill_node" and node.kind == "kernel":
            return False  # that would be the notebook's kernel
        known = (place.path, place.message, place.step, blow.strike) in self._struck
        return not known and (key, place.step, blow.strike) not in self._struck_keys

    def _note(self, entry: Entry, place: Place, key: int, blow: Blow) -> None:
        self._struck.add((place.path, place.message, place.step, blow.strike))
        self._struck_keys.add((key, place.step, blow.strike))
        self._desk.ledger.events.note_event(
            "struck", entry.path, incarnation=entry.incarnation, node=entry.node, reason=blow.strike,
            detail=where_text(place), took_s=blow.seconds or None,
        )  # fmt: skip

    def _answer(self, node: Node, ticket: int, value: bytes) -> None:
        node.say.answer(ticket=ticket, value=value, error=None)
        self._desk.due()

    def _soon(self, kill: Callable[[], None]) -> None:
        self._desk.loop.call_soon(kill)

    def _kill(self, node: Node, entry: Entry, placement: int, *, counts: bool) -> None:
        if entry.place == placement:
            if not counts:
                entry.order_to_start_over()
            self._lives.end(entry, "killed")
            self._desk.due()

    def _kill_node(self, node: Node, entry: Entry, placement: int, *, counts: bool) -> None:
        if node.number in self._desk.pool.nodes:
            node.struck, node.why = True, WHY
            node.process.kill()  # its line breaks, and ``Watch.lost`` is told


DEADLY = {"kill_node": Strikes._kill_node, "kill": Strikes._kill}
"""What ends the life that was struck; of several one is done."""
